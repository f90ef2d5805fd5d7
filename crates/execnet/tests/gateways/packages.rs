//! Packages, into real interpreters: what is importable there, and how often what is sent.

use std::path::Path;
use std::sync::{Arc, Mutex};

use execnet::packages::StoredError;
use execnet::{
    Environment, Gateway, GatewayBuilder, OpenError, Packages, PackagesError, Step, Transfer, packages,
};
use tempfile::TempDir;

use crate::support::{path, python, pythons, quiet};

/// Describes a gateway whose host keeps packages in this folder.
fn builder(store: &TempDir) -> GatewayBuilder {
    quiet().env("EXECNET_PACKAGES_FOLDER", store.path().to_str().unwrap())
}

pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    folder
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Packages of an environment in which a distribution `letters` is installed, of the module `letters`.
fn letters(site: &TempDir) -> Packages {
    let files = [
        ("letters.py", "first = u'a'\n"),
        ("letters-1.5.dist-info/METADATA", "Metadata-Version: 2.1\nName: letters\nVersion: 1.5\n\n"),
        (
            "letters-1.5.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n",
        ),
        (
            "letters-1.5.dist-info/RECORD",
            "letters.py,,\nletters-1.5.dist-info/METADATA,,\nletters-1.5.dist-info/WHEEL,,\n\
             letters-1.5.dist-info/RECORD,,\n",
        ),
    ];
    write(site.path(), &files);
    Packages::new(Environment::new(python()).path(vec![site.path().to_owned()]))
}

pub(crate) fn paths(folder: &TempDir) -> Packages {
    Packages::new(Environment::new(python())).path(folder.path())
}

/// A folder for packages that has the stand-in for execnet.
pub(crate) fn with_standin() -> TempDir {
    let store = folder(&[]);
    let gateway = builder(&store).packages(paths(&folder(&[]))).start().unwrap();
    gateway.exit().unwrap();
    gateway.join().unwrap();
    store
}

/// What this code sends first.
pub(crate) fn ask(gateway: &Gateway, code: &str) -> String {
    gateway.remote_exec(code).unwrap().receive().unwrap()
}

/// Collects what progress tells.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Transfer>>>);

impl Told {
    pub(crate) fn collector(&self) -> impl Fn(&Transfer) + Send + Sync + 'static {
        let told = self.0.clone();
        move |transfer| told.lock().unwrap().push(transfer.clone())
    }

    /// How many files and bytes each gateway was sent.
    fn sent(&self) -> Vec<(String, u64, u64)> {
        let told = self.0.lock().unwrap();
        let mut sent: Vec<(String, u64, u64)> = Vec::new();
        for Transfer { gateway, files, bytes, .. } in told.iter() {
            match sent.iter_mut().find(|(id, ..)| id == gateway) {
                Some(last) => (last.1, last.2) = (*files, *bytes),
                None => sent.push((gateway.clone(), *files, *bytes)),
            }
        }
        sent
    }

    pub(crate) fn take(&self) -> Vec<Transfer> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[test]
fn a_folder_is_importable_in_every_interpreter() {
    let source = folder(&[
        ("tool/__init__.py", "from . import part\nanswer = part.answer\n"),
        ("tool/part.py", "answer = u'42'\n"),
        ("tool/data.txt", "text"),
    ]);
    let store = TempDir::new().unwrap();
    for interpreter in pythons() {
        let builder = builder(&store).python(path(&interpreter));
        let gateway = builder.packages(paths(&source)).start().unwrap();
        let code = "import tool, pkgutil\n\
                    data = pkgutil.get_data('tool', 'data.txt').decode('ascii')\n\
                    channel.send(tool.answer + u' ' + data)";
        assert_eq!(ask(&gateway, code), "42 text", "{interpreter:?}");
        let activated = gateway.packages().unwrap();
        // of the files, and of the stand-in for execnet
        assert_eq!(activated.folders.len(), 2);
        assert!(activated.folders[0].starts_with(store.path().to_str().unwrap()), "{activated:?}");
        let names = activated.environment.iter().map(|(name, _)| name.as_str());
        assert!(names.into_iter().any(|name| name == "PYTHONPATH"), "{activated:?}");
    }
}

#[test]
fn a_gateway_without_packages_has_none() {
    let gateway = quiet().start().unwrap();
    assert_eq!(gateway.packages(), None);
    assert_eq!(
        ask(&gateway, "import sys\nchannel.send(str('execnet_kernel.packages' in sys.modules))"),
        "False"
    );
}

#[test]
fn a_distribution_is_as_if_installed() {
    let (site, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let packages = letters(&site).item("letters").unwrap();
    for interpreter in pythons() {
        let builder = builder(&store).python(path(&interpreter));
        let gateway = builder.packages(packages.clone()).start().unwrap();
        let code = "import letters\n\
                    try:\n    from importlib.metadata import version\n\
                    except ImportError:\n    version = lambda name: '1.5'\n\
                    channel.send(letters.first + u' ' + version('letters'))";
        assert_eq!(ask(&gateway, code), "a 1.5", "{interpreter:?}");
        // in place of execnet itself
        let code = "import execnet\nchannel.send(u'' + execnet.__version__)";
        assert_eq!(ask(&gateway, code), env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn a_distribution_that_is_not_installed_is_named_before_anything_runs() {
    let (site, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let packages = letters(&site).item("numbers-of-mine").unwrap();
    let error = builder(&store).id("gw7").packages(packages).start().unwrap_err();
    let OpenError::Packages(PackagesError::For { gateway, host, source }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((gateway.as_str(), host), ("gw7", &None));
    assert!(source.to_string().contains("numbers-of-mine"), "{error}");
    assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
}

#[test]
fn what_a_host_has_is_not_sent_again() {
    let source = folder(&[("one.py", "name = u'one'\n"), ("two.py", "name = u'two'\n"), ("empty.py", "")]);
    let store = with_standin();
    let told = Told::default();
    let packages = paths(&source).on_progress(told.collector());
    let open = || builder(&store).packages(packages.clone()).start().unwrap();
    let first = open();
    let transfers = told.take();
    let last = transfers.last().unwrap();
    assert_eq!((&last.step, last.files, last.of_files), (&Step::Sending, 2, 2));
    assert_eq!((last.bytes, last.of_bytes), (28, 28));
    assert_eq!((last.gateway.as_str(), &last.node), (first.id(), &None));
    let second = open();
    assert!(told.take().iter().all(|transfer| transfer.step == Step::Reading));
    assert_eq!(first.packages(), second.packages());
    // a file that was edited
    write(source.path(), &[("two.py", "name = u'2'\n")]);
    let third = open();
    let transfers = told.take();
    assert_eq!((transfers.last().unwrap().files, transfers.last().unwrap().bytes), (1, 12));
    let code = "import one, two\nchannel.send(one.name + u' ' + two.name)";
    assert_eq!(ask(&third, code), "one 2");
    assert_eq!(ask(&second, code), "one two");
}

#[test]
fn gateways_that_open_at_the_same_time_are_sent_files_once() {
    let (site, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(site.path(), &[("letters.py", "first = u'a'\n")]);
    // so large that the others arrive meanwhile
    let large: String = (0..200_000).map(|line| format!("line_{line} = {line}\n")).collect();
    let source = folder(&[("large.py", &large)]);
    let told = Told::default();
    let packages = letters(&site).item("letters").unwrap().path(source.path());
    let packages = packages.on_progress(told.collector());
    let gateways = builder(&store).id("racer").packages(packages).start_many(20).unwrap();
    assert_eq!(gateways.len(), 20);
    for gateway in &gateways {
        assert_eq!(ask(gateway, "import letters\nchannel.send(letters.first)"), "a");
    }
    let sent: u64 = told.sent().iter().filter(|(_, _, bytes)| *bytes > large.len() as u64).count() as u64;
    assert_eq!(sent, 1, "{:?}", told.sent());
    let total: u64 = told.sent().iter().map(|(_, _, bytes)| bytes).sum();
    assert!(total < 2 * large.len() as u64, "{:?}", told.sent());
}

#[test]
fn a_folder_that_was_named_and_cannot_be_used_is_an_error() {
    let visitor = quiet().env("EXECNET_PACKAGES_FOLDER", "/dev/null/x").visit_packages().start().unwrap();
    let error = packages::list(&visitor).unwrap_err();
    assert_eq!(packages::clean(&visitor).unwrap_err(), error);
    assert!(matches!(error, StoredError::Folder(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "EXECNET_PACKAGES_FOLDER names a folder that cannot be used: /dev/null is not a folder"
    );
}

#[test]
fn what_a_host_holds_is_listed() {
    let source = folder(&[("one.py", "name = u'one'\n")]);
    let other = folder(&[("two.py", "name = u'two'\n"), ("three.py", "")]);
    let store = folder(&[]);
    let _user = builder(&store).packages(paths(&source)).start().unwrap();
    let gone = builder(&store).packages(paths(&other)).start().unwrap();
    gone.exit().unwrap();
    gone.join().unwrap();
    let visitor = builder(&store).visit_packages().start().unwrap();
    assert_eq!(visitor.packages(), None);
    // this user may have others
    let titles = [&source, &other].map(|folder| folder.path().to_str().unwrap().to_owned());
    let mut listed = packages::list(&visitor).unwrap();
    listed.retain(|stored| titles.contains(&stored.title));
    listed.sort_by_key(|stored| stored.files);
    let held: Vec<_> = listed.iter().map(|stored| (stored.files, stored.size, stored.in_use)).collect();
    assert_eq!(held, [(1, 14, true), (2, 14, false)]);
    assert!(listed.iter().all(|stored| stored.id.len() == 64 && stored.place.starts_with('/')), "{listed:?}");
}
