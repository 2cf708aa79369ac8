//! Sorted batches that wait in short form.
//!
//! A run is a series of blocks, each a series of key, length and piece, compressed: records are much alike, and many of
//! them would take much room in memory and in what may be a small file system. Runs follow each other in memory until
//! they take more than a budget, then in a temporary file that has no name.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use lz4_flex::block;
use tempfile::{SpooledData, SpooledTempFile, spooled_tempfile};

use super::Key;

/// How many octets the runs of one spool take in memory.
pub const BUDGET: usize = 4 << 20;

/// How many octets of pieces make a block. While runs are merged each has one block in memory, and there may be
/// thousands.
const BLOCK: usize = 16 << 10;

/// Octets before each piece of a block: its key and its length.
const HEADER: usize = 20;

/// Octets before each block: its length and that of its compressed form.
const LENGTHS: usize = 8;

/// Runs that are being written.
#[derive(Debug)]
pub struct Runs {
    file: SpooledTempFile,
    /// Where each run ends.
    ends: Vec<u64>,
    /// The block that is being put together, and its compressed form: kept for their memory.
    pieces: Vec<u8>,
    compressed: Vec<u8>,
}

impl Runs {
    pub fn new(budget: usize) -> Self {
        Self { file: spooled_tempfile(budget), ends: Vec::new(), pieces: Vec::new(), compressed: Vec::new() }
    }

    /// Adds a run of pieces, which are in order.
    pub fn add<'a>(&mut self, pieces: impl Iterator<Item = (Key, &'a [u8])>) -> io::Result<()> {
        let mut end = self.ends.last().copied().unwrap_or(0);
        for (key, piece) in pieces {
            self.pieces.extend_from_slice(&header(key, piece));
            self.pieces.extend_from_slice(piece);
            if self.pieces.len() >= BLOCK {
                end += self.write_block()?;
            }
        }
        end += self.write_block()?;
        self.ends.push(end);
        Ok(())
    }

    /// Writes the block that is put together, if it holds anything; returns how many octets that took.
    fn write_block(&mut self) -> io::Result<u64> {
        let Self { file, pieces, compressed, .. } = self;
        if pieces.is_empty() {
            return Ok(0);
        }
        compressed.resize(LENGTHS + block::get_maximum_output_size(pieces.len()), 0);
        let (lengths, room) = compressed.split_at_mut(LENGTHS);
        let len = block::compress_into(pieces, room).map_err(io::Error::other)?;
        let short = |len: usize| u32::try_from(len).map_err(io::Error::other);
        let (whole, len) = (short(pieces.len())?.to_le_bytes(), short(len)?.to_le_bytes());
        lengths.copy_from_slice(&[whole, len].concat());
        let written = LENGTHS + u32::from_le_bytes(len) as usize;
        file.write_all(compressed.get(..written).unwrap_or_default())?;
        pieces.clear();
        Ok(written as u64)
    }

    pub fn into_store(self) -> Store {
        let octets = match self.file.into_inner() {
            SpooledData::InMemory(octets) => Octets::Memory(octets.into_inner()),
            SpooledData::OnDisk(file) => Octets::Disk(file),
        };
        Store { octets, ends: self.ends }
    }
}

/// Runs to be read.
pub struct Store {
    octets: Octets,
    ends: Vec<u64>,
}

enum Octets {
    Memory(Vec<u8>),
    Disk(File),
}

impl Store {
    /// The runs, each from its front.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Run<'_>> {
        let start = |run: usize| run.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let run = move |(run, &end)| Run {
            octets: &self.octets,
            at: start(run),
            end,
            read: Vec::new(),
            block: Vec::new(),
            next: 0,
        };
        self.ends.iter().enumerate().map(run)
    }
}

/// One run, read from its front. Several of them read one file at once.
pub struct Run<'a> {
    octets: &'a Octets,
    at: u64,
    end: u64,
    /// The compressed block as it was read from a file.
    read: Vec<u8>,
    /// The block that is being read.
    block: Vec<u8>,
    /// Where the next piece stands in it.
    next: usize,
}

impl Run<'_> {
    /// Key of the next piece.
    pub fn key(&mut self) -> io::Result<Option<Key>> {
        if self.next >= self.block.len() {
            if self.at >= self.end {
                return Ok(None);
            }
            self.read_block()?;
        }
        let rest = self.block.get(self.next..).unwrap_or_default();
        split(rest).map(|(key, ..)| Some(key)).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// The next piece; the run goes on behind it.
    pub fn take(&mut self) -> &[u8] {
        let rest = self.block.get(self.next..).unwrap_or_default();
        let Some((_, piece, rest)) = split(rest) else { return &[] };
        self.next = self.block.len() - rest.len();
        piece
    }

    fn read_block(&mut self) -> io::Result<()> {
        let lengths = self.octets.get(self.at, LENGTHS, &mut self.read)?;
        let Some(([whole, len], _)) = lengths.as_chunks().0.split_first_chunk() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (whole, len) = (u32::from_le_bytes(*whole) as usize, u32::from_le_bytes(*len) as usize);
        let compressed = self.octets.get(self.at + LENGTHS as u64, len, &mut self.read)?;
        self.block.resize(whole, 0);
        block::decompress_into(compressed, &mut self.block).map_err(io::Error::other)?;
        self.at += (LENGTHS + len) as u64;
        self.next = 0;
        Ok(())
    }
}

impl Octets {
    /// So many octets from a place on, read into `buffer` where they are not in memory.
    fn get<'a>(&'a self, at: u64, len: usize, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        match self {
            Self::Memory(octets) => {
                let rest = usize::try_from(at).ok().and_then(|at| octets.get(at..));
                rest.and_then(|rest| rest.get(..len)).ok_or(io::ErrorKind::UnexpectedEof.into())
            }
            Self::Disk(file) => {
                buffer.resize(len, 0);
                file.read_exact_at(buffer, at)?;
                Ok(buffer)
            }
        }
    }
}

fn header((major, minor): Key, piece: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&major.to_le_bytes());
    header[8..16].copy_from_slice(&minor.to_le_bytes());
    // A piece is no longer than its spool lets it be.
    header[16..].copy_from_slice(&(piece.len() as u32).to_le_bytes());
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
