//! Several sorted series of pieces made one.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result};

use super::runs::Run;
use super::{Key, Piece, Sorted, is_before};

/// How many octets of pieces one thread hands to another together, and how often it does so before they are taken.
const PARCEL: usize = 256 << 10;
const AHEAD: usize = 2;

/// A sorted series of pieces, read from its front.
pub enum Cursor<'a> {
    Run(&'a mut Run),
    Memory(&'a mut std::vec::IntoIter<Piece>),
    Thread(FromThread),
}

impl Cursor<'_> {
    /// Key of the next piece.
    fn key(&mut self) -> Result<Option<Key>> {
        match self {
            Self::Memory(pieces) => Ok(pieces.as_slice().first().map(|piece| piece.key)),
            Self::Run(run) => run.key().context("reading output that waited for its turn from a temporary file"),
            Self::Thread(thread) => thread.key(),
        }
    }

    /// The next piece; the cursor goes on behind it.
    fn take(&mut self) -> Cow<'_, [u8]> {
        match self {
            Self::Memory(pieces) => Cow::Owned(pieces.next().map_or(Vec::new(), |piece| piece.text)),
            Self::Run(run) => Cow::Borrowed(run.take()),
            Self::Thread(thread) => Cow::Borrowed(thread.take()),
        }
    }
}

/// Gives out the first `most` pieces of all series, in order, as far as their keys' first numbers are below `before`.
pub fn merge(
    cursors: &mut [Cursor<'_>],
    most: usize,
    before: Option<u64>,
    mut give: impl FnMut(Key, Cow<'_, [u8]>) -> Result<()>,
) -> Result<()> {
    let mut heads = BinaryHeap::new();
    for (which, cursor) in cursors.iter_mut().enumerate() {
        heads.extend(cursor.key()?.map(|key| Reverse((key, which))));
    }
    for _ in 0..most {
        let Some(Reverse((key, which))) = heads.pop().filter(|Reverse((key, _))| is_before(*key, before)) else {
            break;
        };
        let Some(cursor) = cursors.get_mut(which) else { continue };
        give(key, cursor.take())?;
        heads.extend(cursor.key()?.map(|key| Reverse((key, which))));
    }
    Ok(())
}

/// The same, where each of several threads merges a part of the spools and this one what they come to.
pub fn merge_by_threads(spools: &mut [Sorted], most: usize, threads: usize, out: &mut dyn Write) -> Result<()> {
    let share = spools.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let mut parts = Vec::new();
        for spools in spools.chunks_mut(share) {
            let (sender, receiver) = sync_channel(AHEAD);
            let mut cursors: Vec<_> = spools.iter_mut().flat_map(Sorted::cursors).collect();
            scope.spawn(move || {
                let mut parcels = Parcels { parcel: Parcel::default(), sender: &sender };
                let result = merge(&mut cursors, most, None, |key, piece| parcels.add(key, &piece));
                // Nobody listens any more where enough was taken.
                sender.send(result.map(|()| parcels.parcel)).ok();
            });
            parts.push(Cursor::Thread(FromThread { receiver, parcel: Parcel::default(), next: 0 }));
        }
        merge(&mut parts, most, None, |_, piece| Ok(out.write_all(&piece)?))
    })
}

/// Pieces on their way from one thread to another, in order.
#[derive(Default)]
struct Parcel {
    bytes: Vec<u8>,
    /// The key of each piece, and where it ends.
    index: Vec<(Key, usize)>,
}

struct Parcels<'a> {
    parcel: Parcel,
    sender: &'a SyncSender<Result<Parcel>>,
}

impl Parcels<'_> {
    fn add(&mut self, key: Key, piece: &[u8]) -> Result<()> {
        let Parcel { bytes, index } = &mut self.parcel;
        if bytes.is_empty() {
            bytes.reserve(PARCEL + piece.len());
        }
        bytes.extend_from_slice(piece);
        index.push((key, bytes.len()));
        if bytes.len() >= PARCEL {
            self.sender.send(Ok(std::mem::take(&mut self.parcel))).context("nobody takes more output")?;
        }
        Ok(())
    }
}

/// What another thread merges.
pub struct FromThread {
    receiver: Receiver<Result<Parcel>>,
    parcel: Parcel,
    /// The next piece of the parcel.
    next: usize,
}

impl FromThread {
    fn key(&mut self) -> Result<Option<Key>> {
        while self.next >= self.parcel.index.len() {
            // The last parcel is followed by nothing.
            let Ok(parcel) = self.receiver.recv() else { return Ok(None) };
            (self.parcel, self.next) = (parcel?, 0);
        }
        Ok(self.parcel.index.get(self.next).map(|(key, _)| *key))
    }

    fn take(&mut self) -> &[u8] {
        let end_of = |which: usize| self.parcel.index.get(which).map_or(0, |(_, end)| *end);
        let start = self.next.checked_sub(1).map_or(0, end_of);
        let end = end_of(self.next);
        self.next += 1;
        self.parcel.bytes.get(start..end).unwrap_or_default()
    }
}
