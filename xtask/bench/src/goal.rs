//! A goal beside what was measured.

use serde::Serialize;

/// One goal.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Goal {
    pub(super) what: String,
    /// `at least` or `at most` a number, with its unit.
    pub(super) wanted: String,
    pub(super) measured: f64,
    /// Nothing when it cannot be judged, since other programs kept the machine busy.
    pub(super) met: Option<bool>,
}

impl Goal {
    pub(super) fn at_least(what: impl Into<String>, least: f64, unit: &str, measured: f64) -> Self {
        let wanted = format!("at least {least}{unit}");
        Self { what: what.into(), wanted, measured, met: Some(measured >= least) }
    }

    pub(super) fn at_most(what: impl Into<String>, most: f64, unit: &str, measured: f64) -> Self {
        let wanted = format!("at most {most}{unit}");
        Self { what: what.into(), wanted, measured, met: Some(measured <= most) }
    }

    /// The measurement says nothing if it was disturbed.
    pub(super) fn unless(self, disturbed: bool) -> Self {
        Self { met: self.met.filter(|_| !disturbed), ..self }
    }
}
