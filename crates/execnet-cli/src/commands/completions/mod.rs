//! `execnet completions`: the script that makes a shell complete the command line.

mod install;

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use clap_complete::env::Shells;

use crate::error::{CommandError, CommandResult, Exit};
use crate::print;

/// Bash splits words at `:`, `=` and `@`, which are part of node names, specs and sets. This joins them for
/// the completer and gives bash only the part of each answer after the last split, because bash replaces no
/// more. It adds backslashes where no quote is open.
const BASH: &str = r#"
_execnet() {
    local -a whole=("${COMP_WORDS[0]}")
    local line=${COMP_LINE#*"${COMP_WORDS[0]}"} word="" before="" last=0 i
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $line == [[:space:]]* || $word != [:=@]* && ${whole[last]} != *[:=@] ]] || ((last == 0)); then
            whole[++last]=""
        fi
        before=${whole[last]} line=${line#*"$word"}
        whole[last]+=$word
    done
    # of a word in which the cursor stands bash gives what is before it; none of a break
    [[ -z $2 && $word == [:=]* ]] && before+=$word
    # an `@` belongs to what bash replaces
    [[ $2 == @* ]] && before=${before%@}
    local -a COMP_WORDS=("${whole[@]}")
    local COMP_CWORD=$last
    _clap_complete_execnet "$1" "$before$2" ""
    [[ -n ${COMPREPLY+x} ]] || return 0
    COMPREPLY=("${COMPREPLY[@]#"${before//\\/}"}")
    [[ $word == [\"\']* ]] && return 0
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        [[ ${COMPREPLY[i]} == *[[:space:]\\\"\'\$\&\;\|\<\>\(\)\*\?\[\`\!]* ]] || continue
        printf -v word %q "${COMPREPLY[i]}"
        word=${word//\\,/,}
        [[ ${COMPREPLY[i]} == "~"* ]] && word=${word#\\}
        COMPREPLY[i]=$word
    done
    return 0
}
if [[ ${BASH_VERSINFO[0]} -gt 4 || ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _execnet execnet
else
    complete -o nospace -o bashdefault -F _execnet execnet
fi
"#;

/// Zsh would put a backslash before the `~` of our answers.
const ZSH: &str = r#"
function _execnet() {
    if [[ $words[CURRENT] == \~* ]]; then
        _files
    else
        _clap_dynamic_completer_execnet
    fi
}

compdef _execnet execnet
"#;

/// In a file of its own zsh takes the script for a function, which is called for the first completion.
const ZSH_FILE: &str = r#"
if [[ $funcstack[1] == _execnet ]]; then
    _execnet "$@"
fi
"#;

/// A line of each script: by it we know our files.
const MARK: &str = "# Written by `execnet completions`.\n";

/// Make a shell complete commands, options, networks and hosts
///
/// Prints the script that does it. With `--install` the script goes where the shell looks for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet completions --install
  source <(execnet completions bash)    # in ~/.bashrc
  source <(execnet completions zsh)     # in ~/.zshrc, below compinit
  execnet completions fish | source     # in config.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell; for `--install` and `--uninstall` by default that of `$SHELL`
    #[arg(
        value_parser = ["bash", "zsh", "fish", "elvish", "powershell"],
        required_unless_present_any = ["install", "uninstall"]
    )]
    shell: Option<String>,
    /// Write the script to the file in which the shell looks for it: bash, zsh and fish have one
    #[arg(long)]
    install: bool,
    /// Remove that file
    #[arg(long, conflicts_with = "install")]
    uninstall: bool,
}

impl CompletionsArgs {
    pub(crate) fn run(self) -> CommandResult {
        let shell = self.shell.map_or_else(own_shell, Ok)?;
        if self.install {
            return install::install(&shell);
        }
        if self.uninstall {
            return install::uninstall(&shell);
        }
        print::print(&script(&shell)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The user's shell.
fn own_shell() -> CommandResult<String> {
    let shell = std::env::var("SHELL").unwrap_or_default();
    let name = Path::new(&shell).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "bash" | "zsh" | "fish" | "elvish" => Ok(name.to_owned()),
        "" => {
            Err(CommandError::new(Exit::Usage, "SHELL is not set")
                .hint("name the shell: `bash`, `zsh`, `fish`"))
        }
        _ => Err(CommandError::new(Exit::Usage, format!("there are no completions for {name} (SHELL)"))
            .hint("name another shell: `bash`, `zsh`, `fish`")),
    }
}

/// The script for a shell.
fn script(shell: &str) -> CommandResult<String> {
    let fail = |why: &str| CommandError::new(Exit::Failed, format!("no completions for {shell}: {why}"));
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| fail("the shell is not known"))?;
    let mut script = Vec::new();
    // The shell asks this command for candidates, with the variable COMPLETE set.
    completer
        .write_registration("COMPLETE", "execnet", "execnet", "execnet", &mut script)
        .map_err(|error| fail(&error.to_string()))?;
    let script = String::from_utf8_lossy(&script).trim_start().to_owned();
    Ok(match shell {
        "bash" => format!("{MARK}{script}{BASH}"),
        // its first line tells zsh what it is for
        "zsh" => script.replacen('\n', &format!("\n{MARK}"), 1) + ZSH,
        _ => format!("{MARK}{script}"),
    })
}
