//! What the log must be in the end.

use common::grammar::rotation::Workers;
use tests::oracle::{difference, sessions_of, submissions};

use super::scenario::Scenario;

/// Knows it for one scenario.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) scenario: &'static Scenario,
    /// For one client: the bytes of an undisturbed run.
    exact: Option<String>,
}

impl Oracle {
    /// From the log of an undisturbed run, which must be right itself.
    pub(crate) fn new(scenario: &'static Scenario, undisturbed: String) -> Result<Self, String> {
        let oracle = Self { scenario, exact: None };
        oracle.judge(&undisturbed)?;
        Ok(Self { exact: (scenario.clients.len() == 1).then_some(undisturbed), ..oracle })
    }

    /// Every submission exactly once, all in canonical order to the last total; and for one client
    /// byte for byte.
    pub(crate) fn judge(&self, log: &str) -> Result<(), String> {
        if let Some(exact) = &self.exact {
            let wrong = difference(log, exact);
            return wrong.map_or(Ok(()), |wrong| Err(format!("the log: {wrong}")));
        }
        let workers = Workers::new(self.scenario.workers).ok();
        sessions_of(log.as_bytes(), workers).map_err(|wrong| format!("the log: {wrong}"))?;
        let mut expected: Vec<&str> = self.scenario.submissions().collect();
        expected.sort_unstable();
        let mut found = submissions(log);
        found.sort();
        if found == expected {
            Ok(())
        } else {
            Err(format!("submissions {found:?} instead of {expected:?}"))
        }
    }
}
