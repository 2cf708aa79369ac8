//! How pieces of output reach standard output: at once, or in order at the end.

use std::io::Write;

use anyhow::{Context as _, Result};

use super::spool::{Key, Spool};

/// Where one shard's connections are printed.
pub enum Printer {
    /// Kept until all are there, then printed in the order of their keys.
    Ordered(Spool),
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
        Self::Ordered(Spool::new())
    }

    /// Prints to `out` at once.
    pub fn streaming(out: Box<dyn Write + Send>) -> Self {
        Self::Streaming { out, piece: Vec::new() }
    }

    /// Prints what `write` appends to the buffer.
    pub fn print(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        match self {
            Self::Ordered(spool) => spool.push(key, write),
            Self::Streaming { out, piece } => {
                piece.clear();
                write(piece)?;
                out.write_all(piece).and_then(|()| out.flush()).context("writing to standard output")
            }
        }
    }

    /// Prints what is left over.
    pub fn finish(printers: Vec<Self>, out: &mut dyn Write) -> Result<()> {
        let spools = printers.into_iter().filter_map(|printer| match printer {
            Self::Ordered(spool) => Some(spool),
            Self::Streaming { .. } => None,
        });
        Spool::merge(spools.collect(), out)
    }
}
