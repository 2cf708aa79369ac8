//! Packets that were captured twice: on both ends of a bridge, before and after a router, on every interface of a host.
//!
//! A packet is a copy of an earlier one of the same direction where
//!
//! 1. its IPv4 identification, its sequence and acknowledgment numbers, flags, window, urgent pointer, timestamps and SACK
//!    blocks, and the length of its payload are the same; of a SYN the timestamps are left out, since what strips options
//!    on the way strips them there (`handshake.rs` compares the options of both);
//! 2. one of these tells it from a segment that was sent twice:
//!    - a. at most 10 ms apart, it was captured elsewhere: in another file, on another interface, in other tags, or with a
//!      time to live lower by 1 to 8;
//!    - b. at most 2 ms apart, it has an identification, which a host draws anew when it sends a segment again; unless this
//!      end is seen to put the same on different segments;
//!    - c. at most 0.2 ms apart, it takes sequence space, and the other end sent nothing in between: neither a timeout nor
//!      three duplicate ACKs can have asked for it;
//!    - d. at most 2 ms apart, and the connection has shown more copies of one packet than of this one so far. That is for
//!      ACKs and RSTs without identification, which a host may well repeat.
//!
//! Where the copy differs (segments cut or merged on the way between both capture points) it is not recognised.

use super::analysis::Flow;
use super::pack::pack_fields;
use crate::flow::fold;
use crate::nearby::fetch;
use crate::packet::{Flags, IpVersion, Layer, Packet, Segment};
use crate::tcp_options::TcpOptions;
use crate::time::{Nanos, Timestamp};

/// How far apart the same packet may be captured at two places.
const ELSEWHERE_WITHIN: Nanos = Nanos::from_millis(10);

/// How far apart the same packet may be captured at what looks like one place.
const WITHIN: Nanos = Nanos::from_millis(2);

/// Less than any timer takes that makes a host send a segment again.
const AT_ONCE: Nanos = Nanos::from_micros(200);

/// Routers that may lie between two capture points.
const MOST_HOPS: u8 = 8;

/// Packets remembered, of all connections together.
const REMEMBERED: usize = 2048;

/// Rows of the index of them.
const ROWS: usize = 512;

/// Packets in each row. With fewer, which packets fall on each other would show in the output, and that depends on a number
/// drawn at the start.
const WAYS: usize = 4;

/// The packets of the last moments, and an index of them that is small enough to stay near the processor: hardly any
/// packet is a copy, and of the others the index alone tells that.
#[derive(Debug, Default)]
pub struct Duplicates {
    /// A ring. Empty until the first packet.
    packets: Box<[Seen]>,
    /// How many packets were remembered, modulo 2¹⁶.
    count: u16,
    /// What falls on a full row takes the place of its oldest.
    rows: Box<[[Trace; WAYS]]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Of everything that a copy has in common with the packet.
    fingerprint: u64,
    at: Timestamp,
    place: Place,
    copies: u8,
}

/// Where a packet may be remembered: another may have taken its place.
#[derive(Clone, Copy, Debug, Default)]
struct Trace {
    /// A part of its fingerprint.
    tag: u16,
    /// How many packets there were with it, modulo 2¹⁶.
    number: u16,
}

/// Where a packet was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    file: u16,
    interface: u16,
    ttl: u8,
    /// A hash of the tags around it.
    tags: u8,
}

/// What is remembered of each direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// IPv4 identification of the last segment.
    ip_id: u16,
    /// It was on different segments.
    repeats_ip_id: bool,
    /// The most copies of one segment.
    copies: u8,
}

impl Duplicates {
    /// Whether `packet`, which direction `from` sent, is a copy of an earlier one; if not, remembers it. `habits` are those of its direction and of the
    /// other, `fwd` and `rev` what the segment analysis remembers of them.
    pub fn is_copy(
        &mut self,
        (packet, from): (&Packet, u8),
        segment: &Segment,
        options: &TcpOptions,
        layers: &[Layer],
        [habits, others]: [&mut Habits; 2],
        [fwd, rev]: [&Flow; 2],
    ) -> bool {
        let mark = mark(packet, segment);
        let fingerprint = fingerprint(mark, from, segment, options);
        // Without SACK blocks few packets have a mark in common.
        let row = row_of(if options.sack_blocks == 0 { mark } else { fingerprint });
        let place = Place { file: packet.frame.file, interface: packet.interface, ttl: packet.ttl, tags: tags(layers) };
        // Most packets can be no copies.
        let known = self.find(row, fingerprint).filter(|_| !fwd.is_advanced_by(segment));
        if let Some(seen) = known {
            let apart = Nanos(packet.at.as_nanos().abs_diff(seen.at.as_nanos()));
            let sends = segment.len > 0 || segment.flags.intersects(Flags::SYN | Flags::FIN);
            let has_own_id = packet.ip_id != 0 && !habits.repeats_ip_id;
            let is_copy = apart <= ELSEWHERE_WITHIN && place.is_elsewhere(seen.place)
                || apart <= WITHIN && has_own_id
                || apart <= AT_ONCE && sends && rev.last_at() <= seen.at
                || apart <= WITHIN && !sends && seen.copies < habits.copies.max(others.copies);
            if is_copy {
                seen.copies = seen.copies.saturating_add(1);
                habits.copies = habits.copies.max(seen.copies);
                return true;
            }
        } else if packet.ip_id != 0 && packet.tuple.version == IpVersion::V4 {
            habits.repeats_ip_id |= habits.ip_id == packet.ip_id;
            habits.ip_id = packet.ip_id;
        }
        self.remember(row, Seen { fingerprint, at: packet.at, place, copies: 0 });
        false
    }

    /// Has the row of a packet fetched.
    #[inline]
    pub fn foresee(&self, packet: &Packet, segment: &Segment) {
        self.rows.get(row_of(mark(packet, segment))).into_iter().for_each(fetch);
    }

    fn find(&mut self, row: usize, fingerprint: u64) -> Option<&mut Seen> {
        let row = self.rows.get(row)?;
        let tagged = row.iter().filter(|trace| trace.tag == tag_of(fingerprint));
        let is_it = |place: &usize| self.packets.get(*place).is_some_and(|seen| seen.fingerprint == fingerprint);
        let place = tagged.map(|trace| trace.place()).find(is_it)?;
        self.packets.get_mut(place)
    }

    fn remember(&mut self, row: usize, seen: Seen) {
        if self.rows.is_empty() {
            self.packets = vec![Seen::default(); REMEMBERED].into_boxed_slice();
            self.rows = vec![Default::default(); ROWS].into_boxed_slice();
        }
        self.count = self.count.wrapping_add(1);
        let trace = Trace { tag: tag_of(seen.fingerprint), number: self.count };
        let Some(place) = self.packets.get_mut(trace.place()) else { return };
        let Some(row) = self.rows.get_mut(row) else { return };
        *place = seen;
        // The latest stands first. Of what may be the same packet no second trace is kept.
        let [a, b, c, d] = *row;
        *row = match row.iter().position(|old| old.tag == trace.tag) {
            Some(0) => [trace, b, c, d],
            Some(1) => [trace, a, c, d],
            Some(2) => [trace, a, b, d],
            _ => [trace, a, b, c],
        };
    }
}

impl Trace {
    fn place(self) -> usize {
        usize::from(self.number) % REMEMBERED
    }
}

const fn row_of(mark: u64) -> usize {
    mark as usize % ROWS
}

const fn tag_of(fingerprint: u64) -> u16 {
    (fingerprint >> 48) as u16
}

impl Place {
    /// Whether this place lies after `other` on a packet's way, or beside it.
    fn is_elsewhere(self, other: Self) -> bool {
        let hops = other.ttl.wrapping_sub(self.ttl);
        (self.file, self.interface) != (other.file, other.interface)
            || self.tags != other.tags
            || (1..=MOST_HOPS).contains(&hops)
    }
}

const fn two(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// A hash of what condition 1 says of the headers without their options: known before those are read.
#[inline]
fn mark(packet: &Packet, segment: &Segment) -> u64 {
    let marks = u32::from(segment.flags.bits()) << 16 | u32::from(segment.window);
    let short = two(marks, u32::from(packet.ip_id) << 16 | u32::from(segment.urgent));
    fold(packet.hash ^ two(segment.seq.0, segment.ack.0), short ^ 0x9e37_79b9_7f4a_7c15)
}

/// A hash of all of condition 1, beginning with the [`mark`]. That of a connection is not to be guessed, so neither is this
/// one.
#[inline]
fn fingerprint(mark: u64, from: u8, segment: &Segment, options: &TcpOptions) -> u64 {
    let stamps = options.timestamps.filter(|_| !segment.flags.contains(Flags::SYN));
    let (value, echo) = stamps.unwrap_or_default();
    let sent = two(segment.len, from.into());
    let mut hash = fold(mark ^ two(value, echo), sent ^ 0xbf58_476d_1ce4_e5b9);
    for (left, right) in options.sack() {
        hash = fold(hash ^ two(left.0, right.0), 0x94d0_49bb_1331_11eb);
    }
    hash
}

/// A hash of what differs between places in the layers around a packet.
fn tags(layers: &[Layer]) -> u8 {
    let number = |layer: &Layer| match layer {
        Layer::Vlan(id) | Layer::Pppoe(id) => u32::from(*id) + 1,
        Layer::Mpls(id) | Layer::Pbb(id) => id + 1,
        Layer::Tunnel(tunnel) => tunnel.id.map_or(0, |id| id.wrapping_add(1)),
    };
    let mix = |hash: u32, layer| (hash ^ number(layer)).wrapping_mul(0x9e37_79b1).rotate_left(15);
    (layers.iter().fold(0, mix) >> 24) as u8
}

pack_fields! {
    Habits { ip_id, repeats_ip_id, copies }
}

#[cfg(test)]
mod tests {
    use super::super::analysis::{Shared, analyse};
    use super::*;
    use crate::packet::{Address, Body, Notes, Span, Tuple};
    use crate::sequence::Seq;

    /// A connection between two IPv4 hosts, and what the table says of its packets.
    #[derive(Default)]
    struct Capture {
        duplicates: Duplicates,
        habits: [Habits; 2],
        flows: [Flow; 2],
        shared: Shared,
    }

    impl Capture {
        fn is_copy(&mut self, packet: Packet, options: &TcpOptions, layers: &[Layer]) -> bool {
            let Body::Tcp(segment) = packet.body else { unreachable!("all are made as segments") };
            let [low, high] = &mut self.flows;
            let [low_habits, high_habits] = &mut self.habits;
            let forward = packet.tuple.is_canonical();
            let (habits, fwd, rev) =
                if forward { ([low_habits, high_habits], low, high) } else { ([high_habits, low_habits], high, low) };
            let is_copy =
                self.duplicates.is_copy((&packet, u8::from(!forward)), &segment, options, layers, habits, [fwd, rev]);
            if !is_copy {
                analyse(fwd, rev, &mut self.shared, &segment, options, packet.at);
            }
            is_copy
        }

        fn is_plain_copy(&mut self, packet: Packet) -> bool {
            self.is_copy(packet, &TcpOptions::default(), &[])
        }
    }

    const LOW: Tuple = Tuple {
        src: Address::v4([10, 0, 0, 1]),
        dst: Address::v4([10, 0, 0, 2]),
        sport: 1000,
        dport: 80,
        version: IpVersion::V4,
    };

    fn packet(tuple: Tuple, micros: u64, ip_id: u16, flags: Flags, len: u32) -> Packet {
        Packet {
            at: Timestamp::from_nanos(1_000_000_000 + micros * 1000),
            number: 1,
            frame: Default::default(),
            hash: 7,
            tuple,
            interface: 0,
            ttl: 64,
            tos: 0,
            ip_id,
            missing: 0,
            notes: Notes::empty(),
            layers: None,
            tail: Span::default(),
            body: Body::Tcp(Segment { seq: Seq(5), ack: Seq(9), flags, window: 100, urgent: 0, len }),
        }
    }

    fn ack(micros: u64, ip_id: u16) -> Packet {
        packet(LOW, micros, ip_id, Flags::ACK, 0)
    }

    #[test]
    fn one_identification_is_one_packet() {
        let mut capture = Capture::default();
        assert!(!capture.is_plain_copy(ack(0, 3)));
        assert!(capture.is_plain_copy(ack(5, 3)));
        assert!(capture.is_plain_copy(ack(9, 3)));
        // Duplicate ACKs.
        assert!(!capture.is_plain_copy(ack(12, 4)));
        assert!(!capture.is_plain_copy(ack(15, 5)));
        // Much later.
        assert!(!capture.is_plain_copy(ack(20_000, 5)));
    }

    #[test]
    fn a_host_with_one_identification_for_all_repeats_itself() {
        let mut capture = Capture::default();
        assert!(!capture.is_plain_copy(packet(LOW, 0, 3, Flags::SYN, 0)));
        assert!(!capture.is_plain_copy(ack(5000, 3)));
        assert!(!capture.is_plain_copy(ack(5100, 3)));
    }

    #[test]
    fn a_routed_packet_loses_a_hop_and_a_tagged_one_is_elsewhere() {
        let mut capture = Capture::default();
        assert!(!capture.is_plain_copy(ack(0, 0)));
        assert!(capture.is_plain_copy(Packet { ttl: 63, ..ack(5, 0) }));
        assert!(!capture.is_plain_copy(Packet { ttl: 65, ..ack(9, 0) }));
        let mut capture = Capture::default();
        assert!(!capture.is_plain_copy(ack(0, 0)));
        assert!(capture.is_copy(ack(5, 0), &TcpOptions::default(), &[Layer::Vlan(5)]));
        assert!(capture.is_plain_copy(Packet { interface: 1, ..ack(9, 0) }));
    }

    #[test]
    fn without_identification_the_answer_decides() {
        let mut capture = Capture::default();
        let data = |micros| packet(LOW, micros, 0, Flags::ACK, 100);
        assert!(!capture.is_plain_copy(data(0)));
        assert!(capture.is_plain_copy(data(5)));
        for micros in [30, 40, 50] {
            capture.is_plain_copy(packet(LOW.reversed(), micros, 0, Flags::ACK, 0));
        }
        assert!(!capture.is_plain_copy(data(60)), "a retransmission that three ACKs asked for");
        assert!(!capture.is_plain_copy(data(3000)), "a retransmission after some time");
    }

    #[test]
    fn acks_without_identification_need_an_example() {
        let mut capture = Capture::default();
        assert!(!capture.is_plain_copy(ack(0, 0)));
        assert!(!capture.is_plain_copy(ack(5, 0)));
        assert!(!capture.is_plain_copy(packet(LOW, 20, 0, Flags::ACK, 100)));
        assert!(capture.is_plain_copy(packet(LOW, 25, 0, Flags::ACK, 100)));
        let copies = [20_040, 20_045, 20_050, 20_055].map(|micros| capture.is_plain_copy(ack(micros, 0)));
        assert_eq!(copies, [false, true, false, true], "two ACKs, captured twice each");
    }

    #[test]
    fn as_many_are_remembered_as_there_is_room_for() {
        for (others, is_known) in [(500, true), (REMEMBERED as u32, false)] {
            let mut capture = Capture::default();
            assert!(!capture.is_plain_copy(ack(0, 7)));
            for ack in 0..others {
                let segment =
                    Segment { seq: Seq(5), ack: Seq(100 + ack), flags: Flags::ACK, window: 100, urgent: 0, len: 0 };
                assert!(!capture.is_plain_copy(Packet { body: Body::Tcp(segment), ..self::ack(1, ack as u16 + 8) }));
            }
            assert_eq!(capture.is_plain_copy(Packet { interface: 1, ..ack(2, 7) }), is_known, "after {others} others");
        }
    }

    #[test]
    fn another_timestamp_is_another_packet() {
        let stamps = |value| TcpOptions { timestamps: Some((value, 1)), ..TcpOptions::default() };
        let mut capture = Capture::default();
        assert!(!capture.is_copy(ack(0, 3), &stamps(1), &[]));
        assert!(!capture.is_copy(ack(5, 3), &stamps(2), &[]));
    }

    #[test]
    fn a_syn_without_its_timestamps_is_the_same_packet() {
        let stamps = TcpOptions { timestamps: Some((1, 0)), ..TcpOptions::default() };
        let mut capture = Capture::default();
        assert!(!capture.is_copy(packet(LOW, 0, 3, Flags::SYN, 0), &stamps, &[]));
        assert!(capture.is_plain_copy(packet(LOW, 5, 3, Flags::SYN, 0)));
        assert!(!capture.is_plain_copy(packet(LOW, 1_000_000, 4, Flags::SYN, 0)), "sent again");
    }
}
