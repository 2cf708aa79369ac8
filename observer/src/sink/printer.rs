//! How pieces of output reach standard output: at once, or in order.

use std::io::Write;

use anyhow::{Context as _, Result};

use super::outlet::Slot;
use super::spool::{Key, Sorted, Spool};

/// Where one shard's connections are printed.
pub struct Printer {
    to: To,
    draft: Draft,
    has_printed: bool,
}

/// A piece that is larger was an exception.
const MOST_ROOM: usize = 16 << 10;

/// How a piece is begun: with as much room as the last one took, and a bit more.
struct Draft {
    room: usize,
}

impl Draft {
    /// The piece that `write` appends.
    fn finish(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(self.room);
        write(&mut piece)?;
        self.room = (piece.len() + piece.len() / 16).min(MOST_ROOM);
        Ok(piece)
    }
}

enum To {
    /// Kept until all are there, then printed in the order of their keys.
    Ordered(Spool),
    /// Printed in the order of their first frames, as soon as nothing comes any more that belongs before; what is left
    /// at the end by so many threads.
    InTurn(Slot, usize),
    /// Printed as they come, each flushed: for live use with one shard.
    Streaming {
        /// Usually standard output.
        out: Box<dyn Write + Send>,
        /// The piece that is being written.
        piece: Vec<u8>,
    },
}

impl Printer {
    /// Prints in order.
    pub fn ordered() -> Self {
        Self::to(To::Ordered(Spool::new()))
    }

    /// Prints in the order of first frames, which the keys begin with, by the outlet that `slot` is of. Up to `threads`
    /// threads share the work at the end.
    pub const fn in_turn(slot: Slot, threads: usize) -> Self {
        Self::to(To::InTurn(slot, threads))
    }

    /// Prints to `out` at once.
    pub fn streaming(out: Box<dyn Write + Send>) -> Self {
        Self::to(To::Streaming { out, piece: Vec::new() })
    }

    const fn to(to: To) -> Self {
        Self { to, draft: Draft { room: 0 }, has_printed: false }
    }

    /// Prints what `write` appends to the buffer.
    pub fn print(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        self.has_printed = true;
        match &mut self.to {
            To::Ordered(spool) => {
                spool.push(key, self.draft.finish(write)?);
                if spool.is_full() { spool.put_away() } else { Ok(()) }
            }
            To::InTurn(slot, _) => slot.print(key, self.draft.finish(write)?),
            To::Streaming { out, piece } => {
                piece.clear();
                write(piece)?;
                out.write_all(piece).and_then(|()| out.flush()).context("writing to standard output")
            }
        }
    }

    /// Nothing more comes from this shard that was seen first before the frame that `first` tells.
    pub fn settle(&mut self, first: impl FnOnce() -> u64) -> Result<()> {
        match &self.to {
            To::InTurn(slot, _) => slot.settle(first()),
            To::Ordered(_) | To::Streaming { .. } => Ok(()),
        }
    }

    /// Whether there was anything to print.
    pub const fn has_printed(&self) -> bool {
        self.has_printed
    }

    /// Prints what was kept, up to the first `most`.
    pub fn finish(printers: Vec<Self>, most: usize, out: &mut dyn Write) -> Result<()> {
        let mut threads = 1;
        let sorted = printers.into_iter().filter_map(|printer| match printer.to {
            To::Ordered(mut spool) => Some(spool.take(None)),
            To::InTurn(slot, by) => {
                threads = threads.max(by);
                Some(slot.take())
            }
            To::Streaming { .. } => None,
        });
        let sorted = sorted.collect();
        Sorted::write_first(sorted, most, threads, out)
    }
}
