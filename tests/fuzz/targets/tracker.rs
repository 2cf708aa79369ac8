//! Arbitrary segments between a few ends: nothing panics, every packet is counted once, and the bound on open
//! connections holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::input::{Input, PacketInput};
use observer::packet::{
    Address, Body, ErrorRef, Flags, FrameId, IcmpError, IpVersion, Notes, Packet, Segment, Span, Tuple,
};
use observer::sequence::Seq;
use observer::time::Timestamp;
use observer::tracker::{Config, Event, Timeouts, Tracker};
use observer_fuzz::{Bytes, plain_packet};

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let setup = bytes.u8();
    let most = 1 + usize::from(setup & 3);
    let mut tracker = Tracker::new(Config {
        max_connections: most,
        least_awake: most % 2,
        timeline_entries: usize::from(setup >> 2 & 7),
        strict_wireshark: setup & 0x20 != 0,
        drop_bad_checksums: setup & 0x40 != 0,
        timeouts: if setup & 0x80 != 0 { Timeouts::Zeek } else { Timeouts::Never },
        ..Config::default()
    });
    let mut clock = 1_000_000_000_000_u64;
    let mut number = 0;
    let template = plain_packet();
    let mut given_out = 0;
    while !bytes.is_empty() {
        number += 1;
        // Mostly microseconds apart, now and then minutes, and sometimes backwards.
        let step = bytes.u16();
        clock = match step >> 14 {
            0 | 1 => clock + u64::from(step),
            2 => clock + u64::from(step & 0x3fff) * 100_000_000,
            _ => clock - u64::from(step & 0x3fff),
        };
        let (packet, error) = packet(&mut bytes, &template, clock, number);
        let options = bytes.slice(usize::from(packet.tail.options));
        let packet = Packet { tail: Span { options: options.len() as u8, ..packet.tail }, ..packet };
        let input = PacketInput { packet: &packet, layers: &[], options, payload: &[], error: error.as_ref() };
        tracker.handle(Input::Packet(&input));
        assert!(tracker.open_connections() <= most, "the bound on open connections holds");
        given_out += drain(&mut tracker);
    }
    tracker.handle_timeout(Timestamp::from_nanos(clock + 3_600_000_000_000));
    tracker.finish();
    given_out += drain(&mut tracker);
    assert!(given_out <= number, "more connections than packets");
});

fn drain(tracker: &mut Tracker) -> u64 {
    let mut connections = 0;
    while let Some(event) = tracker.poll() {
        let (Event::Connection(_) | Event::Update(_) | Event::Lookup(_)) = event;
        connections += 1;
    }
    connections
}

/// A packet between two of four ends, with numbers close enough to each other that segments meet.
fn packet(bytes: &mut Bytes<'_>, template: &Packet, clock: u64, number: u64) -> (Packet, Option<IcmpError>) {
    let ends = bytes.u8();
    let tuple = Tuple {
        src: Address::v4([10, 0, 0, ends & 1]),
        dst: Address::v4([10, 0, 0, ends >> 1 & 1]),
        sport: u16::from(ends >> 2 & 1),
        dport: u16::from(ends >> 3 & 1),
        version: IpVersion::V4,
    };
    let (seq, ack) = (near_the_wrap(bytes), near_the_wrap(bytes));
    let error = (ends & 0xc0 == 0xc0).then(|| {
        let [kind, code] = bytes.array();
        IcmpError { from: tuple.dst, kind, code, mtu: None, seq, flags: None }
    });
    let body = if error.is_some() {
        Body::Icmp(ErrorRef(0))
    } else {
        let flags = Flags::from_bits_truncate(bytes.u16());
        let len = u32::from(bytes.u16() >> 2);
        Body::Tcp(Segment { seq, ack, flags, window: bytes.u16(), urgent: 0, len })
    };
    let key = tuple.src.0[15] ^ tuple.dst.0[15];
    let packet = Packet {
        at: Timestamp::from_nanos(clock),
        number,
        frame: FrameId { file: 0, number },
        // Few and symmetric, so that different connections collide.
        hash: u64::from(key),
        tuple,
        tos: bytes.u8(),
        ip_id: bytes.u16(),
        notes: Notes::from_bits_truncate(bytes.u16()),
        tail: Span { start: 0, options: bytes.u8() % 41, payload: 0, reassembled: false },
        body,
        ..*template
    };
    (packet, error)
}

fn near_the_wrap(bytes: &mut Bytes<'_>) -> Seq {
    Seq(u32::MAX.wrapping_add(u32::from(bytes.u16())).wrapping_sub(0x8000))
}
