//! Looks at a directory. Only looks: no lock is taken, the ledger is attached read-only, and nothing is made or
//! changed. As the processes go on meanwhile, the numbers are of nearly the same moment, and each is right by itself.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use common::dead;
use common::error::Error;
use common::fence::message_queue::MessageQueue;
use common::grammar::LOG_NAME;
use common::grammar::line::Line;
use common::grammar::message_id::MessageId;
use common::grammar::rotation::{WorkerId, Workers};
use common::instance::directory::{self, Directory};
use common::instance::log_file;
use common::instance::objects;
use common::instance::role::{self, Present};
use common::ledger::Ledger;
use common::ledger::cell::HandState;
use common::ledger::cursors::Cursors;
use common::ledger::ring::RING_LEN;
use common::queue;
use nix::fcntl::OFlag;
use rustix::io::Errno;

use super::processes::{BALANCER, Processes};
use super::{
    Balancer, FORMAT_VERSION, InHand, Process, Queue, Session, SessionState, Snapshot, State,
    Worker, ago,
};

/// A session's last line, one of its totals, is shorter.
const TOTAL_LEN_MAX: u64 = 64;

/// Looks at one directory, again and again.
#[derive(Debug)]
pub struct Onlooker {
    directory: Directory,
    log: Option<File>,
    /// The log before, where a load balancer that has just renamed it has its role until it has it in the other one.
    before: Option<File>,
    ledger: Option<Ledger>,
    processes: Processes,
    /// The session whose letters were counted, how many, and how far.
    letters: (u64, u64, dead::Place),
}

impl Onlooker {
    /// Looks at this directory.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let directory = Directory::open(path)?;
        let processes = Processes::default();
        Ok(Self {
            directory,
            log: None,
            before: None,
            ledger: None,
            processes,
            letters: Default::default(),
        })
    }

    /// The log, if there is one, as it was opened for the last look.
    #[must_use]
    pub fn log(&self) -> Option<&File> {
        self.log.as_ref()
    }

    /// Looks.
    pub fn look(&mut self) -> Result<Snapshot, Error> {
        self.open_log()?;
        self.find_ledger()?;
        let ends_inside = self.ledger.is_none() && self.log_ends_inside()?;
        if ends_inside {
            self.find_ledger()?; // it may have been made between the two looks
        }
        let at = self.ledger.as_ref().map(Ledger::cursors).transpose()?;
        let present = self.present(at.and_then(|at| at.workers()))?;
        let logs = [&self.log, &self.before].map(Option::as_ref);
        self.processes.find(&logs.into_iter().flatten().collect::<Vec<_>>(), &present);
        let session = match (&self.ledger, &at) {
            (Some(ledger), Some(at)) => Some((ledger.session(), Session::of(ledger, at)?)),
            _ => None,
        };
        let session = session.map(|(id, session)| self.count_letters(id, session)).transpose()?;
        let workers = self.workers(&present, at.as_ref());
        let state = match () {
            () if present.balancer.is_some() => State::Running,
            () if session.is_some() => State::Unfinished,
            () if ends_inside => State::LedgerMissing,
            () => State::Finished,
        };
        Ok(Snapshot {
            version: FORMAT_VERSION,
            directory: self.directory.path().to_owned(),
            state,
            log_bytes: self.log.as_ref().and_then(|log| Some(log.metadata().ok()?.len())),
            balancer: Balancer {
                workers: present.balancer.map(Workers::get),
                process: self.process(present.balancer.is_some(), BALANCER),
            },
            client_is_open: present.is_fed,
            session,
            workers,
        })
    }

    fn open_log(&mut self) -> Result<(), Error> {
        let path = self.directory.path().join(LOG_NAME);
        let id = |log: &fs::Metadata| (log.dev(), log.ino());
        let open_id = self.log.as_ref().and_then(|log| log.metadata().ok()).as_ref().map(id);
        loop {
            let now = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                found => Some(found.map_err(Error::Log)?),
            };
            if now.as_ref().is_some_and(|now| !now.is_file()) {
                let why = "is not a regular file; the log must be one".to_owned();
                return Err(Error::LogRefused { path, why });
            }
            if open_id == now.as_ref().map(id) {
                return Ok(());
            }
            if now.is_none() {
                self.log = None;
                return Ok(());
            }
            // It may be another one by now: one that makes who opens it wait, for example.
            let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
            match OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // just renamed
                Err(error) => {
                    return Err(match Errno::from_io_error(&error) {
                        Some(error) => log_file::not_opened(&self.directory, error),
                        None => Error::Log(error),
                    });
                }
                Ok(log) => {
                    self.log = Some(log);
                    return Ok(());
                }
            }
        }
    }

    /// Keeps the ledger that is attached, as long as there is no other one.
    fn find_ledger(&mut self) -> Result<(), Error> {
        let is_there = match &self.ledger {
            Some(ledger) => !ledger.is_removed()?,
            None => false,
        };
        if !is_there {
            self.ledger =
                objects::find_ledger_to_look(&self.directory)?.filter(Ledger::is_published);
        }
        Ok(())
    }

    /// Whether the log holds more than whole sessions, as far as its last line shows.
    fn log_ends_inside(&self) -> Result<bool, Error> {
        let Some(log) = &self.log else { return Ok(false) };
        let len = log.metadata().map_err(Error::Log)?.len();
        let mut end = vec![0; len.min(TOTAL_LEN_MAX) as usize];
        let from = len - end.len() as u64;
        let read = log.read_at(&mut end, from).map_err(Error::Log)?;
        let Some(lines) = end[..read].strip_suffix(b"\n") else { return Ok(read > 0) };
        let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        Ok(!matches!(Line::parse_bytes(last), Some(Line::Total { .. })))
    }

    fn present(&mut self, workers: Option<Workers>) -> Result<Present, Error> {
        let of =
            |log: &File| Present::of(log, self.directory.id(), workers.map_or(0, Workers::get));
        let look = || self.log.as_ref().map_or_else(|| Ok(Present::default()), of);
        let mut present = look()?;
        self.before = None;
        if present.balancer.is_none()
            && let Some(before) = log_file::last_set_aside(&self.directory)
        {
            present.balancer = role::balancer_in(&before)?;
            match present.balancer {
                Some(_) => self.before = Some(before),
                None => present = look()?, // it may have gone on between the two looks
            }
        }
        Ok(present)
    }

    fn process(&self, is_there: bool, role: u32) -> Process {
        if is_there { self.processes.of_role(role) } else { Process::NotRunning }
    }

    /// Adds the session's dead messages.
    fn count_letters(&mut self, id: u64, mut session: Session) -> Result<Session, Error> {
        if self.letters.0 != id {
            self.letters = (id, 0, dead::Place::default());
        }
        let (_, dead, place) = &mut self.letters;
        dead::of_session(&self.directory, id, place, |_| *dead += 1)?;
        session.dead = *dead;
        Ok(session)
    }

    fn workers(&self, present: &Present, at: Option<&Cursors>) -> Vec<Worker> {
        let most = at.and_then(Cursors::workers).or(present.balancer).map_or(0, Workers::get);
        let ids = WorkerId::all().filter(|k| k.get() <= most || present.workers.contains(k));
        ids.map(|k| self.worker(k, present, at)).collect()
    }

    fn worker(&self, k: WorkerId, present: &Present, at: Option<&Cursors>) -> Worker {
        let is_there = present.workers.contains(&k);
        let cell = self.ledger.as_ref().map(|ledger| (ledger, ledger.cell(k)));
        let executed = cell.map_or(0, |(_, cell)| cell.executed());
        let share = at.and_then(|at| Some(at.workers()?.share(k, at.messages))).unwrap_or(0);
        let queue = cell.map(|(_, cell)| cell.queue().1).filter(|&id| id >= 0).and_then(|id| {
            let mark = directory::mark(self.directory.id());
            let load = queue::load(MessageQueue(id), mark).ok()?;
            let (frames, bytes, bytes_max) = (load.messages, load.bytes, load.bytes_max);
            Some(Queue { id, frames, bytes, bytes_max })
        });
        let in_hand = cell.and_then(|(ledger, cell)| {
            let hand = cell.in_hand(executed)?;
            let message = at?.workers()?.message_of(k, executed);
            let (since, seconds) = ago(Duration::from_millis(hand.since_ms));
            Some(InHand {
                id: MessageId { session: ledger.session(), message },
                // Who was killed could not say that he has left it.
                state: if is_there { hand.state } else { HandState::Left },
                attempt: hand.attempt,
                since,
                seconds,
                failures: hand.failures,
            })
        });
        Worker {
            worker: k.get(),
            process: self.process(is_there, k.get()),
            executed,
            backlog: share.saturating_sub(executed),
            in_hand,
            queue,
        }
    }
}

impl Session {
    fn of(ledger: &Ledger, at: &Cursors) -> Result<Self, Error> {
        let cells = |workers: Workers| {
            workers.ids().map(|k| ledger.cell(k).executed()).fold(0, u64::saturating_add)
        };
        let executed = at.workers().map_or(0, cells).min(at.messages);
        let (since, seconds) = ago(Duration::from_micros(ledger.begun_us()));
        Ok(Self {
            id: format!("{:016x}", ledger.session()),
            state: if at.is_closing() { SessionState::Closing } else { SessionState::Open },
            since,
            seconds,
            workers: at.workers().map(Workers::get),
            submissions: at.submissions,
            accepted: at.messages,
            received: ledger.received().min(at.messages),
            executed,
            logged: logged(ledger, at)?.min(at.messages),
            dead: 0,
            backlog: at.messages - executed,
            ring_bytes: at.tail - at.head,
            ring_bytes_max: RING_LEN,
        })
    }
}

/// So many messages have their last line.
fn logged(ledger: &Ledger, at: &Cursors) -> Result<u64, Error> {
    if at.all_logged() {
        return Ok(at.base);
    }
    let count = ledger.peek_count(at.head, at.index);
    let now = ledger.cursors()?;
    // Else that was perhaps another submission's count; but then all of this one is logged.
    let is_its = (now.head, now.index) == (at.head, at.index);
    Ok(if is_its { at.base + at.line.saturating_sub(count) } else { now.base })
}
