//! Unchanged clients: stock execnet and pytest-xdist use `execnet python` as an interpreter.

use std::path::PathBuf;
use std::process::Command;

use execnet_testkit::{Lab, or_skip};

use crate::harness::{Net, text};

/// The virtual environment with stock execnet, pytest and pytest-xdist that `scripts/test` makes.
fn venv() -> Option<PathBuf> {
    let venv = std::env::var_os("EXECNET_TEST_VENV").map(PathBuf::from);
    assert!(
        venv.is_some() || std::env::var_os("CI").is_none(),
        "EXECNET_TEST_VENV is not set; run scripts/test"
    );
    if venv.is_none() {
        println!(
            "skipped, because EXECNET_TEST_VENV names no environment with stock execnet: run scripts/test"
        );
    }
    venv
}

/// The `python` of that environment, set up to find this network.
fn stock(net: &Net, venv: &std::path::Path) -> Command {
    let execnet = net.execnet([""; 0]);
    let mut command = Command::new(venv.join("bin/python"));
    for (name, value) in execnet.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn interpreter(net: &Net, node: &str) -> String {
    format!("popen//python={} python {} --node {node}", env!("CARGO_BIN_EXE_execnet"), net.name)
}

#[test]
fn stock_execnet_echoes_over_a_channel_on_an_ssh_node_and_over_two_hops() {
    let Some(venv) = venv() else { return };
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("inner").hidden().start().unwrap();
    lab.host("n1").reaches(["inner"]).start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("n1", ""), "ssh=inner//via=n1//id=n2"]);
    let code = "
import sys, execnet
for spec in sys.argv[1:]:
    gateway = execnet.makegateway(spec)
    code = 'import os; channel.send(os.environ[\"HOME\"])\\nfor x in channel: channel.send(x * 2)'
    channel = gateway.remote_exec(code)
    print(channel.receive(300))
    for item in [21, 'abc', [1, 2.5, None], b'x' * 1000000]:
        channel.send(item)
        assert channel.receive(300) == item * 2
    gateway.exit()
execnet.default_group.terminate(5)
";
    let specs = ["n1", "n2"].map(|node| interpreter(&net, node));
    let output = stock(&net, &venv).args(["-c", code]).args(specs).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let homes: Vec<_> = ["n1", "inner"]
        .map(|name| net.lab().hosts().into_iter().find(|host| host.name() == name).unwrap())
        .iter()
        .map(|host| host.home().display().to_string())
        .collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), homes);
}

#[test]
fn pytest_xdist_runs_a_project_s_tests_on_a_node_of_this_machine() {
    let Some(venv) = venv() else { return };
    let net = Net::new(None);
    let python = venv.join("bin/python");
    net.start(&[&format!("popen//id=n1//python={}", python.display())]);
    let folder = std::env::temp_dir().join(format!("execnet-xdist-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("test_many.py"),
        "import pytest\n\n\
         @pytest.mark.parametrize('n', range(60))\ndef test_square(n):\n    assert n * n == n ** 2\n\n\
         def test_fails():\n    assert 1 == 2\n",
    )
    .unwrap();
    let spec = format!("2*{}", interpreter(&net, "n1"));
    let output = stock(&net, &venv)
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--dist",
            "load",
            "--tx",
            &spec,
            "test_many.py",
        ])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("60 passed") && said.contains("1 failed"), "{}", text(&output));
    std::fs::remove_dir_all(folder).unwrap();
}
