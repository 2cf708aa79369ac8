//! What one end sent: how much, how fast, how marked.

use bitflags::bitflags;

use super::correction::Holes;
use super::moment::Moment;
use super::pack::{pack_fields, pack_flags};
use super::retransmit::Retransmits;
use super::rtt::RoundTrips;
use super::strain::{self, Answer, Strain};
use crate::packet::{Flags, Notes, Packet, Segment};
use crate::range_set::RangeSet;
use crate::record::{Ecn, FlowFacts, TcpState, Ttl, WindowFacts};
use crate::sequence::Seq;
use crate::tcp_options::TcpOptions;
use crate::time::{Nanos, Timestamp};

/// Congestion experienced, in the lowest two bits of the traffic class (RFC 3168, section 5).
const ECN_MASK: u8 = 0b11;
const ECN_CE: u8 = 0b11;

/// What hosts start the time to live at.
const USUAL_TTLS: [u8; 3] = [64, 128, 255];

/// What is kept of one end of every connection.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) packets: u64,
    max_idle: Nanos,
    isn: Seq,
    acked: Seq,
    fin_end: Seq,
    /// The smallest and the largest window it offered.
    window: (u32, u32),
    pub(super) state: TcpState,
    known: Known,
    pub(super) retransmits: Retransmits,
    /// Smallest and largest time to live.
    ttl: (u8, u8),
    /// What only an end that sends payload has.
    pub(super) data: Option<Box<Data>>,
    /// What few ends have.
    rare: Option<Box<Rare>>,
}

bitflags! {
    /// Which fields of an [`End`] hold something: an `Option` each would take twice their space.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Known: u8 {
        const ISN = 1;
        const ACKED = 1 << 1;
        const FIN_END = 1 << 2;
        const WINDOW = 1 << 3;
        const TTL = 1 << 4;
    }
}

/// What is kept of an end that has sent payload.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) bytes: u64,
    pub(super) unique_bytes: u64,
    seen: RangeSet,
    first_at: Moment,
    last_at: Moment,
    max_in_flight: u32,
    max_segment: u32,
    /// Where the first of the largest segments begins.
    largest: Seq,
    /// The largest segment that had been acknowledged when a larger one was sent.
    passed: u32,
    /// Octets of the last segment.
    last_len: u32,
    pub(super) round_trips: RoundTrips,
    pub(super) holes: Holes,
    pub(super) strain: Option<Box<Strain>>,
}

#[derive(Debug, Default)]
struct Rare {
    ecn: Ecn,
    urgent: u64,
    bad_checksums: u64,
    partial_checksums: u64,
    zero_since: Moment,
    zero_window: Nanos,
    /// What the last segment with a window of 0 acknowledged, where not every segment is seen.
    zero_ack: Seq,
}

impl End {
    /// Initial sequence number; a guess where the SYN was not captured.
    pub(super) fn isn(&self) -> Option<Seq> {
        self.known.contains(Known::ISN).then_some(self.isn)
    }

    /// The highest acknowledgment number it sent.
    pub(super) fn acked(&self) -> Option<Seq> {
        self.known.contains(Known::ACKED).then_some(self.acked)
    }

    /// The sequence number after its FIN.
    pub(super) fn fin_end(&self) -> Option<Seq> {
        self.known.contains(Known::FIN_END).then_some(self.fin_end)
    }

    /// Takes in a segment of this end; `last` is when its last one was captured, if there was one.
    #[inline]
    pub(super) fn segment(&mut self, packet: &Packet, segment: &Segment, last: Option<Timestamp>) {
        self.packets += 1;
        if let Some(last) = last {
            self.max_idle = self.max_idle.max(packet.at.since(last));
        }
        let (low, high) = if self.known.contains(Known::TTL) { self.ttl } else { (packet.ttl, packet.ttl) };
        self.ttl = (low.min(packet.ttl), high.max(packet.ttl));
        self.known.insert(Known::TTL);
        self.marks(packet.tos, segment.flags);
    }

    /// Learns the initial sequence number of this end, and what it acknowledges, from a segment that it sent.
    pub(super) fn take_isn(&mut self, segment: &Segment) {
        if segment.flags.contains(Flags::SYN) {
            // A SYN of its own corrects a guess, or an attempt that went unanswered.
            if self.data.is_none() {
                self.isn = segment.seq;
                self.known.insert(Known::ISN);
            }
        } else if !segment.flags.contains(Flags::RST) {
            self.guess_isn(segment.seq.minus(1));
        }
        if segment.flags.contains(Flags::ACK) && !segment.flags.contains(Flags::RST) {
            self.acked = self.acked().map_or(segment.ack, |acked| acked.latest(segment.ack));
            self.known.insert(Known::ACKED);
        }
    }

    /// Learns the initial sequence number of this end from a segment that it was sent.
    pub(super) fn take_isn_from_ack(&mut self, segment: &Segment) {
        if segment.flags.contains(Flags::ACK) && !segment.flags.contains(Flags::RST) {
            self.guess_isn(segment.ack.minus(1));
        }
    }

    fn guess_isn(&mut self, isn: Seq) {
        if !self.known.contains(Known::ISN) {
            self.isn = isn;
            self.known.insert(Known::ISN);
        }
    }

    /// Takes in this end's FIN, after which comes `end`. The first one counts.
    pub(super) fn fin(&mut self, end: Seq) {
        if !self.known.contains(Known::FIN_END) {
            self.fin_end = end;
            self.known.insert(Known::FIN_END);
        }
    }

    /// When it last sent payload.
    pub(super) fn spoke_at(&self) -> Option<Timestamp> {
        self.data.as_ref()?.last_at.get()
    }

    /// Smallest and largest time to live of its packets so far.
    pub(super) fn ttl(&self) -> Option<(u8, u8)> {
        self.known.contains(Known::TTL).then_some(self.ttl)
    }

    #[inline]
    fn marks(&mut self, tos: u8, flags: Flags) {
        if tos & ECN_MASK != 0 || flags.intersects(Flags::ECE | Flags::CWR | Flags::URG) {
            self.take_marks(tos & ECN_MASK, flags);
        }
    }

    #[inline(never)]
    fn take_marks(&mut self, ecn: u8, flags: Flags) {
        let echoes = flags.intersects(Flags::ECE | Flags::CWR) && !flags.contains(Flags::SYN);
        if ecn == 0 && !echoes && !flags.contains(Flags::URG) {
            return;
        }
        let rare = self.rare.get_or_insert_default();
        match ecn {
            0 => {}
            ECN_CE => rare.ecn.ce += 1,
            _ => rare.ecn.ect += 1,
        }
        if echoes {
            rare.ecn.ece += u64::from(flags.contains(Flags::ECE));
            rare.ecn.cwr += u64::from(flags.contains(Flags::CWR));
        }
        rare.urgent += u64::from(flags.contains(Flags::URG));
    }

    /// Takes in the payload of a segment. `in_flight` is what this end has sent and the other has not acknowledged,
    /// this segment included; `acked` what the other has acknowledged. Gives what is known of all this end's payload, and how
    /// many octets of this had not been captured before.
    pub(super) fn payload(
        &mut self,
        segment: &Segment,
        (in_flight, acked): (Option<u32>, Option<Seq>),
        at: Timestamp,
    ) -> (&mut Data, u32) {
        let start = segment.seq.plus(segment.flags.contains(Flags::SYN).into());
        let isn = self.isn();
        let data = self.data.get_or_insert_with(|| {
            let seen = isn.map_or_else(RangeSet::default, |isn| RangeSet::starting_at(isn.plus(1)));
            Box::new(Data { seen, ..Data::default() })
        });
        data.bytes += u64::from(segment.len);
        let new = data.seen.insert(start, segment.len);
        data.unique_bytes += u64::from(new);
        data.first_at.set_once(at);
        data.last_at.set(at);
        data.last_len = segment.len;
        if segment.len > data.max_segment {
            if data.has_largest_passed(acked) {
                data.passed = data.max_segment;
            }
            (data.max_segment, data.largest) = (segment.len, start);
        }
        data.max_in_flight = data.max_in_flight.max(in_flight.unwrap_or(0));
        (data, new)
    }

    /// Takes in a window that this end offers, in octets.
    pub(super) fn window(&mut self, window: u32, at: Timestamp) {
        let (min, max) = if self.known.contains(Known::WINDOW) { self.window } else { (window, window) };
        self.window = (min.min(window), max.max(window));
        self.known.insert(Known::WINDOW);
        // Who has closed reads no more, and may well say so.
        if window == 0 && !self.known.contains(Known::FIN_END) {
            self.rare.get_or_insert_default().zero_since.set_once(at);
        } else {
            self.window_opens(at);
        }
    }

    /// Takes in a window of 0 where what opens it again is not seen: it was closed since the last one if that acknowledged
    /// the same, for then nothing was taken in between.
    pub(super) fn window_closed(&mut self, ack: Seq, at: Timestamp) {
        let rare = self.rare.get_or_insert_default();
        if let Some(since) = rare.zero_since.get().filter(|_| rare.zero_ack == ack) {
            rare.zero_window.0 = rare.zero_window.0.saturating_add(at.since(since).0);
        }
        rare.zero_since.set(at);
        rare.zero_ack = ack;
    }

    /// How long this end is known to have kept its window at 0, before the last segment that says so.
    pub(super) fn zero_window(&self) -> Nanos {
        self.rare.as_ref().map_or(Nanos::default(), |rare| rare.zero_window)
    }

    /// Ends the time with a window of 0, if there is one: at `at`.
    pub(super) fn window_opens(&mut self, at: Timestamp) {
        if let Some(rare) = &mut self.rare
            && let Some(since) = rare.zero_since.get()
        {
            rare.zero_window.0 += at.since(since).0;
            rare.zero_since = Moment::NONE;
        }
    }

    /// A segment of this end had a wrong checksum.
    pub(super) fn bad_checksum(&mut self, notes: Notes) {
        let rare = self.rare.get_or_insert_default();
        rare.bad_checksums += 1;
        let is_partial = notes.contains(Notes::PARTIAL_CHECKSUM) && !notes.contains(Notes::BAD_IP_CHECKSUM);
        rare.partial_checksums += u64::from(is_partial);
    }

    /// Segments of this end with a wrong checksum.
    pub(super) fn bad_checksums(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.bad_checksums)
    }

    /// Those of them that the network card has still to complete.
    pub(super) fn partial_checksums(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.partial_checksums)
    }

    /// How this end's data flowed, to `other`, up to the connection's last packet.
    pub(super) fn facts(&self, other: &Self, last_seen: Timestamp) -> FlowFacts {
        let data = self.data.as_deref();
        let strain = data.and_then(|data| data.strain.as_deref());
        let passed = data.is_some_and(|data| data.has_largest_passed(other.acked()));
        let known_to_pass = data.map_or(0, |data| if passed { data.max_segment } else { data.passed });
        let closed = |rare: &Rare| rare.zero_since.get().map_or(0, |since| last_seen.since(since).0);
        let rare = self.rare.as_deref();
        let ((min, max), (low_ttl, high_ttl)) = (self.window, self.ttl);
        FlowFacts {
            throughput_bps: data.and_then(Data::throughput_bps),
            max_in_flight: data.map_or(0, |data| data.max_in_flight.into()),
            max_segment: data.map_or(0, |data| data.max_segment),
            window: self.known.contains(Known::WINDOW).then_some(WindowFacts { min, max }),
            zero_window_ns: rare
                .map_or(Nanos::default(), |rare| Nanos(rare.zero_window.0.saturating_add(closed(rare)))),
            max_idle_ns: self.max_idle,
            ttl: self.known.contains(Known::TTL).then(|| Ttl { min: low_ttl, max: high_ttl, hops: hops(high_ttl) }),
            ecn: rare.map_or_else(Ecn::default, |rare| rare.ecn),
            urgent: rare.map_or(0, |rare| rare.urgent),
            unanswered: strain.and_then(|strain| strain.unanswered(other, passed, known_to_pass)),
            loaded_rtt: strain.and_then(Strain::loaded_rtt),
            delayed_acks: strain.and_then(Strain::delayed_acks),
        }
    }
}

impl Data {
    /// Takes in a segment of the other end, which leaves `left` octets in flight; `round_trip` is that of the handshake.
    pub(super) fn answered(
        &mut self,
        segment: &Segment,
        options: &TcpOptions,
        at: Timestamp,
        left: u32,
        round_trip: Option<Nanos>,
    ) {
        let sample = self.round_trips.answered(segment, options, at);
        let is_pure = segment.len == 0 && !segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
        let since_sent = self.last_at.get().map_or(Nanos::default(), |last| at.since(last));
        let answer = Answer { at, sample, left, is_pure, since_sent, last_len: self.last_len };
        strain::answered(&mut self.strain, &answer, self.max_in_flight, round_trip);
    }

    /// Whether the largest segment is among what the other end has acknowledged.
    fn has_largest_passed(&self, acked: Option<Seq>) -> bool {
        acked.is_some_and(|acked| acked.at_or_after(self.largest.plus(self.max_segment)))
    }

    fn throughput_bps(&self) -> Option<u64> {
        let length = self.last_at.get()?.checked_since(self.first_at.get()?)?;
        let bits = u128::from(self.unique_bytes) * 8 * 1_000_000_000;
        bits.checked_div(length.0.into()).and_then(|rate| u64::try_from(rate).ok())
    }
}

/// Routers passed by a packet that arrives with this time to live.
pub(super) fn hops(ttl: u8) -> u8 {
    USUAL_TTLS.into_iter().find(|start| *start >= ttl).map_or(0, |start| start - ttl)
}

pack_fields! {
    End { packets, max_idle, isn, acked, fin_end, window, state, known, retransmits, ttl, data, rare }
    Data {
        bytes, unique_bytes, seen, first_at, last_at, max_in_flight, max_segment, largest, passed, last_len, round_trips,
        holes, strain,
    }
    Rare { ecn, urgent, bad_checksums, partial_checksums, zero_since, zero_window, zero_ack }
}

pack_flags!(Known);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_count_from_the_next_usual_start() {
        assert_eq!([64, 63, 52, 128, 120, 255, 0].map(hops), [0, 1, 12, 0, 8, 0, 64]);
    }

    #[test]
    fn time_at_a_window_of_zero_adds_up() {
        let mut end = End::default();
        let at = |secs: u64| Timestamp::from_nanos(secs * 1_000_000_000);
        for (window, secs) in [(1000, 1), (0, 2), (0, 3), (500, 5), (0, 6)] {
            end.window(window, at(secs));
        }
        end.window_opens(at(10));
        let facts = end.facts(&End::default(), at(20));
        assert_eq!(facts.zero_window_ns, Nanos::from_secs(7));
        assert_eq!(facts.window, Some(WindowFacts { min: 0, max: 1000 }));
    }
}
