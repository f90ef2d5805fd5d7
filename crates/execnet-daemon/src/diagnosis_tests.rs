//! Real words of OpenSSH and of shells, and what is made of them.

use execnet_proto::control::Step;
use execnet_proto::frame::Ending;
use execnet_proto::switch::LinkEnd;

use super::{Diagnosis, Evidence, Verdict};

fn ended(spec: &str, status: u32, stderr: &str, noise: &str) -> Diagnosis {
    let (spec, ending) = (spec.parse().unwrap(), Ending::Exited(status));
    Evidence { spec: &spec, was_up: false, verdict: None, ending: Some(&ending), stderr, noise }.diagnose()
}

#[test]
fn words_of_ssh_name_the_step() {
    for (stderr, step) in [
        ("ssh: Could not resolve hostname nosuch.example: Name or service not known\r\n", Step::Resolve),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution", Step::Resolve),
        ("ssh: connect to host 127.0.0.1 port 1: Connection refused\r\n", Step::Connect),
        ("ssh: connect to host 10.255.255.1 port 22: Connection timed out", Step::Connect),
        ("ssh: connect to host 10.0.0.1 port 22: No route to host", Step::Connect),
        ("ssh: connect to host fe80::1 port 22: Network is unreachable", Step::Connect),
        (
            "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 port 22",
            Step::Connect,
        ),
        ("kex_exchange_identification: read: Connection reset by peer", Step::Connect),
        (
            "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa",
            Step::Connect,
        ),
        ("channel 0: open failed: connect failed: No route to host\nstdio forwarding failed", Step::Connect),
        (
            "No ED25519 host key is known for [127.0.0.1]:4022 and you have requested strict checking.\r\n\
             Host key verification failed.\r\n",
            Step::HostKey,
        ),
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nIT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\n\
             Host key verification failed.",
            Step::HostKey,
        ),
        ("ann@build1: Permission denied (publickey,password).\r\n", Step::Authenticate),
        (
            "Permission denied, please try again.\r\nann@h: Permission denied (publickey,password).",
            Step::Authenticate,
        ),
        (
            "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\r\nDisconnected",
            Step::Authenticate,
        ),
        (
            "@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\nLoad key \"/k\": bad permissions\nann@h: Permission denied (publickey).",
            Step::Authenticate,
        ),
        (
            "/h/.ssh/config: line 3: Bad configuration option: foo\r\n/h/.ssh/config: terminating, 1 bad configuration options",
            Step::Start,
        ),
        ("command-line: line 0: Bad configuration option: foo\r\n", Step::Start),
        ("command-line line 0: invalid time value.\r\n", Step::Start),
        ("Bad port 'abc'\r\n", Step::Start),
        ("Unknown cipher type 'nocipher'\r\n", Step::Start),
        ("Can't open user config file /nowhere: No such file or directory", Step::Start),
    ] {
        let diagnosis = ended("ssh=ann@build1", 255, stderr, "");
        assert_eq!(diagnosis.step, step, "{stderr}");
        assert!(diagnosis.hint.is_some() && !diagnosis.said.is_empty(), "{stderr}");
        assert!(!diagnosis.hint.unwrap().contains("HOST"));
    }
    let changed =
        ended("ssh=h", 255, "REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.", "");
    assert!(changed.error.contains("another one"), "{}", changed.error);
    let special = ended("ssh=-p 7 h//ssh_config=/my/config", 255, "Host key verification failed.", "");
    assert!(special.hint.unwrap().contains("`ssh -F /my/config -p 7 h`"));
}

#[test]
fn a_question_without_an_answer_is_the_reason_and_can_be_asked_again() {
    let told = |stderr: &str, spec: &str| {
        let Diagnosis { step, error, hint, .. } =
            ended(spec, 255, stderr, "").unanswered("net", &spec.parse().unwrap());
        (step, error, hint.unwrap())
    };
    let (step, error, hint) = told("Host key verification failed.", "ssh=h//id=it");
    assert_eq!(
        (step, hint.as_str()),
        (Step::HostKey, "`execnet addhost net ssh=h//id=it` on a terminal asks again")
    );
    assert_eq!(error, "its host key is not known here, and ssh's question about it was not answered");
    let (step, error, hint) = told("ann@h: Permission denied (password).", "ssh=-p 7 ann@h");
    assert_eq!(
        (step, hint.as_str()),
        (Step::Authenticate, "`execnet addhost net 'ssh=-p 7 ann@h'` on a terminal asks again")
    );
    assert_eq!(error, "ssh asked for a password or a passphrase and got no answer");
    assert_eq!(told("Connection refused", "ssh=h").1, "nothing listens on its ssh port");
}

#[test]
fn words_of_the_script_name_the_step() {
    let none = ended("ssh=h", 127, "execnet: no Python found (tried python3 python)\n", "");
    assert_eq!((none.step, none.error.as_str()), (Step::Python, "no Python found (tried python3 python)"));
    let old = ended("ssh=h", 91, "execnet: /usr/bin/python3 is Python 3.4.2, needs 2.7 or 3.6+\n", "");
    assert_eq!(old.step, Step::PythonTooOld);
    assert_eq!(old.error, "/usr/bin/python3 is Python 3.4.2, needs 2.7 or 3.6+");
    let secret = ended("ssh=h", 95, "execnet: an agent of this network runs here with another secret\n", "");
    assert_eq!(secret.step, Step::Agent);
    assert!(secret.hint.unwrap().contains("another network"));
    assert!(none.hint.unwrap().contains("python=") && old.hint.unwrap().contains("2.7"));
}

#[test]
fn noise_in_place_of_the_agent_is_shown_without_control_characters() {
    let noise = ended("ssh=h", 1, "", "\x1b[31mThis account is currently not available.\r\n");
    assert_eq!(noise.step, Step::Noise);
    assert!(noise.error.ends_with("This account is currently not available."), "{}", noise.error);
    assert_eq!(noise.said, ["This account is currently not available."]);

    let spec = "ssh=h".parse().unwrap();
    let verdict = Verdict::Link(LinkEnd::Noise);
    let endless = Evidence {
        spec: &spec,
        was_up: false,
        verdict: Some(&verdict),
        ending: None,
        stderr: "",
        noise: "y\ny\n",
    };
    assert_eq!(endless.diagnose().step, Step::Noise);
}

#[test]
fn a_missing_command_is_named_with_its_place() {
    let not_started = |spec: &str| {
        let (spec, ending) =
            (spec.parse().unwrap(), Ending::NotStarted(2, "No such file or directory".into()));
        Evidence { spec: &spec, was_up: false, verdict: None, ending: Some(&ending), stderr: "", noise: "" }
            .diagnose()
    };
    assert_eq!(not_started("ssh=h").error, "there is no command `ssh` on this machine");
    assert_eq!(not_started("ssh=h//via=build1").error, "there is no command `ssh` on build1");
    assert_eq!(not_started("cmd=dokcer exec x").error, "there is no command `dokcer` on this machine");
    assert_eq!(not_started("cmd=x").step, Step::Start);
}

#[test]
fn a_host_that_says_nothing_is_told_from_an_agent_that_hangs() {
    let spec = "ssh=h".parse().unwrap();
    let verdict = Verdict::TimedOut { waited: 30, next: 60 };
    let silent =
        Evidence { spec: &spec, was_up: false, verdict: Some(&verdict), ending: None, stderr: "", noise: "" };
    assert_eq!(silent.diagnose().step, Step::Connect);
    assert!(silent.diagnose().hint.unwrap().contains("hangs: check that `ssh h python3"));
    let hint = silent.diagnose().hint.unwrap();
    assert!(hint.contains("`patience=` in the spec") && hint.contains("the next try has 60 s"), "{hint}");
    let given = Verdict::TimedOut { waited: 90, next: 90 };
    let given = Evidence { verdict: Some(&given), ..silent }.diagnose().hint.unwrap();
    assert!(given.contains("takes longer than 90 s, give it more with `patience=`"), "{given}");
    let noisy = Evidence { noise: "Welcome\n", ..silent }.diagnose();
    assert!(noisy.step == Step::Noise && noisy.hint.unwrap().contains("`patience=`"));
    let slow = Evidence { stderr: "Traceback\n", ..silent };
    assert_eq!(slow.diagnose().step, Step::Agent);
    assert!(slow.diagnose().hint.unwrap().contains("`ssh h python3"));
}

#[test]
fn a_cmd_that_is_no_python_is_told_what_it_gets() {
    let verdict = Verdict::TimedOut { waited: 30, next: 60 };
    let spec = "cmd=sleep 60".parse().unwrap();
    let hangs =
        Evidence { spec: &spec, was_up: false, verdict: Some(&verdict), ending: None, stderr: "", noise: "" };
    let cat = ended("cmd=cat", 1, "cat: invalid option -- 'E'\n", "");
    for told in [cat, ended("cmd=echo", 0, "", "-ES -c import sys\n"), hangs.diagnose()] {
        assert!(told.hint.as_ref().is_some_and(|hint| hint.contains("`-ES -c …`")), "{told:?}");
    }
}

#[test]
fn a_host_cannot_pass_its_words_off_as_those_of_ssh() {
    let said = ended("ssh=h", 1, "Permission denied (publickey).", "");
    assert_eq!(said.step, Step::Agent);
    let said = ended("cmd=python3", 255, "Permission denied (publickey).", "");
    assert_eq!(said.step, Step::Connect);
    assert!(!said.hint.unwrap().contains("key"));
}

#[test]
fn only_what_a_person_must_mend_is_tried_rarely() {
    let step = |stderr: &str| ended("ssh=h", 255, stderr, "").needs_a_person();
    assert!(step("ann@h: Permission denied (publickey)."));
    assert!(!step("ssh: connect to host h port 22: Connection refused"));
}
