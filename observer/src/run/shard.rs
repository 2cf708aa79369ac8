//! What follows a share of the connections, and judges them.

use anyhow::Result;
use observer::capture::Processes;
use observer::finding::{Context, Thresholds, judge};
use observer::flow;
use observer::input::{Input, PacketInput};
use observer::packet::{IpVersion, Tuple};
use observer::record::LookupRecord;
use observer::time::Timestamp;
use observer::tracker::{Config, Event, Tracker};

use super::{Batch, Part};
use crate::sink::Sink;

/// Packets whose connections are brought near at once.
const FORESEEN: usize = 8;

/// What only the thread that follows the shard's connections touches.
pub(super) struct Shard<S> {
    /// Its index, of so many.
    place: (u32, u32),
    pub(super) tracker: Tracker,
    processes: Processes,
    pub(super) sink: S,
    /// How many lookups it told of.
    pub(super) lookups: u64,
    thresholds: Thresholds,
    /// Time of the last packet that it saw; of the last of the input at its end.
    pub(super) until: Timestamp,
    /// The capture lost frames, as far as is known yet.
    pub(super) lost: bool,
}

impl<S: Sink> Shard<S> {
    pub(super) fn new(place: (u32, u32), config: Config, sink: S) -> Self {
        Self {
            place,
            tracker: Tracker::new(config),
            processes: Processes::default(),
            sink,
            lookups: 0,
            thresholds: config.thresholds,
            until: Timestamp::default(),
            lost: false,
        }
    }

    /// Whether this shard tells of a lookup, which every shard sees.
    fn is_own(&self, record: &LookupRecord) -> bool {
        let LookupRecord { client, server, .. } = record;
        let version = if client.ip.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        let (src, dst) = (client.ip.into(), server.ip.into());
        self.owns(&Tuple { src, dst, sport: client.port, dport: server.port, version })
    }

    /// Whether a connection is this shard's.
    fn owns(&self, tuple: &Tuple) -> bool {
        let (index, count) = self.place;
        flow::shard(tuple, count) == index
    }

    /// Handles what of `batch` is this shard's, which has the given index.
    pub(super) fn handle(&mut self, batch: &Batch, index: usize) -> Result<()> {
        for part in batch.parts() {
            let share = part.shares.get(index).map_or(&[][..], |share| share);
            self.handle_part(part, share);
        }
        if let Some(now) = batch.now {
            self.until = self.until.max(now);
            self.tracker.handle_timeout(now);
        }
        self.drain()?;
        let Self { sink, tracker, .. } = self;
        sink.settle(|| tracker.first_open().map_or(batch.next, |first| first.min(batch.next)))
    }

    fn handle_part(&mut self, part: &Part, share: &[u32]) {
        let Part { chunk, decoded, keys, overheard, .. } = part;
        if let Some(keys) = keys {
            self.tracker.handle(Input::Keys(keys));
        }
        let packet = |index: &u32| decoded.packets.get(*index as usize);
        // Two groups ahead the packets themselves are fetched, one ahead their connections, and then what those lead to.
        let (mut far, mut near) = (share.chunks(FORESEEN), share.chunks(FORESEEN));
        let foresee = |tracker: &mut Tracker, group: Option<&[u32]>| {
            group.into_iter().for_each(|group| tracker.foresee(group.iter().filter_map(packet)));
        };
        far.by_ref().take(2).for_each(|group| decoded.foresee(group));
        foresee(&mut self.tracker, near.next());
        for group in share.chunks(FORESEEN) {
            far.next().into_iter().for_each(|group| decoded.foresee(group));
            foresee(&mut self.tracker, near.next());
            for packet in group.iter().filter_map(packet) {
                decoded.foresee_tail(packet, &chunk.bytes);
                self.tracker.foresee_more(packet);
            }
            for (index, packet) in group.iter().filter_map(|index| Some((index, packet(index)?))) {
                self.until = self.until.max(packet.at);
                let input = PacketInput::new(packet, decoded, &chunk.bytes);
                if !overheard.is_empty() && overheard.binary_search(index).is_ok() && !self.owns(&packet.tuple) {
                    self.tracker.overhear(&input);
                    continue;
                }
                let connection = self.tracker.follow(&input);
                if let Some(connection) = connection
                    && !chunk.comments.is_empty()
                {
                    self.processes.note(chunk, packet, connection);
                }
            }
        }
    }

    pub(super) fn drain(&mut self) -> Result<()> {
        while let Some(event) = self.tracker.poll() {
            match event {
                // Files are read to their end: nothing goes on.
                Event::Update(_) => {}
                Event::Lookup(record) => {
                    if self.is_own(&record) {
                        self.lookups += 1;
                        self.sink.lookup(record)?;
                    }
                }
                Event::Connection(mut record) => {
                    self.processes.attach(&mut record);
                    let context = Context { thresholds: &self.thresholds, until: self.until, lost: self.lost };
                    record.findings = judge(&record, &context);
                    self.sink.connection(record)?;
                }
            }
        }
        Ok(())
    }
}
