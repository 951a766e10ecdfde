//! The man pages: `clap_mangen` makes them from the definitions of a command line; what `--help` shows before
//! and after that becomes sections of their own.

use std::io;

use clap::Command;
use clap::builder::StyledStr;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::workspace::Workspace;
use crate::{NAME, VERSION};

/// A page for each command and each of its subcommands: the name of its file, and what is in it.
pub(crate) fn of(command: Command, workspace: &Workspace) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    add(&built(command), workspace, &mut pages)?;
    Ok(pages)
}

fn built(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

fn add(
    command: &Command,
    workspace: &Workspace,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> io::Result<()> {
    let man = Man::new(command.clone()).date(workspace.day()).manual("Pipip's load balancer");
    let man = man.source(format!("{NAME} {VERSION}"));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    // As --help has it: clap_mangen's has no `--` before COMMAND.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    Roff::new().control("SH", ["SYNOPSIS"]).text([bold(usage)]).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let text = |text: Option<&StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let (examples, rest) = (text(command.get_before_help()), text(command.get_after_long_help()));
    let (see_also, rest): (Vec<_>, Vec<_>) =
        sections(&rest).into_iter().partition(|section| section.title == "SEE ALSO");
    let mut roff = Roff::new();
    // As man-pages(7) orders them.
    for section in rest.iter().chain(&sections(&examples)).chain(&see_also) {
        section.render(&mut roff);
    }
    roff.to_writer(&mut page)?;
    pages.push((man.get_filename(), page));
    command.get_subcommands().try_for_each(|command| add(command, workspace, pages))
}

/// Lines under a heading, each with how far it is indented.
struct Section<'a> {
    title: String,
    lines: Vec<(usize, &'a str)>,
}

/// A heading is a line that begins at the left and ends with a colon.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let bare = line.trim_start();
        let title = line.strip_suffix(':').filter(|_| bare == line);
        if let Some(title) = title {
            sections.push(Section { title: title.to_uppercase(), lines: Vec::new() });
        } else {
            let section = sections.last_mut().expect("a text begins with a heading");
            section.lines.push((line.len() - bare.len(), bare));
        }
    }
    sections
}

impl Section<'_> {
    /// Two columns in is a paragraph, or a row of a table; four more is a command, literally; anything else goes on
    /// with the line before.
    fn render(&self, roff: &mut Roff) {
        roff.control("SH", [&self.title[..]]);
        for &(indent, line) in &self.lines {
            match (indent, line.split_once("  ")) {
                (2, Some((term, meaning))) => {
                    roff.control("TP", []);
                    roff.text([bold(term)]).text([roman(meaning.trim_start())]);
                }
                (2, None) if self.title == "SEE ALSO" => {
                    roff.text([roman(line)]);
                }
                (2, None) => {
                    roff.control("PP", []).text([roman(line)]);
                }
                (6, _) => {
                    roff.control("RS", ["4"]).control("EX", []).text([roman(line)]);
                    roff.control("EE", []).control("RE", []);
                }
                _ => {
                    roff.text([roman(line)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use rstest::rstest;

    use super::*;
    use crate::{PREFIX, command_lines};

    /// All commands, and the subcommands of each.
    fn walk(command: &Command, visit: &mut impl FnMut(&Command)) {
        visit(command);
        command.get_subcommands().for_each(|command| walk(command, visit));
    }

    #[rstest]
    fn every_page_has_every_section() {
        let needed = ["EXAMPLES", "EXIT STATUS", "SEE ALSO"];
        for command in &command_lines::all().map(built) {
            walk(command, &mut |command| {
                let text = |text: Option<&StyledStr>| text.unwrap_or(&"".into()).to_string();
                let [before, after] =
                    [command.get_before_help(), command.get_after_long_help()].map(text);
                let titles: Vec<_> =
                    [&before, &after].iter().flat_map(|text| sections(text)).collect();
                for needed in needed {
                    let has = titles.iter().any(|section| section.title == needed);
                    assert!(has, "{}: {needed}", command.get_name());
                }
            });
        }
    }

    /// Each example is a command that its program understands: a shell takes it apart.
    #[rstest]
    fn examples_are_understood() {
        let commands = command_lines::all().map(built);
        let mut examples = Vec::new();
        for command in &commands {
            walk(command, &mut |command| {
                let text = command.get_before_help().expect("examples").to_string();
                let lines = sections(&text).into_iter().flat_map(|section| section.lines);
                examples.extend(lines.filter(|line| line.0 == 6).map(|line| line.1.to_owned()));
            });
        }
        assert!(examples.len() > commands.len(), "{examples:?}");
        for example in examples {
            // Nothing else is run: what comes before and after in a pipe neither.
            let (_, rest) =
                example.split_once(PREFIX).unwrap_or_else(|| panic!("no program: {example}"));
            let own = rest.split([')', '|']).next().unwrap_or_default();
            let program = own.split(' ').next().unwrap_or_default();
            let script = format!("{program}() {{ printf '%s\\n' \"$@\"; }}; {own}");
            let split = Process::new("sh").args(["-c", &script]).output().unwrap();
            let split = String::from_utf8(split.stdout).unwrap();
            let name = format!("{PREFIX}{program}");
            let command = commands.iter().find(|command| command.get_name() == name).unwrap();
            let args = [&name[..]].into_iter().chain(split.lines());
            if let Err(error) = command.clone().try_get_matches_from(args) {
                panic!("{example}: {error}");
            }
        }
    }
}
