//! What the code at the other end prints.

use crate::support::{Lines, PATIENCE, python, quiet};

#[test]
fn output_comes_line_by_line_with_the_gateways_id() {
    let lines = Lines::default();
    let gateway = quiet().id("p").on_output(lines.collector()).start().unwrap();
    let source = "import os, sys\nprint('one')\nsys.stdout.flush()\nos.system('echo two')\n\
                  sys.stderr.write('three')\n";
    gateway.remote_exec(source).unwrap().wait_close_timeout(PATIENCE).unwrap();
    gateway.exit().unwrap();
    gateway.join_timeout(PATIENCE).unwrap();
    assert_eq!(lines.all(), ["p: one", "p: two", "p: three"]);
}

#[test]
fn a_flood_of_output_delays_nobody_and_comes_whole() {
    let lines = Lines::default();
    let gateway = quiet().id("f").on_output(lines.collector()).start().unwrap();
    let source = "for number in range(100000): print(number)\nchannel.send('done')";
    let channel = gateway.remote_exec(source).unwrap();
    assert_eq!(channel.receive::<String>().unwrap(), "done");
    gateway.exit().unwrap();
    gateway.join_timeout(PATIENCE).unwrap();
    let lines = lines.all();
    assert_eq!(lines.len(), 100_000);
    assert_eq!(lines[99_999], "f: 99999");
}

#[test]
fn a_default_interpreter_is_found_in_the_path() {
    // which one does not matter
    let gateway = execnet::Gateway::popen().start().unwrap();
    assert!(!gateway.info().executable.is_empty());
    assert!(!python().is_empty());
}

#[test]
fn a_silent_one_says_only_what_goes_to_stderr() {
    let lines = Lines::default();
    let gateway = quiet().id("s").silent(true).on_output(lines.collector()).start().unwrap();
    let source = "import os, sys\nprint('one')\nsys.stdout.flush()\nos.system('echo two')\n\
                  sys.stderr.write('three\\n')\n";
    gateway.remote_exec(source).unwrap().wait_close_timeout(PATIENCE).unwrap();
    gateway.exit().unwrap();
    gateway.join_timeout(PATIENCE).unwrap();
    assert_eq!(lines.all(), ["s: three"]);
}
