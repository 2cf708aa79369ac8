//! The live loop: what the kernel shows, through trackers, to whoever prints it.
//!
//! Each network namespace has a tracker of its own: the same addresses and ports in two of them are two connections.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use anyhow::Result;
use observer::capture::{Chunk, Direction, Frame};
use observer::decode::{Checksums, Decoder};
use observer::finding::{Context, judge};
use observer::input::{Input, PacketInput};
use observer::kernel::SocketId;
use observer::keylog::Keys;
use observer::packet::{Decoded, FrameId, Notes, Packet};
use observer::record::{CaptureRecord, ConnectionRecord, Finding, LookupRecord};
use observer::recording::Begin;
use observer::time::{Nanos, Timestamp};
use observer::tracker::{Config, Event, States, Tracker};

use crate::source::live::{Batch, LiveSource, Roster, Seen, SeenPacket};

/// How long a connection that is over is kept for what comes late.
const LINGER: Nanos = Nanos::from_millis(150);

/// The same where packets alone tell: what is sent again at the end comes after a timeout (RFC 6298 section 2: at least 1 s).
const LINGER_PACKETS: Nanos = Nanos::from_secs(2);

/// The same where a socket on this host may still appear: longer than between two looks at the living ones, so that a
/// connection of which an end still holds its socket is not taken for over.
const LINGER_HALF: Nanos = Nanos::from_millis(2_500);

/// How many gaps in what was seen are remembered one by one.
const MOST_GAPS: usize = 1024;

/// What the loop tells of.
pub enum News<'a> {
    /// A connection of which nothing more will be said.
    Connection(Box<ConnectionRecord>),
    /// A connection that goes on.
    Update(Box<ConnectionRecord>),
    /// A lookup of a name.
    Lookup(Box<LookupRecord>),
    /// A segment, with what is around it.
    Packet(&'a Packet, &'a Decoded, &'a [u8]),
}

/// The trackers, and what is kept of all namespaces together.
pub struct Live {
    config: Config,
    lanes: BTreeMap<u32, Lane>,
    number: u64,
    totals: CaptureRecord,
    gaps: VecDeque<Gap>,
    lost: Option<u64>,
    drained: Timestamp,
    /// When the living sockets were last counted, and which were missing.
    missing: Option<(Timestamp, HashSet<SocketId>)>,
    chunk: Chunk,
    decoded: Decoded,
    keys: Option<Arc<Keys>>,
    /// What is seen is in a file, in which frames can be looked up.
    is_kept: bool,
}

/// One namespace.
struct Lane {
    tracker: Tracker,
    decoder: Decoder,
}

/// Records were lost between two moments.
#[derive(Clone, Copy)]
struct Gap {
    from: Timestamp,
    to: Timestamp,
    records: u64,
}

impl Live {
    /// How what `source` shows is to be taken.
    pub fn begin(config: &Config, source: &dyn LiveSource) -> Begin {
        let by_packets = source.sees_every_packet();
        Begin {
            at: source.now(),
            sampled: !by_packets,
            max_connections: config.max_connections as u64,
            linger: if by_packets { LINGER_PACKETS } else { LINGER },
            linger_half: LINGER_HALF,
        }
    }

    /// Nothing seen yet of what is seen since `begin`.
    pub fn new(config: Config, begin: &Begin) -> Self {
        let Begin { at: now, sampled, max_connections, linger, linger_half } = *begin;
        let max_connections = usize::try_from(max_connections).unwrap_or(usize::MAX);
        Self {
            config: Config { sampled, checks_checksums: false, max_connections, linger, linger_half, ..config },
            lanes: BTreeMap::new(),
            number: 0,
            totals: CaptureRecord { first_seen: Some(now), ..CaptureRecord::default() },
            gaps: VecDeque::new(),
            lost: None,
            drained: now,
            missing: None,
            chunk: Chunk::default(),
            decoded: Decoded::default(),
            keys: None,
            is_kept: true,
        }
    }

    /// The same of what nobody writes down: findings name no frames.
    pub fn unkept(mut self) -> Self {
        self.is_kept = false;
        self
    }

    /// All secrets that are known from now on.
    pub fn unlock(&mut self, keys: Arc<Keys>) {
        for lane in self.lanes.values_mut() {
            lane.tracker.handle(Input::Keys(&keys));
        }
        self.keys = Some(keys);
    }

    /// Takes in what was seen up to `now`, and tells what comes of it.
    pub fn take(&mut self, batch: &Batch, now: Timestamp, mut tell: impl FnMut(News<'_>) -> Result<()>) -> Result<()> {
        for seen in &batch.seen {
            match seen {
                Seen::Socket(netns, socket) => drop(self.lane(*netns).tracker.handle(Input::Socket(socket))),
                Seen::Stray(netns, stray) => drop(self.lane(*netns).tracker.handle(Input::Stray(stray))),
                Seen::Packet(netns, packet) => self.packet(*netns, packet, &batch.bytes, &mut tell)?,
                Seen::Socketless(since) => {
                    for lane in self.lanes.values_mut() {
                        lane.tracker.handle(Input::Socketless(*since));
                    }
                }
            }
        }
        for lane in self.lanes.values_mut() {
            lane.tracker.handle_timeout(now);
        }
        self.drained = now;
        self.tell(tell)
    }

    /// Until when everything was taken in.
    pub fn drained(&self) -> Timestamp {
        self.drained
    }

    /// Notes how many records or packets were lost up to `now`, all together; `None` where that cannot be known. What is new
    /// of them was lost after `since`.
    pub fn note_lost(&mut self, lost: Option<u64>, since: Timestamp, now: Timestamp) {
        let records = lost.unwrap_or(0).saturating_sub(self.lost.unwrap_or(0));
        self.lost = lost;
        if records == 0 {
            return;
        }
        if self.gaps.len() >= MOST_GAPS
            && let (Some(first), Some(second)) = (self.gaps.pop_front(), self.gaps.front_mut())
        {
            second.from = second.from.min(first.from);
            second.records += first.records;
        }
        self.gaps.push_back(Gap { from: since, to: now, records });
    }

    /// The sockets that are not among the living, twice in a row: what was said of their end was lost. The same of
    /// connections that should have one.
    pub fn missing(&mut self, roster: &Roster) -> Vec<Seen> {
        let mut missing = Vec::new();
        for (netns, lane) in &mut self.lanes {
            let sockets = lane.tracker.sockets_missing(&roster.sockets, roster.at);
            missing.extend(sockets.into_iter().map(|socket| (*netns, socket)));
        }
        let now: HashSet<_> = missing.iter().map(|(_, socket)| socket.id()).collect();
        let Some((then, before)) = self.missing.replace((roster.at, now)) else { return Vec::new() };
        missing.retain(|(_, socket)| before.contains(&socket.id()));
        let ends = missing.into_iter().map(|(netns, socket)| Seen::Socket(netns, Box::new(socket)));
        ends.chain([Seen::Socketless(then)]).collect()
    }

    /// Tells how every connection stands that began before `before`.
    pub fn update(&mut self, before: Timestamp, tell: impl FnMut(News<'_>) -> Result<()>) -> Result<()> {
        for lane in self.lanes.values_mut() {
            lane.tracker.update(before);
        }
        self.tell(tell)
    }

    /// Tells the connections that go on and turned remarkable, by `now`, or came to a state that is `watched`.
    pub fn notice(&mut self, now: Timestamp, watched: States, tell: impl FnMut(News<'_>) -> Result<()>) -> Result<()> {
        for lane in self.lanes.values_mut() {
            lane.tracker.notice(now, watched);
        }
        self.tell(tell)
    }

    /// The end: every connection is told.
    pub fn finish(&mut self, tell: impl FnMut(News<'_>) -> Result<()>) -> Result<()> {
        for lane in self.lanes.values_mut() {
            lane.tracker.finish();
        }
        self.tell(tell)
    }

    /// Connections that are being followed.
    pub fn open_connections(&self) -> usize {
        self.lanes.values().map(|lane| lane.tracker.open_connections()).sum()
    }

    /// What was seen, all in all; what the source has to say of itself is still to be added.
    pub fn record(&self) -> CaptureRecord {
        let mut record = CaptureRecord { last_seen: Some(self.drained), ..self.totals.clone() };
        for lane in self.lanes.values() {
            let (tracked, decoded) = (lane.tracker.counts(), lane.decoder.counts());
            record.connections += tracked.connections;
            record.evicted += tracked.evicted;
            record.forwarded += tracked.forwarded;
            record.duplicates += tracked.duplicates;
            record.malformed_lookups += tracked.malformed_lookups;
            record.segments += decoded.segments;
            record.icmp_errors += decoded.icmp_errors;
            record.unknown_link += decoded.unknown_link;
            record.fragments += decoded.fragments;
            record.fragments_dropped += decoded.fragments_dropped;
            record.truncated += decoded.truncated;
            record.malformed += decoded.malformed;
            record.other += decoded.other;
        }
        record
    }

    fn lane(&mut self, netns: u32) -> &mut Lane {
        let Self { config, keys, .. } = self;
        self.lanes.entry(netns).or_insert_with(|| {
            let mut tracker = Tracker::new(Config { netns: Some(netns), ..*config });
            if let Some(keys) = keys {
                tracker.handle(Input::Keys(keys));
            }
            let decoder = Decoder::new(Checksums::Ignore, config.seed).with_datagrams(config.protocols);
            Lane { tracker, decoder }
        })
    }

    fn packet(
        &mut self,
        netns: u32,
        seen: &SeenPacket,
        bytes: &[u8],
        tell: &mut impl FnMut(News<'_>) -> Result<()>,
    ) -> Result<()> {
        self.number += 1;
        self.totals.frames += 1;
        self.totals.octets += u64::from(seen.captured);
        let from = seen.start as usize;
        self.chunk.clear();
        self.chunk.bytes.extend_from_slice(bytes.get(from..from + seen.captured as usize).unwrap_or_default());
        self.chunk.frames.push(Frame {
            at: seen.at,
            carried: 0,
            number: self.number,
            id: FrameId { file: 0, number: self.number },
            link: seen.link,
            interface: 0,
            wire_len: seen.len,
            start: 0,
            captured: seen.captured,
            direction: seen.direction,
        });
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        let chunk = std::mem::take(&mut self.chunk);
        let lane = self.lane(netns);
        lane.decoder.decode(&chunk, &mut decoded);
        let note = match seen.direction {
            Some(Direction::Outbound) => Notes::OUTBOUND,
            Some(Direction::Asking) => Notes::ASKING,
            Some(Direction::Inbound) | None => Notes::empty(),
        };
        decoded.packets.iter_mut().for_each(|packet| packet.notes |= note);
        for packet in &decoded.packets {
            lane.tracker.handle(Input::Packet(&PacketInput::new(packet, &decoded, &chunk.bytes)));
        }
        for packet in &decoded.packets {
            tell(News::Packet(packet, &decoded, &chunk.bytes))?;
        }
        (self.decoded, self.chunk) = (decoded, chunk);
        Ok(())
    }

    fn tell(&mut self, mut tell: impl FnMut(News<'_>) -> Result<()>) -> Result<()> {
        for lane in self.lanes.values_mut() {
            while let Some(event) = lane.tracker.poll() {
                let (mut record, last) = match event {
                    Event::Connection(record) => (record, true),
                    Event::Update(record) => (record, false),
                    Event::Lookup(record) => {
                        self.totals.lookups += 1;
                        tell(News::Lookup(record))?;
                        continue;
                    }
                };
                let touching = |gap: &&Gap| gap.to >= record.first_seen && gap.from <= record.last_seen;
                record.lost = self.lost.map(|_| self.gaps.iter().filter(touching).map(|gap| gap.records).sum());
                let context = Context { thresholds: &self.config.thresholds, until: self.drained, lost: false };
                record.findings = judge(&record, &context);
                if !self.is_kept {
                    record.findings.iter_mut().for_each(Finding::forget_file);
                }
                tell(if last { News::Connection(record) } else { News::Update(record) })?;
            }
        }
        Ok(())
    }
}
