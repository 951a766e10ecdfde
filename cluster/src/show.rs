//! What people look at, and act with: status, entries, and numbers that are given back.

use std::time::{Duration, UNIX_EPOCH};

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use common::error::{Error, exit, heed_signals};
use common::grammar::rotation::Workers;
use lbctl::terminal;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args;
use crate::connection::Connection;
use crate::engine::Batch;
use crate::entry::Subject;
use crate::hold::{self, Take, Taken};
use crate::nats::Nats;
use crate::put::{Waiting, read_on};
use crate::runtime;
use crate::state::State;

/// The version of what `--json` prints.
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize)]
struct Status<'a> {
    version: u32,
    instance: &'a str,
    session: Option<String>,
    workers: Option<u32>,
    submissions: u64,
    accepted: u64,
    executed: u64,
    dead: u64,
    /// The last session has ended, and nothing was accepted since.
    ended: bool,
    entries: u64,
    ignored: u64,
    is_fed: bool,
    holders: Vec<Number>,
}

#[derive(Serialize)]
struct Number {
    worker: u32,
    holder: Option<String>,
    generation: u64,
    executed: u64,
    due: bool,
    /// Since its last word, by the stream's clock.
    silent_s: f64,
}

/// All entries that there are.
async fn read_all(
    nats: &Nats,
    mut each: impl FnMut(&Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut next, mut waiting) = (1, Waiting::default());
    loop {
        let batch = read_on(nats, next, Duration::ZERO, &mut waiting, heed_signals).await?;
        let Some(batch) = batch else { continue };
        next += batch.entries.len() as u64;
        each(&batch)?;
        if batch.is_all {
            return Ok(());
        }
    }
}

async fn state(connection: &Connection) -> Result<(Nats, State), Error> {
    let nats = connection.find(heed_signals).await?;
    let mut state = State::new();
    read_all(&nats, |batch| {
        for entry in &batch.entries {
            state.apply(entry);
            let frontier = state.frontier();
            state.session.forget_before(frontier);
        }
        Ok(())
    })
    .await?;
    Ok((nats, state))
}

pub(crate) fn status(args: &args::Status) -> Result<u8, Error> {
    let runtime = runtime::begin()?;
    let (_, state) = runtime.block_on(state(&args.connection))?;
    let session = &state.session;
    let held = (session.workers.into_iter().flat_map(Workers::ids)).map(|worker| {
        let holder = state.holder(worker);
        Number {
            worker: worker.get(),
            holder: holder.name.clone(),
            generation: holder.generation,
            executed: holder.executed,
            due: state.is_due(worker),
            silent_s: state.now_ms.saturating_sub(holder.time_ms) as f64 / 1000.0,
        }
    });
    let status = Status {
        version: FORMAT_VERSION,
        instance: &args.connection.instance,
        session: session.number.map(|number| number.to_string()),
        workers: session.workers.map(Workers::get),
        submissions: session.submissions,
        accepted: session.messages,
        executed: state.executed(),
        dead: session.dead,
        ended: state.ended_at > 0 && session.messages == 0,
        entries: state.next - 1,
        ignored: state.ignored,
        is_fed: state.is_fed(),
        holders: held.collect(),
    };
    if args.json {
        let json = serde_json::to_string(&status).unwrap_or_default();
        return terminal::print(&format!("{json}\n")).map(|()| 0);
    }
    terminal::print(&text(&status)).map(|()| 0)
}

fn text(status: &Status<'_>) -> String {
    let session = match (&status.session, status.workers) {
        (Some(session), Some(workers)) => format!("session {session}, {workers} workers"),
        _ if status.accepted > 0 => "no load balancer has come yet".to_owned(),
        _ if status.ended => "the last session has ended".to_owned(),
        _ => "nothing was submitted yet".to_owned(),
    };
    let mut text = format!(
        "{}: {session}\naccepted {} messages in {} submissions, executed {}, dead {}\n",
        status.instance, status.accepted, status.submissions, status.executed, status.dead
    );
    if status.holders.is_empty() {
        return text;
    }
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["worker", "holder", "generation", "executed", "waiting", "silent"]);
    for holder in &status.holders {
        table.add_row([
            holder.worker.to_string(),
            holder.holder.clone().unwrap_or_else(|| "nobody".to_owned()),
            holder.generation.to_string(),
            holder.executed.to_string(),
            if holder.due { "yes" } else { "no" }.to_owned(),
            format!("{:.1} s", holder.silent_s),
        ]);
    }
    for column in [0, 2, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    text += &table.to_string();
    text.push('\n');
    text
}

pub(crate) fn inspect(args: &args::Inspect) -> Result<u8, Error> {
    let runtime = runtime::begin()?;
    let all = async {
        let nats = args.connection.find(heed_signals).await?;
        read_all(&nats, |batch| {
            let mut text = String::new();
            for entry in &batch.entries {
                let payload = match &entry.subject {
                    Subject::In(_) | Subject::Other(_) => None,
                    _ => serde_json::from_slice(&entry.payload).ok(),
                };
                let payload = payload.unwrap_or_else(|| {
                    Value::String(String::from_utf8_lossy(&entry.payload).into_owned())
                });
                let time = UNIX_EPOCH + Duration::from_millis(entry.time_ms);
                let line = json!({
                    "seq": entry.sequence,
                    "time": humantime::format_rfc3339_millis(time).to_string(),
                    "subject": entry.subject.to_string(),
                    "payload": payload,
                });
                text.push_str(&line.to_string());
                text.push('\n');
            }
            terminal::print(&text)
        })
        .await
    };
    runtime.block_on(all).map(|()| 0)
}

pub(crate) fn release(args: &args::Release) -> Result<u8, Error> {
    let runtime = runtime::begin()?;
    let all = async {
        let (nats, state) = state(&args.connection).await?;
        for &worker in &args.workers {
            let Some(holder) = state.holder(worker).name.clone() else {
                common::note!("cluster: worker {worker} is held by nobody");
                continue;
            };
            match hold::take(&nats, &state, worker, None, Take::Any, heed_signals).await? {
                Ok(_) => common::note!("cluster: worker {worker} is free, no longer {holder}'s"),
                Err(Taken(by)) => {
                    let by = by.unwrap_or_else(|| "nobody".to_owned());
                    let what = format!(
                        "worker {worker} has just been written to, and is {by}'s: look again"
                    );
                    return Err(Error::Own { what, code: exit::TROUBLE });
                }
            }
        }
        Ok(0)
    };
    runtime.block_on(all)
}
