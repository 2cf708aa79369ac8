//! Pieces of output that come in any order and go out in the order of their keys, within bounded memory.

mod gathered;
mod merge;
mod runs;
mod store;

use std::io::Write;

use anyhow::{Context as _, Result};

use self::gathered::Gathered;
use self::merge::{Cursor, merge, merge_by_threads};
use self::runs::{Run, Runs};

/// What the pieces are ordered by: smaller keys first. The second number tells pieces of one rank apart.
pub type Key = (u64, u64);

/// How many octets a spool holds before they had better be put away. There is one for each shard. It is more than what the
/// tracker of one keeps for late packets and gives out at the end usually takes: those records would wait for nothing.
const BATCH: usize = 6 << 20;

/// The pieces of one shard.
///
/// Once a batch of them is there, they are sorted and compressed: a run. What runs take beyond a bound is kept in a
/// temporary file (see [`store`]).
#[derive(Debug)]
pub struct Spool {
    batch: usize,
    pieces: Vec<Piece>,
    /// What the pieces take together.
    octets: usize,
    runs: Runs,
}

impl Default for Spool {
    fn default() -> Self {
        Self::new()
    }
}

/// One piece of output.
#[derive(Debug)]
struct Piece {
    key: Key,
    text: Vec<u8>,
}

impl Spool {
    /// An empty spool.
    pub fn new() -> Self {
        Self::with_bounds(BATCH, store::BUDGET)
    }

    fn with_bounds(batch: usize, budget: usize) -> Self {
        Self { batch, pieces: Vec::new(), octets: 0, runs: Runs::new(budget) }
    }

    /// Takes in a piece.
    pub fn push(&mut self, key: Key, text: Vec<u8>) {
        self.octets += text.capacity();
        self.pieces.push(Piece { key, text });
    }

    /// How many octets it holds that are not put away.
    pub const fn octets(&self) -> usize {
        self.octets
    }

    /// Whether it holds so much that it had better be put away.
    pub const fn is_full(&self) -> bool {
        self.octets >= self.batch
    }

    /// Makes room for more.
    pub fn put_away(&mut self) -> Result<()> {
        self.pieces.sort_by_key(|piece| piece.key);
        self.octets = 0;
        let added = self.runs.add(self.pieces.drain(..));
        added.context("writing output that waits for its turn to a temporary file (see TMPDIR)")
    }

    /// Takes out what has keys whose first number is below `before`; all, where that is `None`.
    pub fn take(&mut self, before: Option<u64>) -> Sorted {
        self.pieces.sort_by_key(|piece| piece.key);
        let count = self.pieces.partition_point(|piece| is_before(piece.key, before));
        let rest = self.pieces.split_off(count);
        let pieces = std::mem::replace(&mut self.pieces, rest);
        self.octets -= octets(&pieces);
        Sorted { pieces: pieces.into_iter(), runs: self.runs.take(|first| is_before(first, before)) }
    }

    /// Takes back what was not used of it.
    pub fn put_back(&mut self, sorted: Sorted) {
        let Sorted { pieces, runs } = sorted;
        self.octets += octets(pieces.as_slice());
        self.pieces.extend(pieces);
        self.runs.put_back(runs);
    }
}

fn octets(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.text.capacity()).sum()
}

/// Whether a key is one of those that are taken out.
fn is_before(key: Key, before: Option<u64>) -> bool {
    before.is_none_or(|before| key.0 < before)
}

/// What was taken out of a spool, in order.
#[derive(Debug)]
pub struct Sorted {
    pieces: std::vec::IntoIter<Piece>,
    runs: Vec<Run>,
}

impl Sorted {
    /// Writes what has keys whose first number is below `before`. The rest of the runs is left.
    pub fn write_before(sorted: &mut [Self], before: u64, out: &mut dyn Write) -> Result<()> {
        let mut cursors: Vec<_> = sorted.iter_mut().flat_map(Self::cursors).collect();
        let mut gathered = Gathered::new(out);
        merge(&mut cursors, usize::MAX, Some(before), |_, piece| gathered.add(piece.into_owned()))?;
        gathered.write()
    }

    /// Writes the first `most` pieces. Up to `threads` threads share the work.
    pub fn write_first(mut sorted: Vec<Self>, most: usize, threads: usize, out: &mut dyn Write) -> Result<()> {
        if threads > 1 && sorted.iter().any(|sorted| !sorted.runs.is_empty()) {
            return merge_by_threads(&mut sorted, most, threads, out);
        }
        let mut cursors: Vec<_> = sorted.iter_mut().flat_map(Self::cursors).collect();
        merge(&mut cursors, most, None, |_, piece| Ok(out.write_all(&piece)?))
    }

    fn cursors(&mut self) -> impl Iterator<Item = Cursor<'_>> {
        self.runs.iter_mut().map(Cursor::Run).chain([Cursor::Memory(&mut self.pieces)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(spool: &mut Spool, key: Key, text: &str) {
        spool.push(key, text.into());
        if spool.is_full() {
            spool.put_away().expect("spilling to a temporary file");
        }
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_keys(pieces in prop::collection::vec((any::<u8>(), any::<u8>(), 0usize..40), 0..200),
                                     (shards, threads) in (1usize..4, 1usize..4),
                                     (batch, budget) in (1usize..400, 0usize..2000), most in 0usize..250) {
            let mut spools: Vec<_> = (0..shards).map(|_| Spool::with_bounds(batch, budget)).collect();
            let mut expected = Vec::new();
            for (number, &(major, shard, len)) in pieces.iter().enumerate() {
                let key = (u64::from(major), number as u64);
                let text = format!("{number}{}\n", "x".repeat(len));
                push(&mut spools[usize::from(shard) % shards], key, &text);
                expected.push((key, text));
            }
            expected.sort();
            let expected: String = expected.into_iter().take(most).map(|(_, text)| text).collect();
            let mut out = Vec::new();
            let sorted = spools.iter_mut().map(|spool| spool.take(None)).collect();
            Sorted::write_first(sorted, most, threads, &mut out).expect("merging");
            prop_assert_eq!(String::from_utf8(out).expect("text"), expected);
        }

        /// Pieces come a little out of order, and as many go out as may: all of them do, in order.
        #[test]
        fn what_goes_out_early_is_in_order(pieces in prop::collection::vec((0u64..40, any::<u8>(), 0usize..40), 0..200),
                                           (shards, every) in (1usize..4, 1usize..20),
                                           (batch, budget) in (1usize..400, 0usize..2000)) {
            let mut spools: Vec<_> = (0..shards).map(|_| Spool::with_bounds(batch, budget)).collect();
            let (mut expected, mut out) = (Vec::new(), Vec::new());
            for (number, &(late, shard, len)) in pieces.iter().enumerate() {
                // None comes more than 40 too late.
                let key = (number as u64 + 40 - late, number as u64);
                let text = format!("{number}{}\n", "x".repeat(len));
                push(&mut spools[usize::from(shard) % shards], key, &text);
                expected.push((key, text));
                if number % every == 0 {
                    let before = number as u64;
                    let mut sorted: Vec<_> = spools.iter_mut().map(|spool| spool.take(Some(before))).collect();
                    Sorted::write_before(&mut sorted, before, &mut out).expect("merging");
                    spools.iter_mut().zip(sorted).for_each(|(spool, sorted)| spool.put_back(sorted));
                }
            }
            expected.sort();
            let expected: String = expected.into_iter().map(|(_, text)| text).collect();
            let sorted = spools.iter_mut().map(|spool| spool.take(None)).collect();
            Sorted::write_first(sorted, usize::MAX, 1, &mut out).expect("merging");
            prop_assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
