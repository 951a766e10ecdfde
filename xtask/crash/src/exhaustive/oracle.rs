//! What the log must be in the end.

use common::grammar::rotation::Workers;
use tests::oracle::{difference, sessions_of, submissions};

use super::scenario::Scenario;

/// Knows it for one scenario.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// For one client: the bytes of an undisturbed run.
    exact: Option<String>,
    workers: Option<Workers>,
    submissions: Vec<String>,
}

impl Oracle {
    /// From the log of an undisturbed run, which must be right itself.
    pub(crate) fn new(scenario: &Scenario, undisturbed: &str) -> Result<Self, String> {
        let mut submissions: Vec<String> =
            scenario.submissions().map(ToString::to_string).collect();
        submissions.sort();
        let workers = Workers::new(scenario.workers).ok();
        let mut oracle = Self { exact: None, workers, submissions };
        oracle.judge(undisturbed)?;
        oracle.exact = (scenario.clients.len() == 1).then(|| undisturbed.to_owned());
        Ok(oracle)
    }

    /// Every submission exactly once, all in canonical order to the last total; and for one client
    /// byte for byte.
    pub(crate) fn judge(&self, log: &str) -> Result<(), String> {
        if let Some(exact) = &self.exact {
            let wrong = difference(log, exact);
            return wrong.map_or(Ok(()), |wrong| Err(format!("the log: {wrong}")));
        }
        sessions_of(log.as_bytes(), self.workers).map_err(|wrong| format!("the log: {wrong}"))?;
        let mut found = submissions(log);
        found.sort();
        if found == self.submissions {
            Ok(())
        } else {
            Err(format!("submissions {found:?} instead of {:?}", self.submissions))
        }
    }
}
