//! Sorted batches that wait in short form.
//!
//! A run is a series of blocks, each a series of key, length and piece, compressed: records are much alike, and many of
//! them would take much room in memory and in what may be a small file system.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lz4_flex::block;

use super::store::Store;
use super::{Key, Piece};

/// How many octets of pieces make a block. While runs are merged each has one block in memory, and there may be
/// thousands.
const BLOCK: usize = 16 << 10;

/// Octets before each piece of a block: its key and its length.
const HEADER: usize = 20;

/// Octets before each block: its length and that of its compressed form.
const LENGTHS: usize = 8;

/// The runs of one spool.
#[derive(Debug)]
pub struct Runs {
    /// Runs that were taken out are read while others are written.
    store: Arc<Mutex<Store>>,
    waiting: Vec<Run>,
    /// How many were taken out.
    taken: usize,
    /// The block that is being put together, and its compressed form: kept for their memory.
    pieces: Vec<u8>,
    compressed: Vec<u8>,
}

impl Runs {
    /// None yet; up to `budget` octets of them are kept in memory.
    pub fn new(budget: usize) -> Self {
        let store = Arc::new(Mutex::new(Store::new(budget)));
        Self { store, waiting: Vec::new(), taken: 0, pieces: Vec::new(), compressed: Vec::new() }
    }

    /// Adds a run of pieces, which are in order.
    pub fn add(&mut self, pieces: impl Iterator<Item = Piece>) -> io::Result<()> {
        let start = lock(&self.store).len();
        let mut first = None;
        for Piece { key, text } in pieces {
            first.get_or_insert(key);
            self.pieces.extend_from_slice(&header(key, &text)?);
            self.pieces.extend_from_slice(&text);
            if self.pieces.len() >= BLOCK {
                self.write_block()?;
            }
        }
        self.write_block()?;
        let (store, end) = (Arc::clone(&self.store), lock(&self.store).len());
        let run = |first| Run { store, first, at: start, end, read: Vec::new(), block: Vec::new(), next: 0 };
        self.waiting.extend(first.map(run));
        Ok(())
    }

    /// Takes out the runs whose first piece is to be taken.
    pub fn take(&mut self, is_taken: impl Fn(Key) -> bool) -> Vec<Run> {
        let taken: Vec<_> = self.waiting.extract_if(.., |run| is_taken(run.first)).collect();
        self.taken += taken.len();
        taken
    }

    /// Takes back runs that were taken out, and keeps those that are not read to their ends.
    pub fn put_back(&mut self, runs: Vec<Run>) {
        self.taken -= runs.len();
        self.waiting.extend(runs.into_iter().filter(|run| !run.is_over()));
        if self.waiting.is_empty() && self.taken == 0 {
            lock(&self.store).clear();
        }
    }

    /// Writes the block that is put together, if it holds anything.
    fn write_block(&mut self) -> io::Result<()> {
        let Self { store, pieces, compressed, .. } = self;
        if pieces.is_empty() {
            return Ok(());
        }
        compressed.resize(LENGTHS + block::get_maximum_output_size(pieces.len()), 0);
        let (lengths, room) = compressed.split_at_mut(LENGTHS);
        let len = block::compress_into(pieces, room).map_err(io::Error::other)?;
        lengths.copy_from_slice(&[short(pieces.len())?, short(len)?].concat());
        lock(store).append(compressed.get(..LENGTHS + len).unwrap_or_default())?;
        pieces.clear();
        Ok(())
    }
}

/// One run, read from its front.
#[derive(Debug)]
pub struct Run {
    store: Arc<Mutex<Store>>,
    /// The key of its next piece, as of when it was taken out last.
    first: Key,
    at: u64,
    end: u64,
    /// The compressed block.
    read: Vec<u8>,
    /// The block that is being read.
    block: Vec<u8>,
    /// Where the next piece stands in it.
    next: usize,
}

impl Run {
    /// Key of the next piece.
    pub fn key(&mut self) -> io::Result<Option<Key>> {
        if self.next >= self.block.len() {
            if self.at >= self.end {
                return Ok(None);
            }
            self.read_block()?;
        }
        let rest = self.block.get(self.next..).unwrap_or_default();
        let (key, ..) = split(rest).ok_or(io::ErrorKind::InvalidData)?;
        self.first = key;
        Ok(Some(key))
    }

    /// The next piece; the run goes on behind it.
    pub fn take(&mut self) -> &[u8] {
        let rest = self.block.get(self.next..).unwrap_or_default();
        let Some((_, piece, rest)) = split(rest) else { return &[] };
        self.next = self.block.len() - rest.len();
        piece
    }

    fn is_over(&self) -> bool {
        self.next >= self.block.len() && self.at >= self.end
    }

    fn read_block(&mut self) -> io::Result<()> {
        let store = lock(&self.store);
        let mut lengths = [0; LENGTHS];
        store.read(self.at, &mut lengths)?;
        let [whole, len] = [&lengths[..4], &lengths[4..]].map(|length| {
            let octets = length.try_into().unwrap_or_default();
            u32::from_le_bytes(octets) as usize
        });
        self.read.resize(len, 0);
        store.read(self.at + LENGTHS as u64, &mut self.read)?;
        drop(store);
        self.block.resize(whole, 0);
        block::decompress_into(&self.read, &mut self.block).map_err(io::Error::other)?;
        self.at += (LENGTHS + len) as u64;
        self.next = 0;
        Ok(())
    }
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A length as it stands before what it is of.
fn short(len: usize) -> io::Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(io::Error::other)
}

fn header((major, minor): Key, piece: &[u8]) -> io::Result<[u8; HEADER]> {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&major.to_le_bytes());
    header[8..16].copy_from_slice(&minor.to_le_bytes());
    header[16..].copy_from_slice(&short(piece.len())?);
    Ok(header)
}

/// Key of the first piece of `block`, the piece, and what follows it.
fn split(block: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    let (major, rest) = block.split_first_chunk()?;
    let (minor, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (piece, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some(((u64::from_le_bytes(*major), u64::from_le_bytes(*minor)), piece, rest))
}
