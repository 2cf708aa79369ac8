//! What findings want to know of few connections: kept where it happens, at no cost to the others.

use super::Config;
use super::analysis::AnalysisSet;
use super::connection::{Connection, both};
use super::pack::{pack_fields, pack_values};
use super::segment::Done;
use crate::packet::{Flags, Packet, Segment};
use crate::record::{self, NotableKind, RetransmissionCause, Side, Sides, Ttl};
use crate::time::{Nanos, Timestamp};

/// A silence that is worth remembering: shorter than any idle timeout in use. Shorter ones are where they are asked for
/// (`reset_after_idle`).
const SILENCE: Nanos = Nanos::from_secs(5);

/// What the analysis says that makes a segment notable.
const NAMES: [(AnalysisSet, NotableKind); 5] = [
    (AnalysisSet::OUT_OF_ORDER, NotableKind::OutOfOrder),
    (AnalysisSet::LOST_SEGMENT, NotableKind::LostSegment),
    (AnalysisSet::ZERO_WINDOW, NotableKind::ZeroWindow),
    (AnalysisSet::WINDOW_FULL, NotableKind::WindowFull),
    (AnalysisSet::KEEP_ALIVE, NotableKind::KeepAlive),
];

/// Segments of one kind that one direction sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notable {
    kind: NotableKind,
    from: u8,
    count: u64,
    first: Timestamp,
    first_frame: u64,
    last: Timestamp,
    last_frame: u64,
}

/// What was the case when the first RST came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    at: Timestamp,
    frame: u64,
    from: u8,
    idle: Nanos,
    ttl: u8,
    ttl_before: Option<(u8, u8)>,
    unacknowledged: [u32; 2],
    /// The direction that sent payload last.
    spoke_last: Option<u8>,
}

/// The last long silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    length: Nanos,
    until: Timestamp,
    frame: u64,
    by: u8,
    /// What each direction had sent before.
    packets_before: [u64; 2],
}

impl Connection {
    /// Looks at a segment that is about to be taken in.
    pub(super) fn note_before(&mut self, from: u8, packet: &Packet, segment: &Segment, config: &Config) {
        let idle = packet.at.since(self.last_seen);
        let [low, high] = &self.sent;
        if idle >= SILENCE.min(config.thresholds.reset_after_idle) {
            let packets_before = [low.packets, high.packets];
            let silence = Silence { length: idle, until: packet.at, frame: packet.number, by: from, packets_before };
            self.rare.get_or_insert_default().silence = Some(Box::new(silence));
        }
        if !segment.flags.contains(Flags::RST) || self.rare.as_deref().is_some_and(|rare| rare.reset.is_some()) {
            return;
        }
        let [to, fro] = &self.flows;
        let sender = if from == 0 { low } else { high };
        let mut unacknowledged = [(to, fro), (fro, to)]
            .map(|(own, other)| if own.is_seen() && other.is_seen() { own.in_flight(other) } else { 0 });
        // The RST itself may acknowledge what came last.
        let receiver = if from == 0 { fro } else { to };
        if segment.flags.contains(Flags::ACK) && segment.ack.at_or_after(receiver.next()) {
            let [left, _] = both(&mut unacknowledged, from ^ 1);
            *left = 0;
        }
        let reset = Reset {
            at: packet.at,
            frame: packet.number,
            from,
            idle,
            ttl: packet.ttl,
            ttl_before: sender.ttl(),
            unacknowledged,
            spoke_last: match (low.spoke_at(), high.spoke_at()) {
                (None, None) => None,
                (one, other) => Some(u8::from(other > one)),
            },
        };
        self.rare.get_or_insert_default().reset = Some(Box::new(reset));
    }

    /// Notes a segment that was taken in.
    pub(super) fn note(&mut self, from: u8, packet: &Packet, segment: &Segment, done: Done) {
        let flags = segment.flags;
        let kind = match done.retransmission {
            Some(_) if flags.is_bare_syn() => Some(NotableKind::SynAgain),
            Some(_) if flags.is_syn_ack() => Some(NotableKind::SynAckAgain),
            Some(RetransmissionCause::Spurious) => Some(NotableKind::Spurious),
            Some(_) => Some(NotableKind::Retransmission),
            None => None,
        };
        let repair = done.repairs.then_some(NotableKind::Repair);
        let named = NAMES.into_iter().filter(|(name, _)| done.analysis.contains(*name)).map(|(_, kind)| kind);
        let reset = flags.contains(Flags::RST).then_some(NotableKind::Rst);
        for kind in kind.into_iter().chain(repair).chain(named).chain(reset) {
            self.note_one(kind, from, packet);
        }
    }

    /// Notes a packet of one kind.
    pub(super) fn note_one(&mut self, kind: NotableKind, from: u8, packet: &Packet) {
        let (frame, at) = (packet.number, packet.at);
        let notable = &mut self.rare.get_or_insert_default().notable;
        match notable.iter_mut().find(|known| known.kind == kind && known.from == from) {
            Some(known) => {
                known.count += 1;
                (known.last, known.last_frame) = (at, frame);
            }
            None => {
                // Most have one kind or two.
                notable.reserve_exact(1);
                notable.push(Notable {
                    kind,
                    from,
                    count: 1,
                    first: at,
                    first_frame: frame,
                    last: at,
                    last_frame: frame,
                });
            }
        }
    }

    /// What a record says of it; `side` says which end sends on a direction.
    pub(super) fn notable(&self, side: impl Fn(u8) -> Side) -> Vec<record::Notable> {
        let notable = self.rare.as_deref().map_or(&[][..], |rare| &rare.notable);
        let record = |known: &Notable| {
            let Notable { kind, from, count, first, first_frame, last, last_frame } = *known;
            record::Notable { kind, from: side(from), count, first, first_frame, last, last_frame }
        };
        notable.iter().map(record).collect()
    }

    /// The first reset; `sides` puts the values of both directions in order.
    pub(super) fn reset(&self, side: impl Fn(u8) -> Side) -> Option<record::Reset> {
        let Reset { at, frame, from, idle, ttl, ttl_before, unacknowledged, spoke_last } =
            **self.rare.as_deref()?.reset.as_ref()?;
        Some(record::Reset {
            at,
            frame,
            from: side(from),
            idle_ns: idle,
            ttl,
            ttl_before: ttl_before.map(|(min, max)| Ttl { min, max, hops: super::sending::hops(max) }),
            unacknowledged: sorted(unacknowledged.map(u64::from), side(0)),
            spoke_last: spoke_last.map(side),
        })
    }

    /// The last long silence, likewise.
    pub(super) fn silence(&self, side: impl Fn(u8) -> Side) -> Option<record::Silence> {
        let Silence { length, until, frame, by, packets_before } = **self.rare.as_deref()?.silence.as_ref()?;
        let [low, high] = &self.sent;
        let [low_before, high_before] = packets_before;
        let after = [low.packets.saturating_sub(low_before), high.packets.saturating_sub(high_before)];
        Some(record::Silence { length_ns: length, until, frame, by: side(by), packets_after: sorted(after, side(0)) })
    }
}

/// Two values by direction as client's and server's; `first` is the end that sends on direction 0.
fn sorted<T>(mut values: [T; 2], first: Side) -> Sides<T>
where
    T: Copy,
{
    let [own, other] = both(&mut values, u8::from(first == Side::Server));
    Sides { client: *own, server: *other }
}

pack_fields! {
    Notable { kind, from, count, first, first_frame, last, last_frame }
    Reset { at, frame, from, idle, ttl, ttl_before, unacknowledged, spoke_last }
    Silence { length, until, frame, by, packets_before }
}

pack_values! {
    NotableKind {
        SynAgain, SynAckAgain, Retransmission, Repair, Spurious, Dsack, OutOfOrder, LostSegment, ZeroWindow, WindowFull,
        KeepAlive, Rst, Icmp, OptionsDiffer,
    }
}
