//! Pieces of output that come in any order and go out in the order of their keys, within bounded memory.

mod merge;
mod runs;

use std::io::Write;

use anyhow::{Context as _, Result};

use self::merge::{Cursor, merge, merge_by_threads};
use self::runs::{Runs, Store};

/// What the pieces are ordered by: smaller keys first. The second number tells pieces of one rank apart.
pub type Key = (u64, u64);

/// How many octets a spool holds before it sorts and compresses them. There is one for each shard.
const BATCH: usize = 4 << 20;

/// The pieces of one thread.
///
/// Once a batch of them is there, they are sorted and compressed: a run. What runs take beyond a bound is kept in a
/// temporary file (see [`runs`]).
#[derive(Debug)]
pub struct Spool {
    batch: usize,
    bytes: Vec<u8>,
    index: Vec<Piece>,
    runs: Runs,
}

/// One piece of a batch.
#[derive(Clone, Copy, Debug)]
struct Piece {
    key: Key,
    start: usize,
    len: u32,
}

impl Spool {
    /// An empty spool.
    pub fn new() -> Self {
        Self::with_bounds(BATCH, runs::BUDGET)
    }

    fn with_bounds(batch: usize, budget: usize) -> Self {
        Self { batch, bytes: Vec::new(), index: Vec::new(), runs: Runs::new(budget) }
    }

    /// Takes in what `write` appends to the buffer.
    pub fn push(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        let len = self.bytes.len().saturating_sub(start);
        let len = u32::try_from(len).with_context(|| format!("one piece of output has {len} octets"))?;
        self.index.push(Piece { key, start, len });
        if self.bytes.len() >= self.batch {
            self.sort();
            let pieces = self.index.iter().map(|piece| (piece.key, slice(&self.bytes, *piece)));
            self.runs.add(pieces).context("writing output that waits for its turn to a temporary file (see TMPDIR)")?;
            self.bytes.clear();
            self.index.clear();
        }
        Ok(())
    }

    /// Writes the first `most` pieces of all spools, in order. Up to `threads` threads share the work.
    pub fn merge(spools: Vec<Self>, most: usize, threads: usize, out: &mut dyn Write) -> Result<()> {
        let sorted: Vec<_> = spools.into_iter().map(Self::into_sorted).collect();
        let has_runs = sorted.iter().any(|sorted| sorted.runs.iter().len() > 0);
        if threads > 1 && has_runs {
            return merge_by_threads(&sorted, most, threads, out);
        }
        let mut cursors: Vec<_> = sorted.iter().flat_map(Sorted::cursors).collect();
        merge(&mut cursors, most, |_, piece| Ok(out.write_all(piece)?))
    }

    fn sort(&mut self) {
        self.index.sort_unstable_by_key(|piece| piece.key);
    }

    fn into_sorted(mut self) -> Sorted {
        self.sort();
        Sorted { bytes: self.bytes, index: self.index, runs: self.runs.into_store() }
    }
}

/// The pieces of a spool that no more come to.
struct Sorted {
    /// The last batch.
    bytes: Vec<u8>,
    index: Vec<Piece>,
    runs: Store,
}

impl Sorted {
    fn cursors(&self) -> impl Iterator<Item = Cursor<'_>> {
        let last = Cursor::Memory { bytes: &self.bytes, index: &self.index };
        self.runs.iter().map(Cursor::Run).chain([last])
    }
}

fn slice(bytes: &[u8], piece: Piece) -> &[u8] {
    bytes.get(piece.start..piece.start + piece.len as usize).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
                spools[usize::from(shard) % shards]
                    .push(key, |buffer| { buffer.extend_from_slice(text.as_bytes()); Ok(()) })
                    .expect("spilling to a temporary file");
                expected.push((key, text));
            }
            expected.sort();
            let expected: String = expected.into_iter().take(most).map(|(_, text)| text).collect();
            let mut out = Vec::new();
            Spool::merge(spools, most, threads, &mut out).expect("merging");
            prop_assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
