//! How pieces of output reach standard output: at once, or in order at the end.

use std::io::Write;

use anyhow::{Context as _, Result};

use super::spool::{Key, Spool};

/// Where one shard's connections are printed.
pub struct Printer {
    to: To,
    has_printed: bool,
}

enum To {
    /// Kept until all are there, then printed in the order of their keys by so many threads.
    Ordered(Spool, usize),
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
        Self::ordered_by(1)
    }

    /// The same, with the work at the end shared by up to `threads` threads.
    pub fn ordered_by(threads: usize) -> Self {
        Self { to: To::Ordered(Spool::new(), threads), has_printed: false }
    }

    /// Prints to `out` at once.
    pub fn streaming(out: Box<dyn Write + Send>) -> Self {
        Self { to: To::Streaming { out, piece: Vec::new() }, has_printed: false }
    }

    /// Prints what `write` appends to the buffer.
    pub fn print(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        self.has_printed = true;
        match &mut self.to {
            To::Ordered(spool, _) => spool.push(key, write),
            To::Streaming { out, piece } => {
                piece.clear();
                write(piece)?;
                out.write_all(piece).and_then(|()| out.flush()).context("writing to standard output")
            }
        }
    }

    /// Whether there was anything to print.
    pub const fn has_printed(&self) -> bool {
        self.has_printed
    }

    /// Prints what was kept, up to the first `most`.
    pub fn finish(printers: Vec<Self>, most: usize, out: &mut dyn Write) -> Result<()> {
        let mut threads = 1;
        let spools = printers.into_iter().filter_map(|printer| match printer.to {
            To::Ordered(spool, by) => {
                threads = threads.max(by);
                Some(spool)
            }
            To::Streaming { .. } => None,
        });
        let spools = spools.collect();
        Spool::merge(spools, most, threads, out)
    }
}
