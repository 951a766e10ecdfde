//! Long runs of lines that differ little, rendered at the speed of memory: most of a big log.
//!
//! Formatting each line took a quarter of the whole job (`cargo xtask bench`). Here a run stays
//! rendered from one transaction to the next, and only what differs is written anew: nothing at all for
//! `Executed` lines, which repeat with each turn; for `Received` lines the leading digits of the index.

use std::ops::Range;

use crate::grammar::line::{self, BEHIND_INDEX_LEN, Line};
use crate::grammar::rotation::{WorkerId, Workers};

/// The `Executed` lines of workers 1..=N, turn after turn.
#[derive(Debug, Default)]
pub(super) struct ExecutedRun {
    /// Whose lines are rendered.
    workers: Option<Workers>,
    /// All that is rendered.
    pub bytes: Vec<u8>,
    /// Where each of the first turn's lines begins, and where the second turn does.
    starts: Vec<usize>,
}

impl ExecutedRun {
    /// Renders as many turns of N workers as give `len` bytes from any line on, if it has not yet.
    pub(super) fn render(&mut self, workers: Workers, len: usize) {
        if self.workers == Some(workers) {
            return;
        }
        let mut turn = Vec::new();
        self.starts = vec![0];
        for worker in workers.ids() {
            line::append(&mut turn, Line::Executed { worker });
            self.starts.push(turn.len());
        }
        self.bytes = turn.repeat(len / turn.len() + 2);
        self.workers = Some(workers);
    }

    /// One line of `worker`'s.
    #[must_use]
    pub(super) fn line(&self, worker: WorkerId) -> &[u8] {
        &self.bytes[self.starts[worker.index()]..self.starts[worker.index() + 1]]
    }

    /// Up to `count` lines, beginning with `worker`'s, as many as fit into `len_max` bytes but at least
    /// one: where they are in [`ExecutedRun::bytes`], and how many they are.
    #[must_use]
    pub(super) fn lines(
        &self,
        worker: WorkerId,
        count: u64,
        len_max: usize,
    ) -> (Range<usize>, u64) {
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
}

/// Consecutive `Received` lines of one text, in blocks of 10, 100 or 1000 that share their leading
/// digits.
#[derive(Debug, Default)]
pub(super) struct ReceivedRun {
    /// What was rendered last.
    pub bytes: Vec<u8>,
    /// Bytes of each line in it, lines of each block, and blocks; nothing once another text comes.
    pub rendered: Option<(usize, u32, usize)>,
}

/// The part of a line that is overwritten at once: the leading digits, of which there are at most 8, and
/// what precedes them.
const WINDOW_LEN: usize = 8;

impl ReceivedRun {
    /// Any block begins at a multiple of this.
    pub(super) const BLOCK_LINES_MAX: u32 = 1000;

    /// Renders the lines of messages `first` to at most `last` that fill whole blocks, and returns
    /// how many bytes and how many lines these are. Nothing if `first` does not begin a block, or it goes
    /// beyond `last`. A block has at most `len_max` bytes, and as many lines as give no more.
    pub(super) fn blocks(
        &mut self,
        text: &[u8],
        first: u32,
        last: u32,
        len_max: usize,
    ) -> Option<(usize, u32)> {
        let mut line = Vec::new();
        line::append_one_received(&mut line, text, first);
        let line_len = line.len();
        let block_lines = [Self::BLOCK_LINES_MAX, 100, 10]
            .into_iter()
            .find(|&lines| lines as usize * line_len <= len_max)
            .filter(|&lines| first.is_multiple_of(lines) && last - first >= lines - 1)?;
        let block_len = block_lines as usize * line_len;
        let blocks_max = len_max / block_len;
        let wanted = Some((line_len, block_lines, blocks_max));
        if self.rendered != wanted {
            // Every block gets the first one's leading digits: those are overwritten below.
            let block_last = first + block_lines - 1;
            self.bytes.clear();
            line::append_received(&mut self.bytes, text, first, block_last, usize::MAX);
            self.bytes = self.bytes.repeat(blocks_max);
            self.rendered = wanted;
        }
        // Lines that have the same number of digits, and are wanted.
        let lines = (last - first + 1).min(10u32.saturating_pow(first.ilog10() + 1) - first);
        let blocks = blocks_max.min((lines / block_lines) as usize);
        let trailing = block_lines.ilog10() as usize;
        let window_at = line_len - BEHIND_INDEX_LEN - trailing - WINDOW_LEN;
        let mut window = [0; WINDOW_LEN];
        let rendered = self.bytes.chunks_exact_mut(block_len).take(blocks);
        for (index, block) in (first..).step_by(block_lines as usize).zip(rendered) {
            line.clear();
            // The window does not reach back to the text.
            line::append_one_received(&mut line, b"", index);
            window.copy_from_slice(&line[window_at - text.len()..][..WINDOW_LEN]);
            for line in block.chunks_exact_mut(line_len) {
                line[window_at..][..WINDOW_LEN].copy_from_slice(&window);
            }
        }
        Some((blocks * block_len, blocks as u32 * block_lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::rotation::WORKERS_MAX;
    use crate::grammar::submission::COUNT_MAX;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn executed_runs_equal_formatted_lines(n in 1..=WORKERS_MAX, start in 0..1000u64,
                                               count in 1..2000u64, len_max in 0..40_000usize) {
            let workers = Workers::new(n).unwrap();
            let mut run = ExecutedRun::default();
            run.render(workers, 40_000);
            let (range, lines) = run.lines(workers.worker_of(start), count, len_max);
            let bytes = &run.bytes[range];
            let mut formatted = Vec::new();
            for message in start..start + lines {
                line::append(&mut formatted, Line::Executed { worker: workers.worker_of(message) });
            }
            prop_assert_eq!(bytes, &formatted);
            prop_assert!(formatted.starts_with(run.line(workers.worker_of(start))));
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
                if let Some((len, lines)) = run.blocks(text.as_bytes(), first, first + count, len_max) {
                    let mut formatted = Vec::new();
                    for index in first..first + lines {
                        line::append(&mut formatted, Line::Received { text: &text, index });
                    }
                    prop_assert!(run.bytes[..len] == formatted, "{first} {lines}");
                    prop_assert!(lines > 0 && lines <= count + 1 && len <= len_max);
                }
            }
        }
    }

    #[test]
    fn blocks_end_where_the_index_gets_longer() {
        let mut run = ReceivedRun::default();
        assert_eq!(run.blocks(b"x", 9_000, 20_000, 1 << 20).unwrap().1, 1000);
        assert_eq!(run.blocks(b"x", 10_000, 20_000, 1 << 20).unwrap().1, 10_000);
        assert!(run.blocks(b"x", 1, 20_000, 1 << 20).is_none());
        assert!(run.blocks(b"x", COUNT_MAX, COUNT_MAX, 1 << 20).is_none());
    }
}
