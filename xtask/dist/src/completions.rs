//! Completions for shells.

use clap::Command;
use clap_complete::{Shell, generate};

/// For bash, zsh and fish: where each shell looks below a prefix, and the script. For zsh that is `zsh_functions`.
pub(crate) fn of(command: &Command, zsh_functions: &str) -> [(String, String); 3] {
    let name = command.get_name();
    [
        (format!("share/bash-completion/completions/{name}"), bash(command)),
        (format!("{zsh_functions}/_{name}"), script(Shell::Zsh, command, name)),
        (
            format!("share/fish/vendor_completions.d/{name}.fish"),
            script(Shell::Fish, command, name),
        ),
    ]
}

/// `clap_complete` 4.6 writes a name with a `-` in two ways into a script for bash, and then no subcommand's options
/// are found. So the script is made for a name with a `_`, and bound to the right one at its end.
fn bash(command: &Command) -> String {
    let name = command.get_name();
    let plain = name.replace('-', "_");
    script(Shell::Bash, command, &plain)
        .replace(&format!(" -o default {plain}\n"), &format!(" -o default {name}\n"))
}

fn script(shell: Shell, command: &Command, name: &str) -> String {
    let mut script = Vec::new();
    generate(shell, &mut command.clone(), name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::command_lines;

    #[rstest]
    #[case(&["pipip-lbctl", "ver"], "verify")]
    #[case(&["pipip-lbctl", "dead", "ret"], "retry")]
    #[case(&["pipip-lbctl", "dead", "retry", "--a"], "--all")]
    #[case(&["pipip-client", "--dur"], "--durable")]
    fn bash_completes(#[case] words: &[&str], #[case] completed: &str) {
        let commands = command_lines::all();
        let command = commands.iter().find(|command| command.get_name() == words[0]).unwrap();
        // As bash calls the function: the program, the word at the cursor, the one before.
        let call = r#"
            bound=$(complete -p "$1"); [[ $bound =~ -F\ ([^ ]+) ]]
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            "${BASH_REMATCH[1]}" "$1" "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[*]}""#;
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &(bash(command) + call), "bash"]).args(words);
        let output = shell.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), completed, "{output:?}");
    }
}
