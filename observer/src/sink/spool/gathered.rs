//! Many pieces written at once, from where they are.

use std::io::{self, ErrorKind, IoSlice, Write};

use anyhow::{Context as _, Result};

/// What is being done where an error occurs.
const WRITING: &str = "writing output";

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
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero)).context(WRITING),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(WRITING),
            }
        }
        self.pieces.clear();
        self.octets = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few octets at a time, and is interrupted in between.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(3) {
                return Err(ErrorKind::Interrupted.into());
            }
            let part = &octets[..octets.len().min(7)];
            self.taken.extend_from_slice(part);
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_left_out_where_little_is_taken_at_once() {
        let mut slow = Slow::default();
        let pieces = ["", "one", "a longer one than is taken at once", "", "last"];
        let mut gathered = Gathered::new(&mut slow);
        pieces.iter().for_each(|piece| gathered.add((*piece).into()).expect("it is taken"));
        gathered.write().expect("it is taken");
        assert_eq!(slow.taken, pieces.concat().as_bytes());
    }
}
