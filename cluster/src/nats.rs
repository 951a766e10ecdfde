//! The replicated log as a JetStream stream of an instance: `pipip-NAME`, with the subjects `pipip.NAME.>`.
//!
//! Nothing here is kept in a consumer: entries are appended by plain requests with an expectation in their header, read
//! in their order from the place that the reader knows, and the last one of a subject is asked of the leader.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, HeaderMap, Request, RequestErrorKind};
use common::error::{Error, exit};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::engine::{Appended, Batch, Engine, Entry, Expected};
use crate::entry::Subject;

/// How long an answer may take. An election takes longer; then the same is asked again.
const ANSWER: Duration = Duration::from_secs(2);
/// Entries and bytes that are read at once.
const READ_MAX: usize = 1000;
const READ_BYTES_MAX: usize = 4 << 20;
/// A reader that nobody asks any more is removed by the server.
const READER_LASTS: Duration = Duration::from_secs(60);
/// `JSStreamWrongLastSequenceErrF` and `JSStreamWrongLastSequenceConstantErr` of the server.
const WRONG_LAST: [u64; 2] = [10_071, 10_164];

/// What to do about servers, or an account, without JetStream.
pub(crate) const GIVE_JETSTREAM: &str = "give the servers a `jetstream { store_dir: …, sync_interval: always }`, and \
                                         the account the right to use it";

/// A stream on servers.
#[derive(Clone)]
pub(crate) struct Nats {
    client: Client,
    context: jetstream::Context,
    stream: Arc<str>,
    prefix: Arc<str>,
    reading: Arc<Mutex<Reading>>,
}

/// How far the stream is read, and by whom.
#[derive(Default)]
struct Reading {
    reader: Option<Reader>,
    /// When the stream was made: another one of its name is another stream.
    made: Option<i128>,
    /// The entry that was read last, and its time: it must still be there.
    seen: Option<(u64, u64)>,
}

/// A consumer without acknowledgements, and which entry it hands out next.
struct Reader {
    consumer: jetstream::consumer::Consumer<pull::Config>,
    next: u64,
    /// The leader had so many when the reader began: a server that lags has fewer, which are not all.
    known: u64,
    /// It has read nothing yet.
    is_fresh: bool,
}

/// The server's answer to an append.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Nats {
    /// The stream of an instance, on the servers that a client is connected to.
    pub(crate) fn new(client: Client, instance: &str) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER);
        Self {
            client,
            context,
            stream: format!("pipip-{instance}").into(),
            prefix: format!("pipip.{instance}.").into(),
            reading: Arc::default(),
        }
    }

    /// The server that is connected to.
    pub(crate) fn server(&self) -> async_nats::ServerInfo {
        self.client.server_info()
    }

    /// The name of the stream.
    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    /// How the stream is. If it is not there it is made, with so many replicas; without a number that is an error.
    /// `Ok(None)` where there was no answer that tells.
    pub(crate) async fn ensure(&self, replicas: Option<usize>) -> Result<Option<Config>, Error> {
        use jetstream::context::GetStreamErrorKind::JetStream;
        match self.context.get_stream(&*self.stream).await {
            Ok(stream) => return Ok(Some(stream.cached_info().config.clone())),
            Err(error) => match error.kind() {
                JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                JetStream(why) => return self.refused(&why).map(|()| None),
                _ => return Ok(None),
            },
        }
        let Some(num_replicas) = replicas else {
            let what =
                format!("these servers have no stream {}: nothing was submitted yet", self.stream);
            return Err(Error::Own { what, code: exit::TROUBLE });
        };
        let wanted = Config {
            name: self.stream.to_string(),
            subjects: vec![format!("{}>", self.prefix)],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas,
            deny_delete: true,
            deny_purge: true,
            // Answered by the leader only.
            allow_direct: false,
            description: Some("Pipip's load balancer: do not write here by hand".to_owned()),
            ..Config::default()
        };
        match self.context.create_stream(wanted).await {
            Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
            Err(error) => match error.kind() {
                CreateStreamErrorKind::JetStream(why) => self.refused(&why).map(|()| None),
                _ => Ok(None),
            },
        }
    }

    /// An error of the server's that will not go away.
    fn refused(&self, why: &jetstream::Error) -> Result<(), Error> {
        let code = why.error_code();
        let advice = if [
            ErrorCode::JETSTREAM_NOT_ENABLED,
            ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
        ]
        .contains(&code)
        {
            GIVE_JETSTREAM
        } else if [ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED, ErrorCode(10_052), ErrorCode(10_074)]
            .contains(&code)
        {
            "there are fewer servers than replicas: run three in one cluster, or try it out on one with `--replicas 1`"
        } else {
            return Ok(()); // no leader yet, no room now
        };
        let what = format!("the NATS servers refuse stream {}: {why}; {advice}", self.stream);
        Err(Error::Own { what, code: exit::TROUBLE })
    }

    fn entry(&self, sequence: u64, time_ms: u64, subject: &str, payload: &[u8]) -> Entry {
        let name = subject.strip_prefix(&*self.prefix).unwrap_or(subject);
        Entry { sequence, time_ms, subject: Subject::from(name), payload: payload.to_vec() }
    }

    /// Begins at an entry. The one before it, which was read, is read again: it must be the same.
    async fn begin_reading(
        &self,
        made: &mut Option<i128>,
        next: u64,
    ) -> Result<Option<Reader>, Error> {
        let Ok(stream) = self.context.get_stream_no_info(&*self.stream).await else {
            return Ok(None);
        };
        let Ok(info) = stream.get_info().await else { return Ok(None) };
        let now_made = info.created.unix_timestamp_nanos();
        if *made.get_or_insert(now_made) != now_made {
            return Err(self.is_another("it was deleted and made anew"));
        }
        let known = info.state.last_sequence;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            inactive_threshold: READER_LASTS,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let Ok(Ok(consumer)) = timeout(ANSWER, stream.create_consumer(config)).await else {
            return Ok(None);
        };
        Ok(Some(Reader { consumer, next, known, is_fresh: true }))
    }

    fn is_another(&self, why: &str) -> Error {
        let what = format!(
            "stream {} is not the one that it was: {why}. End all programs of this instance; then move sistem.log and \
             sistem.dead away on every host, and start again",
            self.stream
        );
        Error::Own { what, code: exit::TROUBLE }
    }

    /// What there is, without waiting; then what comes within `wait`. `Ok(None)`: no answer that tells.
    async fn read(&self, reader: &mut Reader, wait: Duration) -> Result<Option<Batch>, Error> {
        let fetch = reader.consumer.fetch().max_messages(READ_MAX).max_bytes(READ_BYTES_MAX);
        let Ok(Ok(messages)) = timeout(ANSWER, fetch.messages()).await else { return Ok(None) };
        let batch = self.collect(reader, messages).await?;
        if wait.is_zero() || batch.as_ref().is_none_or(|batch| !batch.entries.is_empty()) {
            return Ok(batch);
        }
        let first = reader.consumer.batch().max_messages(1).expires(wait);
        let Ok(Ok(messages)) = timeout(ANSWER, first.messages()).await else { return Ok(None) };
        self.collect(reader, messages).await
    }

    async fn collect(
        &self,
        reader: &mut Reader,
        mut messages: pull::Batch,
    ) -> Result<Option<Batch>, Error> {
        let mut batch = Batch { entries: Vec::new(), is_all: reader.next > reader.known };
        loop {
            let Ok(message) = timeout(ANSWER, messages.next()).await else { return Ok(None) };
            let Some(message) = message else { return Ok(Some(batch)) };
            let Ok(message) = message else { return Ok(None) };
            let Ok(info) = message.info() else { return Ok(None) };
            let published = info.published.unix_timestamp_nanos() / 1_000_000;
            let time_ms = u64::try_from(published).unwrap_or_default();
            // They follow each other. One that is not asked of anew may have lost some on the way.
            if info.stream_sequence != reader.next {
                let is_gone = reader.is_fresh && info.stream_sequence > reader.next;
                let gone = || self.is_another("entries were deleted");
                return if is_gone { Err(gone()) } else { Ok(None) };
            }
            reader.is_fresh = false;
            reader.next += 1;
            batch.is_all = info.pending == 0 && reader.next > reader.known;
            let entry =
                self.entry(info.stream_sequence, time_ms, &message.subject, &message.payload);
            batch.entries.push(entry);
        }
    }
}

impl Engine for Nats {
    async fn append_if(&self, subject: &Subject, expected: Expected, payload: &[u8]) -> Appended {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", &*self.stream);
        match expected {
            Expected::LastOfSubject(last) => {
                headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string().as_str());
            }
            Expected::Last(last) => {
                headers.insert("Nats-Expected-Last-Sequence", last.to_string().as_str());
            }
        }
        let request =
            Request::new().headers(headers).payload(payload.to_vec().into()).timeout(Some(ANSWER));
        let answer = self.client.send_request(format!("{}{subject}", self.prefix), request).await;
        let message = match answer {
            Ok(message) => message,
            Err(error) => {
                return Appended::Unclear(match error.kind() {
                    RequestErrorKind::TimedOut => format!("no answer within {ANSWER:?}"),
                    _ => error.to_string(),
                });
            }
        };
        match serde_json::from_slice(&message.payload) {
            Ok(Answer { seq: at @ 1.., error: None }) => Appended::At(at),
            Ok(Answer { error: Some(why), .. }) if WRONG_LAST.contains(&why.err_code) => {
                Appended::Refused
            }
            Ok(Answer { error: Some(why), .. }) => Appended::Unclear(why.description),
            _ => Appended::Unclear("an answer that cannot be read".to_owned()),
        }
    }

    async fn read_from(&self, sequence: u64, wait: Duration) -> Result<Option<Batch>, Error> {
        let mut reading = self.reading.lock().await;
        let Reading { reader: place, made, seen } = &mut *reading;
        // A new reader begins with the entry that was seen last.
        let again = seen.filter(|(at, _)| *at + 1 == sequence);
        let first = again.map_or(sequence, |(at, _)| at);
        let mut is_new = false;
        let mut reader = match place.take().filter(|reader| reader.next == sequence) {
            Some(reader) => reader,
            None => match self.begin_reading(made, first).await? {
                Some(reader) => {
                    is_new = true;
                    reader
                }
                None => return Ok(None),
            },
        };
        let Some(mut batch) = self.read(&mut reader, wait).await? else { return Ok(None) };
        if let Some((at, time_ms)) = again.filter(|_| is_new) {
            match batch.entries.first() {
                None => return Ok(None), // a server that lags
                Some(entry) if (entry.sequence, entry.time_ms) != (at, time_ms) => {
                    return Err(self.is_another("its entries are others"));
                }
                Some(_) => drop(batch.entries.remove(0)),
            }
        }
        *seen = batch.entries.last().map(|entry| (entry.sequence, entry.time_ms)).or(*seen);
        // One that did not answer, or left something out, is not asked again.
        *place = Some(reader);
        Ok(Some(batch))
    }

    async fn last_of(&self, subject: &Subject) -> Result<Option<Option<Entry>>, Error> {
        let Ok(stream) = self.context.get_stream_no_info(&*self.stream).await else {
            return Ok(None);
        };
        let name = format!("{}{subject}", self.prefix);
        let last = timeout(ANSWER, stream.get_last_raw_message_by_subject(&name)).await;
        Ok(match last {
            Ok(Ok(message)) => {
                let time_ms = message.time.unix_timestamp_nanos() / 1_000_000;
                let time_ms = u64::try_from(time_ms).unwrap_or_default();
                Some(Some(self.entry(message.sequence, time_ms, &name, &message.payload)))
            }
            Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Some(None),
            _ => None,
        })
    }
}
