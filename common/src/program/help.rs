//! Command lines with the names that the programs have here: a package may have installed them under a prefix, and
//! what `--help` shows is there to be pasted.
//!
//! In the definitions of command lines a program has its plain name. It is a command, and gets the prefix, at the
//! beginning of a `quoted` text, of an indented line and of `"$(…)"`, and after `|`, `&&` and `||`; and as a reference: client(1).
//!
//! An example, two columns in, is followed by its command, four more in; sections like `Files:` come after the
//! options. `cargo xtask dist` makes the sections of the man pages from both.

use clap::builder::StyledStr;
use clap::{Arg, Command, Parser};

use crate::program::advice::{self, PROGRAMS};

/// This program's arguments. Ends it after `--help`, `--version` and mistakes.
#[must_use]
pub fn parse<Args: Parser>() -> Args {
    let mut command = named(Args::command(), advice::prefix());
    let matches = command.get_matches_mut();
    Args::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The same command line for a program whose name has a prefix.
#[must_use]
pub fn named(command: Command, prefix: &str) -> Command {
    let name = format!("{prefix}{}", command.get_name());
    if prefix.is_empty() { command } else { texts_named(command.name(name), prefix) }
}

fn texts_named(command: Command, prefix: &str) -> Command {
    let text = |text: Option<&StyledStr>| text.map(|text| text_named(&text.to_string(), prefix));
    let (about, long_about) = (text(command.get_about()), text(command.get_long_about()));
    let (before, after) = (text(command.get_before_help()), text(command.get_after_long_help()));
    let mut command = command.mut_args(|arg: Arg| {
        let (help, long_help) = (text(arg.get_help()), text(arg.get_long_help()));
        let arg = help.into_iter().fold(arg, Arg::help);
        long_help.into_iter().fold(arg, Arg::long_help)
    });
    command = about.into_iter().fold(command, Command::about);
    command = long_about.into_iter().fold(command, Command::long_about);
    command = before.into_iter().fold(command, Command::before_help);
    command = after.into_iter().fold(command, Command::after_long_help);
    command.mut_subcommands(|command| texts_named(command, prefix))
}

fn text_named(text: &str, prefix: &str) -> String {
    let mut named = String::new();
    let mut begins = false;
    for word in text.split_inclusive([' ', '\n']) {
        let bare = word.strip_prefix('`').or_else(|| word.strip_prefix("\"$(")).unwrap_or(word);
        let is_command = begins || bare.len() < word.len() || bare.contains("(1)");
        let is_program = |program: &str| {
            let rest = bare.strip_prefix(program);
            rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        named.push_str(&word[..word.len() - bare.len()]);
        if is_command && PROGRAMS.iter().any(|program| is_program(program)) {
            named.push_str(prefix);
        }
        named.push_str(bare);
        begins = matches!(word.trim_end(), "" | "|" | "&&" | "||");
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("    client 'a;1'\n    x | worker 1", "    p-client 'a;1'\n    x | p-worker 1")]
    #[case("`lbctl verify LOG`, see client(1)", "`p-lbctl verify LOG`, see p-client(1)")]
    #[case("x \"$(client)\" (client)", "x \"$(p-client)\" (client)")]
    #[case("lbctl-dead(1), worker(1)", "p-lbctl-dead(1), p-worker(1)")]
    #[case("the client, `clients`, a worker\nworker", "the client, `clients`, a worker\nworker")]
    fn only_commands_get_the_prefix(#[case] plain: &str, #[case] named: &str) {
        assert_eq!(text_named(plain, "p-"), named);
    }

    #[test]
    fn every_text_of_a_command_line_gets_it() {
        let inner = Command::new("dead").about("see `client`").before_help("  \n    lbctl dead");
        let outer = Command::new("lbctl")
            .subcommand(inner)
            .long_about("`lbctl`")
            .after_long_help("worker(1)")
            .arg(Arg::new("x").long("x").help("`worker`").long_help("`loadbalancer`"));
        let mut command = named(outer, "p-");
        let shown = command.render_long_help().to_string();
        let inner = command.find_subcommand_mut("dead").unwrap().render_help().to_string();
        for text in ["`p-lbctl`", "p-worker(1)", "`p-loadbalancer`", "Usage: p-lbctl"] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert!(inner.contains("    p-lbctl dead") && inner.contains("`p-client`"), "{inner}");
    }
}
