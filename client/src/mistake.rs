//! What somebody may have meant whose arguments are no submissions: mostly, a shell took the `;` or a space.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::grammar::submission::Submission;
use common::program::advice;

/// In bytes.
const TOLD_LEN_MAX: usize = 80;

/// An argument as it was typed, unless it is too long to be shown.
pub(crate) fn typed(argument: &OsStr) -> String {
    if argument.len() > TOLD_LEN_MAX {
        String::new()
    } else {
        format!(", {}", advice::word(argument))
    }
}

/// What to type instead, as the end of a message.
pub(crate) fn meant(arguments: &[OsString]) -> Option<String> {
    let client = |submission: &str| {
        // Else it would be an option.
        let end = if submission.starts_with('-') { "-- " } else { "" };
        let word = advice::word(submission.as_ref());
        advice::command("client", format_args!("{end}{word}"))
    };
    let texts: Vec<&str> =
        arguments.iter().map(|argument| argument.to_str()).collect::<Option<_>>()?;
    if let [one] = texts[..] {
        let file =
            || advice::command("client", format_args!("< {}", advice::word(OsStr::new(one))));
        if one == "-" {
            let read = advice::command("client", "< FILE");
            return Some(format!("without arguments it reads standard input: `{read}`"));
        }
        if Path::new(one).is_file() {
            return Some(format!("it is a file; to submit its lines: `{}`", file()));
        }
        if let Some((count, text)) = one.split_once(';')
            && is_submission(&format!("{text};{count}"))
        {
            return Some(format!("the text comes first: `{}`", client(&format!("{text};{count}"))));
        }
    }
    let all = texts.join(" ");
    if is_submission(&all) {
        return Some(format!("in quotes it is one: `{}`", client(&all)));
    }
    if texts.iter().any(|text| text.contains(';')) {
        return None;
    }
    // A shell takes what comes after `;` for the next command.
    let with_count = all.rsplit_once(' ').map(|(text, count)| format!("{text};{count}"));
    let guess = with_count.filter(|guess| is_submission(guess)).unwrap_or(format!("{all};1"));
    let is_one = is_submission(&guess);
    is_one
        .then(|| format!("a shell ends a command at `;`, so it needs quotes: `{}`", client(&guess)))
}

fn is_submission(line: &str) -> bool {
    Submission::parse(OsStr::new(line).as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["Halo", "A;10"], Some("`client 'Halo A;10'`"))]
    #[case(&["Halo", "A", "10"], Some("`client 'Halo A;10'`"))]
    #[case(&["Halo", "A"], Some("`client 'Halo A;1'`"))]
    #[case(&["10;Halo A"], Some("`client 'Halo A;10'`"))]
    #[case(&["-Halo", "A;10"], Some("`client -- '-Halo A;10'`"))]
    #[case(&["-"], Some("`client < FILE`"))]
    #[case(&["src/main.rs"], Some("`client < src/main.rs`"))]
    #[case(&["Halo A;0"], None)]
    #[case(&["a;1", "b;x"], None)]
    fn what_was_meant(#[case] arguments: &[&str], #[case] command: Option<&str>) {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        let said = meant(&arguments);
        match command {
            Some(command) => assert!(said.unwrap().ends_with(command)),
            None => assert_eq!(said, None),
        }
    }
}
