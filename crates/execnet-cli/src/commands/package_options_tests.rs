//! Whose packages are brought along.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A folder with programs and distributions.
struct Place(tempfile::TempDir);

impl Place {
    fn new(programs: &[&str]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for program in programs {
            let file = place.at(program);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Finds the interpreter with these variables, whose values are paths here.
    fn find(&self, given: Option<&str>, variables: &[(&str, &str)], command: &str) -> Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(if found.1.is_empty() { OsString::new() } else { self.at(found.1).into() })
        };
        let given = given.map(|given| if given.contains('/') { self.at(given) } else { given.into() });
        let found = interpreter(given.as_deref(), variable, Some(&self.at(command)));
        let relative = |file: PathBuf| file.strip_prefix(self.0.path()).unwrap().display().to_string();
        found
            .map(relative)
            .map_err(|error| error.to_string().replace(&self.at("").display().to_string(), "/"))
    }
}

#[test]
fn the_environment_is_the_one_that_a_person_works_in() {
    let place =
        Place::new(&["venv/bin/python", "venv/bin/python3", "own/bin/python", "path/python3", "path/x/y"]);
    fs::create_dir(place.at("alone")).unwrap();
    let path = ("PATH", "path");
    let venv = ("VIRTUAL_ENV", "venv");
    for (given, variables, command, found) in [
        (None, vec![path, venv], "own/bin/execnet", "venv/bin/python3"),
        (None, vec![path, ("VIRTUAL_ENV", "")], "own/bin/execnet", "own/bin/python"),
        (None, vec![path], "alone/execnet", "path/python3"),
        (Some("./own"), vec![path, venv], "alone/execnet", "own/bin/python"),
        (Some("own/bin/python"), vec![path, venv], "alone/execnet", "own/bin/python"),
        (Some("python3"), vec![path, venv], "alone/execnet", "path/python3"),
    ] {
        assert_eq!(place.find(given, &variables, command).as_deref(), Ok(found), "{given:?} {variables:?}");
    }
    let wrong = |given, variables: &[_]| place.find(given, variables, "alone/execnet").unwrap_err();
    insta::assert_snapshot!(wrong(None, &[("VIRTUAL_ENV", "gone"), path]), @"
    Error: VIRTUAL_ENV is `/gone`, which has no Python
    Hint: unset it, or choose a Python with `--environment PYTHON`
    ");
    insta::assert_snapshot!(wrong(None, &[("PATH", "venv")]), @"
    Error: there is no Python here whose packages could be brought along
    Hint: name one with `--environment PYTHON`
    ");
    insta::assert_snapshot!(wrong(Some("./path"), &[path]), @"
    Error: --environment: `/./path` has no Python in its folder `bin`
    Hint: name a Python (`python3.12`, `/opt/app/bin/python`), or the folder of a virtual environment
    ");
    insta::assert_snapshot!(wrong(Some("python4"), &[path]), @"
    Error: --environment: `python4` is no program
    Hint: name a Python (`python3.12`, `/opt/app/bin/python`), or the folder of a virtual environment
    ");
}

#[test]
fn names_that_are_installed_complete() {
    let site = "lib/python3.12/site-packages";
    let place = Place::new(&[
        "bin/python",
        &format!("{site}/attrs-25.1.dist-info/METADATA"),
        &format!("{site}/zope_interface-7.dist-info/METADATA"),
        &format!("{site}/attr/__init__.py"),
    ]);
    assert_eq!(installed(&place.at("bin/python")), ["attrs", "zope-interface"]);
    assert_eq!(installed(Path::new("/")), [""; 0]);
}
