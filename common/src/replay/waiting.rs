//! Submissions that are not written to their last line, in little memory: a log may have very many.

use std::collections::VecDeque;

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

    /// Forgets the first one. Returns its text's length.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let len = self.heads.pop_front()?.1 as usize;
        self.start += len;
        // Now and then only, so that moving the others costs no more than reading them did.
        if self.start > self.texts.len() / 4 {
            self.texts.drain(..self.start);
            self.start = 0;
        }
        Some(len)
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
            let (mut waiting, mut queue) = (Waiting::default(), VecDeque::new());
            for (count, text) in (1..).zip(steps) {
                if let Some(text) = text {
                    waiting.push(&text, count);
                    queue.push_back((text, count));
                } else {
                    let len = queue.pop_front().map(|(text, _): (String, _)| text.len());
                    prop_assert_eq!(waiting.pop(), len);
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
