//! Submissions that are not written to their last line, in little memory: a log may have very many.

use std::collections::VecDeque;

use crate::ledger::ring;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Their texts, in order, after those of earlier ones.
    texts: String,
    /// Where the first one's begins.
    start: usize,
    /// The count and the text's length of each.
    heads: VecDeque<(u32, u32)>,
}

impl Waiting {
    /// Takes one whose text is no longer than a submission's.
    pub(super) fn push(&mut self, text: &str, count: u32) {
        self.texts.push_str(text);
        self.heads.push_back((count, text.len() as u32));
    }

    /// The least room that they need in a ring: that of one record, which it is only up to some length.
    pub(super) fn ring_len(&self) -> u64 {
        ring::record_len(self.heads.len(), self.texts.len() - self.start)
    }

    /// Forgets the first one.
    pub(super) fn pop(&mut self) {
        let Some((_, len)) = self.heads.pop_front() else { return };
        self.start += len as usize;
        // Now and then only, so that moving the others costs no more than reading them did.
        if self.start > self.texts.len() / 4 {
            self.texts.drain(..self.start);
            self.start = 0;
        }
    }

    /// The first one's text, and its count.
    pub(super) fn first(&self) -> Option<(&str, u32)> {
        self.iter().next()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        let mut texts = &self.texts[self.start..];
        self.heads.iter().map(move |&(count, len)| {
            let (text, rest) = texts.split_at(len as usize);
            texts = rest;
            (text, count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_queue_of_strings(steps in proptest::collection::vec(
                                         proptest::option::of("[aé]{1,40}"), 0..200)) {
            let (mut waiting, mut queue) = (Waiting::default(), VecDeque::<(String, u32)>::new());
            for (count, text) in (1..).zip(steps) {
                if let Some(text) = text {
                    waiting.push(&text, count);
                    queue.push_back((text, count));
                } else {
                    queue.pop_front();
                    waiting.pop();
                }
                let expected = || queue.iter().map(|(text, count)| (text.as_str(), *count));
                prop_assert!(waiting.iter().eq(expected()));
                prop_assert_eq!(waiting.first(), expected().next());
                let texts_len: usize = expected().map(|(text, _)| text.len()).sum();
                prop_assert!(3 * waiting.texts.len() <= 4 * texts_len, "what has gone is kept");
            }
        }
    }
}
