//! One schedule: who is there, who is killed when, and what comes of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::dead::Letter;
use common::error::Error;
use common::grammar::message_id::MessageId;
use common::grammar::rotation::{WorkerId, Workers};
use common::grammar::submission::Submission;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::balance::{Balancer, Order, Step};
use crate::entry::{SessionNumber, Subject};
use crate::hold::{self, Report, Take, ToKeep};
use crate::scribe::Paper;
use crate::shares::{Given, Shares};
use crate::submit::Submitter;

use super::facts::Facts;
use super::memory::{Memory, Weather, draw};
use super::verdict;

const HOSTS: u32 = 3;
const CLIENTS: u32 = 3;
/// A schedule that takes longer, by its own clock, goes nowhere.
const LIMIT: Duration = Duration::from_secs(3600);

type Shared<T> = Arc<Mutex<T>>;

pub(super) struct Play {
    rng: ChaCha8Rng,
    memory: Memory,
    workers: Workers,
    facts: Shared<Facts>,
    papers: Vec<Shared<(Vec<u8>, Vec<u8>)>>,
    /// The same of the balancer that ends the session.
    enders: Shared<(Vec<u8>, Vec<u8>)>,
}

/// A host's files, as they survive its balancers: what is written again must be what is there.
struct Files {
    kept: Shared<(Vec<u8>, Vec<u8>)>,
    at: (usize, usize),
    is_new: bool,
}

fn lock<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes, or compares with what is there. A kill may have left half of it.
fn lay(kept: &mut Vec<u8>, at: &mut usize, bytes: &[u8]) -> bool {
    let there = kept.len().min(*at + bytes.len()) - *at;
    assert_eq!(kept[*at..*at + there], bytes[..there], "another log than before, at {at}");
    kept.extend_from_slice(&bytes[there..]);
    *at += bytes.len();
    there < bytes.len()
}

impl Paper for Files {
    fn log(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.is_new = lay(&mut lock(&self.kept).0, &mut self.at.0, bytes);
        Ok(())
    }

    fn dead(&mut self, line: &[u8]) -> Result<(), Error> {
        lay(&mut lock(&self.kept).1, &mut self.at.1, line);
        Ok(())
    }

    fn is_new(&self) -> bool {
        self.is_new
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a process may be asked to end here")]
fn go_on() -> Result<(), Error> {
    Ok(())
}

impl Play {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let memory = Memory::new(rng.random(), weather);
        let workers = Workers::new(rng.random_range(1..=4_u32)).expect("in range");
        let papers = (0..HOSTS).map(|_| Shared::default()).collect();
        Self { rng, memory, workers, facts: Shared::default(), papers, enders: Shared::default() }
    }

    /// Plays it, and judges what came of it.
    pub(super) async fn run(mut self) -> Result<(), String> {
        let played = timeout(LIMIT, self.play()).await;
        let entries = self.memory.entries();
        let mut facts = std::mem::take(&mut *lock(&self.facts));
        let all = self.papers.iter().chain([&self.enders]);
        facts.logs = all.map(|paper| lock(paper).clone()).collect();
        let judged = match played {
            Err(_) => Err("it does not come to its end".to_owned()),
            Ok(()) => verdict::judge(&facts, &entries, self.workers),
        };
        judged.map_err(|why| {
            let shown: String = entries.iter().map(shown).collect();
            format!("{why}\n{shown}{}", String::from_utf8_lossy(&facts.logs[0].0))
        })
    }

    async fn play(&mut self) {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(self.client(client));
        }
        let mut running: Vec<Option<JoinHandle<()>>> = Vec::new();
        let roles = (HOSTS + 2 * self.workers.get()) as usize;
        running.resize_with(roles, || None);
        let kills = draw(&mut self.rng, 0..=12);
        for _ in 0..=kills {
            for (role, place) in running.iter_mut().enumerate() {
                if place.as_ref().is_none_or(JoinHandle::is_finished) {
                    *place = Some(self.start(role));
                }
            }
            sleep(Duration::from_millis(draw(&mut self.rng, 1..=8000))).await;
            // Several at once, as a host does.
            for place in &running {
                if draw(&mut self.rng, 0..=3) == 0
                    && let Some(running) = place
                {
                    running.abort();
                }
            }
            if draw(&mut self.rng, 0..=2) == 0 {
                let (host, ms) = (draw(&mut self.rng, 0..=2), draw(&mut self.rng, 0..=40_000));
                self.memory.cut(host as u32, Duration::from_millis(ms));
            }
            if draw(&mut self.rng, 0..=5) == 0 {
                clients.abort_all();
            }
            sleep(Duration::from_millis(draw(&mut self.rng, 0..=200))).await;
        }
        // Now the weather is as it is, but nobody dies any more.
        while clients.join_next().await.is_some() {}
        let (mut ending, mut quiet): (Option<JoinHandle<()>>, u32) = (None, 0);
        while ending.as_ref().is_none_or(|ending| !ending.is_finished()) {
            for (role, place) in running.iter_mut().enumerate() {
                if place.as_ref().is_none_or(JoinHandle::is_finished) {
                    *place = Some(self.start(role));
                }
            }
            let is_any =
                self.memory.entries().iter().any(|it| matches!(it.subject, Subject::In(_)));
            quiet += u32::from(!is_any);
            if quiet > 60 {
                return; // all clients were killed before they had said anything
            }
            if ending.is_none() {
                ending = Some(self.ender());
            }
            sleep(Duration::from_secs(1)).await;
        }
        // All hosts come as far as the one that ended the session.
        let is_behind = |play: &Self| {
            let first = lock(&play.enders).clone();
            play.papers.iter().any(|paper| lock(paper).0.len() < first.0.len())
        };
        while is_behind(self) {
            for (role, place) in running.iter_mut().enumerate().take(HOSTS as usize) {
                if place.as_ref().is_none_or(JoinHandle::is_finished) {
                    *place = Some(self.start(role));
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
        running.into_iter().flatten().for_each(|running| running.abort());
    }

    fn start(&mut self, role: usize) -> JoinHandle<()> {
        let role = role as u32;
        if role < HOSTS {
            return self.balancer(role);
        }
        let (k, which) = ((role - HOSTS) / 2 + 1, (role - HOSTS) % 2);
        self.worker(k, (k + which) % HOSTS)
    }

    /// One that writes its host's log.
    fn balancer(&self, host: u32) -> JoinHandle<()> {
        let order = Order { workers: self.workers, serve: true, take_over: true };
        let paper = Files { kept: self.papers[host as usize].clone(), at: (0, 0), is_new: false };
        let mut balancer = Balancer::new(self.memory.of_host(host), paper, order, go_on);
        tokio::spawn(async move { while balancer.step().await.is_ok() {} })
    }

    /// One that ends the session.
    fn ender(&self) -> JoinHandle<()> {
        let order = Order { workers: self.workers, serve: false, take_over: true };
        let paper = Files { kept: self.enders.clone(), at: (0, 0), is_new: false };
        let memory = self.memory.of_host(0);
        tokio::spawn(async move {
            let mut balancer = Balancer::new(memory, paper, order, go_on);
            while !matches!(balancer.step().await, Ok(Step::Ended(_)) | Err(_)) {}
        })
    }

    fn client(&mut self, client: u32) -> impl Future<Output = ()> + use<> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.rng.random());
        let (memory, facts) = (self.memory.of_host(client % HOSTS), self.facts.clone());
        async move {
            let run = format!("c{client}");
            let mut submitter = Submitter::new(memory, run, go_on);
            let rounds = draw(&mut rng, 1..=6);
            for round in 1..=rounds {
                let texts: Vec<(String, u32)> = (0..draw(&mut rng, 1..=4))
                    .map(|n| (format!("{client}.{round}.{n}"), draw(&mut rng, 1..=5) as u32))
                    .collect();
                lock(&facts).unknown.extend(texts.iter().cloned());
                let submissions: Vec<_> = texts
                    .iter()
                    .map(|(text, count)| Submission::new(text.as_bytes(), *count).expect("valid"))
                    .collect();
                let told = |accepted: &[Submission<&str>]| {
                    let mut facts = lock(&facts);
                    for submission in accepted {
                        let known = facts.unknown.remove_entry(submission.text());
                        facts.accepted.extend(known);
                    }
                    Ok(())
                };
                let outcome = submitter.submit(&submissions, round < rounds, told).await;
                if let Err(why) = outcome {
                    lock(&facts).wrong.push(why.to_string());
                    return;
                }
                sleep(Duration::from_millis(draw(&mut rng, 0..=3000))).await;
            }
        }
    }

    fn worker(&mut self, k: u32, host: u32) -> JoinHandle<()> {
        let worker = WorkerId::new(k).expect("in range");
        let rng = ChaCha8Rng::seed_from_u64(self.rng.random());
        let (memory, facts) = (self.memory.of_host(host), self.facts.clone());
        tokio::spawn(work(worker, host, memory, facts, rng))
    }
}

/// A holder whose messages take a random time, and of which one in twenty is given up.
async fn work(
    worker: WorkerId,
    host: u32,
    memory: Memory,
    facts: Shared<Facts>,
    mut rng: ChaCha8Rng,
) {
    let mut shares = Shares::new(memory.clone(), worker, go_on);
    let name = format!("host{host}");
    let Ok(Ok(held)) = shares.take(&name, Take::Silent).await else {
        sleep(Duration::from_secs(1)).await;
        return;
    };
    let since = held.since();
    let (report, reports) = watch::channel(Report::default());
    let (letter, letters) = mpsc::channel(1);
    let execute = execute(worker, shares, report, letter, facts, &mut rng, since);
    let holding = hold::hold(&memory, held, reports, letters, go_on);
    tokio::pin!(holding);
    tokio::select! {
        _ = &mut holding => {}
        () = execute => {}
    }
}

async fn execute(
    worker: WorkerId,
    mut shares: Shares<Memory>,
    report: watch::Sender<Report>,
    letters: mpsc::Sender<ToKeep>,
    facts: Shared<Facts>,
    rng: &mut impl Rng,
    since: u64,
) {
    while let Ok(given) = shares.next().await {
        match given {
            Given::Nothing => report.send_modify(|report| report.is_busy = false),
            Given::SessionEnded => {}
            Given::Executed(session, _, executed) => {
                report.send_replace(Report { session: Some(session), executed, is_busy: false });
            }
            Given::Share(share) => {
                for own in share.own..share.own + share.count {
                    report.send_modify(|report| report.is_busy = true);
                    let time = if draw(rng, 0..=50) == 0 { 20_000 } else { 300 };
                    sleep(Duration::from_millis(draw(rng, 0..=time))).await;
                    let message = share.workers.message_of(worker, own);
                    let name = (share.session.0, message);
                    lock(&facts).executed.insert((name, since));
                    if draw(rng, 0..=19) == 0 {
                        lock(&facts).given_up.insert(name);
                        keep(worker, share.session, message, &share.text, &letters).await;
                    }
                    let is_busy = own + 1 < share.own + share.count;
                    report.send_modify(|report| {
                        (report.executed, report.is_busy) = (own + 1, is_busy);
                    });
                }
            }
        }
    }
}

async fn keep(
    worker: WorkerId,
    session: SessionNumber,
    message: u64,
    text: &str,
    letters: &mpsc::Sender<ToKeep>,
) {
    let letter = Letter {
        id: MessageId { session: session.0, message },
        text: text.to_owned(),
        index: 1,
        worker: worker.get(),
        attempts: 1,
        outcome: "exit code 65".to_owned(),
        stderr: String::new(),
        begun: String::new(),
        died: String::new(),
    };
    let (kept, is_kept) = oneshot::channel();
    let _ = letters.send(ToKeep { session, letter, kept }).await;
    if is_kept.await.is_err() {
        std::future::pending::<()>().await; // the number is lost, and this holder ends
    }
}

fn shown(entry: &crate::engine::Entry) -> String {
    let payload = String::from_utf8_lossy(&entry.payload);
    let time = entry.time_ms % 10_000_000;
    format!("{} {time} {} {payload:?}\n", entry.sequence, entry.subject)
}
