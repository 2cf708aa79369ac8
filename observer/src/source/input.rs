//! Bytes of one file or of standard input, as they come, decompressed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Advice, FileType, fadvise, fstat};
use rustix::io::Errno;

use super::Progress;
use super::compression::{self, Decompress};

/// Octets of compressed data read at a time.
const COMPRESSED: usize = 128 << 10;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Some bytes were appended.
    Bytes,
    /// There is nothing now, and there may be later.
    Idle,
    /// There is no more.
    End,
}

/// An input as the bytes of a capture.
#[derive(Debug)]
pub struct Input {
    raw: Raw,
    layer: Layer,
}

#[derive(Debug)]
enum Layer {
    /// Too little was read to know.
    Unknown,
    Plain,
    Compressed(Compressed),
}

/// Compressed bytes on their way.
#[derive(Debug)]
struct Compressed {
    decompress: Box<dyn Decompress>,
    /// What was read; what comes before `taken` is done with.
    bytes: Vec<u8>,
    taken: usize,
    /// Damage found behind bytes that were still good.
    damage: Option<anyhow::Error>,
}

impl Input {
    /// Opens `path`, or standard input for `-`.
    pub fn open(path: &Path, follow: bool, progress: Arc<Progress>) -> io::Result<Self> {
        Ok(Self { raw: Raw::open(path, follow, progress)?, layer: Layer::Unknown })
    }

    /// The length of the file when it was opened; `None` where more may come.
    pub fn len(&self) -> Option<u64> {
        (self.raw.regular && !self.raw.follow).then_some(self.raw.len)
    }

    /// Whether the same bytes could be had again by opening it again.
    pub fn is_regular_file(&self) -> bool {
        self.raw.regular && self.raw.file.is_some()
    }

    /// `gzip`, `zstd` or `lz4`.
    pub fn compression(&self) -> Option<&'static str> {
        match &self.layer {
            Layer::Compressed(compressed) => Some(compressed.decompress.name()),
            Layer::Unknown | Layer::Plain => None,
        }
    }

    /// Appends what there is to `bytes`, within its capacity, waiting up to `wait` for the first of it. What was
    /// appended by calls before has to stand in `bytes` as long as that is less than [`compression::MAGIC`] octets.
    pub fn read(&mut self, bytes: &mut Vec<u8>, wait: Duration) -> Result<Got> {
        match &mut self.layer {
            Layer::Plain => Ok(self.raw.read(bytes, wait)?),
            Layer::Compressed(compressed) => compressed.read(&mut self.raw, bytes, wait),
            Layer::Unknown => {
                let got = self.raw.read(bytes, wait)?;
                let Some(magic) = bytes.first_chunk() else { return Ok(got) };
                let Some(decompress) = compression::detect(*magic) else {
                    self.layer = Layer::Plain;
                    return Ok(got);
                };
                let mut compressed = Compressed { decompress, bytes: bytes.clone(), taken: 0, damage: None };
                bytes.clear();
                let got = compressed.read(&mut self.raw, bytes, wait);
                self.layer = Layer::Compressed(compressed);
                got
            }
        }
    }
}

impl Compressed {
    fn read(&mut self, raw: &mut Raw, bytes: &mut Vec<u8>, wait: Duration) -> Result<Got> {
        if let Some(damage) = self.damage.take() {
            return Err(damage);
        }
        let before = bytes.len();
        loop {
            let input = self.bytes.get(self.taken..).unwrap_or(&[]);
            let taken = match self.decompress.run(input, bytes) {
                Ok(taken) => taken,
                Err(damage) if bytes.len() == before => return Err(damage),
                Err(damage) => {
                    self.damage = Some(damage);
                    0
                }
            };
            self.taken += taken;
            if bytes.len() > before {
                return Ok(Got::Bytes);
            }
            if taken == 0 {
                self.bytes.drain(..self.taken);
                self.taken = 0;
                self.bytes.reserve(COMPRESSED.max(self.bytes.len()));
                match raw.read(&mut self.bytes, wait)? {
                    Got::Bytes => {}
                    Got::End if !(self.decompress.at_end() && self.bytes.is_empty()) => {
                        bail!("the {} data is cut short", self.decompress.name());
                    }
                    got => return Ok(got),
                }
            }
        }
    }
}

/// An open file, or standard input. Files are read(2), never mapped: one that is cut short meanwhile just ends early.
#[derive(Debug)]
struct Raw {
    /// `None` for standard input.
    file: Option<File>,
    regular: bool,
    follow: bool,
    len: u64,
    /// Octets read so far.
    position: u64,
    progress: Arc<Progress>,
}

impl Raw {
    fn open(path: &Path, follow: bool, progress: Arc<Progress>) -> io::Result<Self> {
        let file = if path.as_os_str() == "-" { None } else { Some(File::open(path)?) };
        let mut input = Self { file, regular: false, follow, len: 0, position: 0, progress };
        let stat = fstat(input.fd())?;
        input.regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if input.regular {
            input.len = stat.st_size.try_into().unwrap_or(0);
            // Advice only: reading goes on without it.
            let _ = fadvise(input.fd(), 0, None, Advice::Sequential);
        }
        Ok(input)
    }

    /// Appends what there is to `bytes`, within its capacity, waiting up to `wait` for the first of it.
    fn read(&mut self, bytes: &mut Vec<u8>, wait: Duration) -> io::Result<Got> {
        let before = bytes.len();
        let got = if self.regular { self.read_file(bytes, wait) } else { self.read_stream(bytes, wait) };
        self.position += (bytes.len() - before) as u64;
        self.progress.add(bytes.len() - before);
        got
    }

    fn read_file(&self, bytes: &mut Vec<u8>, wait: Duration) -> io::Result<Got> {
        if self.read_once(bytes)? > 0 {
            return Ok(Got::Bytes);
        }
        if !self.follow {
            return Ok(Got::End);
        }
        if u64::try_from(fstat(self.fd())?.st_size).is_ok_and(|len| len < self.position) {
            return Err(io::Error::other("the file was cut short while it was followed"));
        }
        std::thread::sleep(wait);
        Ok(Got::Idle)
    }

    fn read_stream(&self, bytes: &mut Vec<u8>, wait: Duration) -> io::Result<Got> {
        if !self.readable(wait)? {
            return Ok(Got::Idle);
        }
        if self.read_once(bytes)? == 0 {
            return Ok(Got::End);
        }
        // A pipe holds less than a chunk: take what its writer has put there meanwhile, and wait for nothing.
        while bytes.len() < bytes.capacity() && self.readable(Duration::ZERO)? {
            if self.read_once(bytes)? == 0 {
                break;
            }
        }
        Ok(Got::Bytes)
    }

    fn read_once(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match rustix::io::read(self.fd(), spare_capacity(bytes)) {
                Err(Errno::INTR) => {}
                read => return Ok(read?),
            }
        }
    }

    /// Whether a read would not block: there are bytes, or the end.
    fn readable(&self, wait: Duration) -> io::Result<bool> {
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)], Some(&wait)) {
            Err(Errno::INTR) => Ok(false),
            ready => Ok(ready? > 0),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.file {
            Some(file) => file.as_fd(),
            None => rustix::stdio::stdin(),
        }
    }
}
