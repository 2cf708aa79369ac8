//! One capture: its bytes, read as frames.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use observer::capture::{Chunk, ErrorKind, Reader};
use observer::record::FileRecord;

use super::input::{Got, Input};
use super::{Fill, Options, Progress, Source};

/// Octets asked of the kernel at a time: large enough that the call costs nothing beside the copy, small enough that
/// the bytes are still in the second-level cache when they are decoded and handled. Replaying takes a fifth less of two
/// cores' time than with four times as many.
pub const CHUNK: usize = 256 << 10;
/// How long to wait for more of a pipe or of a growing file before the caller gets a word in.
pub const WAIT: Duration = Duration::from_millis(50);

/// A capture being read.
#[derive(Debug)]
pub struct Capture {
    name: PathBuf,
    reader: Reader,
    /// `None` when there is no more to read.
    input: Option<Input>,
    /// The start of a record whose rest was not there yet.
    carry: Vec<u8>,
    compression: Option<&'static str>,
    error: Option<String>,
}

impl Capture {
    /// Opens `path`. A file that cannot be opened is at its end, with an error.
    pub fn open(index: u16, path: &Path, options: &Options, progress: &Arc<Progress>) -> Self {
        let (input, error) = match Input::open(path, options.follow, Arc::clone(progress)) {
            Ok(input) => (Some(input), None),
            Err(error) => (None, Some(format!("cannot open it: {error}"))),
        };
        Self { name: path.to_owned(), reader: Reader::new(index), input, carry: Vec::new(), compression: None, error }
    }

    /// Replaces the contents of `chunk` with the next frames; reads about `size` octets for them.
    pub fn fill(&mut self, chunk: &mut Chunk, size: usize, wait: Duration) -> Got {
        chunk.clear();
        let Some(input) = &mut self.input else { return Got::End };
        // A record larger than the chunk makes the chunk grow as far as the record's octets have really come.
        chunk.bytes.reserve(size.max(2 * self.carry.len()));
        chunk.bytes.append(&mut self.carry);
        let got = input.read(&mut chunk.bytes, wait);
        self.compression = input.compression();
        match got {
            Ok(Got::Bytes) => {}
            Ok(Got::Idle) => {
                self.carry.append(&mut chunk.bytes);
                return Got::Idle;
            }
            Ok(Got::End) => {
                let end = self.reader.finish(chunk.bytes.len());
                self.end(end.map_err(|error| self.say(&error)));
                return Got::End;
            }
            Err(error) => {
                self.end(Err(format!("{}: {error}", self.place(self.reader.offset() + chunk.bytes.len() as u64))));
                return Got::End;
            }
        }
        match self.reader.read(chunk) {
            Ok(done) => self.carry.extend_from_slice(chunk.bytes.get(done..).unwrap_or(&[])),
            Err(error) => self.end(Err(self.say(&error))),
        }
        Got::Bytes
    }

    /// The length of the file; `None` where it is not known, or may grow.
    pub fn len(&self) -> Option<u64> {
        self.input.as_ref().and_then(Input::len)
    }

    /// Whether it can be opened again and gives the same.
    pub fn can_reopen(&self) -> bool {
        self.input.as_ref().is_some_and(Input::is_regular_file)
    }

    /// Whether it is known to be a recording of observer.
    pub fn is_recording(&self) -> bool {
        self.reader.is_recording()
    }

    /// Stops reading.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// What is known of the capture so far.
    pub fn record(&self) -> FileRecord {
        FileRecord {
            name: self.name.to_string_lossy().into_owned(),
            format: self.reader.format(),
            compression: self.compression,
            frames: self.reader.frames(),
            interfaces: self.reader.interfaces().to_vec(),
            comments: self.reader.comments().to_vec(),
            error: self.error.clone(),
        }
    }

    fn say(&self, error: &observer::capture::Error) -> String {
        match error.kind {
            // The whole file is meant, not a place in it.
            ErrorKind::Empty | ErrorKind::Unknown(_) => error.kind.to_string(),
            _ => format!("{}: {}", self.place(error.offset), error.kind),
        }
    }

    fn place(&self, offset: u64) -> String {
        match self.compression {
            Some(_) => format!("at byte {offset} of what it decompresses to"),
            None => format!("at byte {offset}"),
        }
    }

    fn end(&mut self, end: Result<(), String>) {
        self.input = None;
        self.error = end.err();
    }
}

/// A single capture as a source: its frames are handed on where they were read to.
#[derive(Debug)]
pub struct FileSource {
    capture: Capture,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    /// What was read ahead.
    ahead: Option<(Chunk, Fill)>,
}

impl FileSource {
    /// Opens `path`.
    pub fn open(path: &Path, options: &Options) -> Self {
        let progress = Arc::new(Progress::default());
        let capture = Capture::open(0, path, options, &progress);
        progress.set_total(capture.len().unwrap_or(0));
        Self { capture, stop: Arc::clone(&options.stop), progress, ahead: None }
    }

    fn read(&mut self, chunk: &mut Chunk) -> Fill {
        match self.capture.fill(chunk, CHUNK, WAIT) {
            Got::Bytes | Got::Idle => Fill::More,
            Got::End => Fill::End,
        }
    }
}

impl Source for FileSource {
    fn fill(&mut self, chunk: &mut Chunk) -> anyhow::Result<Fill> {
        if self.stop.load(Ordering::Relaxed) {
            chunk.clear();
            return Ok(Fill::End);
        }
        if let Some((ahead, fill)) = self.ahead.take() {
            *chunk = ahead;
            return Ok(fill);
        }
        Ok(self.read(chunk))
    }

    fn is_recording(&mut self) -> anyhow::Result<bool> {
        let mut chunk = Chunk::default();
        // The first block behind the section's header tells: a recording begins with its marks.
        while self.ahead.is_none() && !self.stop.load(Ordering::Relaxed) {
            let fill = self.read(&mut chunk);
            if fill == Fill::End || !chunk.frames.is_empty() || !chunk.marks.is_empty() || !chunk.keys.is_empty() {
                self.ahead = Some((std::mem::take(&mut chunk), fill));
            }
        }
        Ok(self.capture.is_recording())
    }

    fn files(&self) -> Vec<FileRecord> {
        vec![self.capture.record()]
    }

    fn filtered(&self) -> u64 {
        0
    }

    fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}
