//! Everything that a run found out, as `--json` prints it.

use std::path::PathBuf;

use serde::Serialize;

use super::contest::CaseResult;
use super::goal::Goal;
use super::idle::Idle;
use super::latency::Latency;
use super::resources::{PeakMemory, SystemCalls};
use super::startup::Startup;
use super::watched::Watched;
use super::work::Work;

/// Of the JSON; raised when a field changes its meaning or goes.
pub(super) const VERSION: u32 = 2;

/// A section that was not asked for is left out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) machine: Machine,
    /// Those of `--programs`; else this workspace's release build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) programs: Option<PathBuf>,
    /// Measured rounds of each case; one more came before.
    pub(super) rounds: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) throughput: Option<Vec<CaseResult>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lines: Option<Vec<CaseResult>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Vec<PeakMemory>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system_calls: Option<Vec<SystemCalls>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle: Option<Vec<Idle>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) startup: Option<Startup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) watched: Option<Watched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) work: Option<Work>,
    pub(super) goals: Vec<Goal>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) kernel: String,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: kernel.trim_end().to_owned(),
        }
    }
}
