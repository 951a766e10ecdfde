//! A stream in memory that behaves as badly as servers and networks may, and no worse: what was appended stays, in one
//! order, and an expectation is judged when it is appended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::error::Error;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

use crate::engine::{Appended, Batch, Engine, Entry, Expected};
use crate::entry::Subject;

/// So long a call waits for its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Where the stream's clock begins.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a hundred calls: never arrive; arrive only after their caller has given up; are done, and their answer is lost;
    /// are answered by somebody who does not know the newest entries.
    pub(super) lost: u32,
    pub(super) late: u32,
    pub(super) unanswered: u32,
    pub(super) stale: u32,
    pub(super) delay_max_ms: u64,
}

#[derive(Debug)]
struct Stream {
    entries: Vec<Entry>,
    last: HashMap<Subject, u64>,
    rng: ChaCha8Rng,
    begun: Instant,
    /// Hosts that reach nothing before then.
    cut: HashMap<u32, Instant>,
}

/// The stream as one host reaches it.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    stream: Arc<Mutex<Stream>>,
    host: u32,
    weather: Weather,
}

/// What becomes of a call.
enum Fate {
    Lost,
    Late,
    Unanswered,
    Stale,
    Fair,
}

impl Memory {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (entries, last, cut) = (Vec::new(), HashMap::new(), HashMap::new());
        let stream = Stream { entries, last, rng, begun: Instant::now(), cut };
        Self { stream: Arc::new(Mutex::new(stream)), host: 0, weather }
    }

    /// The same as another host reaches it.
    pub(super) fn of_host(&self, host: u32) -> Self {
        Self { host, ..self.clone() }
    }

    /// A host reaches nothing for so long.
    pub(super) fn cut(&self, host: u32, time: Duration) {
        self.lock().cut.insert(host, Instant::now() + time);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self) -> (Fate, Duration) {
        let mut stream = self.lock();
        let is_cut = stream.cut.get(&self.host).is_some_and(|&until| Instant::now() < until);
        let delay = Duration::from_millis(stream.rng.random_range(0..=self.weather.delay_max_ms));
        let drawn = stream.rng.random_range(0..100);
        let Weather { lost, late, unanswered, stale, .. } = self.weather;
        let fate = match drawn {
            _ if is_cut => Fate::Lost,
            d if d < lost => Fate::Lost,
            d if d < lost + late => Fate::Late,
            d if d < lost + late + unanswered => Fate::Unanswered,
            d if d < lost + late + unanswered + stale => Fate::Stale,
            _ => Fate::Fair,
        };
        (fate, delay)
    }

    fn append(&self, subject: &Subject, expected: Expected, payload: &[u8]) -> Appended {
        let mut stream = self.lock();
        let last = stream.entries.len() as u64;
        let is_met = match expected {
            Expected::Last(at) => at == last,
            Expected::LastOfSubject(at) => {
                at == stream.last.get(subject).copied().unwrap_or_default()
            }
        };
        if !is_met {
            return Appended::Refused;
        }
        let time_ms = EPOCH_MS + stream.begun.elapsed().as_millis() as u64;
        let (sequence, payload) = (last + 1, payload.to_vec());
        stream.last.insert(subject.clone(), sequence);
        stream.entries.push(Entry { sequence, time_ms, subject: subject.clone(), payload });
        Appended::At(sequence)
    }

    /// How many of the entries somebody knows who may not know the newest ones.
    fn known(&self, is_stale: bool) -> usize {
        let mut stream = self.lock();
        let all = stream.entries.len();
        let back = if is_stale { stream.rng.random_range(0..=8) } else { 0 };
        all.saturating_sub(back)
    }
}

impl Engine for Memory {
    async fn append_if(&self, subject: &Subject, expected: Expected, payload: &[u8]) -> Appended {
        let (fate, delay) = self.fate();
        let lost = || Appended::Unclear("lost".to_owned());
        sleep(delay).await;
        match fate {
            Fate::Lost => {
                sleep(ANSWER).await;
                lost()
            }
            Fate::Late => {
                let late = Duration::from_millis(self.lock().rng.random_range(0..20_000));
                let (it, subject, payload) = (self.clone(), subject.clone(), payload.to_vec());
                // Whoever sent it may be dead by then.
                tokio::spawn(async move {
                    sleep(late).await;
                    it.append(&subject, expected, &payload);
                });
                sleep(ANSWER).await;
                lost()
            }
            Fate::Unanswered => {
                self.append(subject, expected, payload);
                sleep(ANSWER).await;
                lost()
            }
            // A leader of yesterday refuses what it does not know, and can accept nothing.
            Fate::Stale => Appended::Refused,
            Fate::Fair => {
                let appended = self.append(subject, expected, payload);
                sleep(delay).await;
                appended
            }
        }
    }

    async fn read_from(&self, sequence: u64, wait: Duration) -> Result<Option<Batch>, Error> {
        let (fate, delay) = self.fate();
        sleep(delay).await;
        if matches!(fate, Fate::Lost | Fate::Late | Fate::Unanswered) {
            sleep(ANSWER).await;
            return Ok(None);
        }
        let from = sequence as usize - 1;
        let known = self.known(matches!(fate, Fate::Stale));
        if known <= from {
            sleep(wait).await;
        }
        let most = self.lock().rng.random_range(1..=50);
        let stream = self.lock();
        let end = known.max(from).min(from + most).min(stream.entries.len());
        let entries = stream.entries.get(from..end).unwrap_or_default().to_vec();
        Ok(Some(Batch { is_all: end >= known, entries }))
    }

    async fn last_of(&self, subject: &Subject) -> Result<Option<Option<Entry>>, Error> {
        let (fate, delay) = self.fate();
        sleep(delay).await;
        if matches!(fate, Fate::Lost | Fate::Late | Fate::Unanswered) {
            sleep(ANSWER).await;
            return Ok(None);
        }
        let known = self.known(matches!(fate, Fate::Stale));
        let stream = self.lock();
        let entries = &stream.entries[..known];
        Ok(Some(entries.iter().rev().find(|entry| entry.subject == *subject).cloned()))
    }
}

/// A number in a range.
pub(super) fn draw(rng: &mut impl Rng, range: std::ops::RangeInclusive<u64>) -> u64 {
    rng.random_range(range)
}
