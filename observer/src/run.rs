//! The main loop: frames from a source, through decoder and tracker, into sinks.
//!
//! Work is cut in two ways. Frames travel in *batches*, each read and decoded by whichever thread finds nothing better
//! to do; connections belong to *shards* by their flow hash, each with a tracker and a sink of its own that see the
//! shard's packets in order. How many shards there are does not depend on the number of threads, so neither does the
//! output.

mod shard;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use observer::capture::Chunk;
use observer::decode::{Checksums, Counts, Decoder};
use observer::flow;
use observer::keylog::{KeyLog, Keys};
use observer::packet::{Body, Decoded, Packet};
use observer::protocol::dns::{self, Speakers};
use observer::protocol::quic;
use observer::record::CaptureRecord;
use observer::time::{Nanos, Timestamp};
use observer::tracker::Config;

use self::shard::Shard;
use crate::keyring::Keyring;
use crate::sink::Sink;
use crate::source::{Fill, Source};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How connections are followed.
    pub tracker: Config,
    /// What to make of wrong checksums.
    pub checksums: Checksums,
    /// How many threads share the work.
    pub threads: usize,
    /// One shard, whose sink is handed each connection as soon as it is over, by the clock too when the input pauses.
    pub streaming: bool,
    /// Secrets that are known from the start.
    pub keys: KeyLog,
}

/// Shards of a run over files. Fixed, so that the same input gives the same output on any machine.
const SHARDS: usize = 8;

/// Chunks that are handed from thread to thread together. One thread alone takes them one by one: what it has just
/// decoded is still near.
const PARTS: usize = 2;

/// A bound on open connections below which it is not worth dividing.
const LEAST_CONNECTIONS_TO_SHARD: usize = 64 * 1024;

/// Reads `source` to its end. `make_sink` makes the sink of each shard. Returns the sinks and what was read.
pub fn run<S: Sink>(
    source: &mut dyn Source,
    options: &Options,
    mut make_sink: impl FnMut() -> S,
) -> Result<(Vec<S>, CaptureRecord)> {
    // Wireshark's and Zeek's key has no tunnels in it, the flow hash has: packets that share the one may differ in the
    // other.
    let sharded = !options.streaming
        && !options.tracker.is_keyed_by_tuple()
        && options.tracker.max_connections >= LEAST_CONNECTIONS_TO_SHARD;
    let shards = if sharded { SHARDS } else { 1 };
    let seed = seed();
    let max_connections = options.tracker.max_connections.div_ceil(shards);
    let most_held = options.tracker.most_held / shards;
    let tracker = Config { max_connections, most_held, seed, ..options.tracker };
    let run = Run {
        producer: Mutex::new(Producer {
            source,
            decoder: Decoder::new(options.checksums, seed)
                .with_short_headers(options.tracker.strict_wireshark)
                .with_datagrams(options.tracker.protocols),
            totals: Totals::default(),
            clock: Clock::default(),
            keys: Keyring::new(options.keys.clone()),
            speakers: Speakers::default(),
            next: 0,
        }),
        shards: (0..shards)
            .map(|index| Mutex::new(Shard::new((index as u32, shards as u32), tracker, make_sink())))
            .collect(),
        state: Mutex::new(State::new(shards)),
        changed: Condvar::new(),
        most_batches: if options.threads > 1 { 2 * options.threads } else { 1 },
        parts: if options.threads > 1 && !options.streaming { PARTS } else { 1 },
        at_once: shards.div_ceil(options.threads.max(1)),
        next_to_finish: AtomicUsize::new(0),
        streaming: options.streaming,
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..options.threads)
            .map(|thread| {
                let run = &run;
                scope.spawn(move || run.work(thread))
            })
            .collect();
        run.work(0);
        for thread in others {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    run.into_result()
}

/// A key for the flow hashes that nobody outside can know.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one("observer")
}

/// A piece of the input on its way: a few chunks, so that threads have something to do between two hand-overs.
#[derive(Debug, Default)]
struct Batch {
    /// The first `filled` hold something; the others are kept for their memory.
    parts: Vec<Part>,
    filled: usize,
    /// The number that the next frame will have.
    next: u64,
    /// What time it is for connections that wait for nothing but time to pass.
    now: Option<Timestamp>,
}

/// One chunk, decoded and dealt out.
#[derive(Debug, Default)]
struct Part {
    chunk: Chunk,
    decoded: Decoded,
    /// For each shard the indices of its packets.
    shares: Vec<Vec<u32>>,
    /// The indices of segments that are dealt to every shard.
    overheard: Vec<u32>,
    /// The secrets that are known.
    keys: Option<Arc<Keys>>,
}

impl Batch {
    fn parts(&self) -> &[Part] {
        self.parts.get(..self.filled).unwrap_or(&[])
    }

    /// Whether a shard has anything to do with it.
    fn concerns(&self, shard: usize) -> bool {
        let has_share = |part: &Part| part.shares.get(shard).is_some_and(|share| !share.is_empty());
        self.now.is_some() || self.parts().iter().any(has_share)
    }
}

struct Run<'a, S> {
    producer: Mutex<Producer<'a>>,
    shards: Vec<Mutex<Shard<S>>>,
    state: Mutex<State>,
    changed: Condvar,
    most_batches: usize,
    /// Chunks in a batch.
    parts: usize,
    /// Shards that a thread takes on at once.
    at_once: usize,
    next_to_finish: AtomicUsize,
    streaming: bool,
}

/// What only the thread that reads touches.
struct Producer<'a> {
    source: &'a mut dyn Source,
    decoder: Decoder,
    totals: Totals,
    clock: Clock,
    keys: Keyring,
    speakers: Speakers,
    /// The number of the next frame.
    next: u64,
}

#[derive(Debug, Default)]
struct Totals {
    first_seen: Option<Timestamp>,
    last_seen: Option<Timestamp>,
    /// The latest of all, which need not be the last.
    latest: Timestamp,
    frames: u64,
    octets: u64,
}

/// Who does what.
struct State {
    /// Batches whose packets a shard has not handled yet.
    waiting: Vec<VecDeque<Arc<Batch>>>,
    /// Whether a thread is at work on the shard.
    busy: Vec<bool>,
    /// Whether a thread is reading.
    producing: bool,
    /// The source has no more.
    ended: bool,
    /// Batches that are not done with.
    in_flight: usize,
    /// Threads that wait for something to do.
    asleep: usize,
    /// Batches to use again.
    spare: Vec<Batch>,
    failure: Option<anyhow::Error>,
}

enum Task {
    Produce(Batch),
    Handle(Vec<(usize, Arc<Batch>)>),
    Stop,
}

impl<S: Sink> Run<'_, S> {
    fn work(&self, thread: usize) {
        let _alarm = Alarm { state: &self.state, changed: &self.changed };
        loop {
            match self.next_task(thread) {
                Task::Produce(batch) => self.produce(batch),
                Task::Handle(work) => self.handle(work),
                Task::Stop => break,
            }
        }
        self.finish_shards();
    }

    fn next_task(&self, thread: usize) -> Task {
        let mut state = lock(&self.state);
        loop {
            if state.failure.is_some() {
                return Task::Stop;
            }
            // Reading comes first: the other threads live on what it brings.
            if !state.producing && !state.ended && state.in_flight < self.most_batches {
                state.producing = true;
                state.in_flight += 1;
                return Task::Produce(state.spare.pop().unwrap_or_default());
            }
            let work = state.take_waiting(thread * self.at_once, self.at_once);
            if !work.is_empty() {
                return Task::Handle(work);
            }
            if state.ended && !state.producing && state.in_flight == 0 {
                return Task::Stop;
            }
            state.asleep += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
    }

    fn produce(&self, mut batch: Batch) {
        let filled = lock(&self.producer).fill(&mut batch, self.parts, self.shards.len(), self.streaming);
        let mut state = lock(&self.state);
        state.producing = false;
        match filled {
            Ok(fill) => state.ended = fill == Fill::End,
            Err(error) => state.failure = Some(error),
        }
        let batch = Arc::new(batch);
        for (shard, queue) in state.waiting.iter_mut().enumerate() {
            if batch.concerns(shard) {
                queue.push_back(Arc::clone(&batch));
            }
        }
        state.give_back(batch);
        self.wake(&state);
    }

    fn handle(&self, work: Vec<(usize, Arc<Batch>)>) {
        let handle = |(index, batch): &(usize, Arc<Batch>)| match self.shards.get(*index) {
            Some(shard) => lock(shard).handle(batch, *index),
            None => Ok(()),
        };
        let result = work.iter().try_for_each(handle);
        let mut state = lock(&self.state);
        if let Err(error) = result {
            state.failure.get_or_insert(error);
        }
        for (index, batch) in work {
            if let Some(busy) = state.busy.get_mut(index) {
                *busy = false;
            }
            state.give_back(batch);
        }
        self.wake(&state);
    }

    fn wake(&self, state: &State) {
        if state.asleep > 0 {
            self.changed.notify_all();
        }
    }

    /// Gives out what is still open, each shard by one thread.
    fn finish_shards(&self) {
        let (until, lost) = {
            let producer = lock(&self.producer);
            let files = producer.source.files();
            let mut interfaces = files.iter().flat_map(|file| &file.interfaces);
            (producer.totals.latest, interfaces.any(|interface| interface.dropped.is_some_and(|count| count > 0)))
        };
        while let Some(shard) = self.shards.get(self.next_to_finish.fetch_add(1, Ordering::Relaxed)) {
            let mut shard = lock(shard);
            shard.until = shard.until.max(until);
            shard.lost = lost;
            shard.tracker.finish();
            if let Err(error) = shard.drain() {
                lock(&self.state).failure.get_or_insert(error);
            }
        }
    }

    fn into_result(self) -> Result<(Vec<S>, CaptureRecord)> {
        let into_inner = PoisonError::into_inner;
        if let Some(error) = self.state.into_inner().unwrap_or_else(into_inner).failure {
            return Err(error);
        }
        let producer = self.producer.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut capture = producer.record();
        let mut sinks = Vec::new();
        let mut malformed_lookups = None;
        for shard in self.shards {
            let Shard { tracker, sink, lookups, .. } =
                shard.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            let counts = tracker.counts();
            capture.connections += counts.connections;
            capture.evicted += counts.evicted;
            capture.duplicates += counts.duplicates;
            capture.lookups += lookups;
            // Every shard sees them, but for those of a connection that only its own knows for one of QUIC.
            let seen = malformed_lookups.get_or_insert(counts.malformed_lookups);
            *seen = counts.malformed_lookups.min(*seen);
            sinks.push(sink);
        }
        capture.malformed_lookups = malformed_lookups.unwrap_or_default();
        Ok((sinks, capture))
    }
}

impl Producer<'_> {
    /// Fills a batch with up to `parts` chunks.
    fn fill(&mut self, batch: &mut Batch, parts: usize, shards: usize, streaming: bool) -> Result<Fill> {
        batch.parts.resize_with(parts, Part::default);
        batch.filled = 0;
        batch.now = None;
        let mut fill = Fill::More;
        for part in &mut batch.parts {
            if fill == Fill::End {
                break;
            }
            fill = self.fill_part(part, shards)?;
            batch.filled += 1;
            self.next = part.chunk.frames.last().map_or(self.next, |frame| frame.number + 1);
            batch.next = self.next;
            if streaming {
                batch.now = self.clock.now(part.chunk.frames.last().map(|frame| frame.at));
            }
        }
        Ok(fill)
    }

    fn fill_part(&mut self, part: &mut Part, shards: usize) -> Result<Fill> {
        part.decoded.clear();
        part.shares.resize_with(shards, Vec::new);
        part.shares.iter_mut().for_each(Vec::clear);
        part.overheard.clear();
        let fill = self.source.fill(&mut part.chunk)?;
        self.totals.add(&part.chunk);
        part.keys = self.keys.with(&mut part.chunk);
        self.decoder.decode(&part.chunk, &mut part.decoded);
        let count = shards as u32;
        for (index, packet) in part.decoded.packets.iter().enumerate() {
            if shards > 1 && is_for_all(packet, &part.decoded, &part.chunk, &mut self.speakers) {
                part.shares.iter_mut().for_each(|share| share.push(index as u32));
                if let Body::Tcp(_) = packet.body {
                    part.overheard.push(index as u32);
                }
                continue;
            }
            let shard = match packet.body {
                Body::Udp(_) => flow::shard_of_datagram(&packet.tuple, count),
                Body::Tcp(_) | Body::Icmp(_) => flow::shard(&packet.tuple, count),
            };
            if let Some(share) = part.shares.get_mut(shard as usize) {
                share.push(index as u32);
            }
        }
        Ok(fill)
    }

    fn record(self) -> CaptureRecord {
        let files = self.source.files();
        let Counts {
            segments,
            icmp_errors,
            other,
            unknown_link,
            malformed,
            truncated,
            fragments,
            fragments_dropped,
            ..
        } = self.decoder.counts();
        let mut dropped = None;
        for interface in files.iter().flat_map(|file| &file.interfaces) {
            dropped = dropped.max(interface.dropped.map(|count| dropped.unwrap_or(0) + count));
        }
        CaptureRecord {
            first_seen: self.totals.first_seen,
            last_seen: self.totals.last_seen,
            frames: self.totals.frames,
            octets: self.totals.octets,
            filtered: self.source.filtered(),
            segments,
            icmp_errors,
            other,
            unknown_link,
            malformed,
            truncated,
            fragments,
            fragments_dropped,
            dropped,
            unreadable: files.iter().any(|file| file.error.is_some()),
            secrets: self.keys.record(),
            files,
            ..CaptureRecord::default()
        }
    }
}

impl Totals {
    fn add(&mut self, chunk: &Chunk) {
        let Some(last) = chunk.frames.last() else { return };
        self.first_seen = self.first_seen.or(chunk.frames.first().map(|frame| frame.at));
        self.last_seen = Some(last.at);
        self.frames += chunk.frames.len() as u64;
        for frame in &chunk.frames {
            self.latest = self.latest.max(frame.at);
            self.octets += u64::from(frame.captured);
        }
    }
}

/// Whether every shard is to see a packet: what names an address names it for connections of any shard.
fn is_for_all(packet: &Packet, decoded: &Decoded, chunk: &Chunk, speakers: &mut Speakers) -> bool {
    let payload = || decoded.tail_of(packet, &chunk.bytes).1;
    match packet.body {
        // What opens a connection over QUIC opens it in one shard only, whatever else it looks like.
        Body::Udp(datagram) => {
            let payload = payload();
            dns::may_be_message(payload, &packet.tuple) && quic::opener(payload, datagram.len as usize).is_none()
        }
        Body::Tcp(_) => speakers.hear(packet, payload()),
        Body::Icmp(_) => false,
    }
}

/// Capture time, carried on by the machine's clock while the input pauses.
#[derive(Debug, Default)]
struct Clock {
    last: Option<(Timestamp, std::time::Instant)>,
}

impl Clock {
    fn now(&mut self, newest: Option<Timestamp>) -> Option<Timestamp> {
        let instant = std::time::Instant::now();
        if let Some(at) = newest {
            self.last = Some((at, instant));
        }
        let (at, since) = self.last?;
        Some(at.plus(Nanos(u64::try_from(instant.duration_since(since).as_nanos()).unwrap_or(u64::MAX))))
    }
}

impl State {
    fn new(shards: usize) -> Self {
        Self {
            waiting: vec![VecDeque::new(); shards],
            busy: vec![false; shards],
            producing: false,
            ended: false,
            in_flight: 0,
            asleep: 0,
            spare: Vec::new(),
            failure: None,
        }
    }

    /// The oldest batch of each of up to `most` shards that nobody works on, beginning at shard `first`: a thread keeps to
    /// its own shards while it can, whose connections are near.
    fn take_waiting(&mut self, first: usize, most: usize) -> Vec<(usize, Arc<Batch>)> {
        let mut work = Vec::new();
        let count = self.waiting.len();
        for shard in (first..first + count).map(|shard| shard % count) {
            if let Some(queue) = self.waiting.get_mut(shard)
                && let Some(busy) = self.busy.get_mut(shard)
                && !*busy
                && let Some(batch) = queue.pop_front()
            {
                *busy = true;
                work.push((shard, batch));
                if work.len() == most {
                    break;
                }
            }
        }
        work
    }

    /// The last to let go of a batch hands its memory on.
    fn give_back(&mut self, batch: Arc<Batch>) {
        if let Some(batch) = Arc::into_inner(batch) {
            self.in_flight -= 1;
            self.spare.push(batch);
        }
    }
}

/// Wakes the other threads to stop when its own panics, so that none waits for a batch that will never be done.
struct Alarm<'a> {
    state: &'a Mutex<State>,
    changed: &'a Condvar,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.state).failure.get_or_insert(anyhow::anyhow!("a worker thread panicked"));
            self.changed.notify_all();
        }
    }
}

/// A thread that panicked takes the whole run down when it is joined; until then its locks are as good as any.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
