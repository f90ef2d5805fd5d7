//! Hosts behind hosts: a link is a process on a host, to any depth.

use execnet_testkit::{Lab, or_skip, wait_until};

use crate::harness::{Net, SOON};

/// Three hops: a → b → c → d. Each host's ssh knows only the next one.
fn chain() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    lab.host("d").hidden().start().unwrap();
    lab.host("c").hidden().reaches(["d"]).start().unwrap();
    lab.host("b").hidden().reaches(["c"]).start().unwrap();
    lab.host("a").reaches(["b"]).start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("a", ""), "ssh=b//via=a", "ssh=c//via=b", "ssh=d//via=c"]);
    Some(net)
}

#[test]
fn a_process_three_hops_away_is_like_any_other() {
    let Some(net) = chain() else { return };
    let home = net.lab().hosts().iter().find(|host| host.name() == "d").unwrap().home();
    let code = "import os, sys; print(os.environ['HOME']); sys.exit(len(sys.stdin.read()))";
    let mut child = crate::harness::piped(net.python(&["--node", "d", "-c", code]));
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"seven b").unwrap();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), home.to_str().unwrap());
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn one_ssh_process_here_leads_to_all_hosts_of_a_chain() {
    let Some(net) = chain() else { return };
    let daemon = net.daemon();
    let children: Vec<_> = execnet_testkit::children_of(daemon);
    assert_eq!(children.len(), 1, "only the link to a is this machine's");
    for host in ["a", "b", "c", "d"] {
        assert_eq!(net.host(host)["state"], "up");
    }
    assert_eq!(net.host("d")["via"], "c");
}

#[test]
fn the_loss_of_a_hop_says_which() {
    let Some(net) = chain() else { return };
    for host in net.lab().hosts() {
        if host.name() == "b" {
            host.stop_sshd();
            host.kill_ssh();
        }
    }
    net.wait_for("b", "unreachable");
    let mut d = net.host("d");
    wait_until(SOON, "d to be cut off", || {
        d = net.host("d");
        d["state"] != "up"
    });
    let error = d["error"].as_str().unwrap_or_default();
    assert!(error.contains('b') || error.contains('c'), "{d}");
    let b = net.lab().hosts().into_iter().find(|host| host.name() == "b").unwrap();
    b.start_sshd().unwrap();
    net.wait_for("d", "up");
    assert_eq!(net.python_ok(&["--node", "d", "-c", "print(6 * 7)"]), "42");
}
