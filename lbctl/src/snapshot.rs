//! What a directory's instance is at one moment: who is there, and what its ledger, its queues and its files say.
//! Only looked at: no lock is taken, the ledger is attached read-only, and nothing is made or changed. As the
//! processes go on meanwhile, the numbers are of nearly the same moment, and each is right by itself.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::cell::HandState;
use common::cursors::Cursors;
use common::dead;
use common::error::Error;
use common::fence::message_queue::MessageQueue;
use common::fence::shared_memory;
use common::instance::{Directory, LOG_NAME};
use common::layout::RING_LEN;
use common::ledger::Ledger;
use common::naming::MessageId;
use common::role::{self, Present};
use common::rotation::{WorkerId, Workers};
use common::session;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// The version of the JSON that a snapshot is printed as.
pub const FORMAT_VERSION: u32 = 1;
/// The load balancer among those that hold roles, as [`role::of_lock`] numbers them.
const BALANCER: u32 = 0;

/// An instance as it was at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The directory, as it was named.
    pub directory: PathBuf,
    /// Bytes of the log; nothing: there is none.
    pub log_bytes: Option<u64>,
    /// The load balancer that runs.
    pub balancer: Option<Balancer>,
    /// Whether a client is there that may submit more.
    pub client_is_open: bool,
    /// The session that is not finished.
    pub session: Option<Session>,
    /// The session's workers, or those that wait for one.
    pub workers: Vec<Worker>,
}

/// A load balancer that runs.
#[derive(Clone, Debug, Serialize)]
pub struct Balancer {
    /// N.
    pub workers: u32,
    /// Nothing: it is another user's, or in another PID namespace.
    pub process: Option<Process>,
}

/// A process that runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// For how long, in seconds.
    pub seconds: f64,
}

/// A session that is not finished.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// 16 hexadecimal digits, with which `LB_ID` begins.
    pub id: String,
    /// When it began, or was read back from the log, in seconds since 1970.
    pub start: i64,
    /// N, once a load balancer has come.
    pub workers: Option<u32>,
    /// Nothing more is accepted in it.
    pub closing: bool,
    /// Submissions accepted.
    pub submissions: u64,
    /// Messages accepted: the sum of their counts.
    pub accepted: u64,
    /// Messages that the load balancer has received.
    pub received: u64,
    /// Messages executed, the dead ones included.
    pub executed: u64,
    /// Messages logged to their last line, but for those of the submission that is being logged.
    pub logged: u64,
    /// Messages whose execution failed for good.
    pub dead: u64,
    /// Accepted, and not executed.
    pub backlog: u64,
    /// Bytes of the ring that unfinished submissions take.
    pub ring_bytes: u64,
    /// Bytes that it has.
    pub ring_bytes_max: u64,
}

/// A worker.
#[derive(Clone, Debug, Serialize)]
pub struct Worker {
    /// Its number.
    pub worker: u32,
    /// Whether it runs.
    pub alive: bool,
    /// Nothing: it does not run, is another user's, or in another PID namespace.
    pub process: Option<Process>,
    /// Messages that it has executed in this session.
    pub executed: u64,
    /// Messages of its share that it has not executed.
    pub backlog: u64,
    /// The message that it has begun and not finished.
    pub in_hand: Option<InHand>,
    /// Its message queue.
    pub queue: Option<Queue>,
}

/// A message that a worker with a COMMAND has in hand.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InHand {
    /// What `LB_ID` is.
    pub id: MessageId,
    /// Which attempt it is in.
    pub attempt: u32,
    /// For how long, in seconds.
    pub seconds: f64,
    /// `running`; `pausing` before the next attempt; `left` by a worker that died.
    pub state: HandState,
    /// How many attempts have failed.
    pub failures: u16,
}

/// A message queue.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Queue {
    /// Its id.
    pub id: i32,
    /// Frames in it, each of several messages.
    pub frames: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes that it takes.
    pub bytes_max: u64,
}

/// Looks at one directory, again and again.
pub struct Onlooker {
    directory: Directory,
    log: Option<File>,
    ledger: Option<Ledger>,
    /// Who was found to have which role.
    pids: HashMap<u32, i32>,
    /// The session whose letters were counted, how many, and from where in the file on to look for more.
    letters: (u64, u64, u64),
}

impl Onlooker {
    /// Looks at this directory.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let directory = Directory::open(path)?;
        Ok(Self { directory, log: None, ledger: None, pids: HashMap::new(), letters: (0, 0, 0) })
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
        let at = self.ledger.as_ref().map(Ledger::cursors).transpose()?;
        let workers = at.and_then(|at| at.workers());
        let present =
            self.log.as_ref().map(|log| Present::of(log, workers.map_or(0, Workers::get)));
        let present = present.transpose()?.unwrap_or_default();
        self.find_processes(&present);
        let session = match (&self.ledger, &at) {
            (Some(ledger), Some(at)) => Some((ledger.session(), Session::of(ledger, at))),
            _ => None,
        };
        let session = session.map(|(id, session)| self.count_letters(id, session)).transpose()?;
        let most = workers.or(present.balancer).map_or(0, Workers::get);
        let ids = WorkerId::all().filter(|k| k.get() <= most || present.workers.contains(k));
        Ok(Snapshot {
            version: FORMAT_VERSION,
            directory: self.directory.path().to_owned(),
            log_bytes: self.log.as_ref().and_then(|log| Some(log.metadata().ok()?.len())),
            balancer: present.balancer.map(|workers| Balancer {
                workers: workers.get(),
                process: self.process(BALANCER),
            }),
            client_is_open: present.is_fed,
            session,
            workers: ids.map(|k| self.worker(k, &present, at.as_ref())).collect(),
        })
    }

    fn open_log(&mut self) -> Result<(), Error> {
        let path = self.directory.path().join(LOG_NAME);
        let now = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(Error::Log)?),
        };
        let id = |log: &fs::Metadata| (log.dev(), log.ino());
        let open = self.log.as_ref().and_then(|log| log.metadata().ok());
        if open.as_ref().map(id) != now.as_ref().map(id) {
            self.log = now.map(|_| File::open(&path)).transpose().map_err(Error::Log)?;
        }
        Ok(())
    }

    /// Keeps the ledger that is attached, as long as there is no other one.
    fn find_ledger(&mut self) -> Result<(), Error> {
        let is_there = match &self.ledger {
            Some(ledger) => !ledger.is_removed()?,
            None => false,
        };
        if !is_there {
            self.ledger = session::find_to_look(&self.directory)?.filter(Ledger::is_published);
        }
        Ok(())
    }

    /// Finds out who has the roles, unless that is known.
    fn find_processes(&mut self, present: &Present) {
        let Some(log) = self.log.as_ref().and_then(|log| log.metadata().ok()) else { return };
        let roles: Vec<u32> = present
            .workers
            .iter()
            .map(|worker| worker.get())
            .chain(present.balancer.map(|_| BALANCER))
            .collect();
        self.pids
            .retain(|role, pid| roles.contains(role) && roles_of(*pid, log.ino()).contains(role));
        if roles.iter().any(|role| !self.pids.contains_key(role)) {
            for pid in fs::read_dir("/proc")
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            {
                self.pids.extend(roles_of(pid, log.ino()).into_iter().map(|role| (role, pid)));
            }
        }
    }

    fn process(&self, role: u32) -> Option<Process> {
        let pid = *self.pids.get(&role)?;
        Some(Process { pid, seconds: age(pid)? })
    }

    /// Adds the session's dead messages.
    fn count_letters(&mut self, id: u64, mut session: Session) -> Result<Session, Error> {
        let (mut dead, from) = match self.letters {
            (of, dead, from) if of == id => (dead, from),
            _ => (0, 0),
        };
        let end = dead::of_session(&self.directory, id, from, |_| dead += 1)?;
        self.letters = (id, dead, end);
        session.dead = dead;
        Ok(session)
    }

    fn worker(&self, k: WorkerId, present: &Present, at: Option<&Cursors>) -> Worker {
        let cell = self.ledger.as_ref().map(|ledger| (ledger, ledger.cell(k)));
        let executed = cell.map_or(0, |(_, cell)| cell.executed());
        let share = at.and_then(|at| Some(at.workers()?.share(k, at.messages))).unwrap_or(0);
        let queue = cell.map(|(_, cell)| cell.queue().1).filter(|&id| id >= 0).and_then(|id| {
            let stat = MessageQueue(id).stat().ok()?;
            let (frames, bytes, bytes_max) = (stat.messages, stat.bytes, stat.bytes_max);
            Some(Queue { id, frames, bytes, bytes_max })
        });
        let in_hand = cell.and_then(|(ledger, cell)| {
            let hand = cell.in_hand(executed)?;
            let workers = at?.workers()?;
            let since = UNIX_EPOCH + Duration::from_millis(hand.since_ms);
            let since = SystemTime::now().duration_since(since).unwrap_or_default();
            Some(InHand {
                id: MessageId {
                    session: ledger.session(),
                    message: workers.message_of(k, executed),
                },
                attempt: hand.attempt,
                seconds: since.as_secs_f64(),
                state: hand.state,
                failures: hand.failures,
            })
        });
        Worker {
            worker: k.get(),
            alive: present.workers.contains(&k),
            process: self.process(k.get()),
            executed,
            backlog: share.saturating_sub(executed),
            in_hand,
            queue,
        }
    }
}

impl Session {
    fn of(ledger: &Ledger, at: &Cursors) -> Self {
        let cells = |workers: Workers| {
            workers.ids().map(|k| ledger.cell(k).executed()).fold(0, u64::saturating_add)
        };
        let executed = at.workers().map_or(0, cells).min(at.messages);
        Self {
            id: format!("{:016x}", ledger.session()),
            start: shared_memory::stat(ledger.segment_id()).map_or(0, |stat| stat.made),
            workers: at.workers().map(Workers::get),
            closing: at.is_closing(),
            submissions: at.submissions,
            accepted: at.messages,
            received: ledger.received().min(at.messages),
            executed,
            logged: at.base,
            dead: 0,
            backlog: at.messages - executed,
            ring_bytes: at.tail - at.head,
            ring_bytes_max: RING_LEN,
        }
    }
}

/// For how long a process has been running, in seconds (`proc_pid_stat(5)`, `proc_uptime(5)`).
fn age(pid: i32) -> Option<f64> {
    /// Fields between the name, which is in parentheses, and the time of the start.
    const BEFORE_START: usize = 19;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let started: f64 = stat.rsplit_once(") ")?.1.split(' ').nth(BEFORE_START)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    Some((uptime - started / ticks_per_second as f64).max(0.0))
}

/// The roles that a process has in the log with this inode.
fn roles_of(pid: i32, inode: u64) -> Vec<u32> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
    texts
        .flat_map(|text| {
            text.lines().filter_map(|line| role::of_lock(line, inode)).collect::<Vec<_>>()
        })
        .collect()
}
