//! Several captures, in the order of their timestamps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::bail;
use observer::capture::{Chunk, Comment, Frame};
use observer::keylog::KeyLog;
use observer::record::FileRecord;
use observer::time::Timestamp;

use super::file::{CHUNK, Capture, WAIT};
use super::input::Got;
use super::{Fill, Options, Progress, Source};

/// So many octets are kept of all files together, as far as [`LANE_CHUNK`] lets them.
const BUFFERED: usize = 32 << 20;
/// The least and the most octets read of one file at a time.
const LANE_CHUNK: (usize, usize) = (32 << 10, CHUNK);
/// So many files stay open from the start. Of more than these, each is closed until its first frame's time has come.
const OPEN_FILES: usize = 64;

/// Captures merged by the timestamp of each one's next frame; of equal ones, the file named first.
#[derive(Debug)]
pub struct Merge {
    lanes: Vec<Lane>,
    /// Files with a frame at hand, by its time.
    ready: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Files that have to be read before their next frame is known.
    waiting: Vec<usize>,
    /// Frames given out.
    number: u64,
    options: Options,
    progress: Arc<Progress>,
    /// One of the files that is a recording.
    recording: Option<PathBuf>,
    /// Secrets that were read and not given out.
    keys: KeyLog,
}

/// One of the captures.
#[derive(Debug)]
struct Lane {
    index: usize,
    path: PathBuf,
    capture: Capture,
    /// Frames that were read; those before `next` were given out.
    chunk: Chunk,
    next: usize,
    /// Octets to read at a time.
    size: usize,
    /// Time of the first frame, of a file that was closed after a look at it.
    first: Option<Timestamp>,
    /// Secrets that were read with the frames.
    keys: KeyLog,
}

impl Merge {
    /// Opens `paths`, at most 65,536 of them.
    pub fn open(paths: &[PathBuf], options: Options) -> Self {
        let progress = Arc::new(Progress::default());
        let size = (BUFFERED / paths.len().max(1)).clamp(LANE_CHUNK.0, LANE_CHUNK.1);
        let mut lanes = Vec::with_capacity(paths.len());
        let mut total = Some(0);
        for (index, path) in paths.iter().enumerate() {
            let capture = Capture::open(index as u16, path, &options, &progress);
            total = total.zip(capture.len()).map(|(total, len)| total + len);
            let (path, chunk) = (path.clone(), Chunk::default());
            let mut lane = Lane { index, path, capture, chunk, next: 0, size, first: None, keys: KeyLog::default() };
            if paths.len() > OPEN_FILES && lane.capture.can_reopen() {
                lane.look();
            }
            lanes.push(lane);
        }
        progress.set_total(total.unwrap_or(0));
        let waiting = (0..lanes.len()).collect();
        Self {
            lanes,
            ready: BinaryHeap::new(),
            waiting,
            number: 0,
            options,
            progress,
            recording: None,
            keys: KeyLog::default(),
        }
    }

    /// Reads on in the files whose next frame is not known. Waits up to `wait` for each that may have it later.
    fn read_waiting(&mut self, wait: Duration) {
        let Self { lanes, ready, recording, keys, .. } = self;
        self.waiting.retain(|index| {
            let Some(lane) = lanes.get_mut(*index) else { return false };
            let got = if lane.next_at().is_none() { lane.read(wait) } else { Got::Bytes };
            keys.append(std::mem::take(&mut lane.keys));
            if got == Got::Idle {
                return true;
            }
            if lane.capture.is_recording() {
                *recording = Some(lane.path.clone());
            }
            ready.extend(lane.next_at().map(|at| Reverse((at, *index))));
            false
        });
    }
}

impl Source for Merge {
    fn fill(&mut self, chunk: &mut Chunk) -> anyhow::Result<Fill> {
        chunk.clear();
        if self.options.stop.load(Ordering::Relaxed) {
            return Ok(Fill::End);
        }
        // A growing file holds the others up no longer than it takes to look whether it grew; anything else may hold
        // the frame that comes next.
        let patient = !self.options.follow;
        self.read_waiting(if patient { WAIT } else { Duration::ZERO });
        if let Some(path) = &self.recording {
            bail!("{} is a recording of observer, which is replayed on its own, not with other files", path.display());
        }
        while chunk.bytes.len() < CHUNK && (!patient || self.waiting.is_empty()) {
            let Some(Reverse((_, index))) = self.ready.pop() else { break };
            let until = self.ready.peek().map(|Reverse(next)| *next);
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            lane.reopen(&self.options, &self.progress);
            lane.give(chunk, until, &mut self.number);
            self.keys.append(std::mem::take(&mut lane.keys));
            match lane.next_at() {
                Some(at) => self.ready.push(Reverse((at, index))),
                None => {
                    self.waiting.push(index);
                    self.read_waiting(Duration::ZERO);
                }
            }
        }
        chunk.keys = std::mem::take(&mut self.keys);
        if !chunk.frames.is_empty() {
            return Ok(Fill::More);
        }
        if self.ready.is_empty() && self.waiting.is_empty() {
            return Ok(Fill::End);
        }
        if !patient {
            std::thread::sleep(WAIT);
        }
        Ok(Fill::More)
    }

    fn is_recording(&mut self) -> anyhow::Result<bool> {
        Ok(false)
    }

    fn files(&self) -> Vec<FileRecord> {
        self.lanes.iter().map(|lane| lane.capture.record()).collect()
    }

    fn filtered(&self) -> u64 {
        0
    }

    fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Lane {
    /// Time of the next frame, where it is known.
    fn next_at(&self) -> Option<Timestamp> {
        self.first.or_else(|| self.chunk.frames.get(self.next).map(|frame| frame.at))
    }

    /// Reads until there are frames.
    fn read(&mut self, wait: Duration) -> Got {
        self.next = 0;
        loop {
            let got = self.capture.fill(&mut self.chunk, self.size, wait);
            self.keys.append(std::mem::take(&mut self.chunk.keys));
            match got {
                Got::Bytes if self.chunk.frames.is_empty() => {}
                Got::End => {
                    self.chunk = Chunk::default();
                    return Got::End;
                }
                got => return got,
            }
        }
    }

    /// Reads the first frame's time and closes the file: of thousands, few have to be open at the same time.
    fn look(&mut self) {
        if self.read(Duration::ZERO) == Got::Bytes {
            self.first = self.next_at();
            (self.chunk, self.keys) = (Chunk::default(), KeyLog::default());
            self.capture.close();
        }
    }

    /// Undoes [`Self::look`].
    fn reopen(&mut self, options: &Options, progress: &Arc<Progress>) {
        if self.first.take().is_some() {
            self.capture = Capture::open(self.index as u16, &self.path, options, progress);
            self.read(Duration::ZERO);
        }
    }

    /// Moves frames to `out`, until there is enough in it or one's turn comes after `until`.
    fn give(&mut self, out: &mut Chunk, until: Option<(Timestamp, usize)>, number: &mut u64) {
        let index = self.index;
        let in_turn = |frame: &Frame| until.is_none_or(|until| (frame.at, index) < until);
        // Files that follow each other, as those of a rotated capture: what was read is handed on as it is.
        if out.frames.is_empty() && self.next == 0 && self.chunk.frames.iter().all(in_turn) {
            std::mem::swap(out, &mut self.chunk);
            self.chunk.clear();
            let (given, before) = (*number, out.frames.first().map_or(0, |first| first.number - 1));
            *number += out.frames.len() as u64;
            out.frames.iter_mut().for_each(|frame| frame.number = frame.number - before + given);
            out.comments.iter_mut().for_each(|comment| comment.number = comment.number - before + given);
            return;
        }
        while let Some(frame) = self.chunk.frames.get(self.next)
            && in_turn(frame)
            && out.bytes.len() < CHUNK
        {
            *number += 1;
            for (comment, text) in self.chunk.comments_on(frame.number) {
                let start = out.bytes.len() as u32;
                out.bytes.extend_from_slice(text);
                out.comments.push(Comment { number: *number, start, ..*comment });
            }
            let start = out.bytes.len() as u32;
            out.bytes.extend_from_slice(self.chunk.data(frame));
            out.frames.push(Frame { number: *number, start, ..*frame });
            self.next += 1;
        }
    }
}
