//! Long runs of lines that differ little, rendered at the speed of memory: most of a big log.
//!
//! Formatting each line took a quarter of the whole job (`cargo xtask bench`). Here a run stays
//! rendered from one transaction to the next, and only what differs is written anew: nothing at all for
//! `Executed` lines, which repeat with each turn; for `Received` lines the leading digits of the index.

use std::ops::Range;

use crate::line::{self, BEHIND_INDEX_LEN, Line};
use crate::rotation::{WorkerId, Workers};

/// The `Executed` lines of workers 1..=N, turn after turn.
#[derive(Debug)]
pub struct ExecutedRun {
    workers: Workers,
    bytes: Vec<u8>,
    /// Where each of the first turn's lines begins, and where the second turn does.
    starts: Vec<usize>,
}

impl ExecutedRun {
    /// Renders as many turns as give `len` bytes from any line on.
    #[must_use]
    pub fn new(workers: Workers, len: usize) -> Self {
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        for worker in workers.ids() {
            line::append(&mut bytes, Line::Executed { worker });
            starts.push(bytes.len());
        }
        let turn_len = bytes.len();
        let bytes = bytes.repeat(len / turn_len + 2);
        Self { workers, bytes, starts }
    }

    /// Whose lines these are.
    #[must_use]
    pub fn workers(&self) -> Workers {
        self.workers
    }

    /// Up to `count` lines, beginning with `worker`'s, as many as fit into `len_max` bytes but at least
    /// one: where they stand in [`ExecutedRun::bytes`], and how many they are.
    #[must_use]
    pub fn lines(&self, worker: WorkerId, count: u64, len_max: usize) -> (Range<usize>, u64) {
        let first = worker.index();
        let turn_lines = self.starts.len() - 1;
        let turn_len = self.starts[turn_lines];
        // Where line number `line`, counted from the first turn's first, begins.
        let start = |line: usize| line / turn_lines * turn_len + self.starts[line % turn_lines];
        let end_max = (start(first) + len_max).min(self.bytes.len());
        let in_last_turn = self.starts.partition_point(|&at| at <= end_max % turn_len) - 1;
        let end = (end_max / turn_len * turn_lines + in_last_turn).max(first + 1);
        let end = usize::try_from(count).map_or(end, |count| end.min(first.saturating_add(count)));
        (start(first)..start(end), (end - first) as u64)
    }

    /// All that is rendered.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Consecutive `Received` lines of one text, in blocks of 10, 100 or 1000 that share their leading
/// digits.
#[derive(Debug, Default)]
pub struct ReceivedRun {
    bytes: Vec<u8>,
    /// What is rendered in `bytes`.
    rendered: Option<Rendered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rendered {
    line_len: usize,
    /// Digits of each index, and how many of them change within a block.
    digits: u32,
    trailing: u32,
    blocks: usize,
}

/// The part of a line that is overwritten at once: the leading digits, and what precedes them.
const WINDOW_LEN: usize = 8;

impl ReceivedRun {
    /// Any block begins at a multiple of this.
    pub const BLOCK_LINES_MAX: u32 = 1000;

    /// Another text comes: forget what is rendered.
    pub fn clear(&mut self) {
        self.rendered = None;
    }

    /// Renders the lines of messages `first` to at most `last` that fill whole blocks, and returns
    /// where they stand in [`ReceivedRun::bytes`] and how many they are. Nothing if `first` does not
    /// begin a block, or a block has more than `len_max` bytes or goes beyond `last`.
    pub fn blocks(
        &mut self,
        text: &str,
        first: u32,
        last: u32,
        len_max: usize,
    ) -> Option<(Range<usize>, u32)> {
        if !first.is_multiple_of(10) || last - first < 9 {
            return None;
        }
        let digits = first.ilog10() + 1;
        let mut line = Vec::new();
        line::append(&mut line, Line::Received { text, index: first });
        let line_len = line.len();
        let trailing = (1..=3).rev().find(|&trailing| {
            let lines = 10u32.pow(trailing);
            trailing < digits
                && digits - trailing <= WINDOW_LEN as u32
                && first.is_multiple_of(lines)
                && lines as usize * line_len <= len_max
                && last - first >= lines - 1
        })?;
        let block_lines = 10u32.pow(trailing);
        let block_len = block_lines as usize * line_len;
        // Lines that have the same number of digits, and are wanted.
        let lines = (last - first + 1).min(10u32.saturating_pow(digits) - first);
        let blocks = (lines / block_lines) as usize;
        let blocks = blocks.min(len_max / block_len);
        let wanted = Rendered { line_len, digits, trailing, blocks: len_max / block_len };
        if self.rendered != Some(wanted) {
            // Every block gets the first one's leading digits: those are overwritten below.
            self.bytes.clear();
            line::append_received(
                &mut self.bytes,
                text,
                first,
                first + block_lines - 1,
                usize::MAX,
            );
            self.bytes = self.bytes.repeat(wanted.blocks);
            self.rendered = Some(wanted);
        }
        let window_end = line_len - BEHIND_INDEX_LEN - trailing as usize;
        for (number, block) in self.bytes.chunks_exact_mut(block_len).take(blocks).enumerate() {
            let mut index = (first / block_lines) as usize + number;
            let mut window: [u8; WINDOW_LEN] =
                std::array::from_fn(|i| line[window_end - WINDOW_LEN + i]);
            for digit in window.iter_mut().rev().take((digits - trailing) as usize) {
                *digit = b'0' + (index % 10) as u8;
                index /= 10;
            }
            for line in block.chunks_exact_mut(line_len) {
                line[window_end - WINDOW_LEN..window_end].copy_from_slice(&window);
            }
        }
        Some((0..blocks * block_len, blocks as u32 * block_lines))
    }

    /// What was rendered last.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::WORKERS_MAX;
    use crate::submission::COUNT_MAX;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn executed_runs_equal_formatted_lines(n in 1..=WORKERS_MAX, start in 0..1000u64,
                                               count in 1..2000u64, len_max in 0..40_000usize) {
            let workers = Workers::new(n).unwrap();
            let run = ExecutedRun::new(workers, 40_000);
            let (range, lines) = run.lines(workers.worker_of(start), count, len_max);
            let bytes = &run.bytes()[range];
            let mut formatted = Vec::new();
            for message in start..start + lines {
                line::append(&mut formatted, Line::Executed { worker: workers.worker_of(message) });
            }
            prop_assert_eq!(bytes, &formatted);
            prop_assert!(lines == 1 || bytes.len() <= len_max);
            // As many as fit.
            line::append(&mut formatted, Line::Executed { worker: workers.worker_of(start + lines) });
            prop_assert!(lines == count || formatted.len() > len_max);
        }

        /// Whatever was rendered before.
        #[test]
        fn received_runs_equal_formatted_lines(
            runs in proptest::collection::vec((0..COUNT_MAX / 10, 0..20_000u32, 100..200_000usize), 1..6),
            shift in 0..9u32,
            text in "[ -~]{1,30}",
        ) {
            let mut run = ReceivedRun::default();
            for (first, count, len_max) in runs {
                let first = (first / 10u32.pow(shift) * 10).max(1);
                if let Some((range, lines)) = run.blocks(&text, first, first + count, len_max) {
                    let mut formatted = Vec::new();
                    for index in first..first + lines {
                        line::append(&mut formatted, Line::Received { text: &text, index });
                    }
                    prop_assert!(run.bytes()[range.clone()] == formatted, "{first} {lines}");
                    prop_assert!(lines > 0 && lines <= count + 1 && range.len() <= len_max);
                }
            }
        }
    }

    #[test]
    fn blocks_end_where_the_index_gets_longer() {
        let mut run = ReceivedRun::default();
        assert_eq!(run.blocks("x", 9_000, 20_000, 1 << 20).unwrap().1, 1000);
        assert_eq!(run.blocks("x", 10_000, 20_000, 1 << 20).unwrap().1, 10_000);
        assert!(run.blocks("x", 1, 20_000, 1 << 20).is_none());
        assert!(run.blocks("x", COUNT_MAX, COUNT_MAX, 1 << 20).is_none());
    }
}
