use super::*;

impl Venv {
    fn packages(&self, item: &str) -> Packages {
        Packages::new(Environment::new(self.root().join("v/bin/python"))).item(item).unwrap()
    }

    fn facts(&self) -> Facts {
        installed(&self.packages("x").environment).unwrap().facts.clone()
    }

    fn plan(&self, item: &str) -> Result<Plan, PackagesError> {
        planned(&self.packages(item), &self.facts())
    }

    /// Installs a project from its folder: `pointers` are in the site folder.
    pub(super) fn editable(&self, name: &str, tops: &str, pointers: &[(&str, &str)], sources: &[&str]) {
        let info = format!("{name}-1.dist-info");
        let metadata = format!("Name: {name}\nVersion: 1\n");
        let direct = r#"{"url": "file:///secret/place", "dir_info": {"editable": true}}"#;
        let mut record = String::new();
        let of_info = [("METADATA", metadata.as_str()), ("direct_url.json", direct), ("top_level.txt", tops)];
        for (file, text) in of_info.iter().filter(|(_, text)| !text.is_empty()) {
            write(&self.site().join(&info).join(file), text);
            record.push_str(&format!("{info}/{file},,\n"));
        }
        for (file, text) in pointers {
            write(&self.site().join(file), &text.replace("ROOT", self.root().to_str().unwrap()));
            record.push_str(&format!("{file},,\n__pycache__/{file}c,,\n"));
        }
        write(&self.site().join(&info).join("RECORD"), &(record + &format!("{info}/RECORD,,\n")));
        for file in sources {
            write(&self.root().join(file), "");
        }
    }
}

/// What setuptools writes for a project whose folder cannot be on the path, without its finder's code.
fn finder(mapping: &str, namespaces: &str) -> String {
    format!(
        "from __future__ import annotations\nimport sys\nMAPPING: dict[str, str] = {mapping}\n\
         NAMESPACES: dict[str, list[str]] = {namespaces}\nPATH_PLACEHOLDER = 'x'\ndef install():\n    pass\n"
    )
}

#[test]
fn setuptools_projects_are_followed_to_their_sources() {
    let venv = Venv::new();
    let sources = ["src/one/__init__.py", "src/one/data.txt", "src/other.py", "setup.py"];
    venv.editable("one", "one\n", &[("__editable__.one-1.pth", "ROOT/src\n")], &sources);
    let plan = venv.plan("one").unwrap();
    assert_eq!(names(&plan), ["one/__init__.py", "one/data.txt"]);
    assert_eq!((plan.sets[0].title.as_str(), plan.sets[1].title.as_str()), ("one", "one (editable)"));
    // metadata travel; what leads to this machine's folders does not
    let files: Vec<&str> = plan.sets[0].files.iter().map(|file| file.path.as_str()).collect();
    assert!(files.contains(&"one-1.dist-info/METADATA"), "{files:?}");
    assert!(
        !files.iter().any(|file| file.ends_with(".pth") || file.ends_with("direct_url.json")),
        "{files:?}"
    );

    let code =
        finder("{'two': 'ROOT/lib/code', 'mod': 'ROOT/mod', 'ns.deep': 'ROOT/deep'}", "{'ns': ['ROOT/ns']}");
    let pth = "import __editable___two_1_finder; __editable___two_1_finder.install()";
    let pointers = [("__editable__.two-1.pth", pth), ("__editable___two_1_finder.py", code.as_str())];
    let sources = ["lib/code/__init__.py", "mod.py", "deep/__init__.py", "ns/part.py", "README"];
    venv.editable("two", "two\nmod\nns\n", &pointers, &sources);
    let plan = venv.plan("two").unwrap();
    assert_eq!(names(&plan), ["mod.py", "ns/deep/__init__.py", "ns/part.py", "two/__init__.py"]);
}

#[test]
fn hatch_and_maturin_projects_are_followed_to_their_sources() {
    let venv = Venv::new();
    let facts = venv.facts();
    venv.editable(
        "h",
        "",
        &[("_editable_impl_h.pth", "ROOT/h/src")],
        &["h/src/h/__init__.py", "h/src/tool.py"],
    );
    assert_eq!(names(&venv.plan("h").unwrap()), ["h/__init__.py", "tool.py"]);

    let code = "from editables.redirector import RedirectingFinder as F\nF.install()\n\
        F.map_module('e', 'ROOT/e/lib/__init__.py')\n";
    let pointers = [("_editable_impl_e.pth", "import _editable_impl_e"), ("_editable_impl_e.py", code)];
    venv.editable("e", "", &pointers, &["e/lib/__init__.py", "e/lib/x.py", "e/other.py"]);
    assert_eq!(names(&venv.plan("e").unwrap()), ["e/__init__.py", "e/x.py"]);

    // the module of a mixed project lies beside its Python, and git ignores it
    let module = format!("m/python/m/_native{}", facts.ext_suffix);
    venv.editable("m", "", &[("m.pth", "ROOT/m/python")], &["m/python/m/__init__.py", &module]);
    write(&venv.root().join("m/.gitignore"), "*.so\n");
    let plan = venv.plan("m").unwrap();
    assert_eq!(names(&plan), ["m/__init__.py", &module["m/python/".len()..]]);
    assert!(plan.sets[1].native && !plan.sets[0].native);
    // another Python could not load it
    let other = Facts { ext_suffix: ".cpython-37m-x86_64-linux-gnu.so".into(), ..facts };
    let error = planned(&venv.packages("m"), &other).unwrap_err().to_string();
    assert!(error.starts_with("`m` has an extension module for another Python: m/_native."), "{error}");
    let plan = planned(&venv.packages("*"), &other).unwrap();
    assert_eq!(names(&plan), ["e/__init__.py", "e/x.py", "h/__init__.py", "tool.py"]);
    assert_eq!(plan.notes, [format!("{error}; it is left out")]);
}

#[test]
fn a_source_folder_on_the_path_is_an_editable_install() {
    let venv = Venv::new();
    write(&venv.site().join("easy-install.pth"), &format!("{}/legacy\n", venv.root().display()));
    for (file, text) in [
        ("PKG-INFO", "Name: legacy\nVersion: 1\n"),
        ("top_level.txt", "legacy\n"),
        ("requires.txt", "\n[:python_version < '3']\ngone\n\n[x]\ngone"),
        ("SOURCES.txt", "setup.py"),
    ] {
        write(&venv.root().join("legacy/legacy.egg-info").join(file), text);
    }
    write(&venv.root().join("legacy/legacy/__init__.py"), "");
    write(&venv.root().join("legacy/setup.py"), "");
    let plan = venv.plan("legacy").unwrap();
    assert!(names(&plan).contains(&"legacy/__init__.py") && !names(&plan).contains(&"setup.py"));
    assert!(plan.sets[0].files.iter().any(|file| file.path == "legacy.egg-info/PKG-INFO"));
}

#[test]
fn what_is_built_at_import_cannot_travel() {
    let venv = Venv::new();
    let loader =
        [("me-editable.pth", "import _me_editable_loader"), ("_me_editable_loader.py", "raise SystemExit\n")];
    // the loader would end the interpreter
    write(&venv.site().join("other.pth"), "");
    venv.editable("me", "", &[loader[1]], &[]);
    let error = venv.plan("me").unwrap_err().to_string();
    assert_eq!(error, "`me` is an editable install that is built when it is imported: install it without -e");
    for (files, build, ok) in
        [("{}", "None", true), ("{'sk._core': 'x'}", "None", false), ("{}", "'/b'", false)]
    {
        let code = format!(
            "def install(*args):\n    pass\n\n\ninstall({{'sk': 'ROOT/sk'}}, {files}, {{}}, [], {build})"
        );
        let pth = "import _editable_skbc_sk\nROOT/skbc\n";
        let pointers = [("_editable_skbc_sk.pth", pth), ("_editable_skbc_sk.py", code.as_str())];
        venv.editable("sk", "", &pointers, &["skbc/sk/__init__.py"]);
        assert_eq!(venv.plan("sk").is_ok(), ok, "{files} {build}");
    }
}

#[test]
fn the_project_under_test_travels_once() {
    let venv = Venv::new();
    let sources = ["project/src/one/__init__.py", "project/src/one/tests/test_one.py"];
    venv.editable("one", "one\n", &[("__editable__.one-1.pth", "ROOT/project/src\n")], &sources);
    let packages = venv.packages("*");
    let plan = planned(&packages.clone().sent([venv.root().join("project")]), &venv.facts()).unwrap();
    assert_eq!((names(&plan).len(), plan.beside), (0, vec!["project/src".to_owned()]));
    // its metadata is there
    assert!(plan.sets[0].files.iter().any(|file| file.path == "one-1.dist-info/METADATA"));
    let plan = planned(&packages.sent([venv.root().join("elsewhere")]), &venv.facts()).unwrap();
    assert_eq!((names(&plan).len(), plan.beside.len()), (2, 0));
}
