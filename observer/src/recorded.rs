//! Replaying a recording: packets and marks in their order, through the same trackers as live.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;
use observer::capture::{Chunk, Frame};
use observer::keylog::KeyLog;
use observer::record::CaptureRecord;
use observer::recording::{Begin, End, Mark, Placed};
use observer::time::Timestamp;
use observer::tracker::Config;

use crate::keyring::Keyring;
use crate::live::{Live, News};
use crate::run::seed;
use crate::sink::Sink;
use crate::source::live::{Batch, Seen, SeenPacket};
use crate::source::{Fill, Source};

/// Marks that wait for packets before them, at most: more only damage makes, and the first of them waits no longer then.
const MOST_WAITING: usize = 1 << 16;

/// Things that are taken in together at most.
const MOST_TOGETHER: usize = 1 << 12;

/// Reads a recording to its end into `sink`. Returns the sink and what was read.
pub fn run<S: Sink>(
    source: &mut dyn Source,
    config: Config,
    keys: KeyLog,
    mut sink: S,
) -> Result<(Vec<S>, CaptureRecord)> {
    sink.replays_recording();
    let begin = Begin {
        at: Timestamp::default(),
        sampled: true,
        max_connections: config.max_connections as u64,
        linger: config.linger,
        linger_half: config.linger_half,
    };
    let config = Config { seed: seed(), ..config };
    let mut replayer = Replayer {
        config,
        live: Live::new(config, &begin),
        keys: Keyring::new(keys),
        sink,
        waiting: VecDeque::new(),
        batch: Batch::default(),
        frames: 0,
        namespaces: BTreeMap::new(),
        now: begin.at,
        end: End::default(),
    };
    let mut chunk = Chunk::default();
    loop {
        let fill = source.fill(&mut chunk)?;
        replayer.chunk(&mut chunk)?;
        if fill == Fill::End {
            break;
        }
    }
    let (sink, mut capture) = replayer.finish()?;
    capture.files = source.files();
    capture.unreadable = capture.files.iter().any(|file| file.error.is_some());
    Ok((vec![sink], capture))
}

struct Replayer<S> {
    config: Config,
    live: Live,
    keys: Keyring,
    sink: S,
    waiting: VecDeque<Placed>,
    batch: Batch,
    /// Packets so far.
    frames: u64,
    /// The namespaces of the file's interfaces.
    namespaces: BTreeMap<u16, u32>,
    /// The last moment that a mark told.
    now: Timestamp,
    end: End,
}

impl<S: Sink> Replayer<S> {
    /// Takes in what was read.
    fn chunk(&mut self, chunk: &mut Chunk) -> Result<()> {
        self.waiting.extend(chunk.marks.drain(..));
        let keys = self.keys.with(chunk);
        keys.into_iter().for_each(|keys| self.live.unlock(keys));
        for frame in &chunk.frames {
            self.marks()?;
            self.frame(frame, chunk.data(frame))?;
        }
        self.marks()
    }

    /// Takes in the marks whose turn it is.
    fn marks(&mut self) -> Result<()> {
        while let Some(placed) = self.waiting.front()
            && (placed.after <= self.frames || self.waiting.len() > MOST_WAITING)
            && let Some(placed) = self.waiting.pop_front()
        {
            self.mark(placed.mark)?;
        }
        Ok(())
    }

    fn mark(&mut self, mark: Mark) -> Result<()> {
        match mark {
            // A second one would throw away what was seen since the first.
            Mark::Begin(begin) if self.now == Timestamp::default() => {
                self.live = Live::new(self.config, &begin);
                self.keys.known().into_iter().for_each(|keys| self.live.unlock(keys));
                self.now = begin.at;
            }
            Mark::Begin(_) => {}
            Mark::Interface { interface, netns } => drop(self.namespaces.insert(interface, netns)),
            Mark::Socket(netns, socket) => self.seen(Seen::Socket(netns, socket))?,
            Mark::Stray(netns, stray) => self.seen(Seen::Stray(netns, stray))?,
            Mark::Socketless(since) => self.seen(Seen::Socketless(since))?,
            Mark::Lost { records, since, at } => {
                self.take()?;
                self.live.note_lost(records, since, at);
            }
            Mark::Now(now) => {
                self.now = now;
                self.take()?;
            }
            Mark::End(end) => self.end = end,
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame, data: &[u8]) -> Result<()> {
        self.frames += 1;
        let netns = self.namespaces.get(&frame.interface).copied().unwrap_or(0);
        let seen = SeenPacket {
            at: frame.at,
            interface: frame.interface,
            link: frame.link,
            start: self.batch.bytes.len() as u32,
            captured: data.len() as u32,
            len: frame.wire_len,
            direction: frame.direction,
        };
        self.batch.bytes.extend_from_slice(data);
        self.seen(Seen::Packet(netns, seen))
    }

    fn seen(&mut self, seen: Seen) -> Result<()> {
        self.batch.seen.push(seen);
        if self.batch.seen.len() >= MOST_TOGETHER { self.take() } else { Ok(()) }
    }

    /// Takes in the batch, as it was taken in live.
    fn take(&mut self) -> Result<()> {
        let Self { live, sink, batch, now, .. } = self;
        live.take(batch, *now, |news| tell(sink, news))?;
        self.batch.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(S, CaptureRecord)> {
        for placed in std::mem::take(&mut self.waiting) {
            self.mark(placed.mark)?;
        }
        self.take()?;
        let Self { live, sink, .. } = &mut self;
        live.finish(|news| tell(sink, news))?;
        let End { dropped, unseen, hooks, interfaces } = self.end;
        Ok((
            self.sink,
            CaptureRecord { dropped, unseen, hooks, interfaces, secrets: self.keys.record(), ..self.live.record() },
        ))
    }
}

fn tell(sink: &mut impl Sink, news: News<'_>) -> Result<()> {
    match news {
        News::Connection(record) => sink.connection(record),
        News::Lookup(record) => sink.lookup(record),
        News::Update(_) | News::Packet(..) => Ok(()),
    }
}
