//! Where runs are kept: in memory until they take more than a budget, then in a temporary file that has no name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How many octets the runs of one spool take in memory.
pub const BUDGET: usize = 4 << 20;

/// Octets that are only added to, and read from any place.
#[derive(Debug)]
pub struct Store {
    budget: usize,
    octets: Octets,
}

#[derive(Debug)]
enum Octets {
    Memory(Vec<u8>),
    /// A file, and its length.
    Disk(File, u64),
}

impl Store {
    /// An empty one that keeps up to `budget` octets in memory.
    pub const fn new(budget: usize) -> Self {
        Self { budget, octets: Octets::Memory(Vec::new()) }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::new(self.budget);
    }

    /// How many octets there are.
    pub const fn len(&self) -> u64 {
        match &self.octets {
            Octets::Memory(octets) => octets.len() as u64,
            Octets::Disk(_, len) => *len,
        }
    }

    /// Adds octets at the end.
    pub fn append(&mut self, more: &[u8]) -> io::Result<()> {
        match &mut self.octets {
            Octets::Memory(octets) if octets.len() + more.len() <= self.budget => octets.extend_from_slice(more),
            Octets::Memory(octets) => {
                let file = tempfile::tempfile()?;
                file.write_all_at(octets, 0)?;
                file.write_all_at(more, octets.len() as u64)?;
                self.octets = Octets::Disk(file, (octets.len() + more.len()) as u64);
            }
            Octets::Disk(file, len) => {
                file.write_all_at(more, *len)?;
                *len += more.len() as u64;
            }
        }
        Ok(())
    }

    /// Reads as many octets as `buffer` holds, from a place on.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.octets {
            Octets::Memory(octets) => {
                let rest = usize::try_from(at).ok().and_then(|at| octets.get(at..));
                let octets = rest.and_then(|rest| rest.get(..buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(octets);
                Ok(())
            }
            Octets::Disk(file, _) => file.read_exact_at(buffer, at),
        }
    }
}
