//! `lbctl metrics`: what `lbctl status` shows, for Prometheus.

mod http;
mod textfile;

use std::io;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use common::error::{Error, report};
use common::program::advice;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::args::Metrics;
use crate::snapshot::{Onlooker, Session, Snapshot};
use crate::terminal::print;

/// Does what was asked for. Returns the exit code.
#[must_use]
pub fn run(args: &Metrics) -> ExitCode {
    advice::give(&args.dir, None);
    let run = || {
        let mut onlooker = Onlooker::new(&args.dir)?;
        if let Some(address) = args.listen {
            return http::serve(address, onlooker);
        }
        let text = text(&onlooker.look()?)?;
        match &args.textfile {
            Some(file) => textfile::write(file, &text),
            None => print(&text),
        }
    };
    report("lbctl", run().map(|()| 0))
}

/// All metrics of one moment.
fn text(snapshot: &Snapshot) -> Result<String, Error> {
    let registry = Registry::new();
    let filled = fill(&registry, snapshot).and_then(|()| {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
        Ok(text)
    });
    let text = filled.map_err(|error| Error::system("metrics")(io::Error::other(error)))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn fill(registry: &Registry, snapshot: &Snapshot) -> prometheus::Result<()> {
    let gauge = |name: &str, help: &str, value: f64| {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        register(registry, gauge)
    };
    let is_running = f64::from(u8::from(snapshot.balancer.process.is_there()));
    gauge("pipip_up", "Whether a load balancer runs.", is_running)?;
    let is_open = f64::from(u8::from(snapshot.client_is_open));
    gauge("pipip_client_open", "Whether a client is open that may submit more.", is_open)?;
    gauge("pipip_log_bytes", "Length of the log.", snapshot.log_bytes.unwrap_or(0) as f64)?;
    if let Some(session) = &snapshot.session {
        fill_session(registry, session)?;
        let backlog = "Messages that are accepted and not executed.";
        gauge("pipip_backlog_messages", backlog, session.backlog as f64)?;
        let ring = "Bytes that unfinished submissions take in the ledger.";
        gauge("pipip_ledger_used_bytes", ring, session.ring_bytes as f64)?;
        let ring = "Bytes that the ledger has for submissions.";
        gauge("pipip_ledger_capacity_bytes", ring, session.ring_bytes_max as f64)?;
        let help =
            "When the session began, or was read back from the log: its counters count from there.";
        let start = session.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge("pipip_session_start_timestamp_seconds", help, start.as_secs_f64())?;
    }
    fill_workers(registry, snapshot)
}

fn fill_session(registry: &Registry, session: &Session) -> prometheus::Result<()> {
    let counters = [
        ("pipip_submissions_total", "Submissions accepted in this session.", session.submissions),
        ("pipip_messages_accepted_total", "Messages accepted in this session.", session.accepted),
        (
            "pipip_messages_received_total",
            "Messages that the load balancer has received.",
            session.received,
        ),
        (
            "pipip_messages_executed_total",
            "Messages executed, the dead included.",
            session.executed,
        ),
        ("pipip_messages_logged_total", "Messages logged to their last line.", session.logged),
        ("pipip_messages_dead_total", "Messages whose execution failed for good.", session.dead),
    ];
    for (name, help, value) in counters {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        register(registry, counter)?;
    }
    Ok(())
}

fn fill_workers(registry: &Registry, snapshot: &Snapshot) -> prometheus::Result<()> {
    let gauges = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["worker"]);
    let up = gauges("pipip_worker_up", "Whether the worker runs.")?;
    let used = gauges("pipip_queue_used_bytes", "Bytes in the worker's message queue.")?;
    let most = gauges("pipip_queue_capacity_bytes", "Bytes that the message queue takes.")?;
    let attempt =
        gauges("pipip_in_hand_attempt", "Attempt of the message in hand; 0: there is none.")?;
    let age = gauges("pipip_in_hand_seconds", "For how long that attempt has been running.")?;
    let help = "Messages that the worker has executed in this session.";
    let executed = IntCounterVec::new(Opts::new("pipip_worker_executed_total", help), &["worker"])?;
    for worker in &snapshot.workers {
        let label = &[&worker.worker.to_string()[..]];
        up.with_label_values(label).set(f64::from(u8::from(worker.process.is_there())));
        if snapshot.session.is_some() {
            executed.with_label_values(label).inc_by(worker.executed);
        }
        if let Some(queue) = &worker.queue {
            used.with_label_values(label).set(queue.bytes as f64);
            most.with_label_values(label).set(queue.bytes_max as f64);
        }
        let hand = worker.in_hand.as_ref();
        attempt.with_label_values(label).set(hand.map_or(0.0, |hand| hand.attempt.into()));
        age.with_label_values(label).set(hand.map_or(0.0, |hand| hand.seconds));
    }
    [up, used, most, attempt, age].into_iter().try_for_each(|gauge| register(registry, gauge))?;
    register(registry, executed)
}

fn register(registry: &Registry, metric: impl Collector + 'static) -> prometheus::Result<()> {
    registry.register(Box::new(metric))
}
