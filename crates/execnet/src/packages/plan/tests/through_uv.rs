use super::*;
use crate::packages::uv::wheel::Zip;

/// An environment with a uv that knows one folder of wheels and no index.
struct World {
    venv: Venv,
    facts: Facts,
}

/// uv, or None where it is missing.
fn uv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv-python/bin");
    let found =
        std::env::split_paths(&path).chain([own]).map(|folder| folder.join("uv")).find(|uv| uv.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no uv: run scripts/test");
        println!("skipped, because there is no uv: run scripts/test");
    }
    found
}

impl World {
    fn new() -> Option<Self> {
        let uv = uv()?;
        let venv = Venv::new();
        fs::create_dir(venv.root().join("index")).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$@\" >>{root}/calls\n\
             UV_NO_INDEX=1 UV_NO_CONFIG=1 UV_CACHE_DIR={root}/uv-cache \
             exec {uv} \"$@\" --find-links {root}/index\n",
            root = venv.root().display(),
            uv = uv.display()
        );
        let own = venv.root().join("v/bin/uv");
        write(&own, &script);
        fs::set_permissions(own, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let environment = Environment::new(venv.root().join("v/bin/python"));
        let facts = installed(&environment).unwrap().facts.clone();
        Some(Self { venv, facts })
    }

    /// Installs it here.
    fn here(&self, name: &str, version: &str, wheel: Wheel<'_>) -> &Self {
        install(&self.venv.site(), name, version, wheel);
        self
    }

    /// Offers a wheel of it.
    fn offer(&self, name: &str, version: &str, wheel: Wheel<'_>) -> &Self {
        let file = format!("{}-{version}-{}.whl", name.replace('-', "_"), wheel.tag);
        let mut zip = Zip::new(fs::File::create(self.venv.root().join("index").join(file)).unwrap());
        let mut record = String::new();
        for (path, text) in wheel.content(name, version) {
            zip.add(&path, text.as_bytes(), false).unwrap();
            record.push_str(&format!("{path},,\n"));
        }
        let path = format!("{}-{version}.dist-info/RECORD", name.replace('-', "_"));
        zip.add(&path, format!("{record}{path},,\n").as_bytes(), false).unwrap();
        zip.end().unwrap();
        self
    }

    fn packages(&self, items: &[&str]) -> Packages {
        let environment = Environment::new(self.venv.root().join("v/bin/python"));
        items.iter().fold(Packages::new(environment), |packages, item| packages.item(item).unwrap())
    }

    /// The plan for CPython 3.9 on Linux, or another interpreter.
    fn plan(&self, items: &[&str]) -> Result<Plan, PackagesError> {
        planned(&self.packages(items), &self.older())
    }

    fn older(&self) -> Facts {
        Facts {
            python_version: "3.9".into(),
            python_full_version: "3.9.18".into(),
            ext_suffix: ".cpython-39-x86_64-linux-gnu.so".into(),
            ..self.linux()
        }
    }

    fn pypy(&self) -> Facts {
        Facts {
            implementation_name: "pypy".into(),
            platform_python_implementation: "PyPy".into(),
            implementation_version: "7.3.11".into(),
            ext_suffix: ".pypy39-pp73-x86_64-linux-gnu.so".into(),
            ..self.older()
        }
    }

    fn linux(&self) -> Facts {
        let text = str::to_owned;
        Facts {
            sys_platform: text("linux"),
            platform_system: text("Linux"),
            platform_machine: text("x86_64"),
            libc: text("glibc 2.36"),
            bits: text("64"),
            ..self.facts.clone()
        }
    }

    /// How often uv was called.
    fn calls(&self) -> usize {
        fs::read_to_string(self.venv.root().join("calls")).unwrap_or_default().lines().count()
    }

    fn error(&self, items: &[&str]) -> String {
        self.plan(items).unwrap_err().to_string()
    }
}

/// The first line of a file in the plan.
fn line(plan: &Plan, path: &str) -> String {
    let file = plan.sets.iter().flat_map(|set| &set.files).find(|file| file.path == path);
    let Some(File { source: Source::Path { file, .. }, .. }) = file else {
        panic!("{path} in {:?}", names(plan))
    };
    fs::read_to_string(file).unwrap().lines().next().unwrap_or_default().to_owned()
}

fn native(tag: &'static str) -> Wheel<'static> {
    Wheel { tag, files: &["n/_n.so"], ..PURE }
}

const OLD: &str = "cp39-cp39-manylinux_2_17_x86_64";

#[test]
fn the_same_versions_come_for_another_python() {
    let Some(world) = World::new() else { return };
    let scripts = "[console_scripts]\ntool = n:main\n";
    world
        .here(
            "n",
            "1.5",
            Wheel { requires: &["a"], entry_points: scripts, ..native("cp313-cp313-linux_x86_64") },
        )
        .here("a", "1.0", PURE)
        .offer(
            "n",
            "1.5",
            Wheel { requires: &["a", "execnet", "more"], entry_points: scripts, ..native(OLD) },
        )
        .offer("n", "1.6", native(OLD))
        .offer("a", "1.0", PURE)
        .offer("a", "2.0", PURE)
        .offer("more", "1", PURE)
        .offer("execnet", "2.1", PURE);
    let plan = world.plan(&["n"]).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py", "bin/tool", "more/__init__.py", "n/__init__.py", "n/_n.so"]);
    assert_eq!(plan.notes, Vec::<String>::new());
    assert_eq!(line(&plan, "n/__init__.py"), "# n 1.5");
    assert!(plan.sets[0].native);
    let scripts: Vec<_> = plan.sets[0].files.iter().filter(|file| file.path.starts_with("bin/")).collect();
    assert!(matches!(scripts[..], [File { source: Source::Bytes(_), .. }]), "{scripts:?}");
}

#[test]
fn older_versions_come_where_the_same_do_not_fit() {
    let Some(world) = World::new() else { return };
    let newer = Wheel { headers: &["Requires-Python: >=3.10"], ..PURE };
    world.here("a", "2.0", newer).offer("a", "2.0", newer).offer("a", "1.0", PURE).offer("a", "3.0", PURE);
    let plan = world.plan(&["a"]).unwrap();
    assert_eq!(line(&plan, "a/__init__.py"), "# a 1.0");
    assert_eq!(plan.notes, ["for CPython 3.9: a 1.0 instead of 2.0"]);
}

#[test]
fn what_no_index_has_is_handed_over_if_it_is_pure() {
    let Some(world) = World::new() else { return };
    let native_here = native("cp313-cp313-linux_x86_64");
    world.here("n", "1", native_here).offer("n", "1", native(OLD));
    // ours, and from a repository; an index has another one by that name
    world.here("ours", "0.1+local", Wheel { requires: &["n"], ..PURE });
    world.here("git-one", "1", PURE).offer("git-one", "1", Wheel { files: &["strange.py"], ..PURE });
    write(&world.venv.site().join("git_one-1.dist-info/direct_url.json"), r#"{"url": "git+https://x"}"#);
    let plan = world.plan(&["ours", "git-one"]).unwrap();
    assert_eq!(names(&plan), ["git_one/__init__.py", "n/__init__.py", "n/_n.so", "ours/__init__.py"]);
}

#[test]
fn what_did_not_come_from_an_index_is_looked_for_in_none() {
    let Some(world) = World::new() else { return };
    let built_here = native("cp313-cp313-linux_x86_64");
    world
        .here("ours", "1", built_here)
        .here("user", "1", Wheel { requires: &["ours"], headers: &["Requires-Python: >=3.12"], ..PURE })
        .here("a", "1", PURE)
        // a stranger's
        .offer("ours", "1", native(OLD))
        .offer("user", "1", Wheel { requires: &["ours"], ..PURE })
        .offer("a", "1", PURE);
    write(
        &world.venv.site().join("ours-1.dist-info/direct_url.json"),
        r#"{"url": "file:///x", "dir_info": {}}"#,
    );
    let plan = world.plan(&["*"]).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py"]);
    assert_eq!(plan.notes, ["left out, because they do not fit CPython 3.9: ours, user"]);
    let error = world.error(&["user"]);
    assert!(
        error.starts_with("`ours` does not fit CPython 3.9 as it is, and did not come from an index"),
        "{error}"
    );
}

#[test]
fn everything_leaves_out_what_fits_nowhere_unless_it_is_named() {
    let Some(world) = World::new() else { return };
    let built_here = native("cp313-cp313-linux_x86_64");
    world
        .here("n", "1", built_here)
        .here("user", "1", Wheel { requires: &["n"], headers: &["Requires-Python: >=3.12"], ..PURE })
        .here("a", "1", PURE)
        .offer("user", "1", Wheel { requires: &["n"], ..PURE })
        .offer("a", "1", PURE);
    let plan = world.plan(&["*"]).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py"]);
    assert_eq!(plan.notes, ["left out, because they do not fit CPython 3.9: n, user"]);
    let error = world.error(&["*", "user"]);
    let why = " (`user` requires it), and uv finds nothing else for CPython 3.9 on x86_64: Because n was";
    assert!(error.starts_with("`n` has extension modules for ") && error.contains(why), "{error}");
}

#[test]
fn a_uv_that_fails_has_not_said_that_there_is_nothing() {
    let Some(world) = World::new() else { return };
    world.here("a", "1", Wheel { headers: &["Requires-Python: >=3.12"], ..PURE });
    let uv = world.venv.root().join("v/bin/uv");
    write(&uv, "#!/bin/sh\necho 'error: Request failed after 3 retries' >&2\nexit 2\n");
    let why = "`a` 1 needs Python >=3.12, and uv cannot look for something else for CPython 3.9 on x86_64: \
               Request failed after 3 retries";
    assert_eq!(world.error(&["a"]), why);
}

#[test]
fn an_offline_uv_says_how_to_go_on() {
    let Some(world) = World::new() else { return };
    world.here("a", "1", Wheel { headers: &["Requires-Python: >=3.12"], ..PURE });
    let (own, uv) = (world.venv.root().join("v/bin/uv"), uv().unwrap());
    let offline = "exec \"$UV\" --offline --no-config --cache-dir \"$0-cache\" \"$@\"";
    write(&own, &format!("#!/bin/sh\nUV={}\n{offline}\n", uv.display()));
    let why = "`a` 1 needs Python >=3.12, and uv is offline, and its cache has nothing that fits; let it go \
               online once, without UV_OFFLINE or `offline` in its settings";
    assert_eq!(world.error(&["a"]), why);
}

#[test]
fn who_requires_what_fits_nowhere_is_named() {
    let Some(world) = World::new() else { return };
    let newer = Wheel { headers: &["Requires-Python: >=3.10"], ..PURE };
    let mid = Wheel { requires: &["ann", "fast"], ..PURE };
    let top = Wheel { requires: &["mid"], ..PURE };
    let new = Wheel { headers: &["Requires-Python: >=3.12"], ..PURE };
    world
        .here("fast", "1", native("cp313-cp313-linux_x86_64"))
        .here("ann", "1", newer)
        .here("mid", "1", mid)
        .here("top", "1", top)
        .here("new", "1", new)
        .offer("fast", "1", native(OLD))
        .offer("ann", "1", PURE)
        .offer("mid", "1", mid)
        .offer("top", "1", top)
        // these are not installed here
        .offer("new", "1", Wheel { requires: &["newer"], ..PURE })
        .offer("newer", "1", Wheel { requires: &["newest"], ..PURE })
        .offer("newest", "1", native(OLD));
    let reason = |item: &str| match planned(&world.packages(&[item]), &world.pypy()).unwrap_err() {
        PackagesError::Unfit { reason, .. } => reason,
        error => panic!("{error}"),
    };
    // `ann` does not fit either, but is not in the way
    for (item, chain) in
        [("fast", ""), ("mid", " (`mid` requires it)"), ("top", " (`top` requires `mid`, which requires it)")]
    {
        let said = reason(item);
        let why = format!("{chain}, and uv finds nothing else for PyPy 3.9 on x86_64: ");
        assert!(said.starts_with("`fast` has extension modules for ") && said.contains(&why), "{said}");
    }
    let said = reason("new");
    assert!(said.starts_with("`new` 1 needs Python >=3.12, and uv finds nothing else"), "{said}");
    assert!(said.ends_with(" (`new` requires `newer`, which requires `newest`)"), "{said}");
}

#[test]
fn nothing_newer_comes_in_the_place_of_what_is_left_out() {
    let Some(world) = World::new() else { return };
    world
        .here("n", "1", native("cp313-cp313-linux_x86_64"))
        .here("user", "1", Wheel { requires: &["n"], headers: &["Requires-Python: >=3.12"], ..PURE })
        .here("its-user", "1", Wheel { requires: &["user"], ..PURE })
        .offer("n", "2", native(OLD))
        .offer("user", "0.5", Wheel { requires: &["n"], ..PURE })
        .offer("its-user", "1", Wheel { requires: &["user"], ..PURE });
    let plan = world.plan(&["*"]).unwrap();
    assert_eq!(names(&plan), Vec::<&str>::new());
    assert_eq!(plan.notes, ["left out, because they do not fit CPython 3.9: its-user, n, user"]);
}

#[test]
fn what_has_older_metadata_is_handed_over_too() {
    let Some(world) = World::new() else { return };
    let facts = world.linux();
    let python = facts.python_version.replace('.', "");
    let (site, tag) = (world.venv.site(), format!("cp{python}-cp{python}-manylinux_2_17_x86_64"));
    let built_here = Wheel { tag: "cp38-cp38-linux_x86_64", ..PURE };
    world.here("n", "1", built_here).offer("n", "1", Wheel { tag: &tag, ..PURE });
    world.here("more", "1", PURE).offer("more", "1", PURE);
    for (file, text) in [
        ("old-1.egg-info/PKG-INFO", "Name: old\nVersion: 1\n"),
        ("old-1.egg-info/requires.txt", "n\n[x]\nmore\n"),
        ("old-1.egg-info/entry_points.txt", "[console_scripts]\nold = old:main\n"),
        ("old-1.egg-info/installed-files.txt", "../old/__init__.py\nPKG-INFO\n"),
        ("old/__init__.py", "# old 1\n"),
    ] {
        write(&site.join(file), text);
    }
    let plan = planned(&world.packages(&["old[x]"]), &facts).unwrap();
    assert_eq!(names(&plan), ["bin/old", "more/__init__.py", "n/__init__.py", "old/__init__.py"]);
    assert_eq!(line(&plan, "old-1.dist-info/METADATA"), "Metadata-Version: 2.1");
}

#[test]
fn an_older_version_comes_if_only_that_is_pure() {
    let Some(world) = World::new() else { return };
    let newer = native("cp39-cp39-manylinux_2_17_x86_64");
    world
        .here("n", "3", native("cp313-cp313-linux_x86_64"))
        .offer("n", "3", newer)
        .offer("n", "2", newer)
        .offer("n", "1", PURE);
    let plan = planned(&world.packages(&["n"]), &world.pypy()).unwrap();
    assert_eq!(line(&plan, "n/__init__.py"), "# n 1");
    assert_eq!(plan.notes, ["for PyPy 3.9: n 1 instead of 3"]);
}

#[test]
fn for_pypy_markers_are_ours_and_wheels_are_pure() {
    let Some(world) = World::new() else { return };
    let requires = ["b; implementation_name == 'pypy'", "c; implementation_name == 'cpython'", "cffi"];
    let a = Wheel { requires: &requires, headers: &["Requires-Python: >=3.9"], ..PURE };
    world
        .here("a", "1", a)
        .here("c", "1", PURE)
        .offer("a", "1", a)
        .offer("b", "1", PURE)
        .offer("b", "1", native("pp39-pypy39_pp73-manylinux_2_17_x86_64"))
        .offer("c", "1", PURE)
        .offer("n", "1", native(OLD))
        .here("n", "1", native("cp313-cp313-linux_x86_64"))
        .here("program", "1", Wheel { tag: "py3-none-manylinux2010_x86_64", ..PURE });
    let plan = planned(&world.packages(&["a"]), &world.pypy()).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py", "b/__init__.py"]);
    let error = planned(&world.packages(&["n"]), &world.pypy()).unwrap_err().to_string();
    assert!(error.contains("uv finds nothing else for PyPy 3.9"), "{error}");
    let plan = planned(&world.packages(&["*"]), &world.pypy()).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py", "b/__init__.py", "c/__init__.py"]);
    assert_eq!(plan.notes, ["left out, because they do not fit PyPy 3.9: n, program"]);
}

#[test]
fn an_editable_keeps_its_requirements() {
    let Some(world) = World::new() else { return };
    let venv = &world.venv;
    venv.editable("e", "", &[("e.pth", "ROOT/e")], &["e/e.py"]);
    let metadata = venv.site().join("e-1.dist-info/METADATA");
    write(&metadata, "Name: e\nVersion: 1\nRequires-Dist: a>=1\n");
    world
        .here("a", "2", Wheel { headers: &["Requires-Python: >=3.10"], requires: &["e"], ..PURE })
        .offer("a", "0.5", PURE)
        .offer("e", "9", PURE);
    let error = world.error(&["e"]);
    assert!(error.contains("a>=1"), "{error}");
    world.offer("a", "1.5", Wheel { requires: &["e"], ..PURE });
    let plan = world.plan(&["e"]).unwrap();
    assert_eq!(names(&plan), ["a/__init__.py", "e.py"]);
    assert_eq!(line(&plan, "a/__init__.py"), "# a 1.5");
}

#[test]
fn uv_runs_once_for_the_same_pins_and_facts() {
    let Some(world) = World::new() else { return };
    world.here("n", "1", native("cp313-cp313-linux_x86_64")).offer("n", "1", native(OLD));
    let facts = world.older();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| planned(&world.packages(&["n"]), &facts).unwrap());
        }
    });
    assert_eq!(world.calls(), 1);
    // of another host, and after something else was installed
    let other = Facts { digest: "1".repeat(64), platform_release: "other".into(), ..facts };
    world.here("a", "1", PURE);
    assert_eq!(names(&planned(&world.packages(&["n"]), &other).unwrap()), ["n/__init__.py", "n/_n.so"]);
    assert_eq!(world.calls(), 1);
    // nothing is left of its way there
    let kept: Vec<_> = fs::read_dir(world.venv.root().join("v/bin/cache")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[test]
fn a_failure_of_uv_is_told_in_its_words() {
    let Some(world) = World::new() else { return };
    world.here("n", "1", native("cp313-cp313-linux_x86_64"));
    for (said, expected) in [
        (
            "error: Request failed after 3 retries\n  cause: no route to host",
            "Request failed after 3 retries: no route",
        ),
        ("error: unexpected argument '--excludes' found", "a newer uv knows it"),
        ("", "uv: exit status: 2"),
    ] {
        write(
            &world.venv.root().join("v/bin/uv"),
            &format!("#!/bin/sh\nprintf '%s' \"{said}\" >&2\nexit 2\n"),
        );
        let error = world.error(&["*"]);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn without_uv_the_error_says_why_and_what_helps() {
    let venv = Venv::new();
    let here = installed(&Environment::new(venv.root().join("v/bin/python"))).unwrap();
    assert!(crate::packages::uv::is_missing(&here, None));
    let error = crate::packages::uv::without_uv(&here, &here.facts, "`n` has extension modules").to_string();
    let python = &here.executable;
    let title = here.facts.title();
    let expected = format!(
        "`n` has extension modules, so {title} cannot have what is installed here; install uv, which finds \
         what it can have: {python} -m pip install uv"
    );
    assert_eq!(error, expected);
}
