//! What a tool has found, and how it is reported to people and programs.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::Value;

use crate::violation::Violation;

/// Of those that are alike so many are named.
const NAMED_MAX: usize = 10;
/// Later in what is said come texts of submissions.
const CAUSE_MAX: usize = 80;

/// A promise that was broken, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// As an option takes it that plays it again; or a name, if there is no such option.
    pub(crate) point: String,
    #[serde(skip)]
    pub(crate) option: Option<&'static str>,
    /// Only those of one kind are taken for the same.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    #[serde(flatten)]
    pub(crate) violation: Violation,
}

/// What was broken, and what was not seen, so that the run proves less than it says.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// One is enough, and nobody looks into it.
    #[serde(skip)]
    is_brief: bool,
    violations: Vec<Finding>,
    blind: Vec<String>,
}

/// As programs read it.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    passed: bool,
    #[serde(flatten)]
    counts: Value,
    #[serde(flatten)]
    findings: &'a Findings,
}

impl Findings {
    /// Of a sabotaged build: one is enough, and nobody looks into it.
    pub(crate) fn brief() -> Self {
        Self { is_brief: true, ..Self::default() }
    }

    /// A promise was broken. Tells of it at once.
    pub(crate) fn add(&mut self, finding: Finding) {
        if self.is_brief {
            finding.violation.forget();
        } else {
            common::tell!(
                "VIOLATION at {}\n  {}\n{finding}",
                finding.point,
                finding.violation.what.trim_end()
            );
        }
        self.violations.push(finding);
    }

    /// A run failed although nothing was done to anyone.
    pub(crate) fn failed(&mut self, scenario: &str, violation: Violation) {
        let (point, kind) = (scenario.to_owned(), String::new());
        self.add(Finding { point, option: None, kind, violation });
    }

    /// This was not seen.
    pub(crate) fn blind(&mut self, what: impl Into<String>) {
        self.blind.push(what.into());
    }

    /// Whether more is to be played.
    pub(crate) fn go_on(&self) -> ControlFlow<()> {
        if self.is_brief && !self.violations.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// What was found first, in words.
    pub(crate) fn first(&self) -> Option<String> {
        let first = self.violations.first();
        first.map(|Finding { point, violation, .. }| format!("{point}: {}", violation.what))
    }

    /// Prints what was counted, and these: for people, or as JSON, if the counts are given so, too. Returns whether all
    /// is well. After Ctrl-C nothing was seen to its end: nothing is printed.
    pub(crate) fn conclude(&self, counts: &str, json: Option<Value>) -> Result<bool, String> {
        let passed = self.violations.is_empty() && self.blind.is_empty();
        if crate::is_interrupted() {
            return Ok(false);
        }
        if let Some(counts) = json {
            let report = Report { version: 1, passed, counts, findings: self };
            crate::print(&format!("{}\n", serde_json::json!(report)))?;
        } else {
            let verdict = if passed { "passed" } else { "FAILED" };
            crate::print(&format!("{counts}{self}{verdict}\n"))?;
        }
        Ok(passed)
    }

    /// By kind and by what went wrong; numbers in it, as of processes, make no difference.
    fn alike(&self) -> BTreeMap<(&str, String), Vec<&Finding>> {
        let mut alike: BTreeMap<_, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.violations {
            let first = finding.violation.what.lines().next().unwrap_or_default();
            let cause = first.chars().filter(|c| !c.is_ascii_digit()).take(CAUSE_MAX).collect();
            alike.entry((finding.kind.as_str(), cause)).or_default().push(finding);
        }
        alike
    }
}

/// How it can be had again, and where everything about it lies.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, option, violation, .. } = self;
        match option {
            Some(option) => write!(f, "  again: cargo xtask crash {option} {point}")?,
            None => write!(f, "  in {point}")?,
        }
        let mut kept = violation.kept.iter().map(|kept| kept.display());
        kept.try_for_each(|kept| write!(f, "\n  everything about it: {kept}"))
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, cause), findings) in self.alike() {
            let of = if kind.is_empty() { String::new() } else { format!(", {kind}") };
            writeln!(f, "VIOLATION, {} times{of}: {cause}", findings.len())?;
            findings.iter().take(NAMED_MAX).try_for_each(|finding| writeln!(f, "{finding}"))?;
            if let more @ 1.. = findings.len().saturating_sub(NAMED_MAX) {
                writeln!(f, "  and {more} more")?;
            }
        }
        self.blind.iter().try_for_each(|blind| writeln!(f, "BLIND: {blind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_how_it_is_had_again() {
        let mut findings = Findings::default();
        for what in ["process 17 hangs", "process 4 hangs\n"] {
            let (option, kind) = (Some("--replay"), "worker read".to_owned());
            let violation = what.to_owned().into();
            findings.add(Finding { point: "p".to_owned(), option, kind, violation });
        }
        findings.blind("nothing else");
        let again = "  again: cargo xtask crash --replay p\n";
        assert_eq!(
            findings.to_string(),
            format!(
                "VIOLATION, 2 times, worker read: process  hangs\n{again}{again}BLIND: nothing else\n"
            )
        );
        let report = Report {
            version: 1,
            passed: false,
            counts: serde_json::json!({ "rows": [] }),
            findings: &findings,
        };
        let json = serde_json::json!(report);
        assert_eq!(json["violations"][0]["what"], "process 17 hangs");
        assert_eq!(
            (&json["rows"], &json["blind"][0]),
            (&Value::Array(vec![]), &"nothing else".into())
        );
    }
}
