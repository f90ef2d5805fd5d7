//! Kernels that ask for more packages than they should, and kernels that fail.

use std::time::Duration;

use execnet::{Environment, GatewayBuilder, OpenError, Packages};
use tempfile::TempDir;

use crate::support::{PATIENCE, python, quiet};

/// What every such kernel begins with: it reads what a kernel is sent, and says its marker.
const KERNEL: &str = r#"
import marshal, os, struct, sys, time
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
FACTS = {
    "python_version": "3.11", "python_full_version": "3.11.7", "implementation_name": "cpython",
    "implementation_version": "3.11.7", "platform_python_implementation": "CPython", "os_name": "posix",
    "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64",
    "platform_release": "6.1", "platform_version": "1", "cache_tag": "cpython-311", "libc": "glibc 2.36",
    "ext_suffix": ".cpython-311-x86_64-linux-gnu.so", "bits": "64", "digest": "ab" * 32}
HELLO = {
    "version": 1, "pid": os.getpid(), "executable": sys.executable, "version_info": (3, 11, 7, "final", 0),
    "platform": "linux", "implementation": "cpython", "cwd": "/", "dialect": 3, "maxsize": sys.maxsize,
    "packages": {"folders": [], "environment": {}}}
def frame():
    kind, channel, size = struct.unpack(">BII", stdin.read(9))
    return kind, stdin.read(size)
def write(kind, value):
    payload = marshal.dumps(value, 2)
    stdout.write(struct.pack(">BII", kind, 0, len(payload)) + payload)
    stdout.flush()
def say(*words):
    write(12, words)
def hear(verb):
    kind, payload = frame()
    words = marshal.loads(payload)
    assert (kind, words[0]) == (12, verb), words
    return words[1:]
def facts():
    if config["packages"]["facts"] == FACTS["digest"]:
        return config["packages"]["sets"]
    say("facts", FACTS)
    return hear("sets")[0]
def lacks():
    facts()
    say("lacks", [0])
    return hear("manifests")
def fail(words):
    sys.stderr.write("execnet: " + words + "\n")
    sys.stderr.flush()
    os._exit(94)
stdin.read(int(stdin.read(8)))
config = marshal.loads(frame()[1])
stdout.write(b"\r\nexecnet kernel 1\r\n")
exec(sys.argv[1])
stdin.read()
"#;

struct Host {
    folder: TempDir,
}

impl Host {
    /// A host whose kernels go on like this, and files for it: `one.py` and `two.py`.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("kernel.py"), KERNEL).unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        for name in ["one.py", "two.py"] {
            std::fs::write(folder.path().join("src").join(name), format!("name = '{name}'\n")).unwrap();
        }
        Self { folder }
    }

    fn packages(&self) -> Packages {
        Packages::new(Environment::new(python())).path(self.folder.path().join("src"))
    }

    fn builder(&self, code: &str) -> GatewayBuilder {
        let kernel = self.folder.path().join("kernel.py");
        quiet().python_args([python().as_str(), kernel.to_str().unwrap(), code])
    }

    /// Why no gateway is opened.
    fn error(&self, code: &str) -> String {
        match self.builder(code).id("gw7").packages(self.packages()).start() {
            Err(error @ OpenError::Failed { .. }) => error.to_string(),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn a_kernel_that_behaves_gets_what_it_asks_for() {
    let code = "lacks(); say('wants', [(0, b'\\2')]); kind, payload = frame(); assert kind == 13\n\
                assert payload == b\"\\0name = 'two.py'\\n\", payload\nwrite(1, HELLO)";
    let host = Host::new();
    let gateway = host.builder(code).packages(host.packages()).start().unwrap();
    assert_eq!(gateway.packages().unwrap().folders.len(), 0);
    gateway.kill().unwrap();
}

#[test]
fn a_kernel_that_asks_for_more_ends_with_a_sentence() {
    let host = Host::new();
    for (code, sentence) in [
        ("say('lacks', [0])", "PACKAGES: lacks where it cannot be"),
        ("say('wants', [(0, b'\\3')])", "PACKAGES: wants where it cannot be"),
        ("write(1, HELLO)", "HELLO before its facts"),
        ("say('facts', dict(FACTS, libc='../../etc'))", "PACKAGES: facts: "),
        ("say('facts', {})", "PACKAGES: facts: "),
        ("facts(); say('facts', dict(FACTS, digest='cd' * 32))", "PACKAGES: facts where it cannot be"),
        ("facts(); say('lacks', [9])", "PACKAGES: a set that does not exist"),
        ("facts(); say('lacks', [-1])", "PACKAGES: a wrong `lacks`"),
        ("facts(); say('lacks', [0, 0])", "PACKAGES: a set twice"),
        ("facts(); say('lacks', [0]); say('lacks', [0]); say('lacks', [0]); say('lacks', [0])", "PACKAGES"),
        ("lacks(); say('lacks', [0])", "PACKAGES: lacks where it cannot be"),
        ("lacks(); say('wants', [(1, b'\\1')])", "PACKAGES: a set that does not exist"),
        ("lacks(); say('wants', [(0, b'\\4')])", "PACKAGES: a file that does not exist is wanted"),
        ("lacks(); say('wants', [(0, b'\\1\\1')])", "PACKAGES: 2 bytes of bits for 2 files"),
        ("lacks(); say('wants', [(0, b'\\1'), (0, b'\\1')])", "PACKAGES: a set twice"),
        (
            "lacks(); say('wants', [(0, b'\\1')]); frame(); say('wants', [(0, b'\\1')])",
            "PACKAGES: wants where",
        ),
        ("lacks(); say('wants', [('/etc/passwd', b'\\1')])", "PACKAGES: a wrong `wants`"),
        ("lacks(); say('read', '/etc/passwd')", "PACKAGES: an unknown verb"),
        ("write(13, b'x')", "a frame of unknown kind 13"),
        ("write(3, 'x')", "a frame Data before HELLO"),
        ("write(12, 'x' * (1 << 20))", "a frame Packages of 1048581 bytes"),
        ("stdout.write(struct.pack('>BII', 12, 0, 2) + b'[x'); stdout.flush()", "PACKAGES: "),
    ] {
        let error = host.error(code);
        assert!(
            error.starts_with("gateway gw7 has ended: its kernel broke the protocol: "),
            "{code}: {error}"
        );
        assert!(error.contains(sentence), "{code}: {error}");
    }
}

#[test]
fn a_kernel_that_says_too_much_is_not_listened_to() {
    let host = Host::new();
    let error = host.error("while True: say('lacks', [0])");
    assert!(error.contains("PACKAGES"), "{error}");
    // after HELLO nobody is asked for packages
    let code = "facts(); write(1, HELLO); say('lacks', [0])";
    if let Ok(gateway) = host.builder(code).packages(host.packages()).start() {
        let death = gateway.join_timeout(PATIENCE).unwrap();
        assert!(death.reason.as_deref().unwrap().contains("Packages where there cannot be one"), "{death}");
    }
}

#[test]
fn a_kernel_without_packages_may_not_ask_for_any() {
    let host = Host::new();
    let asks = host.builder("say('lacks', [0])");
    let visited = host.builder("say('facts', FACTS)").visit_packages();
    for builder in [asks, visited] {
        let error = builder.start().unwrap_err().to_string();
        assert!(error.contains("broke the protocol: a frame Packages before HELLO"), "{error}");
    }
}

#[test]
fn a_kernel_that_cannot_keep_packages_says_why() {
    let host = Host::new();
    for begin in ["pass", "facts()", "lacks()"] {
        let error = host.error(&format!("{begin}; fail('the disk is full: free some of /tmp')"));
        assert_eq!(error, "gateway gw7 did not start: the disk is full: free some of /tmp");
    }
}

#[test]
fn silence_is_waited_for_as_long_as_was_said() {
    let host = Host::new();
    let codes = ["pass", "facts()", "lacks()", "lacks(); say('wants', [(0, b'\\3')])"];
    std::thread::scope(|scope| {
        for code in codes {
            let builder = host.builder(code).timeout(Duration::from_secs(1)).packages(host.packages());
            scope.spawn(move || {
                let error = builder.start().unwrap_err();
                assert!(matches!(error, OpenError::TimedOut { .. }), "{code}: {error}");
            });
        }
    });
}
