//! Who counted for which worker: within a generation one holder, and what is counted never decreases. So what an old
//! holder has done after it was taken over is counted by nobody but the new one.

use std::collections::BTreeMap;

use common::grammar::rotation::{WorkerId, Workers};
use serde::Deserialize;
use serde_json::Value;

use crate::stream::Entry;

/// What is said with `run.<k>`.
#[derive(Clone, Debug, Deserialize)]
struct Run {
    /// None: it was taken before there was a session.
    session: Option<String>,
    generation: u64,
    /// None: it was given back.
    holder: Option<String>,
    executed: u64,
}

#[derive(Deserialize)]
struct Configuration {
    session: String,
    workers: u32,
}

#[derive(Deserialize)]
struct End {
    session: String,
    totals: Vec<u64>,
}

/// What the stream says, entry by entry.
#[derive(Debug)]
pub(super) struct History {
    workers: Workers,
    session: Option<String>,
    /// What is begun after its end, and in which nothing is submitted.
    next: Option<String>,
    newest: BTreeMap<u32, Run>,
    totals: Option<Vec<u64>>,
    sequence: u64,
    taken_over: u64,
    problems: Vec<String>,
}

impl History {
    pub(super) fn new(workers: Workers) -> Self {
        Self {
            workers,
            session: None,
            next: None,
            newest: BTreeMap::new(),
            totals: None,
            sequence: 0,
            taken_over: 0,
            problems: Vec::new(),
        }
    }

    /// The next entry.
    pub(super) fn push(&mut self, entry: &Entry) {
        let Entry { seq, subject, payload } = entry;
        if *seq <= self.sequence {
            self.problems.push(format!("entry {seq} comes after {}", self.sequence));
        }
        self.sequence = *seq;
        let outcome = match subject.split_once('.') {
            None if subject == "cfg" => self.configure(payload),
            None if subject == "end" => self.end(payload),
            Some(("run", worker)) => self.run(worker, payload),
            Some(("in" | "dead", _)) => Ok(()),
            _ => Err("nobody writes such an entry".to_owned()),
        };
        if let Err(why) = outcome {
            self.problems.push(format!("entry {seq}, {subject}: {why}"));
        }
    }

    /// The session.
    pub(super) fn session(&self) -> Option<u64> {
        u64::from_str_radix(self.session.as_deref()?, 16).ok()
    }

    /// How often a worker's number had another holder than before.
    pub(super) fn taken_over(&self) -> u64 {
        self.taken_over
    }

    /// Everything that is wrong, in a session of so many messages.
    pub(super) fn finish(mut self, messages: u64) -> Vec<String> {
        let shares: Vec<u64> =
            self.workers.ids().map(|worker| self.workers.share(worker, messages)).collect();
        for (worker, share) in self.workers.ids().zip(&shares) {
            let executed = self.newest.get(&worker.get()).map_or(0, |run| run.executed);
            if executed != *share {
                let worker = worker.get();
                self.problems.push(format!(
                    "worker {worker}: {executed} messages are counted instead of {share}"
                ));
            }
        }
        match &self.totals {
            Some(totals) if *totals == shares => {}
            Some(totals) => {
                self.problems.push(format!("the totals are {totals:?}, not {shares:?}"));
            }
            None => self.problems.push("the session has no end".to_owned()),
        }
        self.problems
    }

    fn configure(&mut self, payload: &Value) -> Result<(), String> {
        let it: Configuration = parsed(payload)?;
        let place = if self.totals.is_some() { &mut self.next } else { &mut self.session };
        let begun = place.get_or_insert_with(|| it.session.clone());
        // The same again only asks the servers for the time.
        if *begun != it.session {
            return Err(format!("session {} begins inside of {begun}", it.session));
        }
        let workers = self.workers.get();
        if it.workers == workers { Ok(()) } else { Err(format!("not of {workers} workers")) }
    }

    fn end(&mut self, payload: &Value) -> Result<(), String> {
        let it: End = parsed(payload)?;
        self.is_of_session(&it.session)?;
        self.totals.replace(it.totals).map_or(Ok(()), |_| Err("there was one".to_owned()))
    }

    fn run(&mut self, worker: &str, payload: &Value) -> Result<(), String> {
        let number = worker.parse().ok().and_then(|number: u32| WorkerId::new(number).ok());
        let number = number.filter(|worker| worker.get() <= self.workers.get());
        let number = number.ok_or("there is no such worker")?.get();
        let mut run: Run = parsed(payload)?;
        let before_or_after = run.session.is_none() || run.session == self.next;
        if before_or_after && run.executed > 0 {
            return Err("something is counted outside of the session".to_owned());
        }
        if before_or_after {
            // The number has changed hands, no more.
            run.executed = self.newest.get(&number).map_or(0, |it| it.executed);
        } else if let Some(session) = &run.session {
            self.is_of_session(session)?;
        }
        if self.totals.is_some()
            && self.newest.get(&number).is_none_or(|it| it.executed < run.executed)
        {
            return Err("something is counted after the end".to_owned());
        }
        let Some(before) = self.newest.insert(number, run.clone()) else { return Ok(()) };
        let (old, new) = (before.generation, run.generation);
        if run.holder.is_some() && run.holder != before.holder {
            self.taken_over += 1;
        }
        if new < old {
            return Err(format!("generation {new} after {old}"));
        }
        if new > old + 1 {
            return Err(format!("generation {new} right after {old}"));
        }
        if new == old && run.holder.is_some() && run.holder != before.holder {
            let [was, is] = [before.holder, run.holder].map(Option::unwrap_or_default);
            return Err(format!("`{is}` holds generation {new}, and so did `{was}`"));
        }
        if new == old + 1 && run.executed != before.executed {
            return Err("whoever takes a number counts with that".to_owned());
        }
        if run.executed < before.executed {
            return Err(format!("{} messages are counted after {}", run.executed, before.executed));
        }
        Ok(())
    }

    fn is_of_session(&self, session: &str) -> Result<(), String> {
        if self.session.as_deref() == Some(session) {
            return Ok(());
        }
        Err(format!("it is of session {session}, which is not this one"))
    }
}

fn parsed<'a, T: Deserialize<'a>>(payload: &'a Value) -> Result<T, String> {
    T::deserialize(payload).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SESSION: &str = "00000000000000ab";

    fn run(worker: u32, generation: u64, holder: &str, executed: u64) -> (String, Value) {
        let holder = (!holder.is_empty()).then_some(holder);
        let payload = json!({
            "session": SESSION, "generation": generation, "holder": holder, "executed": executed,
        });
        (format!("run.{worker}"), payload)
    }

    /// A session of three messages and two workers, with these entries of worker 1.
    fn problems(of_worker_1: &[(String, Value)], totals: [u64; 2]) -> Vec<String> {
        let configuration = ("cfg".to_owned(), json!({"session": SESSION, "workers": 2}));
        let end = ("end".to_owned(), json!({"session": SESSION, "totals": totals}));
        let mut entries = vec![configuration, ("in.x".to_owned(), json!("last\na;3\n"))];
        entries.extend_from_slice(of_worker_1);
        entries.extend([run(2, 1, "b", 1), end]);
        let mut history = History::new(Workers::new(2).unwrap());
        for (seq, (subject, payload)) in (1..).zip(entries) {
            history.push(&Entry { seq, subject, payload });
        }
        assert_eq!(history.session(), Some(0xab));
        history.finish(3)
    }

    #[test]
    fn taking_over_and_giving_back_is_right() {
        let right = [
            run(1, 1, "a", 0),
            run(1, 1, "a", 1),
            run(1, 2, "b", 1),
            run(1, 2, "", 2),
            run(1, 3, "a", 2),
        ];
        assert_eq!(problems(&right, [2, 1]), [] as [&str; 0]);
    }

    #[test]
    fn whatever_breaks_a_generation_is_found() {
        let [a, b] = [run(1, 1, "a", 1), run(1, 2, "b", 1)];
        for wrong in [
            // A second holder in one generation, also after it was given back.
            [a.clone(), run(1, 1, "b", 2)],
            [run(1, 1, "", 1), run(1, 1, "b", 2)],
            // The old holder counts once more.
            [b.clone(), run(1, 1, "a", 2)],
            [a.clone(), run(1, 3, "b", 2)],
            // What was counted is taken back, or not all is counted.
            [run(1, 1, "a", 3), run(1, 1, "a", 2)],
            [a.clone(), run(1, 2, "b", 2)],
            [a.clone(), b.clone()],
            // It is of nobody.
            [run(1, 1, "a", 2), run(3, 1, "a", 0)],
            [run(1, 1, "a", 2), ("what".to_owned(), json!({}))],
            [run(1, 1, "a", 2), ("run.1".to_owned(), json!({"generation": 1}))],
        ] {
            assert_eq!(problems(&wrong, [2, 1]).len(), 1, "{wrong:?}");
        }
        assert_eq!(problems(&[a, run(1, 1, "a", 2)], [1, 2]).len(), 1);
    }

    #[test]
    fn the_next_session_is_none_of_its_affair() {
        let mut history = History::new(Workers::new(1).unwrap());
        let other = "00000000000000ac";
        let outside = |session: Option<&str>, executed: u64| json!({"session": session, "generation": 1, "holder": "a", "executed": executed});
        for (seq, (subject, payload)) in (1..).zip([
            ("run.1", outside(None, 0)),
            ("cfg", json!({"session": SESSION, "workers": 1})),
            ("cfg", json!({"session": SESSION, "workers": 1})),
            ("run.1", outside(Some(SESSION), 1)),
            ("end", json!({"session": SESSION, "totals": [1]})),
            ("cfg", json!({"session": other, "workers": 1})),
            ("run.1", outside(Some(other), 0)),
        ]) {
            history.push(&Entry { seq, subject: subject.to_owned(), payload });
        }
        assert_eq!(history.problems, [] as [&str; 0]);
        let payload = outside(Some(other), 1);
        history.push(&Entry { seq: 9, subject: "run.1".to_owned(), payload });
        assert_eq!(history.finish(1).len(), 1);
    }

    #[test]
    fn a_session_without_an_end_is_found() {
        let mut history = History::new(Workers::new(1).unwrap());
        let payload = json!({"session": SESSION, "workers": 1});
        history.push(&Entry { seq: 1, subject: "cfg".to_owned(), payload });
        assert_eq!(history.finish(0), ["the session has no end"]);
    }

    #[test]
    fn what_is_counted_after_the_end_is_found() {
        let mut history = History::new(Workers::new(1).unwrap());
        for (seq, subject, payload) in [
            (1, "cfg".to_owned(), json!({"session": SESSION, "workers": 1})),
            (2, "end".to_owned(), json!({"session": SESSION, "totals": [1]})),
            (3, run(1, 1, "a", 1).0, run(1, 1, "a", 1).1),
        ] {
            history.push(&Entry { seq, subject, payload });
        }
        assert!(history.finish(1)[0].ends_with("after the end"));
    }
}
