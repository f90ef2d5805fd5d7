//! Real messages of OpenSSH and of shells, and what they are taken to mean.

use execnet_proto::control::Step;
use execnet_proto::switch::LinkEnd;
use execnet_proto::wire::Ending;

use super::{Cause, Diagnosis, Evidence, Retry};

fn ended(spec: &str, status: u32, stderr: &str, noise: &str) -> Diagnosis {
    let (spec, ending) = (spec.parse().unwrap(), Ending::Exited(status));
    Evidence { spec: &spec, was_up: false, cause: None, ending: Some(&ending), stderr, noise }.diagnose()
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
            "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 \
             port 22",
            Step::Connect,
        ),
        ("kex_exchange_identification: read: Connection reset by peer", Step::Connect),
        (
            "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: \
             ssh-rsa",
            Step::Connect,
        ),
        ("channel 0: open failed: connect failed: No route to host\nstdio forwarding failed", Step::Connect),
        (
            "No ED25519 host key is known for [127.0.0.1]:4022 and you have requested strict checking.\r\n\
             Host key verification failed.\r\n",
            Step::HostKey,
        ),
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nIT IS POSSIBLE THAT SOMEONE IS \
             DOING SOMETHING NASTY!\n\
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
            "@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\nLoad key \"/k\": bad permissions\n\
             ann@h: Permission denied (publickey).",
            Step::Authenticate,
        ),
        (
            "/h/.ssh/config: line 3: Bad configuration option: foo\r\n/h/.ssh/config: terminating, 1 bad \
             configuration options",
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
    assert!(changed.error.contains("has changed"), "{}", changed.error);
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
    let secret = ended("ssh=h", 95, "execnet: the agent at this place (process 7) has another secret\n", "");
    assert_eq!(secret.step, Step::Agent);
    assert!(secret.error.contains("process 7") && secret.hint.unwrap().contains("end that process"));
    assert!(none.hint.unwrap().contains("python=") && old.hint.unwrap().contains("2.7"));
}

#[test]
fn noise_in_place_of_the_agent_is_shown_without_control_characters() {
    let noise = ended("ssh=h", 1, "", "\x1b[31mThis account is currently not available.\r\n");
    assert_eq!(noise.step, Step::Noise);
    assert!(noise.error.ends_with("This account is currently not available."), "{}", noise.error);
    assert_eq!(noise.said, ["This account is currently not available."]);

    let spec = "ssh=h".parse().unwrap();
    let cause = Cause::Link(LinkEnd::Noise);
    let endless = Evidence {
        spec: &spec,
        was_up: false,
        cause: Some(&cause),
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
        Evidence { spec: &spec, was_up: false, cause: None, ending: Some(&ending), stderr: "", noise: "" }
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
    let cause = Cause::TimedOut { waited: 30, next: 60, cut: false };
    let silent =
        Evidence { spec: &spec, was_up: false, cause: Some(&cause), ending: None, stderr: "", noise: "" };
    assert_eq!(silent.diagnose().step, Step::Connect);
    assert!(silent.diagnose().hint.unwrap().contains("`cat` and `read` do: check that `ssh h python3 -V`"));
    let hint = silent.diagnose().hint.unwrap();
    assert!(
        hint.contains("`patience=` in the spec") && hint.contains("the next attempt gets 60 s"),
        "{hint}"
    );
    let given = Cause::TimedOut { waited: 90, next: 90, cut: false };
    let given = Evidence { cause: Some(&given), ..silent }.diagnose().hint.unwrap();
    assert!(given.contains("takes longer than 90 s, give it more with `patience=`"), "{given}");
    let noisy = Evidence { noise: "Welcome\n", ..silent }.diagnose();
    assert!(noisy.step == Step::Noise && noisy.hint.unwrap().contains("`patience=`"));
    let slow = Evidence { stderr: "Traceback\n", ..silent };
    assert_eq!(slow.diagnose().step, Step::Agent);
    assert!(slow.diagnose().hint.unwrap().contains("`ssh h python3"));
}

#[test]
fn a_cmd_that_is_no_python_is_told_what_it_gets() {
    let cause = Cause::TimedOut { waited: 30, next: 60, cut: false };
    let spec = "cmd=sleep 60".parse().unwrap();
    let hangs =
        Evidence { spec: &spec, was_up: false, cause: Some(&cause), ending: None, stderr: "", noise: "" };
    let cat = ended("cmd=cat", 1, "cat: invalid option -- 'E'\n", "");
    for told in [cat, ended("cmd=echo", 0, "", "-ES -c import sys\n"), hangs.diagnose()] {
        assert!(told.hint.as_ref().is_some_and(|hint| hint.contains("`-ES -c …`")), "{told:?}");
    }
}

#[test]
fn a_host_cannot_pass_its_words_off_as_those_of_ssh() {
    let said = ended("ssh=h", 1, "Permission denied (publickey).", "");
    assert_eq!(said.step, Step::Login);
    let said = ended("cmd=python3", 255, "Permission denied (publickey).", "");
    assert_eq!(said.step, Step::Connect);
    assert!(!said.hint.unwrap().contains("key"));
}

#[test]
fn only_what_cannot_have_been_a_refusal_is_tried_again_soon() {
    use Retry::{Doubtful, Late, Soon};
    let silent_proxy = "kex_exchange_identification: Connection closed by remote host\r\n\
                        Connection closed by UNKNOWN port 65535\r\n";
    let busy_proxy = format!(
        "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 port \
         22\r\n{silent_proxy}"
    );
    for (stderr, retry) in [
        ("ann@h: Permission denied (publickey).", Late),
        ("ann@h: Permission denied (publickey).\r\nConnection closed by UNKNOWN port 65535", Late),
        ("Host key verification failed.", Late),
        ("ssh: connect to host h port 22: Connection refused", Soon),
        ("ssh: connect to host h port 22: Bad file descriptor", Soon),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution", Soon),
        (
            "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 \
             port 22",
            Soon,
        ),
        (&busy_proxy, Soon),
        (
            "channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n\
             Connection closed by UNKNOWN port 65535",
            Soon,
        ),
        ("Connection to h closed by remote host.", Soon),
        ("client_loop: send disconnect: Broken pipe", Soon),
        ("Connection closed by 10.0.0.1 port 22", Doubtful),
        ("Connection reset by 10.0.0.1 port 22", Doubtful),
        (silent_proxy, Late),
        ("", Late),
        ("Zugriff verweigert", Late),
        ("debug1: Connection refused by nobody", Late),
    ] {
        let diagnosis = ended("ssh=h", 255, stderr, "");
        assert_eq!(diagnosis.retry, retry, "{stderr}: {diagnosis:?}");
    }
    assert_eq!(ended("cmd=ssh h python3", 255, "", "").retry, Late);
    assert_eq!(ended("cmd=docker exec -i web python3", 1, "Error: No such container: web", "").retry, Soon);

    // the same in a tunnel, whose link ends with a cause
    let spec = "ssh=h//via=b".parse().unwrap();
    let ending = Ending::Exited(255);
    let cause = Cause::Link(LinkEnd::TunnelEnded { via: "b".into(), ending: ending.clone() });
    let evidence = Evidence {
        spec: &spec,
        was_up: false,
        cause: Some(&cause),
        ending: Some(&ending),
        stderr: "",
        noise: "",
    };
    assert_eq!(evidence.diagnose().retry, Late);
    assert_eq!(Evidence { was_up: true, ..evidence }.diagnose().retry, Soon, "a break is no refusal");
}

#[test]
fn an_ssh_that_says_nothing_is_asked_for_more() {
    let said = ended("ssh=-q -p 7 h", 255, "", "");
    assert_eq!(said.error, "`ssh` failed without saying why (status 255)");
    assert_eq!(said.hint.as_deref(), Some("`ssh -p 7 -v h true` says more"));
    let proxy = "kex_exchange_identification: Connection closed by remote host\r\n\
                 Connection closed by UNKNOWN port 65535";
    let said = ended("ssh=h", 255, proxy, "");
    assert!(said.error.contains("proxy command") && said.hint.unwrap().contains("`LogLevel`"));
}

#[test]
fn what_closed_the_connection_is_told_apart() {
    let errors = [
        "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 10.0.0.1 port 22",
        "Connection closed by 10.0.0.1 port 22",
        "Connection to h closed by remote host.",
        "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port \
         65535",
    ]
    .map(|stderr| ended("ssh=h", 255, stderr, "").error);
    assert_eq!(
        errors,
        [
            "the server closed the connection before a login began",
            "the server closed the connection during the login",
            "the connection broke",
            "the jump host or proxy command of the ssh configuration ended without a message",
        ]
    );
}

#[test]
fn a_login_that_does_not_run_its_command_is_told_from_a_host_without_python() {
    for (status, stderr, error) in [
        (0, "", "its login ends without running the command it is given"),
        (3, "", "its login ends with status 3 without running the command it is given"),
        (
            1,
            "open terminal failed: not a terminal\n",
            "its login ends with status 1 without running the command it is given",
        ),
        (
            127,
            "bash: line 1: sh: command not found\n",
            "its login cannot start the command it is given (status 127)",
        ),
        (
            127,
            "/root/.bashrc: line 1: exec: fish: not found\n",
            "its login cannot start the command it is given (status 127)",
        ),
    ] {
        let told = ended("ssh=h", status, stderr, "");
        assert_eq!(
            (told.step, told.error.as_str(), told.retry),
            (Step::Login, error, Retry::Late),
            "{stderr}"
        );
        let hint = told.hint.unwrap();
        assert!(hint.contains("`ssh h python3 -V` prints one line") && hint.contains("~/.bashrc"), "{hint}");
    }
    let noisy = ended("ssh=h", 0, "", "Welcome!\n");
    assert_eq!((noisy.step, noisy.retry), (Step::Noise, Retry::Late));
    assert_eq!(noisy.error, "its login ends without running the command it is given; it wrote: Welcome!");
    let killed = ended("ssh=h", 137, "", "");
    assert_eq!(killed.error, "what `ssh` ran there was ended by signal 9");
}

#[test]
fn a_python_that_did_not_get_what_was_sent_is_not_said_to_be_missing() {
    let told = |spec: &str, status: u32| {
        let Diagnosis { error, hint, .. } = ended(spec, status, "", "Welcome!\n");
        (error, hint.unwrap())
    };
    let (error, hint) = told("ssh=h", 98);
    assert_eq!(error, "something on the host read what was sent to its Python");
    assert!(hint.contains("`read`") && hint.contains("</dev/null"), "{hint}");
    let (error, hint) = told("ssh=h//via=b", 97);
    assert_eq!(error, "nothing that was sent reached its Python");
    assert!(hint.contains("on b `ssh -G` may show `stdinnull yes`"), "{hint}");
    let (error, hint) = told("cmd=docker exec web python3", 97);
    assert_eq!(error, "`docker` passes no stdin to its Python");
    assert!(hint.contains("`-i`"), "{hint}");
    let (error, hint) = told("cmd=docker exec -it web python3", 99);
    assert!(error.contains("terminal") && hint.contains("not `-it`"), "{error}: {hint}");
    let echo = ended("cmd=sh -c cat", 0, "", &format!("{}more", super::STAGE1));
    assert!(echo.error.starts_with("what was sent came back") && echo.said.is_empty(), "{echo:?}");
    let shown = ended("cmd=script -qc python3", 0, "", "^\\5\u{fffd}0\u{fffd}nr\n\u{fffd}k^@agent^@");
    assert!(shown.error.starts_with("what was sent came back") && shown.said.is_empty(), "{shown:?}");
    let left = ended("cmd=setsid python3", 0, "", "");
    assert!(left.hint.as_ref().is_some_and(|hint| hint.contains("`setsid` does without `-w`")), "{left:?}");
    let silent = ended("cmd=wrap python3", 93, "", "");
    assert!(silent.error.contains("part of what was sent"), "{silent:?}");
    let cut = ended("cmd=wrap python3", 93, "execnet: the link ended while the agent was being sent\n", "");
    for told in [silent, cut] {
        assert_eq!(told.hint.as_deref(), Some("`wrap` must pass on all of its stdin, and return stderr"));
    }
}

#[test]
fn what_others_print_between_frames_is_shown_as_noise() {
    let cause = Cause::Link(LinkEnd::NoFrame("`new mail`".into()));
    let told = |spec: &str| {
        let (spec, noise) = (spec.parse().unwrap(), "new mail\n");
        Evidence { spec: &spec, was_up: true, cause: Some(&cause), ending: None, stderr: "", noise }
            .diagnose()
    };
    let ssh = told("ssh=h");
    assert_eq!(ssh.step, Step::Noise);
    assert_eq!(ssh.error, "something other than its agent wrote to the link: `new mail`");
    assert_eq!(ssh.said, ["new mail"]);
    assert!(ssh.hint.unwrap().contains(">/dev/null 2>&1 &"));
    assert!(told("cmd=x python3").hint.unwrap().contains("stdout"));
}
