//! Hosts behind a group of others (`via=@GROUP`).

use std::collections::BTreeSet;
use std::fs;

use execnet_testkit::{Lab, LabHost, or_skip, wait_until};

use crate::harness::{Net, SOON, text};
use crate::resume::transfer;

/// Two hosts that both lead to three others, which nobody else reaches.
fn network() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    const INNER: [&str; 3] = ["c1", "c2", "c3"];
    for inner in INNER {
        lab.host(inner).hidden().start().unwrap();
    }
    for member in ["g1", "g2"] {
        lab.host(member).reaches(INNER).start().unwrap();
    }
    let net = Net::new(Some(lab));
    let mut hosts: Vec<String> = INNER.iter().map(|id| format!("ssh={id}//via=@gw")).collect();
    hosts.extend(["g1", "g2"].map(|id| net.spec(id, "")));
    fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    fs::write(net.config(), format!("hosts = {hosts:?}\n[groups]\ngw = \"g[1-2]\"\n")).unwrap();
    net.start(&[]);
    Some(net)
}

impl Net {
    fn via(&self, id: &str) -> String {
        self.host(id)["via"].as_str().unwrap().to_owned()
    }

    fn lab_host(&self, name: &str) -> LabHost {
        self.lab().hosts().into_iter().find(|host| host.name() == name).unwrap()
    }
}

#[test]
fn another_host_takes_the_place_of_one_that_is_gone_and_nothing_is_lost() {
    let Some(net) = network() else { return };
    let vias: BTreeSet<String> = ["c1", "c2", "c3"].map(|id| net.via(id)).into();
    assert_eq!(vias, ["g1", "g2"].map(String::from).into(), "both are used");
    let first = net.via("c1");
    let agent = net.agent("c1");
    let sessions = net.lab_host("c1").sessions().len();
    transfer(&net, "c1", 50_000_000, |tenth| {
        if tenth == 3 {
            let member = net.lab_host(&first);
            member.stop_sshd();
            member.kill_ssh();
            wait_until(SOON, "another host to lead to c1", || {
                let host = net.host("c1");
                host["via"] != first && host["state"] == "up"
            });
        }
    });
    assert_eq!(net.agent("c1"), agent, "the same agent is reached on another way");
    let others: BTreeSet<String> = ["c1", "c2", "c3"].map(|id| net.via(id)).into();
    assert!(!others.contains(&first), "{others:?}");
    let log = fs::read_to_string(net.log()).unwrap();
    assert!(
        log.contains(&format!("c1 is to be reached through {}, no longer {first}", net.via("c1"))),
        "{log}"
    );

    // the one that is left cannot leave, unless the other one is back
    let second = net.via("c1");
    let refused = net.run("rmhost", &[&second]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    let told = text(&refused);
    assert!(told.contains("is reached through") && told.contains("no other host of `@gw` is up"), "{told}");
    net.lab_host(&first).start_sshd().unwrap();
    net.wait_for(&first, "up");
    assert_eq!(net.via("c3"), second, "each stays where it is");
    wait_until(SOON, "the first way to end", || net.lab_host("c1").sessions().len() == sessions);
    net.ok("rmhost", &[&second]);
    for id in ["c1", "c2", "c3"] {
        assert_eq!(net.via(id), first);
        net.wait_for(id, "up");
        assert_eq!(net.python_ok(&["--node", id, "-c", "print(6 * 7)"]), "42");
    }
    assert_eq!(net.agent("c1"), agent);
}

#[test]
fn a_group_that_leads_nowhere_is_refused_before_anything_is_changed() {
    let Some(net) = network() else { return };
    let file = fs::read_to_string(net.config()).unwrap();
    for (spec, status, told) in [
        ("ssh=x//via=@wg", 2, "which is not a group of this network\nHint: did you mean `via=@gw`?"),
        ("popen//id=x//via=@gw", 2, "`popen` would be another machine with each host of the group"),
    ] {
        let output = net.run("addhost", &[spec]);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        assert!(text(&output).contains(told), "{}", text(&output));
    }
    assert_eq!(fs::read_to_string(net.config()).unwrap(), file);
}
