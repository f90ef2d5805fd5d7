//! Sets of nodes and groups, as people type them.

use std::fs;

use serde_json::json;

use crate::harness::{Net, text};

/// A network of this machine alone, with these hosts and what else its file says.
fn network(hosts: &[&str], more: &str) -> Net {
    let net = Net::new(None);
    write(&net, hosts, more);
    net.start(&[]);
    net
}

fn write(net: &Net, hosts: &[&str], more: &str) {
    let hosts: Vec<String> = hosts.iter().map(|id| format!("\"popen//id={id}\"")).collect();
    fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    fs::write(net.config(), format!("hosts = [{}]\n{more}", hosts.join(", "))).unwrap();
}

const WEB: [&str; 4] = ["web1", "web2", "web3", "db1"];

/// On which nodes `execnet exec` with these options ran, in the order of their names.
fn ran(net: &Net, options: &[&str]) -> Vec<String> {
    let mut args = options.to_vec();
    args.extend(["--json", "channel.send(1)"]);
    let lines = net.ok("exec", &args);
    let node = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["node"].clone();
    let mut nodes: Vec<String> = lines.lines().map(|line| node(line).as_str().unwrap().to_owned()).collect();
    nodes.sort();
    nodes
}

#[test]
fn exec_takes_all_of_a_set_and_at_most_as_many_as_it_may() {
    let net = network(&WEB, "[groups]\nweb = \"web[1-3]\"\nall = \"@web,db1\"\n");
    for (set, nodes) in [
        ("web[1-2]", &["web1", "web2"][..]),
        ("@web,!web2", &["web1", "web3"]),
        ("!@web", &["db1"]),
        ("@all&web[2-3]", &["web2", "web3"]),
        ("db1", &["db1"]),
    ] {
        assert_eq!(ran(&net, &["--node", set]), nodes, "{set}");
    }
    let limited = ran(&net, &["--node", "@web", "--limit", "2"]);
    assert!(limited.len() == 2 && limited.iter().all(|node| node.starts_with("web")), "{limited:?}");
    assert_eq!(ran(&net, &["--limit", "9"]).len(), 4);
    assert_eq!(net.run("exec", &["--limit", "0", "pass"]).status.code(), Some(2));
    assert_eq!(net.run("exec", &["--limit", "1", "--one", "pass"]).status.code(), Some(2));

    // one of a set
    let told = net.python_ok(&["--node", "web[2-3]", "-c", "print(1)"]);
    assert_eq!(told, "1");
    let one = net.ok("exec", &["--one", "--node", "@web", "--json", "channel.send(1)"]);
    assert!(one.contains("\"node\": \"web") && one.lines().count() == 1, "{one}");
    let held = net.ok("packages", &["web[1-2]", "--json"]);
    assert!(held.contains("\"web1\"") && held.contains("\"web2\"") && !held.contains("\"web3\""), "{held}");
    net.ok("drain", &["@web!web1"]);
    let drained = |id: &str| net.host(id)["drained"] == true;
    assert_eq!(WEB.map(drained), [false, true, true, false]);
}

#[test]
fn a_set_that_means_nothing_is_never_all_and_never_fewer() {
    let net = network(&WEB, "[groups]\nold = \"web[3-4]\"\nweb = \"web[1-2]\"\n");
    for (set, status, said) in [
        ("web[2-5]", 4, "there is no host or node `web[4-5]`\nHint: its hosts are db1,web[1-3]; "),
        ("!wbe1", 4, "there is no host or node `wbe1`\nHint: did you mean `web1`?"),
        ("@old", 4, "there is no host or node `web4`, which the group `@old` names\n"),
        ("@wbe", 4, "there is no group `@wbe`; there are `@old`, `@web`\nHint: did you mean `@web`?"),
        ("web1!web1", 4, "`web1!web1` stands for no node at all\n"),
        ("web1,web[2", 2, "`web1,web[2` is not a set of nodes: the bracket at `[2` is not closed"),
        ("", 2, "`node` needs a value"),
    ] {
        let output = net.run("exec", &["--node", set, "channel.send(1)"]);
        assert_eq!(output.status.code(), Some(status), "{set}: {}", text(&output));
        assert!(output.stdout.is_empty() && text(&output).contains(said), "{set}: {}", text(&output));
        let output = net.python(&["--node", set, "-c", "print(1)"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{set}: {}", text(&output));
        let said = said.lines().next().unwrap();
        assert!(output.stdout.is_empty() && text(&output).contains(said), "{set}: {}", text(&output));
    }
    for verb in ["packages", "drain"] {
        let output = net.run(verb, &["web[2-5]"]);
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
        assert!(text(&output).contains("there is no host or node `web[4-5]`"), "{}", text(&output));
    }
}

#[test]
fn groups_are_read_again_when_somebody_names_one() {
    let net = network(&WEB, "[groups]\nweb = \"web[1-3]\"\n");
    assert_eq!(net.status()["groups"], json!({"web": "web[1-3]"}));
    write(&net, &WEB, "[groups]\nweb = \"web1\"\nnew = \"db1\"\n");
    assert_eq!(ran(&net, &["--node", "@web,@new"]), ["db1", "web1"]);
    assert_eq!(net.status()["groups"], json!({"new": "db1", "web": "web1"}));
    write(&net, &WEB, "[groups]\nlater = \"web2\"\n");
    assert_eq!(net.python_ok(&["--node", "@later", "-c", "print(1)"]), "1");

    write(&net, &WEB, "[groups]\na = \"@b\"\nb = \"@a\"\n");
    let output = net.run("exec", &["--node", "@a", "channel.send(1)"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("groups name each other in a circle: @a names @b names @a"));
    // names of nodes need no groups, and the daemon keeps those that it has
    assert_eq!(ran(&net, &["--node", "web1"]), ["web1"]);
    assert_eq!(net.status()["groups"], json!({"later": "web2"}));

    write(&net, &WEB, "[groups]\nweb = \"web[1-3]\"\n");
    let removed = net.run("rmhost", &["web3"]);
    let said = format!("execnet: the group `web` in {} still names web3", net.config().display());
    assert!(text(&removed).contains(&said), "{}", text(&removed));
    assert!(fs::read_to_string(net.config()).unwrap().ends_with("[groups]\nweb = \"web[1-3]\"\n"));
}
