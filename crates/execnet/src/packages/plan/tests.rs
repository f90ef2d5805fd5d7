//! What plans are made of; the environments are folders that look as installers leave them.

mod editables;
mod folders;
mod through_uv;

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::packages::Environment;
use crate::packages::environment::installed;
use crate::packages::standin;

/// A folder of installed distributions, as pip would have left it.
struct Site(TempDir);

/// What a distribution's metadata say.
#[derive(Clone, Copy)]
struct Wheel<'w> {
    requires: &'w [&'w str],
    headers: &'w [&'w str],
    tag: &'w str,
    entry_points: &'w str,
    files: &'w [&'w str],
}

const PURE: Wheel<'static> =
    Wheel { requires: &[], headers: &[], tag: "py3-none-any", entry_points: "", files: &[] };

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn install(&self, name: &str, version: &str, wheel: Wheel<'_>) -> &Self {
        install(&self.path(), name, version, wheel);
        self
    }

    fn packages(&self, items: &[&str]) -> Packages {
        let environment = Environment::new("python3").path(vec![self.path()]);
        items.iter().fold(Packages::new(environment), |packages, item| packages.item(item).unwrap())
    }

    fn facts(&self) -> Facts {
        installed(&self.packages(&[]).environment).unwrap().facts.clone()
    }

    /// The plan for an interpreter like this one.
    fn plan(&self, items: &[&str]) -> Result<Plan, PackagesError> {
        planned(&self.packages(items), &self.facts())
    }

    fn error(&self, items: &[&str]) -> String {
        let error = self.plan(items).unwrap_err().to_string();
        let python = installed(&self.packages(&[]).environment).unwrap().executable.clone();
        error.replace(&python, "PYTHON")
    }
}

/// Writes what pip would have written into a folder.
fn install(place: &Path, name: &str, version: &str, wheel: Wheel<'_>) {
    let info = format!("{}-{version}.dist-info", name.replace('-', "_"));
    let mut record = format!("{info}/RECORD,,\n../../bin/{name},,\n");
    for (file, text) in wheel.content(name, version) {
        write(&place.join(&file), &text);
        record.push_str(&format!("{file},sha256=x,9\n"));
    }
    write(&place.join(&info).join("RECORD"), &record);
}

impl Wheel<'_> {
    /// All files but RECORD.
    fn content(&self, name: &str, version: &str) -> Vec<(String, String)> {
        let info = format!("{}-{version}.dist-info", name.replace('-', "_"));
        let mut metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        metadata.extend(self.requires.iter().map(|text| format!("Requires-Dist: {text}\n")));
        metadata.extend(self.headers.iter().map(|text| format!("{text}\n")));
        let mut content = vec![(format!("{info}/METADATA"), metadata + "\nName: in the text\n")];
        if !self.tag.is_empty() {
            let text =
                format!("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {}\n", self.tag);
            content.push((format!("{info}/WHEEL"), text));
        }
        if !self.entry_points.is_empty() {
            content.push((format!("{info}/entry_points.txt"), self.entry_points.to_owned()));
        }
        let module = format!("{}/__init__.py", name.replace('-', "_"));
        let files = [module.as_str()].into_iter().chain(self.files.iter().copied());
        content.extend(files.map(|file| (file.to_owned(), format!("# {name} {version}\n"))));
        content
    }
}

/// An environment whose interpreter processes `.pth` files at its start.
struct Venv(TempDir);

impl Venv {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("python3");
        let made =
            command.args(["-m", "venv", "--without-pip"]).arg(folder.path().join("v")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self(folder)
    }

    fn root(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn site(&self) -> PathBuf {
        let lib = fs::read_dir(self.root().join("v/lib")).unwrap().next().unwrap().unwrap();
        lib.path().join("site-packages")
    }
}

fn planned(packages: &Packages, facts: &Facts) -> Result<Plan, PackagesError> {
    plan(packages, facts, &mut |_| {})
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The names in all sets, without metadata and the stand-in.
fn names(plan: &Plan) -> Vec<&str> {
    let files = plan.sets.iter().flat_map(|set| &set.files);
    let names = files.map(|file| file.path.as_str()).filter(|path| !path.contains(".dist-info/"));
    let stand_in = |path: &str| standin::files().iter().any(|(ours, _)| *ours == path);
    let mut names: Vec<&str> = names.filter(|path| !stand_in(path)).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_item_brings_what_it_requires_there() {
    let site = Site::new();
    let requires = ["b >= 1", "old; python_version < '3'", "c; extra == 'more'", "execnet >= 99"];
    site.install("a", "1.0", Wheel { requires: &requires, headers: &["Provides-Extra: more"], ..PURE })
        .install("b", "1.5", Wheel { files: &["b/data.txt", "b/__pycache__/x.pyc"], ..PURE })
        .install("c", "1", PURE)
        .install("d", "1", PURE);
    let plan = site.plan(&["a"]).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py", "b/__init__.py", "b/data.txt"]);
    assert_eq!(plan.sets[0].title, "a, b");
    assert!(!plan.isolate && !plan.sets[0].native);
    let plan = site.plan(&["A[More]"]).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py", "b/__init__.py", "b/data.txt", "c/__init__.py"]);
    let plan = site.plan(&["*"]).unwrap();
    assert_eq!(
        names(&plan),
        ["a/__init__.py", "b/__init__.py", "b/data.txt", "c/__init__.py", "d/__init__.py"]
    );
    assert!(plan.isolate);
    assert!(plan.sets[0].files.iter().any(|file| file.path == "execnet/__init__.py"));
    // metadata travel, for entry points and versions
    assert!(plan.sets[0].files.iter().any(|file| file.path == "a-1.0.dist-info/METADATA"));
}

#[test]
fn markers_are_those_of_the_other_interpreter() {
    let site = Site::new();
    site.install(
        "a",
        "1",
        Wheel { requires: &["b; implementation_name == 'pypy'", "c; os_name == 'nt'"], ..PURE },
    )
    .install("b", "1", PURE)
    .install("c", "1", PURE);
    let pypy = Facts { implementation_name: "pypy".into(), ..site.facts() };
    assert_eq!(names(&site.plan(&["a"]).unwrap()), ["a/__init__.py"]);
    assert_eq!(names(&planned(&site.packages(&["a"]), &pypy).unwrap()), ["a/__init__.py", "b/__init__.py"]);
}

#[test]
fn old_pythons_get_what_fits_as_it_is() {
    let site = Site::new();
    site.install("six", "1", Wheel { tag: "py2.py3-none-any", ..PURE })
        .install("a", "1", Wheel { requires: &["six"], ..PURE })
        .install("new", "1", Wheel { tag: "py2.py3-none-any", headers: &["Requires-Python: >=3.8"], ..PURE })
        .install("fast", "1", Wheel { tag: "cp313-cp313-manylinux_2_17_x86_64", ..PURE });
    let jython = Facts {
        python_version: "2.7".into(),
        python_full_version: "2.7.3".into(),
        implementation_name: "jython".into(),
        platform_python_implementation: "Jython".into(),
        ..Facts::default()
    };
    assert_eq!(names(&planned(&site.packages(&["six"]), &jython).unwrap()), ["six/__init__.py"]);
    let error = |item: &str| planned(&site.packages(&[item]), &jython).unwrap_err().to_string();
    let help = "give a folder, a module, or a distribution whose wheel is for Python 2.7";
    let expected =
        "`a` is not made for Python 2.7, and Jython 2.7 can only have what fits as it is installed here";
    assert_eq!(error("a"), format!("{expected}; {help}"));
    assert!(error("new").starts_with("`new` 1 needs Python >=3.8, and Jython"), "{}", error("new"));
    assert!(error("fast").starts_with("`fast` has extension modules for "), "{}", error("fast"));

    // `*` leaves out what nobody named
    let both = Wheel { tag: "py2.py3-none-any", requires: &["back; python_version < '3'"], ..PURE };
    site.install("misses", "1", both);
    let plan = planned(&site.packages(&["*"]), &jython).unwrap();
    assert_eq!(names(&plan), ["six/__init__.py"]);
    assert_eq!(plan.notes, ["left out, because they do not fit Jython 2.7: a, fast, misses, new"]);
    let error = planned(&site.packages(&["*", "a"]), &jython).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn pytest_brings_its_plugins() {
    let site = Site::new();
    let plugin = "[pytest11]\nx = pytest_x\n";
    site.install("pytest", "9", PURE)
        .install("pytest-x", "1", Wheel { entry_points: plugin, requires: &["pytest", "y"], ..PURE })
        .install("pytest-z", "1", Wheel { entry_points: plugin, ..PURE })
        .install("execnet", "3", Wheel { entry_points: plugin, ..PURE })
        .install("y", "1", PURE);
    let plan = site.plan(&["pytest", "!pytest-z"]).unwrap();
    assert_eq!(names(&plan), ["pytest/__init__.py", "pytest_x/__init__.py", "y/__init__.py"]);
}

#[test]
fn everything_leaves_out_the_tools_that_nothing_requires() {
    let site = Site::new();
    site.install("pip", "1", PURE)
        .install("setuptools", "1", PURE)
        .install("wheel", "1", PURE)
        .install("execnet", "2.1", PURE)
        .install("a", "1", Wheel { requires: &["setuptools"], ..PURE })
        .install("torch", "1", PURE);
    assert_eq!(names(&site.plan(&["*", "!torch"]).unwrap()), ["a/__init__.py", "setuptools/__init__.py"]);
}

#[test]
fn an_exception_takes_along_what_only_it_requires() {
    let site = Site::new();
    site.install("torch", "1", Wheel { requires: &["cuda", "numpy", "typing"], ..PURE })
        .install("cuda", "1", Wheel { requires: &["blas"], ..PURE })
        .install("blas", "1", PURE)
        .install("numpy", "1", PURE)
        .install("typing", "1", PURE)
        .install("a", "1", Wheel { requires: &["typing"], ..PURE });
    // an installer that writes down nothing
    let all =
        ["a/__init__.py", "blas/__init__.py", "cuda/__init__.py", "numpy/__init__.py", "typing/__init__.py"];
    assert_eq!(names(&site.plan(&["*", "!torch"]).unwrap()), all);
    for name in ["torch", "numpy", "a"] {
        write(&site.path().join(format!("{name}-1.dist-info/REQUESTED")), "");
    }
    let left = ["a/__init__.py", "numpy/__init__.py", "typing/__init__.py"];
    assert_eq!(names(&site.plan(&["*", "!torch"]).unwrap()), left);
}

#[test]
fn an_exception_from_nothing_is_noted() {
    let site = Site::new();
    site.install("attrs", "25", Wheel { requires: &["back; python_version < '3'"], ..PURE });
    let notes = |items: &[&str]| {
        let plan = site.plan(items).unwrap();
        let python = installed(&site.packages(&[]).environment).unwrap().executable.clone();
        plan.notes.iter().map(|note| note.replace(&python, "PYTHON")).collect::<Vec<_>>()
    };
    let nothing = "`!atrs` leaves out nothing: `atrs` is not installed in PYTHON; did you mean `!attrs`?";
    assert_eq!(notes(&["attrs", "!atrs"]), [nothing]);
    assert_eq!(notes(&["*", "!tests"]), ["`!tests` leaves out nothing: `tests` is not installed in PYTHON"]);
    // another interpreter may get what one of these requires there
    assert_eq!(notes(&["*", "!Attrs", "!back", "!execnet"]), [""; 0]);
}

#[test]
fn who_requires_it_is_named_to_the_item() {
    let site = Site::new();
    site.install("a", "1", Wheel { requires: &["b"], ..PURE })
        .install("b", "1", Wheel { requires: &["c"], ..PURE })
        .install("c", "1", Wheel { requires: &["gone", "d<1"], ..PURE })
        .install("d", "1", PURE);
    let why = "`a` requires `b`, which requires `c`, which requires `gone`, which is not installed in PYTHON";
    assert!(site.error(&["a"]).starts_with(why), "{}", site.error(&["a"]));
    let why = "`b` requires `c`, which requires `gone`, which is not installed in PYTHON";
    assert!(site.error(&["*", "b"]).starts_with(why), "{}", site.error(&["*", "b"]));
    site.install("gone", "1", PURE);
    let why = "`b` requires `c`, which requires `d<1`, but 1 is installed in PYTHON";
    assert!(site.error(&["b"]).starts_with(why), "{}", site.error(&["b"]));
    write(&site.path().join("c-1.dist-info/METADATA"), "Name: c\nVersion: 1\n");
    fs::remove_file(site.path().join("c-1.dist-info/RECORD")).unwrap();
    let why = "`c` is installed without a list of its files";
    let error = site.error(&["a"]);
    assert!(error.starts_with(why) && error.contains(" (`a` requires `b`, which requires it); "), "{error}");
}

#[test]
fn what_is_no_python_is_no_environment() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
    let program = |name: &str, text: &str| {
        write(&path(name), text);
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
        path(name)
    };
    let error = |python: &Path| {
        let packages = Packages::new(Environment::new(python)).item("*").unwrap();
        // what another test starts has the file open until it executes
        let mut errors = std::iter::repeat_with(|| planned(&packages, &Facts::default()).unwrap_err());
        let error = errors.find(|error| !error.to_string().contains("Text file busy")).unwrap();
        let is_told = matches!(error, PackagesError::Interpreter { .. });
        (is_told, error.to_string().replace(python.to_str().unwrap(), "PATH"))
    };
    let no = |why: &str| (true, format!("`PATH` is no Python interpreter ({why})"));
    assert_eq!(error(Path::new("/bin/true")), no("exit status: 0: it printed nothing"));
    assert_eq!(error(Path::new("/bin/false")), no("exit status: 1: it printed nothing"));
    assert_eq!(error(&path("none")), no("No such file or directory (os error 2)"));
    assert_eq!(error(&path("")), no("Permission denied (os error 13)"));
    write(&path("text"), "hello\n");
    assert_eq!(error(&path("text")), no("Permission denied (os error 13)"));
    assert_eq!(error(&program("program", "hello\n")), no("Exec format error (os error 8)"));
    let noise = program("noise", "#!/bin/sh\necho \"$@\"; cat; echo '  at the end '\n");
    assert_eq!(error(&noise), no("exit status: 0: at the end"));
    let endless = program("endless", "#!/bin/sh\nexec yes\n");
    assert_eq!(error(&endless), no("signal: 13 (SIGPIPE): y"));
    let old = program("old", "#!/bin/sh\nprintf 'x\\nexecnet: Python 2.7\\n'\n");
    assert_eq!(error(&old), (true, "`PATH` is Python 2.7, and 3.8 or later is needed".into()));

    // these are, and have other troubles
    let broken = program("broken", "#!/bin/sh\nPYTHONHOME=/none exec python3 \"$@\"\n");
    let (is_told, said) = error(&broken);
    let why = "cannot ask `PATH` what is installed: Fatal Python error: ";
    assert!(!is_told && said.starts_with(why), "{said}");
    let noise = program("noisy", "#!/bin/sh\necho noise; exec python3 \"$@\"\n");
    let packages = Packages::new(Environment::new(noise)).item("*").unwrap();
    let facts = installed(&packages.environment).unwrap().facts.clone();
    planned(&packages, &facts).unwrap();
}

#[test]
fn what_is_not_installed_is_named_with_its_environment() {
    let site = Site::new();
    site.install("attrs", "25", PURE).install("a", "1", Wheel { requires: &["gone>=2"], ..PURE });
    assert_eq!(site.error(&["atrs"]), "`atrs` is not installed in PYTHON; did you mean `attrs`?");
    assert_eq!(
        site.error(&["numpy"]),
        "`numpy` is not installed in PYTHON; install it: PYTHON -m pip install numpy"
    );
    let gone = "`a` requires `gone`, which is not installed in PYTHON";
    assert_eq!(site.error(&["a"]), format!("{gone}; PYTHON -m pip install gone"));
    // tests stand in the folder of the crate
    assert_eq!(site.error(&["src"]), "`src` is not installed in PYTHON; `./src` brings along what is here");
    for name in ["os", "sys", "xml", "zlib"] {
        let why = format!("`{name}` is a module of Python itself; leave it out: each Python has its own");
        assert_eq!(site.error(&[name]), why);
    }
    assert_eq!(site.error(&["attrs[x]"]), "`attrs` has no extra `x`; it has none");
    // nobody named it
    assert_eq!(site.plan(&["*"]).unwrap().notes.len(), 1);
}

#[test]
fn a_conflict_is_an_error_where_it_was_named() {
    let site = Site::new();
    site.install("a", "1", Wheel { requires: &["b >= 2"], ..PURE }).install("b", "1.9", PURE);
    let conflict = "`a` requires `b>=2`, but 1.9 is installed in PYTHON";
    assert_eq!(site.error(&["a"]), format!("{conflict}; PYTHON -m pip install 'b>=2'"));
    let plan = site.plan(&["*"]).unwrap();
    assert!(plan.notes[0].starts_with("`a` requires `b>=2`, but 1.9"), "{:?}", plan.notes);
    assert_eq!(names(&plan), ["a/__init__.py", "b/__init__.py"]);
}

#[test]
fn console_scripts_are_programs_of_the_set() {
    let site = Site::new();
    site.install(
        "a",
        "1",
        Wheel { entry_points: "[console_scripts]\ntool = a:main\nx/y = a:main\n", ..PURE },
    );
    let plan = site.plan(&["a"]).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py", "bin/tool"]);
    assert!(plan.sets[0].files.iter().any(|file| file.path == "bin/tool" && file.executable));
}

#[test]
fn a_plan_is_made_anew_when_something_changes() {
    let site = Site::new();
    site.install("a", "1", Wheel { files: &["a/b.py"], ..PURE });
    assert_eq!(names(&site.plan(&["a"]).unwrap()), ["a/__init__.py", "a/b.py"]);
    fs::remove_file(site.path().join("a/b.py")).unwrap();
    assert_eq!(names(&site.plan(&["a"]).unwrap()), ["a/__init__.py"]);
    site.install("c", "1", PURE);
    assert_eq!(names(&site.plan(&["c"]).unwrap()), ["c/__init__.py"]);
}
