use std::os::unix::fs::symlink;

use super::*;

/// Folders of one test: the usual place, the next one, and the state.
struct Folders {
    parent: PathBuf,
    places: Vec<PathBuf>,
    state: PathBuf,
    network: NetworkName,
}

impl Folders {
    fn new() -> Self {
        let name = format!("execnet-test-{}-{}", std::process::id(), fastrand::u64(..));
        let parent = std::env::temp_dir().join(name);
        fs::create_dir(&parent).unwrap();
        mode(&parent, 0o700);
        let places = ["usual", "next"].map(|name| parent.join(name)).to_vec();
        Self { places, state: parent.join("state"), network: "n".parse().unwrap(), parent }
    }

    fn take(&self) -> Result<Meeting, DaemonError> {
        Meeting::take(&self.places, &self.state, Some(&self.parent.join("home")), &self.network)
    }

    /// As somebody with another state folder would.
    fn take_with(&self, state: &str) -> Result<Meeting, DaemonError> {
        Meeting::take(&self.places, &self.parent.join(state), None, &self.network)
    }

    fn noted(&self) -> Note {
        let path = self.state.join(format!("{NOTE_PREFIX}{}", system()));
        Note::parse(&fs::read_to_string(path).unwrap()).unwrap()
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.parent);
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn what_cannot_be_trusted_is_passed_over_and_told() {
    for (name, why) in [
        ("open", "is open to other users"),
        ("link", "is a link"),
        ("file", "is not a folder"),
        ("lock", "Too many levels of symbolic links"),
    ] {
        let folders = Folders::new();
        let [usual, next] = [&folders.places[0], &folders.places[1]];
        match name {
            "open" => {
                fs::create_dir(usual).unwrap();
                mode(usual, 0o755);
            }
            "link" => {
                fs::create_dir(folders.parent.join("private")).unwrap();
                mode(&folders.parent.join("private"), 0o700);
                symlink(folders.parent.join("private"), usual).unwrap();
            }
            "file" => fs::write(usual, "").unwrap(),
            _ => {
                fs::create_dir(usual).unwrap();
                mode(usual, 0o700);
                symlink("/nowhere", usual.join("n.daemon.lock")).unwrap();
            }
        }
        let mut meeting = folders.take().unwrap();
        let _listener = meeting.listen().unwrap();
        assert_eq!(meeting.socket(), next.join("n.daemon.sock"));
        let note = Note { pid: std::process::id(), socket: next.join("n.daemon.sock") };
        assert_eq!(folders.noted(), note);
        let home = folders.parent.join("home").join(format!("{NOTE_PREFIX}{}", system()));
        assert_eq!(
            Note::parse(&fs::read_to_string(home).unwrap()),
            Some(note),
            "for who lacks the variables"
        );
        let told = meeting.why_elsewhere().unwrap();
        assert!(told.starts_with(&*usual.to_string_lossy()) && told.contains(why), "{name}: {told}");
        meeting.leave();
        assert!(!folders.parent.join("home").exists());
    }
}

#[tokio::test]
async fn the_last_resort_is_beside_the_state_however_long_its_path_is() {
    let mut folders = Folders::new();
    fs::write(&folders.places[0], "").unwrap();
    fs::write(&folders.places[1], "").unwrap();
    folders.state = folders.parent.join("s".repeat(90));
    let mut meeting = folders.take().unwrap();
    let listener = meeting.listen().unwrap();
    assert!(meeting.socket().starts_with(&folders.state));
    assert!(meeting.socket().as_os_str().len() > 108 && meeting.socket().exists());
    assert_eq!(folders.noted().socket, meeting.socket());
    drop(listener);
    meeting.leave();
    assert_eq!(fs::read_dir(&folders.state).unwrap().count(), 0);
}

#[tokio::test]
async fn there_is_one_daemon_whichever_folder_is_free() {
    let folders = Folders::new();
    fs::write(&folders.places[0], "").unwrap();
    let mut first = folders.take().unwrap();
    let _listener = first.listen().unwrap();
    // the usual place becomes free while the network runs elsewhere
    fs::remove_file(&folders.places[0]).unwrap();
    let own = Some(std::process::id());
    let running = |taken: Result<Meeting, DaemonError>| match taken {
        Err(DaemonError::Running { pid, .. }) => pid == own,
        _ => false,
    };
    assert!(running(folders.take()));
    assert!(running(folders.take_with("other")), "who has another state folder is told, too");
    assert!(matches!(first.keep(), Ok(Kept::AsItWas)));
    first.leave();
    drop(first);
    let again = folders.take().unwrap();
    assert_eq!(again.why_elsewhere(), None);
    again.leave();
}

#[tokio::test]
async fn a_place_that_is_lost_is_left_for_the_next_one() {
    let folders = Folders::new();
    let mut meeting = folders.take().unwrap();
    let _listener = meeting.listen().unwrap();
    fs::remove_dir_all(&folders.places[0]).unwrap();
    symlink("/nowhere", &folders.places[0]).unwrap();
    let Ok(Kept::Again(_listener)) = meeting.keep() else { panic!("no socket") };
    assert_eq!(folders.noted().socket, folders.places[1].join("n.daemon.sock"));
    // others may enter it now
    mode(&folders.places[1], 0o711);
    let Ok(Kept::Again(_listener)) = meeting.keep() else { panic!("no socket") };
    assert!(meeting.socket().starts_with(&folders.state), "{}", meeting.socket().display());
    assert!(!folders.places[1].exists(), "nothing stays behind");
    assert!(matches!(folders.take(), Err(DaemonError::Running { .. })));
    meeting.leave();
}

#[tokio::test]
async fn what_somebody_removed_is_made_again_unless_another_daemon_came() {
    let folders = Folders::new();
    let usual = &folders.places[0];
    let mut first = folders.take().unwrap();
    let _listener = first.listen().unwrap();
    assert!(matches!(first.keep(), Ok(Kept::AsItWas)));
    fs::remove_file(&first.spot.lock.path).unwrap();
    assert!(matches!(first.keep(), Ok(Kept::Again(_))));
    assert!(matches!(folders.take_with("other"), Err(DaemonError::Running { .. })));
    fs::remove_dir_all(usual).unwrap();
    let Ok(Kept::Again(_listener)) = first.keep() else { panic!("no socket") };
    assert!(matches!(folders.take_with("other"), Err(DaemonError::Running { .. })));
    fs::remove_dir_all(usual).unwrap();
    fs::remove_file(&first.notes[0].path).unwrap();
    let second = folders.take().unwrap();
    assert!(matches!(first.keep(), Ok(Kept::Superseded)));
    second.leave();
}

#[test]
fn there_is_one_daemon_of_a_network_and_it_leaves_nothing() {
    let folders = Folders::new();
    let first = folders.take().unwrap();
    let error = folders.take().unwrap_err();
    assert!(
        matches!(error, DaemonError::Running { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    let other =
        Meeting::take(&folders.places, &folders.parent.join("m"), None, &"m".parse().unwrap()).unwrap();
    first.leave();
    drop(first);
    let again = folders.take().unwrap();
    again.leave();
    other.leave();
    assert!(!folders.places[0].exists());
}

#[test]
fn what_a_killed_daemon_left_on_a_machine_that_is_no_more_is_swept_out() {
    let folders = Folders::new();
    fs::create_dir_all(folders.state.join("run-0-1-2")).unwrap();
    mode(&folders.state, 0o700);
    fs::write(folders.state.join("daemon-0-1-2"), "1\n/x\n").unwrap();
    fs::write(folders.state.join("daemon-0-1-3"), "1\n/x\n").unwrap();
    let held = File::open(folders.state.join("daemon-0-1-3")).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let meeting = folders.take().unwrap();
    let left = |name: &str| folders.state.join(name).exists();
    assert_eq!([left("daemon-0-1-2"), left("run-0-1-2"), left("daemon-0-1-3")], [false, false, true]);
    meeting.leave();
}
