//! Arbitrary datagrams from both ends of a connection over DTLS, through the tracker: nothing panics, one connection at most
//! is open for each pair of ends, and what is learnt can be told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::input::{Input, PacketInput};
use observer::packet::{Address, Body, Datagram, FrameId, Packet, Span, Tuple};
use observer::time::Timestamp;
use observer::tracker::{Config, Tracker};
use observer_fuzz::{Bytes, plain_packet};

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let template = plain_packet();
    let mut tracker = Tracker::new(Config { max_connections: 2, most_held: 1 << 16, ..Config::default() });
    let mut number = 0;
    while !bytes.is_empty() {
        number += 1;
        let what = bytes.u8();
        let missing = if what & 2 == 0 { 0 } else { u32::from(bytes.u8()) };
        let len = usize::from(bytes.u16() % 2048);
        let payload = bytes.slice(len);
        let client = (Address::v4([10, 0, 0, 1]), 40_000 + u16::from(what >> 6));
        let server = (Address::v4([10, 0, 0, 2]), 443);
        let ((src, sport), (dst, dport)) = if what & 1 == 0 { (client, server) } else { (server, client) };
        let packet = Packet {
            at: Timestamp::from_nanos(number * 1_000_000),
            number,
            frame: FrameId { file: 0, number },
            tuple: Tuple { src, dst, sport, dport, ..template.tuple },
            tail: Span { start: 0, options: 0, payload: payload.len() as u32, reassembled: false },
            body: Body::Udp(Datagram { len: payload.len() as u32 + missing }),
            ..template
        };
        tracker.handle(Input::Packet(&PacketInput {
            packet: &packet,
            layers: &[],
            options: &[],
            payload,
            error: None,
        }));
        assert!(tracker.open_connections() <= 2, "the bound on open connections holds");
        while tracker.poll().is_some() {}
    }
    tracker.finish();
    while tracker.poll().is_some() {}
});
