//! Pieces of output that come in any order and go out in the order of their keys, within bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result};
use lz4_flex::block;

/// What the pieces are ordered by: smaller keys first. The second number tells pieces of one rank apart.
pub type Key = (u64, u64);

/// How many octets a spool holds in memory before it writes them to its temporary file. There is one for each shard.
const BUDGET: usize = 8 << 20;

/// How many octets of pieces make a block. While runs are merged each has one block in memory, and there may be
/// thousands.
const BLOCK: usize = 16 << 10;

/// The pieces of one thread.
///
/// Once `bytes` is over the budget its pieces are sorted and appended to a temporary file that has no name: a run. A run
/// is a series of blocks, each a series of key, length and piece, compressed: records are much alike, and many of them
/// would take much room in what may be a small file system.
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
        let mut cursors = Vec::new();
        for spool in &spools {
            let starts = std::iter::once(0).chain(spool.run_ends.iter().copied());
            if let Some(file) = &spool.file {
                for (start, &end) in starts.zip(&spool.run_ends) {
                    cursors.push(Cursor::Run(Run { file, at: start, end, block: Vec::new(), next: 0 }));
                }
            }
        }
        let tails: Vec<_> = spools.iter().map(|spool| (spool, sorted(&spool.index))).collect();
        for (spool, index) in &tails {
            cursors.push(Cursor::Memory { bytes: &spool.bytes, index });
        }
        merge(cursors, most, out)
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let mut end = self.run_ends.last().copied().unwrap_or(0);
        let mut writer = BufWriter::with_capacity(256 << 10, &mut file);
        let (mut pieces, mut compressed) = (Vec::with_capacity(2 * BLOCK), Vec::new());
        for piece in sorted(&self.index) {
            pieces.extend_from_slice(&header(piece));
            pieces.extend_from_slice(slice(&self.bytes, piece));
            if pieces.len() >= BLOCK {
                end += write_block(&mut writer, &mut pieces, &mut compressed)?;
            }
        }
        end += write_block(&mut writer, &mut pieces, &mut compressed)?;
        writer.flush()?;
        drop(writer);
        self.file = Some(file);
        self.run_ends.push(end);
        self.bytes.clear();
        self.index.clear();
        Ok(())
    }
}

/// Octets before each piece of a block: its key and its length.
const HEADER: usize = 20;

fn header(piece: Piece) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&piece.key.0.to_le_bytes());
    header[8..16].copy_from_slice(&piece.key.1.to_le_bytes());
    header[16..].copy_from_slice(&piece.len.to_le_bytes());
    header
}

/// Key of the first piece of `block`, the piece, and what follows it.
fn split(block: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    let (major, rest) = block.split_first_chunk()?;
    let (minor, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (piece, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some(((u64::from_le_bytes(*major), u64::from_le_bytes(*minor)), piece, rest))
}

/// Writes and empties `pieces`; returns how many octets were written: the length before and after compression, and the
/// compressed octets.
fn write_block(out: &mut impl Write, pieces: &mut Vec<u8>, compressed: &mut Vec<u8>) -> io::Result<u64> {
    if pieces.is_empty() {
        return Ok(0);
    }
    compressed.resize(block::get_maximum_output_size(pieces.len()), 0);
    let len = block::compress_into(pieces, compressed).map_err(io::Error::other)?;
    out.write_all(&(pieces.len() as u64).to_le_bytes())?;
    out.write_all(&(len as u64).to_le_bytes())?;
    out.write_all(compressed.get(..len).unwrap_or_default())?;
    pieces.clear();
    Ok(16 + len as u64)
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
    Run(Run<'a>),
    Memory { bytes: &'a [u8], index: &'a [Piece] },
}

fn merge(mut cursors: Vec<Cursor<'_>>, most: usize, out: &mut dyn Write) -> Result<()> {
    let mut heads = BinaryHeap::new();
    for (which, cursor) in cursors.iter_mut().enumerate() {
        heads.extend(cursor.key()?.map(|key| Reverse((key, which))));
    }
    for _ in 0..most {
        let Some(Reverse((_, which))) = heads.pop() else { break };
        let Some(cursor) = cursors.get_mut(which) else { continue };
        out.write_all(cursor.take())?;
        heads.extend(cursor.key()?.map(|key| Reverse((key, which))));
    }
    Ok(())
}

impl Cursor<'_> {
    /// Key of the next piece.
    fn key(&mut self) -> Result<Option<Key>> {
        match self {
            Self::Memory { index, .. } => Ok(index.first().map(|piece| piece.key)),
            Self::Run(run) => run.key().context("reading output that waited for its turn from a temporary file"),
        }
    }

    /// The next piece; the cursor goes on behind it.
    fn take(&mut self) -> &[u8] {
        match self {
            Self::Memory { bytes, index } => {
                let Some((piece, rest)) = index.split_first() else { return &[] };
                *index = rest;
                slice(bytes, *piece)
            }
            Self::Run(run) => run.take(),
        }
    }
}

/// One run of a temporary file that several cursors read at once.
struct Run<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    /// The block that is being read.
    block: Vec<u8>,
    /// Where the next piece stands in it.
    next: usize,
}

impl Run<'_> {
    fn key(&mut self) -> io::Result<Option<Key>> {
        if self.next >= self.block.len() {
            if self.at >= self.end {
                return Ok(None);
            }
            self.read_block()?;
        }
        let rest = self.block.get(self.next..).unwrap_or_default();
        split(rest).map(|(key, ..)| Some(key)).ok_or(io::ErrorKind::InvalidData.into())
    }

    fn take(&mut self) -> &[u8] {
        let rest = self.block.get(self.next..).unwrap_or_default();
        let Some((_, piece, rest)) = split(rest) else { return &[] };
        self.next = self.block.len() - rest.len();
        piece
    }

    fn read_block(&mut self) -> io::Result<()> {
        let (mut len, mut compressed_len) = ([0; 8], [0; 8]);
        self.file.read_exact_at(&mut len, self.at)?;
        self.file.read_exact_at(&mut compressed_len, self.at + 8)?;
        let mut compressed = vec![0; u64::from_le_bytes(compressed_len) as usize];
        self.file.read_exact_at(&mut compressed, self.at + 16)?;
        self.at += 16 + compressed.len() as u64;
        self.block.resize(u64::from_le_bytes(len) as usize, 0);
        self.next = 0;
        block::decompress_into(&compressed, &mut self.block).map_err(io::Error::other)?;
        Ok(())
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
