//! What holds the data of one end up: kept of few ends, from the moment that it shows.

use super::moment::Moment;
use super::pack::pack_fields;
use super::sending::End;
use crate::packet::{Flags, IpVersion, Notes, Packet, Segment};
use crate::record::{DelayedAcks, LoadedRtt, RetransmissionCause, Unanswered};
use crate::sequence::Seq;
use crate::time::{Nanos, Timestamp};

/// Octets in flight from which on they may fill a queue.
const LOAD: u32 = 32 << 10;

/// How much longer than a round trip an ACK takes that waited for a delayed-ACK timer: Linux's shortest is 40 ms
/// (TCP_DELACK_MIN), less what clocks may differ.
const DELAYED: Nanos = Nanos::from_millis(30);

/// The longest of such timers (RFC 9293, section 3.8.6.3).
const LONGEST_DELAY: Nanos = Nanos::from_millis(500);

/// Octets of a segment that is full on any usual path: Nagle's algorithm holds back smaller ones only.
const FULL: u32 = 1000;

/// How soon a sender sends what waited for an ACK, besides the time on the way.
const AT_ONCE: Nanos = Nanos::from_millis(3);

/// What holds the data of one end up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strain {
    light: Mean,
    heavy: Mean,
    /// When an ACK came late that left nothing in flight, and how late it was.
    late: Moment,
    late_by: Nanos,
    delayed: u32,
    delay: Nanos,
    /// The segment that was sent again last on a timeout.
    again: Option<Again>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    count: u32,
    sum: Nanos,
}

/// A segment that is sent again and again.
#[derive(Clone, Copy, Debug)]
struct Again {
    seq: Seq,
    len: u32,
    times: u32,
    first: Timestamp,
    first_frame: u64,
    last: Timestamp,
    last_frame: u64,
    /// No router may cut it, any of the times.
    whole: bool,
    /// Packets that the other end had sent when it was sent again first.
    heard: u64,
}

/// An ACK of one end's data, as the other end sent it.
pub(super) struct Answer {
    /// When it was captured.
    pub(super) at: Timestamp,
    /// The round trip that it completes, where one was measured.
    pub(super) sample: Option<Nanos>,
    /// Octets that it leaves in flight.
    pub(super) left: u32,
    /// It holds nothing but the ACK.
    pub(super) is_pure: bool,
    /// How long ago this end last sent payload.
    pub(super) since_sent: Nanos,
    /// How many octets that was.
    pub(super) last_len: u32,
}

/// Takes in an ACK. `most` is the most that was ever in flight, `round_trip` that of the handshake.
pub(super) fn answered(strain: &mut Option<Box<Strain>>, answer: &Answer, most: u32, round_trip: Option<Nanos>) {
    let Answer { at, sample, left, is_pure, since_sent, last_len } = *answer;
    if let Some(sample) = sample.filter(|_| most >= LOAD) {
        let strain = strain.get_or_insert_default();
        if left >= most / 2 {
            strain.heavy.add(sample);
        } else if left <= most / 8 {
            strain.light.add(sample);
        }
    }
    let Some(round_trip) = round_trip.filter(|_| is_pure && left == 0 && last_len < FULL) else { return };
    let late_by = since_sent.0.saturating_sub(round_trip.0);
    if (DELAYED.0..=LONGEST_DELAY.0).contains(&late_by) {
        let strain = strain.get_or_insert_default();
        strain.late.set(at);
        strain.late_by = Nanos(late_by);
    }
}

impl Strain {
    /// Takes in payload of this end.
    pub(super) fn sent(&mut self, at: Timestamp, round_trip: Option<Nanos>) {
        let Some(late) = self.late.get() else { return };
        self.late = Moment::NONE;
        let waited = at.since(late);
        if waited.0 <= round_trip.unwrap_or_default().0.saturating_add(AT_ONCE.0) {
            self.delayed += 1;
            self.delay.0 = self.delay.0.saturating_add(self.late_by.0);
        }
    }

    /// Takes in a segment that this end sent again; `heard` is how many packets the other end had sent.
    pub(super) fn sent_again(&mut self, packet: &Packet, segment: &Segment, cause: RetransmissionCause, heard: u64) {
        let (frame, at) = (packet.number, packet.at);
        // RFC 791, section 3.1; IPv6 routers cut nothing (RFC 8200, section 4.5).
        let whole = packet.notes.contains(Notes::DONT_FRAGMENT) || packet.tuple.version == IpVersion::V6;
        if !matches!(cause, RetransmissionCause::Rto | RetransmissionCause::TailLossProbe)
            || segment.flags.intersects(Flags::SYN)
        {
            return;
        }
        match &mut self.again {
            Some(again) if again.seq == segment.seq => {
                again.times += 1;
                (again.last, again.last_frame) = (at, frame);
                again.len = again.len.min(segment.len);
                again.whole &= whole;
            }
            again => {
                let (seq, len) = (segment.seq, segment.len);
                let (first, first_frame) = (at, frame);
                let (last, last_frame) = (at, frame);
                *again = Some(Again { seq, len, times: 1, first, first_frame, last, last_frame, whole, heard });
            }
        }
    }

    /// The segment that was sent again and `other`, the other end, never acknowledged; `passed` is whether a segment as
    /// large was acknowledged, `acknowledged` the largest that was.
    pub(super) fn unanswered(&self, other: &End, passed: bool, acknowledged: u32) -> Option<Unanswered> {
        let Again { seq, len, times, first, first_frame, last, last_frame, whole, heard: before } = self.again?;
        let open = other.acked().is_none_or(|answered| answered.at_or_before(seq));
        open.then_some(Unanswered {
            length: len,
            times: times.into(),
            first,
            first_frame,
            last,
            last_frame,
            heard_since: other.packets.saturating_sub(before),
            as_large_passed: passed,
            acknowledged,
            dont_fragment: whole,
        })
    }

    /// Round trips by what was in flight.
    pub(super) fn loaded_rtt(&self) -> Option<LoadedRtt> {
        let heavy_ns = self.heavy.mean()?;
        Some(LoadedRtt { light_ns: self.light.mean(), heavy_ns, samples: self.heavy.count.into() })
    }

    /// Waits for ACKs that were delayed.
    pub(super) fn delayed_acks(&self) -> Option<DelayedAcks> {
        (self.delayed > 0).then_some(DelayedAcks { count: self.delayed.into(), waited_ns: self.delay })
    }
}

impl Mean {
    const fn add(&mut self, time: Nanos) {
        self.count += 1;
        self.sum.0 = self.sum.0.saturating_add(time.0);
    }

    fn mean(self) -> Option<Nanos> {
        self.sum.0.checked_div(self.count.into()).map(Nanos)
    }
}

pack_fields! {
    Strain { light, heavy, late, late_by, delayed, delay, again }
    Mean { count, sum }
    Again { seq, len, times, first, first_frame, last, last_frame, whole, heard }
}
