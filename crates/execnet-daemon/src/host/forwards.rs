//! What ssh forwards to a host because of the user's own configuration: ssh agent, display, credentials. It
//! stays forwarded as long as the network is up, so `status` says so. Pure.

use execnet_proto::spec::{HostSpec, Transport};

/// Something that ssh forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    Agent,
    Display,
    Credentials,
}

use Forward::{Agent, Credentials, Display};

/// Reads what `ssh -G` says about a link.
pub(crate) fn by_settings(said: &str, has_display: bool) -> Vec<Forward> {
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name));
        line.map_or("no", |(_, value)| value.trim())
    };
    // a path or a variable names another agent
    let lends = |agent: &str| agent != "no" && (agent != "yes" || value("identityagent") != "none");
    let agent = lends(value("forwardagent")).then_some(Agent);
    let display = (value("forwardx11") == "yes" && has_display).then_some(Display);
    let credentials = value("gssapidelegatecredentials") == "yes" && value("gssapiauthentication") == "yes";
    agent.into_iter().chain(display).chain(credentials.then_some(Credentials)).collect()
}

/// Reads the options of a spec: all that is known here of an ssh on another host.
pub(crate) fn by_options(spec: &HostSpec) -> Vec<Forward> {
    let Transport::Ssh { options, .. } = &spec.transport else { return Vec::new() };
    let mut found = Vec::new();
    for (index, option) in options.iter().enumerate() {
        let text = match option.strip_prefix("-o") {
            Some("") => options.get(index + 1).map(String::as_str),
            rest => rest,
        };
        let setting = text.unwrap_or_default().trim().to_ascii_lowercase();
        let (name, value) = setting.split_once(['=', ' ']).unwrap_or((&setting, ""));
        let is_on = value.trim() != "no";
        let (forward, on) = match (option.as_str(), name.trim()) {
            ("-A", _) => (Agent, true),
            ("-a", _) => (Agent, false),
            ("-X" | "-Y", _) => (Display, true),
            ("-x", _) => (Display, false),
            ("-K", _) => (Credentials, true),
            ("-k", _) => (Credentials, false),
            (_, "forwardagent") => (Agent, is_on),
            (_, "forwardx11") => (Display, is_on),
            (_, "gssapidelegatecredentials") => (Credentials, is_on),
            _ => continue,
        };
        found.retain(|known| *known != forward);
        found.extend(on.then_some(forward));
    }
    found
}

/// What a person should know about it.
pub(crate) fn note(forwards: &[Forward], spec: &HostSpec) -> Option<String> {
    let Transport::Ssh { destination, .. } = &spec.transport else { return None };
    let told = forwards.iter().map(|forward| match forward {
        Agent => {
            format!(
                "your ssh agent (ForwardAgent), so that programs there can log in with your keys; \
                 `ssh=-a {destination}` ends it"
            )
        }
        Display => {
            format!(
                "your display (ForwardX11), so that programs there can see and type on it; \
                 `ssh=-x {destination}` ends it"
            )
        }
        Credentials => {
            format!("your Kerberos tickets (GSSAPIDelegateCredentials); `ssh=-k {destination}` ends it")
        }
    });
    let told: Vec<String> = told.collect();
    let whose = spec.via.as_ref().map_or_else(|| "ssh".to_owned(), |via| format!("ssh on {via}"));
    (!told.is_empty())
        .then(|| format!("{whose} forwards, for as long as the network is up: {}", told.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_forwards_is_told_by_its_settings() {
        let usual = "host h\nforwardagent no\nforwardx11 no\ngssapiauthentication yes\n\
                     gssapidelegatecredentials no\n";
        assert_eq!(by_settings(usual, true), []);
        let all =
            "forwardagent yes\nforwardx11 yes\ngssapiauthentication yes\ngssapidelegatecredentials yes\n";
        assert_eq!(by_settings(all, true), [Agent, Display, Credentials]);
        assert_eq!(by_settings(all, false), [Agent, Credentials], "without a display there is none to lend");
        assert_eq!(by_settings("forwardagent /run/agent\nforwardx11trusted yes\n", true), [Agent]);
        assert_eq!(
            by_settings("forwardagent yes\nidentityagent none\n", true),
            [],
            "there is no agent to lend"
        );
        assert_eq!(by_settings("an ssh that does not know -G\n", true), []);
    }

    #[test]
    fn of_an_ssh_on_another_host_the_spec_is_known() {
        let by = |text: &str| by_options(&text.parse().unwrap());
        assert_eq!(by("ssh=-A h//via=x"), [Agent]);
        assert_eq!(by("ssh=-A -a -Y h//via=x"), [Display]);
        assert_eq!(
            by("ssh=-o ForwardAgent=yes -oGSSAPIDelegateCredentials=yes h//via=x"),
            [Agent, Credentials]
        );
        assert_eq!(by("ssh=-o forwardagent=no -p 22 -l A h//via=x"), []);
        assert_eq!(by("cmd=x -A y"), []);
    }

    #[test]
    fn a_person_is_told_what_is_lent_and_how_to_end_it() {
        let spec: HostSpec = "ssh=-p 22 ann@h".parse().unwrap();
        assert_eq!(note(&[], &spec), None);
        let told = note(&[Agent, Display], &spec).unwrap();
        assert!(told.starts_with("ssh forwards, for as long as the network is up: your ssh agent"), "{told}");
        assert!(told.contains("`ssh=-a ann@h` ends it; your display"), "{told}");
        assert!(note(&[Agent], &"ssh=h//via=x".parse().unwrap()).unwrap().starts_with("ssh on x forwards"));
    }
}
