//! Many pieces written at once, from where they are.

use std::io::{IoSlice, Write};

use anyhow::Result;

/// How many pieces are written at once at most: what writev(2) takes (`UIO_MAXIOV`).
const PIECES: usize = 1024;

/// How many octets are written at once.
const OCTETS: usize = 256 << 10;

/// Pieces that are written together.
pub struct Gathered<'a> {
    out: &'a mut dyn Write,
    pieces: Vec<Vec<u8>>,
    octets: usize,
}

impl<'a> Gathered<'a> {
    /// None yet.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, pieces: Vec::new(), octets: 0 }
    }

    /// Adds one; writes all where there are enough.
    pub fn add(&mut self, piece: Vec<u8>) -> Result<()> {
        self.octets += piece.len();
        self.pieces.push(piece);
        if self.octets >= OCTETS || self.pieces.len() >= PIECES { self.write() } else { Ok(()) }
    }

    /// Writes what there is.
    pub fn write(&mut self) -> Result<()> {
        let mut slices: Vec<_> = self.pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match self.out.write_vectored(rest) {
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.pieces.clear();
        self.octets = 0;
        Ok(())
    }
}
