//! What the daemon sends before the first frame: the script that finds a Python, stage 1, the agent's modules
//! and its config.
//!
//! The sources are in remote/agent; docs/protocol.md (1.2) gives the order of the bytes. Knows nothing of
//! links.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use execnet_proto::feature::{FEATURES, Feature};
use execnet_proto::id::Epoch;
use execnet_proto::shell::one_word;
use execnet_proto::spec::HostSpec;
use execnet_proto::text::hex;
use execnet_proto::wire::{Table, encode_table};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// One line of Python source, without characters that a shell would change between single quotes.
pub(crate) const BOOT: &str = include_str!(concat!(env!("OUT_DIR"), "/boot.txt"));
const SCRIPT: &str = include_str!(concat!(env!("OUT_DIR"), "/script.txt"));
pub(crate) const STAGE1: &str = include_str!(concat!(env!("OUT_DIR"), "/stage1.txt"));
const BUNDLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bundle.bin"));

/// Interpreters that can run an agent, best first. Jython cannot outlive a link and comes last.
const CANDIDATES: [&str; 4] = ["python3", "python", "pypy3", "python2"];
const LAST_RESORT: &str = "jython";

/// What the config of every agent of a network has in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) network: String,
    /// The network's secret, 64 hex digits. No host ever learns it.
    pub(crate) secret: String,
    /// How long an agent outlives its link.
    pub(crate) linger: Duration,
    /// Its agents may keep work.
    pub(crate) keeps: bool,
}

/// The commands to try for a host's agent, in this order.
pub(crate) fn candidates(spec: &HostSpec) -> Vec<Cow<'_, str>> {
    let own = spec.python.as_deref().filter(|python| *python != "*" && *python != LAST_RESORT);
    let own = own.filter(|python| !CANDIDATES.contains(python));
    // a path may be quoted
    let own = own.map(|python| one_word(python).map_or(python.into(), Cow::from));
    CANDIDATES.into_iter().map(Cow::from).chain(own).chain([LAST_RESORT.into()]).collect()
}

/// One line for `sh -c` that starts the first candidate able to run an agent. It has no `'`, no line end and
/// no `!` without a blank behind it, so every login shell takes it between single quotes.
pub(crate) fn script(candidates: &[impl AsRef<str>]) -> String {
    let words: Vec<String> = candidates.iter().map(|candidate| word(candidate.as_ref())).collect();
    SCRIPT.replace("@CANDIDATES@", &words.join(" "))
}

/// Everything that precedes the first frame on a link.
/// `end_kept`: an agent of another version ends with the work that it keeps.
pub(crate) fn payload(common: &Common, spec: &HostSpec, epoch: Epoch, end_kept: bool) -> Bytes {
    let config = config(common, spec, epoch, end_kept);
    let mut out = BytesMut::with_capacity(STAGE1.len() + BUNDLE.len() + 8 + config.len());
    out.put_slice(STAGE1.as_bytes());
    out.put_slice(BUNDLE);
    out.put_slice(format!("{:08}", config.len()).as_bytes());
    out.put_slice(&config);
    out.freeze()
}

fn config(common: &Common, spec: &HostSpec, epoch: Epoch, end_kept: bool) -> Bytes {
    let mut pairs: Vec<(String, String)> = vec![
        ("network".into(), common.network.clone()),
        ("host".into(), spec.id.clone()),
        ("key".into(), key(common, &spec.id)),
        ("secret".into(), host_secret(common, &spec.id)),
        ("epoch".into(), epoch.0.to_string()),
        ("linger".into(), common.linger.as_secs().to_string()),
        ("agent".into(), candidates(spec).join(" ")),
        (format!("node.{}", spec.id), spec.python.clone().unwrap_or_default()),
    ];
    pairs.extend(common.keeps.then(|| (FEATURES.into(), Feature::Keep.name().into())));
    pairs.extend(end_kept.then(|| ("end_kept".into(), "1".into())));
    pairs.extend(spec.chdir.iter().map(|folder| ("chdir".into(), folder.clone())));
    pairs.extend(spec.nice.map(|nice| ("nice".into(), nice.to_string())));
    pairs.extend(spec.env.iter().map(|(name, value)| (format!("env.{name}"), value.clone())));

    let table: Table = pairs.into_iter().map(|(key, value)| (key, value.into())).collect();
    encode_table(&table)
}

/// The secret of a host's agent, 64 hex digits. It reveals neither another host's secret nor the network's.
pub(crate) fn host_secret(common: &Common, host: &str) -> String {
    derived(common, "execnet agent secret", host)
}

/// The name of the agent's socket on its host: 16 hex digits nobody else can work out.
fn key(common: &Common, host: &str) -> String {
    derived(common, "execnet agent place", host)[..16].to_owned()
}

/// HMAC-SHA-256 of a purpose and a host, keyed with the network's secret. Neither a purpose nor a network's
/// name contains a zero byte.
fn derived(common: &Common, purpose: &str, host: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(common.secret.as_bytes());
    // HMAC takes a key of any length
    let mut mac = mac.unwrap_or_else(|_| unreachable!());
    for part in [purpose, "\0", &common.network, "\0", host] {
        mac.update(part.as_bytes());
    }
    hex(&mac.finalize().into_bytes())
}

/// A word of the script. Anything but plain characters is written as octal numbers.
fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./+-@:".contains(&byte);
    if let Some(path) = text.strip_prefix('~') {
        // a home folder, which the shell only fills in outside quotes
        let (user, rest) = path.split_once('/').unwrap_or((path, ""));
        if user.bytes().all(plain) {
            return if rest.is_empty() { format!("~{user}") } else { format!("~{user}/{}", word(rest)) };
        }
    }
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    let octal: String = text.bytes().map(|byte| format!("\\0{byte:03o}")).collect();
    format!("\"$(printf %b \"{octal}\")\"")
}

#[cfg(test)]
#[path = "../../../../remote/tools/reference.rs"]
mod reference;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_bundle_is_that_of_the_reference() {
        super::reference::assert_as_reference(BUNDLE, "AGENT");
    }

    fn spec(text: &str) -> HostSpec {
        text.parse().unwrap()
    }

    #[test]
    fn a_hosts_own_python_is_tried_before_jython() {
        assert_eq!(candidates(&spec("popen")), ["python3", "python", "pypy3", "python2", "jython"]);
        let own = spec("popen//python=/opt/python/bin/python3.12");
        assert_eq!(candidates(&own)[4], "/opt/python/bin/python3.12");
        assert_eq!(candidates(&spec("popen//python='/my python/py'"))[4], "/my python/py");
        for python in ["*", "python2", "jython"] {
            assert_eq!(candidates(&spec(&format!("popen//python={python}"))).len(), 5);
        }
    }

    #[test]
    fn odd_paths_reach_the_script_whole_through_every_login_shell() {
        let odd = "/nowhere/a b'c\"d$HOME`x`!e%s*é;&";
        let script = script(&[odd]);
        assert!(!script.replace("! ", "").contains(['\'', '!', '\n']), "{script}");
        for shell in ["sh", "bash", "dash", "csh", "tcsh", "fish", "zsh", "ksh"] {
            let quoted = format!("sh -c '{script}'");
            let Ok(output) = Command::new(shell).args(["-c", &quoted]).output() else { continue };
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(said, format!("execnet: no Python found (tried {odd})\n"), "{shell}");
            assert_eq!(output.status.code(), Some(127), "{shell}");
        }
    }

    #[test]
    fn hosts_and_networks_have_keys_of_their_own() {
        let common = |network: &str| Common {
            network: network.into(),
            secret: "0".repeat(64),
            linger: Duration::from_secs(1),
            keeps: true,
        };
        let keys = [key(&common("a"), "bc"), key(&common("ab"), "c"), key(&common("a"), "b")];
        assert!(keys.iter().all(|key| key.len() == 16));
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    }

    #[test]
    fn a_host_learns_its_own_secret_only() {
        let common = Common {
            network: "n".into(),
            secret: "5e".repeat(32),
            linger: Duration::from_secs(1),
            keeps: false,
        };
        let [a, b] = ["a", "b"].map(|host| host_secret(&common, host));
        assert!(a != b && a != common.secret && a.len() == 64);
        assert_ne!(key(&common, "a"), a[..16], "the name of the socket tells nothing of the secret");
        // computed with another implementation of HMAC
        assert_eq!(a, "538db70124b7ace5bbb8cd5bb2dd9bc38eb2d131c0998c6a369615189f4eb67f");
        let other = Common { network: "m".into(), ..common.clone() };
        assert_ne!(a, host_secret(&other, "a"));
        let payload = payload(&common, &spec("popen//id=a"), Epoch::new(1, 1), false);
        let holds = |secret: &str| payload.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(holds(&a) && !holds(&common.secret));
    }

    #[test]
    fn the_config_says_what_the_spec_says() {
        let common = Common {
            network: "n".into(),
            secret: "0".repeat(64),
            linger: Duration::from_secs(600),
            keeps: false,
        };
        let spec = spec("popen//id=h//python=*//chdir=/srv//nice=5//env:A=1");
        let config = config(&common, &spec, Epoch::new(1, 2), false);
        let text = String::from_utf8_lossy(&config).into_owned();
        for part in
            ["node.h\0\0\0\x01*", "chdir\0\0\0\x04/srv", "nice\0\0\0\x015", "env.A\0\0\0\x011", "4294967298"]
        {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        let payload = payload(&common, &spec, Epoch::new(1, 2), false);
        assert_eq!(payload.iter().filter(|byte| **byte == b'\n').count().min(1), 1);
        assert!(payload.starts_with(b"exec(\""));
    }
}
