//! `execnet completions`: the script that makes a shell complete the command line.

use std::process::ExitCode;

use clap::Args;
use clap_complete::env::Shells;

use crate::error::{CommandError, CommandResult, Exit};
use crate::print;

/// Bash splits words at `:` and `=`, which are part of node names and specs. This joins them for the
/// completer and gives bash only the part of each answer after the last split, because bash replaces no more.
/// It adds backslashes where no quote is open.
const BASH: &str = r#"
_execnet() {
    local -a whole=("${COMP_WORDS[0]}")
    local line=${COMP_LINE#*"${COMP_WORDS[0]}"} word="" before="" last=0 i
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $line == [[:space:]]* || $word != [:=]* && ${whole[last]} != *[:=] ]] || ((last == 0)); then
            whole[++last]=""
        fi
        before=${whole[last]} line=${line#*"$word"}
        whole[last]+=$word
    done
    # of a word in which the cursor stands bash gives what is before it; none of a break
    [[ -z $2 && $word == [:=]* ]] && before+=$word
    local -a COMP_WORDS=("${whole[@]}")
    local COMP_CWORD=$last
    _clap_complete_execnet "$1" "$before$2" ""
    [[ -n ${COMPREPLY+x} ]] || return 0
    COMPREPLY=("${COMPREPLY[@]#"${before//\\/}"}")
    [[ $word == [\"\']* ]] && return 0
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        [[ ${COMPREPLY[i]} == *[[:space:]\\\"\'\$\&\;\|\<\>\(\)\*\?\[\`\!]* ]] || continue
        printf -v word %q "${COMPREPLY[i]}"
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

/// Print a script that makes a shell complete commands, options, networks and hosts
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  source <(execnet completions bash)                # in ~/.bashrc
  source <(execnet completions zsh)                 # in ~/.zshrc, below compinit
  execnet completions fish | source                 # in config.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

impl CompletionsArgs {
    pub(crate) fn run(self) -> CommandResult {
        let fail =
            |why: &str| CommandError::new(Exit::Failed, format!("no completions for {}: {why}", self.shell));
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell).ok_or_else(|| fail("the shell is not known"))?;
        let mut script = Vec::new();
        // The shell asks this command for candidates, with the variable COMPLETE set.
        shell
            .write_registration("COMPLETE", "execnet", "execnet", "execnet", &mut script)
            .map_err(|error| fail(&error.to_string()))?;
        script.extend_from_slice(match &*self.shell {
            "bash" => BASH.as_bytes(),
            "zsh" => ZSH.as_bytes(),
            _ => &[],
        });
        print::print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
