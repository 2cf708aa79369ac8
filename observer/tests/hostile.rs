//! Traffic that is made to cost: it is followed in a time in proportion to its length and in bounded memory, and told as
//! `malformed`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use observer::capture::{Chunk, Frame, LinkType};
use observer::decode::{Checksums, Decoder};
use observer::input::{Input, PacketInput};
use observer::packet::{Decoded, FrameId};
use observer::record::{ConnectionRecord, LookupRecord};
use observer::time::Timestamp;
use observer::tracker::{Config, Event, Tracker};

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 443);

/// Segments of each conversation here.
const SEGMENTS: usize = 200_000;

/// Octets that following one connection may take, whatever it sends: with the buffers that the trackers' own tables begin
/// with.
const MOST: u64 = 64 << 20;

/// A raw IPv4 packet.
fn packet(protocol: u8, (from, to): (([u8; 4], u16), ([u8; 4], u16)), header: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (24 + header.len() + data.len()) as u16;
    let [high, low] = length.to_be_bytes();
    let head = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    [&head[..], &from.0, &to.0, &from.1.to_be_bytes(), &to.1.to_be_bytes(), header, data].concat()
}

fn segment(from_client: bool, seq: u32, ack: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    const TCP: u8 = 6;
    let ends = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let header = [&seq.to_be_bytes()[..], &ack.to_be_bytes(), &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat();
    packet(TCP, ends, &header, data)
}

fn datagram(from_client: bool, data: &[u8]) -> Vec<u8> {
    const UDP: u8 = 17;
    let server = (SERVER.0, 53);
    let ends = if from_client { (CLIENT, server) } else { (server, CLIENT) };
    let length = (8 + data.len() as u16).to_be_bytes();
    packet(UDP, ends, &[&length[..], &[0, 0]].concat(), data)
}

/// A connection whose client sends these segments behind its handshake.
fn conversation(segments: impl Iterator<Item = (u32, Vec<u8>)>) -> impl Iterator<Item = Vec<u8>> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let handshake =
        [segment(true, 0, 0, SYN, &[]), segment(false, 1000, 1, SYN | ACK, &[]), segment(true, 1, 1001, ACK, &[])];
    handshake.into_iter().chain(segments.map(|(seq, data)| segment(true, seq, 1001, ACK, &data)))
}

/// What comes of packets, and how long that takes.
fn follow(packets: impl Iterator<Item = Vec<u8>>) -> (Vec<ConnectionRecord>, Vec<LookupRecord>, Duration) {
    const RAW: LinkType = LinkType(101);
    // What other tests of this process take would count as well.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let mut chunk = Chunk::default();
    for (number, data) in (1..).zip(packets) {
        chunk.frames.push(Frame {
            at: Timestamp::from_nanos(number * 10_000),
            carried: 0,
            number,
            id: FrameId { file: 0, number },
            link: RAW,
            interface: 0,
            wire_len: data.len() as u32,
            start: chunk.bytes.len() as u32,
            captured: data.len() as u32,
            direction: None,
        });
        chunk.bytes.extend_from_slice(&data);
    }
    let mut decoded = Decoded::default();
    Decoder::new(Checksums::Ignore, 0).with_datagrams(true).decode(&chunk, &mut decoded);
    assert_eq!(decoded.packets.len(), chunk.frames.len(), "every packet is one");
    let (begun, before) = (Instant::now(), memory());
    let mut tracker = Tracker::new(Config::default());
    for packet in &decoded.packets {
        tracker.handle(Input::Packet(&PacketInput::new(packet, &decoded, &chunk.bytes)));
    }
    let (took, grown) = (begun.elapsed(), memory().saturating_sub(before));
    assert!(grown < MOST, "{grown} octets are kept");
    tracker.finish();
    let (mut connections, mut lookups) = (Vec::new(), Vec::new());
    while let Some(event) = tracker.poll() {
        match event {
            Event::Connection(record) | Event::Update(record) => connections.push(*record),
            Event::Lookup(record) => lookups.push(*record),
        }
    }
    (connections, lookups, took)
}

/// Octets of this process that are in memory; 0 where that is not told.
fn memory() -> u64 {
    const PAGE: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 24
}

/// A ClientHello without extensions, in its record.
fn client_hello() -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 3, 0, message.len() as u8][..], &message].concat()
}

/// One conversation of the client that costs, against one of as many segments that does not.
fn costs(costly: impl Iterator<Item = (u32, Vec<u8>)>) -> u64 {
    let hello = client_hello();
    let behind = 1 + hello.len() as u32;
    let first = || std::iter::once((1, hello.clone()));
    let plain = (0..SEGMENTS as u32).map(|number| (behind + 200 * number, vec![0; 200]));
    let (_, _, plain) = follow(conversation(first().chain(plain)));
    let (connections, _, costly) = follow(conversation(costly));
    let [connection] = &connections[..] else { panic!("one connection, not {}", connections.len()) };
    // The rest is for machines that do something else meanwhile.
    let bound = plain * 20 + Duration::from_secs(2);
    assert!(costly < bound, "it took {costly:?}; as many segments in order took {plain:?}");
    connection.malformed
}

#[test]
fn segments_that_overlap_all_over_the_sequence_space() {
    let mut state = 1;
    let all_over = (0..SEGMENTS).map(move |number| {
        let (far, near) = (random(&mut state) as u32, 10_000 + random(&mut state) as u32 % 65_536);
        let length = 1 + random(&mut state) as usize % 400;
        (if number % 2 == 0 { far } else { near }, vec![number as u8; length])
    });
    let malformed = costs(std::iter::once((1, client_hello())).chain(all_over));
    assert!(malformed > 100, "{malformed} contradictions are counted");
}

#[test]
fn a_head_without_end_an_octet_at_a_time() {
    let head = [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(SEGMENTS / 6)].concat();
    assert_eq!(costs((1..).zip(head).map(|(seq, octet)| (seq, vec![octet]))), 1);
}

#[test]
fn a_handshake_message_without_end_in_records_of_an_octet() {
    let message = [&[11, 1, 0xff, 0xff][..], &vec![0xff; SEGMENTS]].concat();
    let hello = client_hello();
    let behind = 1 + hello.len() as u32;
    let records = (0..).zip(message).map(|(number, octet)| (behind + 6 * number, vec![22, 3, 3, 0, 1, octet]));
    let malformed = costs(std::iter::once((1, hello)).chain(records));
    assert_eq!(malformed, 2, "the chain contradicts itself, and what follows is longer than any message");
}

#[test]
fn names_that_refer_to_themselves() {
    let query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x03lab\x00\x00\x01\x00\x01";
    let mut looped = query.to_vec();
    looped.splice(2..3, [0x81]);
    looped.splice(12..14, [0xc0, 12]);
    let packets = std::iter::once(datagram(true, query)).chain((0..1000).map(|_| datagram(false, &looped)));
    let (_, lookups, _) = follow(packets);
    let [lookup] = &lookups[..] else { panic!("one lookup, not {lookups:?}") };
    assert_eq!((lookup.lookup.malformed, &lookup.lookup.code), (1000, &None));
}
