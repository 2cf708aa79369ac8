//! Bytes of one file or of standard input, as they come.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Advice, FileType, fadvise, fstat};
use rustix::io::Errno;

use super::Progress;

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

/// An open file, or standard input. Files are read(2), never mapped: one that is cut short meanwhile just ends early.
#[derive(Debug)]
pub struct Input {
    /// `None` for standard input.
    file: Option<File>,
    regular: bool,
    follow: bool,
    len: u64,
    progress: Arc<Progress>,
}

impl Input {
    /// Opens `path`, or standard input for `-`.
    pub fn open(path: &Path, follow: bool, progress: Arc<Progress>) -> io::Result<Self> {
        let file = if path.as_os_str() == "-" { None } else { Some(File::open(path)?) };
        let mut input = Self { file, regular: false, follow, len: 0, progress };
        let stat = fstat(input.fd())?;
        input.regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if input.regular {
            input.len = stat.st_size.try_into().unwrap_or(0);
            // Advice only: reading goes on without it.
            let _ = fadvise(input.fd(), 0, None, Advice::Sequential);
        }
        Ok(input)
    }

    /// The length of the file when it was opened; `None` where more may come.
    pub fn len(&self) -> Option<u64> {
        (self.regular && !self.follow).then_some(self.len)
    }

    /// Whether the same bytes could be had again by opening it again.
    pub fn is_regular_file(&self) -> bool {
        self.regular && self.file.is_some()
    }

    /// Appends what there is to `bytes`, within its capacity, waiting up to `wait` for the first of it.
    pub fn read(&mut self, bytes: &mut Vec<u8>, wait: Duration) -> io::Result<Got> {
        let before = bytes.len();
        let got = if self.regular { self.read_file(bytes, wait) } else { self.read_stream(bytes, wait) };
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
