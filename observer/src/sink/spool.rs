//! Pieces of output that come in any order and go out in the order of their keys, within bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result};

/// What the pieces are ordered by: smaller keys first. The second number tells pieces of one rank apart.
pub type Key = (u64, u64);

/// How many octets a spool holds in memory before it writes them to its temporary file. There is one for each shard.
const BUDGET: usize = 8 << 20;

/// How many octets all runs together may buffer while they are merged.
const MERGE_BUFFERS: usize = 32 << 20;

/// The pieces of one thread.
///
/// Once `bytes` is over the budget its pieces are sorted and appended to a temporary file that has no name: a run. A
/// run is a series of key, length and piece, so that merging reads each of them from front to back.
#[derive(Debug)]
pub struct Spool {
    budget: usize,
    bytes: Vec<u8>,
    index: Vec<Piece>,
    file: Option<File>,
    /// Where each run ends in `file`.
    run_ends: Vec<u64>,
}

/// One piece that is in memory.
#[derive(Clone, Copy, Debug)]
struct Piece {
    key: Key,
    start: usize,
    len: u32,
}

impl Spool {
    /// An empty spool.
    pub fn new() -> Self {
        Self::with_budget(BUDGET)
    }

    fn with_budget(budget: usize) -> Self {
        Self { budget, bytes: Vec::new(), index: Vec::new(), file: None, run_ends: Vec::new() }
    }

    /// Takes in what `write` appends to the buffer.
    pub fn push(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        let len = self.bytes.len().saturating_sub(start);
        let len = u32::try_from(len).with_context(|| format!("one piece of output has {len} octets"))?;
        self.index.push(Piece { key, start, len });
        if self.bytes.len() >= self.budget {
            self.spill().context("writing output that waits for its turn to a temporary file (see TMPDIR)")?;
        }
        Ok(())
    }

    /// Writes the first `most` pieces of all spools, in order.
    pub fn merge(spools: Vec<Self>, most: usize, out: &mut dyn Write) -> Result<()> {
        let runs: usize = spools.iter().map(|spool| spool.run_ends.len()).sum();
        let buffer = (MERGE_BUFFERS / runs.max(1)).clamp(4 << 10, 256 << 10);
        let mut cursors = Vec::new();
        for spool in &spools {
            let starts = std::iter::once(0).chain(spool.run_ends.iter().copied());
            if let Some(file) = &spool.file {
                for (start, &end) in starts.zip(&spool.run_ends) {
                    cursors.push(Cursor::Run(BufReader::with_capacity(buffer, Run { file, at: start, end })));
                }
            }
        }
        let tails: Vec<_> = spools.iter().map(|spool| (spool, sorted(&spool.index))).collect();
        for (spool, index) in &tails {
            cursors.push(Cursor::Memory { bytes: &spool.bytes, index });
        }
        merge(cursors, most, out).context("putting the output in order")
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let mut end = self.run_ends.last().copied().unwrap_or(0);
        let mut writer = io::BufWriter::with_capacity(256 << 10, &mut file);
        for piece in sorted(&self.index) {
            let bytes = slice(&self.bytes, piece);
            writer.write_all(&header(piece))?;
            writer.write_all(bytes)?;
            end += (HEADER + bytes.len()) as u64;
        }
        writer.flush()?;
        drop(writer);
        self.file = Some(file);
        self.run_ends.push(end);
        self.bytes.clear();
        self.index.clear();
        Ok(())
    }
}

/// Octets before each piece of a run: its key and its length.
const HEADER: usize = 20;

fn header(piece: Piece) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&piece.key.0.to_le_bytes());
    header[8..16].copy_from_slice(&piece.key.1.to_le_bytes());
    header[16..].copy_from_slice(&piece.len.to_le_bytes());
    header
}

fn sorted(index: &[Piece]) -> Vec<Piece> {
    let mut index = index.to_vec();
    index.sort_unstable_by_key(|piece| piece.key);
    index
}

fn slice(bytes: &[u8], piece: Piece) -> &[u8] {
    bytes.get(piece.start..piece.start + piece.len as usize).unwrap_or(&[])
}

/// A sorted series of pieces, read from its front.
enum Cursor<'a> {
    Run(BufReader<Run<'a>>),
    Memory { bytes: &'a [u8], index: &'a [Piece] },
}

fn merge(mut cursors: Vec<Cursor<'_>>, most: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut heads = BinaryHeap::new();
    for (which, cursor) in cursors.iter_mut().enumerate() {
        if let Some((key, len)) = cursor.head()? {
            heads.push(Reverse((key, which, len)));
        }
    }
    for _ in 0..most {
        let Some(Reverse((_, which, len))) = heads.pop() else { break };
        let Some(cursor) = cursors.get_mut(which) else { continue };
        cursor.copy(len, out)?;
        if let Some((key, len)) = cursor.head()? {
            heads.push(Reverse((key, which, len)));
        }
    }
    Ok(())
}

impl Cursor<'_> {
    /// Key and length of the next piece; a run's header is consumed.
    fn head(&mut self) -> io::Result<Option<(Key, u32)>> {
        match self {
            Self::Memory { index, .. } => Ok(index.first().map(|piece| (piece.key, piece.len))),
            Self::Run(run) => {
                if run.fill_buf()?.is_empty() {
                    return Ok(None);
                }
                let (mut major, mut minor, mut len) = ([0; 8], [0; 8], [0; 4]);
                run.read_exact(&mut major)?;
                run.read_exact(&mut minor)?;
                run.read_exact(&mut len)?;
                Ok(Some(((u64::from_le_bytes(major), u64::from_le_bytes(minor)), u32::from_le_bytes(len))))
            }
        }
    }

    /// Writes the piece whose head was read, and goes on to the next.
    fn copy(&mut self, len: u32, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Memory { bytes, index } => {
                let Some((piece, rest)) = index.split_first() else { return Ok(()) };
                *index = rest;
                out.write_all(slice(bytes, *piece))
            }
            Self::Run(run) => {
                let mut left = len as usize;
                while left > 0 {
                    let buffer = run.fill_buf()?;
                    let part = buffer.get(..left.min(buffer.len())).unwrap_or(buffer);
                    if part.is_empty() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    out.write_all(part)?;
                    let taken = part.len();
                    left -= taken;
                    run.consume(taken);
                }
                Ok(())
            }
        }
    }
}

/// One run of a temporary file that several cursors read at once.
struct Run<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Run<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let got = self.file.read_at(buffer.get_mut(..want).unwrap_or_default(), self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn order_is_that_of_the_keys(pieces in prop::collection::vec((any::<u8>(), any::<u8>(), 0usize..40), 0..200),
                                     shards in 1usize..4, budget in 1usize..400, most in 0usize..250) {
            let mut spools: Vec<_> = (0..shards).map(|_| Spool::with_budget(budget)).collect();
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
            Spool::merge(spools, most, &mut out).expect("merging");
            prop_assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
