//! What the stream says. It is a function of the entries in their order, so every host knows the same; what contradicts
//! the entries before it is passed over, on every host alike.

use std::collections::{HashMap, VecDeque};

use common::dead::Letter;
use common::error::{Error, exit};
use common::grammar::rotation::{WORKERS_MAX, WorkerId, Workers};
use common::grammar::submission::Submission;
use common::ledger::record::Record;
use common::log::render::Records;

use crate::engine::Entry;
use crate::entry::{self, Config, Dead, End, Lines, Run, SessionNumber, Subject};

/// Whoever has written nothing for so long, by the stream's clock, may be gone: a client that feeds, or the holder of a
/// number whose messages wait.
pub(crate) const SILENCE_MS: u64 = 15_000;

/// The stream's clock goes no further from one entry to the next: else whoever writes first after an outage of the servers
/// would find all others silent, and a leader whose clock is ahead would, too.
pub(crate) const STEP_MAX_MS: u64 = 5_000;
/// Names are shown on terminals.
const NAME_LEN_MAX: usize = 100;

fn is_graphic(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

/// More clients that feed are looked through for those that are silent.
const FEEDING_MAX: usize = 1024;

/// What an entry changed.
#[derive(Debug)]
pub(crate) enum Change {
    /// Nothing that is to be seen in a log. It may be that it is none of ours.
    Nothing,
    /// There are so many more records.
    Submitted(usize),
    /// N is known.
    Configured,
    /// More is executed.
    Executed,
    /// A message is dead.
    Died(Letter),
    /// The session has ended. The next one begins with the next submission.
    Ended(Workers),
}

/// Who has a worker's number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holder {
    /// The last entry of `run.K`, and of `dead.K`.
    pub(crate) run_at: u64,
    pub(crate) dead_at: u64,
    /// When the holder last wrote there.
    pub(crate) time_ms: u64,
    pub(crate) generation: u64,
    pub(crate) name: Option<String>,
    life: u64,
    /// In this session.
    pub(crate) executed: u64,
    /// There is a letter for the message after these.
    pub(crate) has_letter: bool,
    /// Since when messages wait for this number: nobody had to write before.
    pub(crate) due_ms: u64,
}

/// One session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) number: Option<SessionNumber>,
    pub(crate) workers: Option<Workers>,
    pub(crate) submissions: u64,
    pub(crate) messages: u64,
    pub(crate) dead: u64,
    /// Submissions that somebody may still want to read.
    records: VecDeque<Stored>,
    /// Where the next one comes.
    pub(crate) tail: u64,
}

/// A record, as the renderer knows it: by a place.
#[derive(Debug)]
struct Stored {
    at: u64,
    base: u64,
    record: Record,
}

#[derive(Debug)]
pub(crate) struct State {
    /// The number of the entry that comes next.
    pub(crate) next: u64,
    /// The stream's clock, and when the newest entry was written.
    pub(crate) now_ms: u64,
    time_ms: u64,
    /// The last entry of `cfg`, and the one that ended the session before.
    pub(crate) config_at: u64,
    pub(crate) ended_at: u64,
    pub(crate) session: Session,
    holders: Vec<Holder>,
    /// Clients that have said that more is to come, and when.
    feeding: HashMap<String, u64>,
    /// Entries that were passed over.
    pub(crate) ignored: u64,
}

impl State {
    /// Before the first entry.
    pub(crate) fn new() -> Self {
        Self {
            next: 1,
            now_ms: 0,
            time_ms: 0,
            config_at: 0,
            ended_at: 0,
            session: Session::default(),
            holders: vec![Holder::default(); WORKERS_MAX as usize],
            feeding: HashMap::new(),
            ignored: 0,
        }
    }

    /// Who has this number.
    pub(crate) fn holder(&self, worker: WorkerId) -> &Holder {
        &self.holders[worker.index()]
    }

    /// Takes the next entry.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Change {
        debug_assert_eq!(entry.sequence, self.next, "entries follow each other");
        self.next = entry.sequence + 1;
        self.now_ms += entry.time_ms.saturating_sub(self.time_ms).min(STEP_MAX_MS);
        self.time_ms = entry.time_ms;
        let change = match &entry.subject {
            Subject::Config => {
                self.config_at = entry.sequence;
                self.configure(&entry.payload)
            }
            Subject::In(run) => self.submit(run, &entry.payload),
            Subject::Run(worker) => {
                self.holders[worker.index()].run_at = entry.sequence;
                self.run(*worker, &entry.payload)
            }
            Subject::Dead(worker) => {
                self.holders[worker.index()].dead_at = entry.sequence;
                self.die(*worker, &entry.payload)
            }
            Subject::End => self.end(entry.sequence, &entry.payload),
            Subject::Other(_) => None,
        };
        change.unwrap_or_else(|| {
            self.ignored += 1;
            Change::Nothing
        })
    }

    fn configure(&mut self, payload: &[u8]) -> Option<Change> {
        let config: Config = entry::read(payload)?;
        let workers = config.workers().filter(|_| config.after == self.ended_at)?;
        if self.session.workers.is_some() {
            // The same again only asks for the time.
            let is_same = self.session.number == Some(config.session);
            return is_same.then_some(Change::Nothing);
        }
        self.session.number = Some(config.session);
        self.session.workers = Some(workers);
        let now_ms = self.now_ms;
        workers.ids().for_each(|worker| self.holders[worker.index()].due_ms = now_ms);
        Some(Change::Configured)
    }

    fn submit(&mut self, run: &str, payload: &[u8]) -> Option<Change> {
        let Lines { more, submissions } = Lines::read(payload)?;
        if more {
            // Those that are silent are not waited for; most have died.
            if self.feeding.len() >= FEEDING_MAX {
                let now_ms = self.now_ms;
                self.feeding.retain(|_, time_ms| now_ms < *time_ms + SILENCE_MS);
            }
            self.feeding.insert(run.to_owned(), self.now_ms);
        } else {
            self.feeding.remove(run);
        }
        let before = self.session.messages;
        let mut added = 0;
        let mut record = Record::default();
        for submission in &submissions {
            if !record.push(submission) {
                added += self.session.store(std::mem::take(&mut record));
                record.push(submission); // any fits into an empty one
            }
        }
        if record.submissions() > 0 {
            added += self.session.store(record);
        }
        self.session.submissions += submissions.len() as u64;
        if let Some(workers) = self.session.workers {
            let (messages, now_ms) = (self.session.messages, self.now_ms);
            for worker in workers.ids() {
                let holder = &mut self.holders[worker.index()];
                let had_none = holder.executed == workers.share(worker, before);
                if had_none && workers.share(worker, messages) > holder.executed {
                    holder.due_ms = now_ms;
                }
            }
        }
        Some(if added > 0 { Change::Submitted(added) } else { Change::Nothing })
    }

    fn run(&mut self, worker: WorkerId, payload: &[u8]) -> Option<Change> {
        let run: Run = entry::read(payload)?;
        let is_this_session = run.session.is_some() && run.session == self.session.number;
        let executed_before = self.holder(worker).executed;
        let share = self.session.workers.map_or(0, |it| it.share(worker, self.session.messages));
        let now_ms = self.now_ms;
        let holder = &mut self.holders[worker.index()];
        if run.generation == holder.generation.checked_add(1)? {
            // It changes hands; what was executed stays.
            let is_name =
                |name: &String| name.len() <= NAME_LEN_MAX && name.bytes().all(is_graphic);
            if !run.holder.as_ref().is_none_or(is_name) {
                return None;
            }
            holder.generation = run.generation;
            holder.name = run.holder;
            holder.life = run.life;
            holder.time_ms = now_ms;
            return Some(Change::Nothing);
        }
        let is_holders = run.generation == holder.generation
            && run.holder.is_some()
            && run.holder == holder.name
            && run.life == holder.life;
        if !is_holders {
            return None;
        }
        holder.time_ms = now_ms;
        if !is_this_session || run.executed == executed_before {
            return Some(Change::Nothing); // it lives
        }
        if !(executed_before..=share).contains(&run.executed) {
            return None;
        }
        holder.executed = run.executed;
        holder.has_letter = false;
        Some(Change::Executed)
    }

    fn die(&mut self, worker: WorkerId, payload: &[u8]) -> Option<Change> {
        let Dead { session, generation, letter } = entry::read(payload)?;
        let workers = self.session.workers?;
        let (number, messages) = (self.session.number, self.session.messages);
        let now_ms = self.now_ms;
        let holder = &mut self.holders[worker.index()];
        let is_next = holder.executed < workers.share(worker, messages)
            && letter.id.message == workers.message_of(worker, holder.executed);
        let is_its_own = number == Some(session)
            && letter.id.session == session.0
            && letter.worker == worker.get()
            && holder.generation == generation
            && holder.name.is_some();
        if !is_next || !is_its_own || holder.has_letter {
            return None;
        }
        holder.has_letter = true;
        holder.time_ms = now_ms;
        self.session.dead += 1;
        Some(Change::Died(letter))
    }

    fn end(&mut self, sequence: u64, payload: &[u8]) -> Option<Change> {
        let end: End = entry::read(payload)?;
        let workers = self.session.workers?;
        let is_this = self.session.number == Some(end.session) && end.totals == self.totals();
        if !is_this || !self.is_all_executed() {
            return None;
        }
        self.ended_at = sequence;
        self.session = Session::default();
        for holder in &mut self.holders {
            holder.executed = 0;
            holder.has_letter = false;
        }
        Some(Change::Ended(workers))
    }

    /// The totals, as they are if nothing comes any more.
    pub(crate) fn totals(&self) -> Vec<u64> {
        let workers = self.session.workers.into_iter().flat_map(Workers::ids);
        workers.map(|worker| self.holder(worker).executed).collect()
    }

    /// Messages of the session before this one are executed.
    pub(crate) fn frontier(&self) -> u64 {
        let Some(workers) = self.session.workers else { return 0 };
        let next = |worker| workers.message_of(worker, self.holder(worker).executed);
        workers.ids().map(next).min().unwrap_or(0).min(self.session.messages)
    }

    /// Messages executed, in whatever order.
    pub(crate) fn executed(&self) -> u64 {
        self.holders.iter().map(|holder| holder.executed).sum()
    }

    /// At least one was submitted, and all of them are executed.
    pub(crate) fn is_all_executed(&self) -> bool {
        self.session.messages > 0 && self.frontier() == self.session.messages
    }

    /// Whether messages wait for this worker.
    pub(crate) fn is_due(&self, worker: WorkerId) -> bool {
        let share = self.session.workers.map_or(0, |it| it.share(worker, self.session.messages));
        share > self.holder(worker).executed
    }

    /// Whether a client is likely to submit more.
    pub(crate) fn is_fed(&self) -> bool {
        self.feeding.values().any(|&time_ms| self.now_ms < time_ms + SILENCE_MS)
    }

    /// Whether this number's holder has written nothing for so long, although messages wait for him.
    pub(crate) fn is_silent(&self, worker: WorkerId) -> bool {
        let holder = self.holder(worker);
        self.is_due(worker) && self.now_ms >= holder.time_ms.max(holder.due_ms) + SILENCE_MS
    }
}

impl Session {
    fn store(&mut self, record: Record) -> usize {
        let (at, base) = (self.tail, self.messages);
        self.tail += record.ring_len();
        self.messages += record.messages();
        self.records.push_back(Stored { at, base, record });
        1
    }

    /// The newest records, so many.
    pub(crate) fn newest(&self, count: usize) -> impl Iterator<Item = &Record> {
        let first = self.records.len().saturating_sub(count);
        self.records.iter().skip(first).map(|stored| &stored.record)
    }

    /// Nobody wants to read messages before this one any more.
    pub(crate) fn forget_before(&mut self, message: u64) {
        let is_over = |stored: &Stored| stored.base + stored.record.messages() <= message;
        while self.records.front().is_some_and(is_over) {
            self.records.pop_front();
        }
    }

    /// The submission that a message belongs to, and the number of its first message.
    pub(crate) fn submission_of(&self, message: u64) -> Option<(u64, Submission<&str>)> {
        let after = self.records.partition_point(|stored| stored.base <= message);
        let stored = self.records.get(after.checked_sub(1)?)?;
        let within = message - stored.base;
        if within >= stored.record.messages() {
            return None;
        }
        let (first, submission) = stored.record.get(stored.record.index_of(within))?;
        Some((stored.base + first, submission))
    }
}

impl Records for Session {
    fn read_record(&self, at: u64, record: &mut Record) -> Result<(), Error> {
        let index = self.records.binary_search_by_key(&at, |stored| stored.at);
        let stored = index.ok().and_then(|index| self.records.get(index));
        let stored = stored.ok_or_else(|| self.damaged("a record is not where it was"))?;
        record.clone_from(&stored.record);
        Ok(())
    }

    fn damaged(&self, why: &'static str) -> Error {
        let what = format!("the session in the stream contradicts itself: {why}");
        Error::Own { what, code: exit::TROUBLE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::grammar::message_id::MessageId;
    use rstest::rstest;
    use serde_json::json;

    const SESSION: &str = "00000000000000ab";

    /// Two workers; `a;3` was submitted. Worker 1 is held by `x` in generation 2, and has executed one of its two.
    fn state() -> State {
        let mut state = State::new();
        for (subject, payload) in [
            ("in.c", "last\na;3\n".to_owned()),
            ("cfg", json!({"session": SESSION, "workers": 2, "after": 0}).to_string()),
            ("run.1", run(1, Some("w"), 0)),
            ("run.1", run(2, Some("x"), 0)),
            ("run.1", run(2, Some("x"), 1)),
        ] {
            apply(&mut state, subject, &payload);
        }
        assert_eq!((state.ignored, state.frontier()), (0, 1));
        state
    }

    fn apply(state: &mut State, subject: &str, payload: &str) -> Change {
        let (sequence, time_ms) = (state.next, state.time_ms);
        let (subject, payload) = (Subject::from(subject), payload.as_bytes().to_vec());
        state.apply(&Entry { sequence, time_ms, subject, payload })
    }

    fn run(generation: u64, holder: Option<&str>, executed: u64) -> String {
        let session = Some(SESSION.parse().unwrap());
        let holder = holder.map(str::to_owned);
        String::from_utf8(entry::write(&Run { session, generation, holder, life: 7, executed }))
            .unwrap()
    }

    fn dead(generation: u64, message: u64) -> String {
        let session: SessionNumber = SESSION.parse().unwrap();
        let letter = Letter {
            id: MessageId { session: session.0, message },
            text: "a".to_owned(),
            index: 1,
            worker: 1,
            attempts: 1,
            outcome: String::new(),
            stderr: String::new(),
            begun: String::new(),
            died: String::new(),
        };
        String::from_utf8(entry::write(&Dead { session, generation, letter })).unwrap()
    }

    /// What the one who holds the number may write counts …
    #[test]
    fn what_follows_counts() {
        let mut state = state();
        assert!(matches!(apply(&mut state, "dead.1", &dead(2, 2)), Change::Died(_)));
        assert!(matches!(apply(&mut state, "run.1", &run(2, Some("x"), 2)), Change::Executed));
        apply(&mut state, "run.2", &run(1, Some("y"), 0));
        apply(&mut state, "run.2", &run(1, Some("y"), 1));
        assert!(state.is_all_executed());
        let end = json!({"session": SESSION, "totals": [2, 1]}).to_string();
        assert!(matches!(apply(&mut state, "end", &end), Change::Ended(_)));
        assert_eq!((state.ignored, state.session.messages, state.ended_at), (0, 0, state.next - 1));
    }

    /// … and nothing else does, whoever writes it.
    #[rstest]
    #[case::an_older_generation("run.1", run(1, Some("x"), 2))]
    #[case::a_generation_left_out("run.1", run(4, Some("y"), 1))]
    #[case::another_holder("run.1", run(2, Some("y"), 2))]
    #[case::another_life("run.1", run(2, Some("x"), 2).replace("\"life\":7", "\"life\":8"))]
    #[case::a_name_that_drives_terminals("run.1", run(3, Some("\u{1b}[2J"), 1))]
    #[case::nobody("run.1", run(2, None, 2))]
    #[case::fewer_than_before("run.1", run(2, Some("x"), 0))]
    #[case::more_than_there_are("run.1", run(2, Some("x"), 3))]
    #[case::no_json("run.1", "{}".to_owned())]
    #[case::a_letter_of_an_older_generation("dead.1", dead(1, 2))]
    #[case::a_letter_that_is_not_the_next("dead.1", dead(2, 0))]
    #[case::a_letter_of_another_worker("dead.2", dead(2, 1))]
    #[case::another_n("cfg", json!({"session": "00000000000000ac", "workers": 3, "after": 0}).to_string())]
    #[case::an_end_before_all_is_executed("end", json!({"session": SESSION, "totals": [1, 0]}).to_string())]
    #[case::an_end_with_other_totals("end", json!({"session": SESSION, "totals": [2, 1]}).to_string())]
    #[case::a_forbidden_character("in.c", "more\na\u{7}b;1\n".to_owned())]
    #[case::another_subject("other", String::new())]
    fn what_contradicts_is_passed_over(#[case] subject: &str, #[case] payload: String) {
        let mut state = state();
        assert!(matches!(apply(&mut state, subject, &payload), Change::Nothing));
        let after = (state.ignored, state.frontier(), state.session.dead, state.session.messages);
        assert_eq!(after, (1, 1, 0, 3), "{payload}");
        let holder = state.holder(WorkerId::new(1_u32).unwrap());
        assert_eq!((holder.generation, holder.executed), (2, 1));
    }

    /// After an outage somebody writes first; and a leader's clock may be ahead.
    #[test]
    fn the_clock_goes_on_by_what_is_said_and_not_by_leaps() {
        let mut state = state();
        let worker = WorkerId::new(1_u32).unwrap();
        let mut at = |time_ms| {
            let (subject, payload) = (Subject::In("d".to_owned()), b"more\n".to_vec());
            state.apply(&Entry { sequence: state.next, time_ms, subject, payload });
            state.is_silent(worker)
        };
        assert!(!at(1_000_000_000));
        assert!(!at(1_000_004_000), "one leap, and 4 s");
        assert!(!at(5), "back");
        assert!(!at(5_000));
        assert!(at(10_000), "15 s in steps");
    }

    #[test]
    fn a_second_letter_and_a_late_configuration_are_passed_over() {
        let mut state = state();
        apply(&mut state, "dead.1", &dead(2, 2));
        assert!(matches!(apply(&mut state, "dead.1", &dead(2, 2)), Change::Nothing));
        assert_eq!((state.ignored, state.session.dead), (1, 1));
        apply(&mut state, "run.1", &run(2, Some("x"), 2));
        apply(&mut state, "run.2", &run(1, Some("y"), 0));
        apply(&mut state, "run.2", &run(1, Some("y"), 1));
        apply(&mut state, "end", &json!({"session": SESSION, "totals": [2, 1]}).to_string());
        let late = json!({"session": SESSION, "workers": 2, "after": 0}).to_string();
        apply(&mut state, "cfg", &late);
        assert_eq!((state.ignored, state.session.workers), (2, None));
    }
}
