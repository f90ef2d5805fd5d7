//! The output of `--help`.

use clap::CommandFactory;

use super::Cli;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_lists_every_command() {
    insta::assert_snapshot!(Cli::command().term_width(100).render_help(), @"
    Deployment networks of Python interpreters

    Usage: execnet <COMMAND>

    Commands:
      start        Start a network and show its hosts joining
      addhost      Add a host to a running network and to its file
      rmhost       Remove a host from a running network and its file, and end what runs there
      drain        Keep new work away from hosts
      undrain      Let drained hosts take new work again
      status       Show the hosts and nodes of a running network
      python       Run Python on a node of a network, as `python ARGS` there would
      run          Run a command on every host and show what it prints
      exec         Execute code on every matching node and print what it sends
      copy         Copy files and folders to hosts, or from hosts
      ps           Show what runs in a network, for whom, and what it uses
      top          Show what runs in a network and what it uses, live
      attach       Come back to kept work: its last output, then live
      wait         Wait until kept work has ended, and return its exit status
      kill         Send a signal to processes of a network, whoever started them
      packages     List or remove the packages that hosts hold
      list         List running networks and those that have a file
      logs         Print the log of a network's daemon, or what kept work has printed
      stop         Stop a network and end what runs on its hosts
      export       Write a network to a file, for another machine
      import       Take over a network from a file that `execnet export` wrote
      man          Show the manual page of execnet or of a command
      completions  Make a shell complete commands, options, networks and hosts
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Example:
      execnet start mynet ssh=build1 ssh=build2//python=pypy3
      execnet python mynet --platform linux -c 'import sys; print(sys.version)'
      execnet exec mynet 'import os; channel.send(os.getloadavg())'
      execnet stop mynet
    ");
}

#[test]
fn the_help_of_every_command_ends_with_an_example() {
    for verb in Cli::command().get_subcommands_mut().filter(|verb| !verb.is_hide_set()) {
        let help = verb.render_long_help().to_string();
        let (_, example) = help.split_once("Example:\n").unwrap_or_else(|| panic!("{help}"));
        let lines: Vec<&str> = example.trim_end().lines().collect();
        assert!(lines.iter().any(|line| line.contains(&format!("execnet {}", verb.get_name()))), "{help}");
        assert!(lines.iter().all(|line| line.starts_with("  ")), "{help}");
    }
}

#[test]
fn the_help_of_start() {
    insta::assert_snapshot!(help("start"), @r#"
    Start a network and show its hosts joining

    Usage: execnet start [OPTIONS] <NETWORK> [SPEC]...

    Arguments:
      <NETWORK>  Name of the network
      [SPEC]...  Hosts to add, such as `ssh=user@build1//python=pypy3`

    Options:
          --file <FILE>  Also add the hosts of a TOML file with `hosts = ["ssh=build1"]`
      -h, --help         Print help (see more with '--help')

    Example:
      execnet start mynet
      execnet start mynet ssh=build1 ssh=user@build2//python=pypy3 ssh=inner//via=build1
      execnet start mynet --file hosts.toml
    "#);
}

#[test]
fn the_help_of_python() {
    insta::assert_snapshot!(help("python"), @"
    Run Python on a node of a network, as `python ARGS` there would

    Usage: execnet python NETWORK [OPTIONS] [--] [ARGS]...

    Arguments:
      <NETWORK>  Name of the network
      [ARGS]...  Arguments for Python

    Options:
          --node <SET>                Node, host, or set of them: `build1`, `'build[1-20]'`,
                                      `'@web,!web7'`
          --platform <PREFIX>         Prefix of `sys.platform` or of the implementation: `linux`,
                                      `java`, `pypy`
          --implementation <NAME>     Implementation: `cpython`, `pypy` or `jython`
          --python-version <VERSION>  Version: `3.11`, `'>=3.8'`, `'>=3.8,<3.12'`
          --chdir <FOLDER>            Working folder on the host
          --env <NAME=VALUE>          Environment variable of the process (repeatable)
          --with <ITEM>               Package to bring along (repeatable): `attrs`, `requests[socks]`,
                                      `./src`, `'*'`, `'!torch'`
          --large                     Also send more than 256 MiB of packages
          --environment <PYTHON>      Python whose packages are brought along, or its environment's
                                      folder
      -t                              Give it a terminal, even if ours is not one
      -T                              Give it no terminal
          --escape <KEY>              Key for escapes behind Enter: a character, `^` and a letter, or
                                      `none`; `~?` shows them
      -h, --help                      Print help (see more with '--help')

    Example:
      execnet python mynet -c 'import sys; print(sys.version)'
      execnet python mynet --node build1          (with a terminal: history, arrow keys, Tab)
      execnet python mynet --platform java --env DEBUG=1 script.py < input > output
      execnet python mynet --node build1 --with requests -c 'import requests'
    ");
}

#[test]
fn the_help_of_exec() {
    insta::assert_snapshot!(help("exec"), @"
    Execute code on every matching node and print what it sends

    Usage: execnet exec NETWORK [OPTIONS] [--] CODE [ARGS]...

    Arguments:
      <NETWORK>  Name of the network
      [CODE]...  Python code, a file, or `-` for stdin; then arguments for the code

    Options:
          --node <SET>                Node, host, or set of them: `build1`, `'build[1-20]'`,
                                      `'@web,!web7'`
          --platform <PREFIX>         Prefix of `sys.platform` or of the implementation: `linux`,
                                      `java`, `pypy`
          --implementation <NAME>     Implementation: `cpython`, `pypy` or `jython`
          --python-version <VERSION>  Version: `3.11`, `'>=3.8'`, `'>=3.8,<3.12'`
          --chdir <FOLDER>            Working folder on the host
          --env <NAME=VALUE>          Environment variable of the process (repeatable)
          --with <ITEM>               Package to bring along (repeatable): `attrs`, `requests[socks]`,
                                      `./src`, `'*'`, `'!torch'`
          --large                     Also send more than 256 MiB of packages
          --environment <PYTHON>      Python whose packages are brought along, or its environment's
                                      folder
          --one                       Use only one matching node, the least busy
          --limit <N>                 Use at most N of the matching nodes, the least busy
          --fanout <N>                Execute on so many nodes at a time [default: 1000]
          --json                      Print a JSON object for each value, with `node`, `host` and
                                      `value`
      -b, --fold                      Show equal answers once, with the nodes that gave them
      -h, --help                      Print help (see more with '--help')

    Example:
      execnet exec mynet 'import sys; channel.send(sys.version_info[:3])'
      execnet exec mynet --node 'build[1-20]' --limit 4 script.py
      execnet exec mynet --platform java script.py arg1 < input
      execnet exec mynet -b 'import platform; channel.send(platform.release())'
      execnet exec mynet --with attrs --with ./src script.py
      execnet exec mynet --json 'import os; channel.send(os.getloadavg())' | jq '.value[0]'
    ");
}

fn help(verb: &str) -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    command.find_subcommand_mut(verb).unwrap().render_help().to_string()
}
