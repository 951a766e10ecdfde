//! A record of the ledger's ring: submissions that were accepted together. What is written to the ring, and what was
//! copied out of it, checked once, and is nobody else's from there on.

use std::mem;

use crate::grammar::submission::{COUNT_MAX, Submission, TEXT_LEN_MAX, check_characters};

use super::ring::{self, Body, RING_LEN, Ring};

/// No record takes more of the ring, of which it is a 64th: its room is given back at once.
pub const RECORD_LEN_MAX: u64 = 16 << 10;

/// Filled up to here, the ring takes another record. The rest is for the submissions of these records in other ones: a
/// session that is read back from the log packs them anew, and may lose up to 7 bytes for each two full records.
pub const RING_FILLED_MAX: u64 = RING_LEN - RECORD_LEN_MAX - 1024;

// Any submission fits.
const _: () = assert!(ring::record_len(1, TEXT_LEN_MAX) < RECORD_LEN_MAX);

/// Submissions, in their order.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Their texts, one after the other, and where each one ends.
    texts: String,
    text_ends: Vec<u32>,
    /// How many messages they have.
    messages: u64,
    /// How many those before each one have. Empty as long as each has one message, as in most files of lines: that is less
    /// than half of what is kept for it.
    firsts: Vec<u64>,
    /// As it is in the ring: kept for its room only.
    body: Body,
}

impl Record {
    /// Begins another one.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.text_ends.clear();
        self.messages = 0;
        self.firsts.clear();
    }

    /// How many submissions it holds.
    #[must_use]
    pub fn submissions(&self) -> usize {
        self.text_ends.len()
    }

    /// How many messages these have.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes of the ring that it takes.
    #[must_use]
    pub fn ring_len(&self) -> u64 {
        ring::record_len(self.submissions(), self.texts.len())
    }

    /// Adds a submission. Returns false, and does not, if it would be too long with it.
    pub fn push(&mut self, submission: &Submission<&str>) -> bool {
        let text = submission.text();
        let len = ring::record_len(self.submissions() + 1, self.texts.len() + text.len());
        if len > RECORD_LEN_MAX {
            return false;
        }
        self.texts.push_str(text);
        self.add(submission.count(), self.texts.len() as u32);
        true
    }

    /// Adds all submissions of another one. Returns false, and does not, if it would be too long with them.
    pub fn append(&mut self, other: &Self) -> bool {
        let (submissions, before) = (self.submissions() + other.submissions(), self.texts.len());
        let fits = ring::record_len(submissions, before + other.texts.len()) <= RECORD_LEN_MAX;
        if fits {
            if before == 0 {
                // Most are not followed by others, and sixty are kept at once.
                self.texts.reserve_exact(other.texts.len());
                self.text_ends.reserve_exact(other.submissions());
            }
            self.texts.push_str(&other.texts);
            if !self.firsts.is_empty() || !other.firsts.is_empty() {
                self.count_all();
                self.firsts
                    .extend((0..other.submissions()).map(|i| self.messages + other.first(i)));
            }
            self.text_ends.extend(other.text_ends.iter().map(|end| before as u32 + end));
            self.messages += other.messages;
        }
        fits
    }

    #[inline]
    fn add(&mut self, count: u32, text_end: u32) {
        if count != 1 || !self.firsts.is_empty() {
            self.count_all();
            self.firsts.push(self.messages);
        }
        self.text_ends.push(text_end);
        self.messages += u64::from(count);
    }

    /// Not all have one message any more.
    #[cold]
    fn count_all(&mut self) {
        if self.firsts.is_empty() {
            self.firsts.extend(0..self.submissions() as u64);
        }
    }

    /// One of the submissions, and how many messages those before it have.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(u64, Submission<&str>)> {
        let count = self.count(index)?;
        Some((self.first(index), Submission::of_checked(self.text(index), count)))
    }

    /// The same of the one that cursors name; or why there is none.
    pub fn named(&self, index: u64) -> Result<(u64, Submission<&str>), &'static str> {
        let found = usize::try_from(index).ok().and_then(|index| self.get(index));
        found.ok_or("its cursors point beyond what was accepted")
    }

    fn count(&self, index: usize) -> Option<u32> {
        let next =
            if index + 1 < self.submissions() { self.first(index + 1) } else { self.messages };
        // What was added is a u32.
        (index < self.submissions()).then(|| (next - self.first(index)) as u32)
    }

    fn first(&self, index: usize) -> u64 {
        if self.firsts.is_empty() { index as u64 } else { self.firsts[index] }
    }

    fn text(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.text_ends[before]);
        &self.texts[start as usize..self.text_ends[index] as usize]
    }

    /// The texts of every `step`th one from there on, as long as all up to it have one message.
    pub fn lone(&self, index: usize, step: usize) -> impl Iterator<Item = &str> {
        let places = (index..self.submissions()).step_by(step);
        let offset = self.count(index).map_or(0, |_| self.first(index) - index as u64);
        places.map_while(move |index| {
            let is_it = self.firsts.is_empty()
                || self.first(index) == offset + index as u64 && self.count(index) == Some(1);
            is_it.then(|| self.text(index))
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Submission<&str>> {
        (0..self.submissions())
            .filter_map(|index| self.get(index))
            .map(|(_, submission)| submission)
    }

    /// Which submission a message belongs to, counted from the record's first one.
    #[must_use]
    pub fn index_of(&self, message: u64) -> usize {
        if self.firsts.is_empty() {
            return usize::try_from(message).unwrap_or(usize::MAX);
        }
        self.firsts.partition_point(|&first| first <= message).saturating_sub(1)
    }

    /// Writes it into a ring.
    pub(crate) fn write<const WORDS: usize>(&mut self, ring: &Ring<WORDS>, at: u64) {
        let mut body = mem::take(&mut self.body);
        body.clear();
        let mut text_start = 0;
        body.extend(self.text_ends.iter().enumerate().map(|(index, &text_end)| {
            let (count, text_len) = (self.count(index).unwrap_or_default(), text_end - text_start);
            text_start = text_end;
            (u64::from(count) | u64::from(text_len) << 32).to_le_bytes()
        }));
        let (whole, rest) = self.texts.as_bytes().as_chunks();
        body.extend_from_slice(whole);
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            body.push(last);
        }
        // No more than RECORD_LEN_MAX.
        ring.write(at, self.submissions() as u32, self.texts.len() as u32, &body);
        self.body = body;
    }

    /// Copies a record out of a ring, and checks it like input. Returns why that is nothing that we wrote.
    pub(crate) fn read<const WORDS: usize>(
        &mut self,
        ring: &Ring<WORDS>,
        at: u64,
    ) -> Result<(), &'static str> {
        self.clear();
        let (submissions, texts_len) = ring
            .read(at, RECORD_LEN_MAX, &mut self.body)
            .ok_or("a submission in it is not what was accepted")?;
        self.decode(submissions as usize, texts_len as usize)
            .ok_or("a submission in it breaks the rules for input")
    }

    fn decode(&mut self, submissions: usize, texts_len: usize) -> Option<()> {
        let body = mem::take(&mut self.body);
        let decoded = self.decode_body(&body, submissions, texts_len);
        self.body = body;
        decoded
    }

    fn decode_body(
        &mut self,
        body: &[[u8; 8]],
        submissions: usize,
        texts_len: usize,
    ) -> Option<()> {
        let (heads, texts) = body.split_at_checked(submissions)?;
        // All characters at once: that costs less than text by text.
        let texts = check_characters(texts.as_flattened().get(..texts_len)?).ok()?;
        self.text_ends.reserve(submissions);
        let mut end = 0;
        for &head in heads {
            let head = u64::from_le_bytes(head);
            let (count, len) = (head as u32, (head >> 32) as usize);
            end += len;
            let is_sound = (1..=COUNT_MAX).contains(&count)
                && (1..=TEXT_LEN_MAX).contains(&len)
                && texts.is_char_boundary(end);
            if !is_sound {
                return None;
            }
            self.add(count, end as u32);
        }
        self.texts.push_str(texts);
        (submissions > 0 && end == texts_len).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring() -> Ring<1024> {
        Ring([const { crate::ledger::sync::AtomicU64::new(0) }; 1024])
    }

    proptest! {
        /// Wherever it is in the ring, also across its end.
        #[test]
        fn what_is_read_is_what_was_written(
            submissions in proptest::collection::vec(("[aé☃]{1,60}", prop_oneof![Just(1), Just(1), 1..=COUNT_MAX]), 1..40),
            at in (0..1_u64 << 20).prop_map(|words| 8 * words),
        ) {
            let (ring, mut written, mut read) = (ring(), Record::default(), Record::default());
            for (text, count) in &submissions {
                prop_assert!(written.push(&Submission::new(text.as_bytes(), *count).unwrap()));
            }
            written.write(&ring, at);
            prop_assert_eq!(read.read(&ring, at), Ok(()));
            let parts: Vec<_> = read.iter().map(|s| (s.text().to_owned(), s.count())).collect();
            prop_assert_eq!(&parts, &submissions);
            prop_assert_eq!(read.ring_len(), written.ring_len());
            let mut message = 0;
            for (index, (_, count)) in submissions.iter().enumerate() {
                prop_assert_eq!(read.get(index).unwrap().0, message);
                prop_assert_eq!(read.index_of(message), index);
                message += u64::from(*count);
                prop_assert_eq!(read.index_of(message - 1), index);
            }
            prop_assert_eq!(read.messages(), message);
            let mut both = read.clone();
            prop_assert!(both.append(&written));
            let all: Vec<_> = submissions.iter().chain(&submissions).cloned().collect();
            let parts: Vec<_> = both.iter().map(|s| (s.text().to_owned(), s.count())).collect();
            prop_assert_eq!(parts, all);
            prop_assert_eq!(both.get(submissions.len()).unwrap().0, message);
            for index in 0..submissions.len() {
                let lone = read.lone(index, 2).count();
                let all_before = |i: &usize| submissions[index..=*i].iter().all(|s| s.1 == 1);
                prop_assert_eq!(lone, (index..submissions.len()).step_by(2).take_while(all_before).count());
            }
        }

        /// … and elsewhere it is none.
        #[test]
        fn a_changed_bit_is_seen(text in "[a-z]{1,30}", count in 1..9_u32,
                                 word in 0..4_usize, bit in 0..64) {
            let (ring, mut record) = (ring(), Record::default());
            record.push(&Submission::new(text.as_bytes(), count).unwrap());
            record.write(&ring, 0);
            prop_assert!(record.read(&ring, 8 * 1024).is_err(), "at another place");
            ring.0[word].fetch_xor(1_u64 << bit, crate::ledger::sync::Ordering::Relaxed);
            prop_assert!(record.read(&ring, 0).is_err());
        }
    }

    /// Whoever can write the right sum breaks the rules for input, or says more than there is.
    #[test]
    fn what_breaks_the_rules_is_refused() {
        let ring = ring();
        let head = |count: u64, len: u64| (count | len << 32).to_le_bytes();
        let a = *b"aaaaaaaa";
        let refused: [(u32, u32, &[[u8; 8]]); 9] = [
            (0, 0, &[]),
            (1, 8, &[head(0, 8), a]),
            (1, 8, &[head(1 << 31, 8), a]),
            (1, 8, &[head(1, 7), a]),
            (1, 8, &[head(1, 9), a]),
            (2, 8, &[head(1, 8), head(1, 0), a]),
            (1, 8, &[head(1, 8), *b"aaa\naaaa"]),
            (1, 8, &[head(1, 8), *b"aaa\xffaaaa"]),
            (2, 8, &[head(1, 4), head(1, 4), *b"aaa\xc3\xa4aaa"]),
        ];
        for (submissions, texts_len, body) in refused {
            ring.write(0, submissions, texts_len, body);
            assert!(Record::default().read(&ring, 0).is_err(), "{body:x?}");
        }
        ring.write(0, 1, 8, &[head(1, 8), a]);
        assert_eq!(Record::default().read(&ring, 0), Ok(()));
    }

    #[test]
    fn a_record_has_an_end() {
        let mut record = Record::default();
        let text = [b'x'; TEXT_LEN_MAX];
        let submission = Submission::new(&text, 1).unwrap();
        assert_eq!((0..10).take_while(|_| record.push(&submission)).count(), 3);
        assert!(record.ring_len() <= RECORD_LEN_MAX);
    }

    /// What was accepted fits into a ring again when it is packed anew: from any submission on, as densely as it goes.
    #[test]
    fn records_are_packed_anew_into_no_more_than_a_ring() {
        for text_len in [1, 2, 5, 9, 100, 1021, 2043, 1024] {
            let text = vec![b'x'; text_len];
            let submission = Submission::new(&text, 1).unwrap();
            let mut lens = Vec::new();
            let mut filled = 0;
            // As clients fill it: with records that are full, but that any two of them do not fit into one.
            while filled <= RING_FILLED_MAX {
                let mut record = Record::default();
                while record.push(&submission) {}
                filled += record.ring_len();
                lens.push(record.submissions());
            }
            let all: usize = lens.iter().sum();
            for gone in 0..lens[0] {
                let mut packed = 0;
                let mut left = all - gone;
                while left > 0 {
                    let mut record = Record::default();
                    while left > 0 && record.push(&submission) {
                        left -= 1;
                    }
                    packed += record.ring_len();
                }
                assert!(packed <= RING_LEN, "{text_len} {gone}: {packed}");
            }
        }
    }
}
