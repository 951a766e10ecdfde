//! What a job takes besides time: memory at most, and system calls per message, each by process.

use serde::Serialize;
use tests::Binaries;

use super::case::{Case, Shape};
use super::failure::Failure;
use super::tracer::{self, Seen};

/// The programs, in the order in which they are shown.
const PROGRAMS: [&str; 3] = ["client", "loadbalancer", "worker"];

/// The most that a process of a program had resident.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PeakMemory {
    pub(super) messages: u32,
    #[serde(flatten)]
    pub(super) shape: Shape,
    pub(super) workers: u32,
    pub(super) program: String,
    /// Of the process that had most, where there are several.
    pub(super) bytes: u64,
}

/// System calls of all processes of a program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SystemCalls {
    pub(super) messages: u32,
    pub(super) workers: u32,
    pub(super) program: String,
    /// From start to end.
    pub(super) calls: u64,
    /// Of a job of one message: what starting and ending takes.
    pub(super) calls_for_one: u64,
    /// What each further message took.
    pub(super) per_message: f64,
}

/// Runs each case at full speed, and stops each process at its very end to read its memory.
pub(super) fn memory(cases: &[Case], binaries: &Binaries) -> Result<Vec<PeakMemory>, Failure> {
    let mut peaks = Vec::new();
    for case in cases {
        let seen = tracer::run_job(case, binaries, false)?;
        peaks.extend(PROGRAMS.iter().map(|&program| PeakMemory {
            messages: case.messages,
            shape: case.shape,
            workers: case.workers.get(),
            program: program.to_owned(),
            bytes: of(program, &seen).map(|seen| seen.peak_bytes).max().unwrap_or(0),
        }));
    }
    Ok(peaks)
}

/// Runs a case with a stop at each system call. That makes calls slower than the work between them,
/// so processes wait for each other at other moments than they do at full speed.
pub(super) fn system_calls(case: &Case, binaries: &Binaries) -> Result<Vec<SystemCalls>, Failure> {
    let one = tracer::run_job(&Case { messages: 1, ..*case }, binaries, true)?;
    let all = tracer::run_job(case, binaries, true)?;
    let by_program = PROGRAMS.iter().map(|&program| {
        let sum = |seen| of(program, seen).map(|seen| seen.calls).sum::<u64>();
        let (calls, calls_for_one) = (sum(&all), sum(&one));
        // Counts of calls are far below 2^32.
        let further = u32::try_from(calls.saturating_sub(calls_for_one)).unwrap_or(u32::MAX);
        SystemCalls {
            messages: case.messages,
            workers: case.workers.get(),
            program: program.to_owned(),
            calls,
            calls_for_one,
            per_message: f64::from(further) / f64::from(case.messages.saturating_sub(1).max(1)),
        }
    });
    Ok(by_program.collect())
}

fn of<'a>(program: &str, seen: &'a [Seen]) -> impl Iterator<Item = &'a Seen> {
    seen.iter().filter(move |seen| seen.program == program)
}
