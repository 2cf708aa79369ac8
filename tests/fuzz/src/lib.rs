//! What the fuzz targets share: making input out of bytes, and following it.

use std::sync::Arc;

use observer::capture::{Chunk, Frame, LinkType};
use observer::decode::{Checksums, Decoder};
use observer::input::{Input, PacketInput};
use observer::keylog::Keys;
use observer::packet::{Body, Decoded, FrameId, Packet};
use observer::recording::Mark;
use observer::time::Timestamp;
use observer::tracker::{Config, Tracker};

/// Takes things off the front of the fuzzer's bytes; at their end everything is 0.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.slice(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next `len` bytes, or what is left.
    pub fn slice(&mut self, len: usize) -> &'a [u8] {
        let (slice, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        slice
    }
}

/// Some frames: each one byte that chooses the link type, one that says how much of it the capture lacks, its length
/// and its bytes.
pub fn frames(data: &[u8]) -> Chunk {
    let mut bytes = Bytes(data);
    let mut chunk = Chunk::default();
    let mut number = 0;
    while !bytes.is_empty() {
        // Nearly all LINKTYPE_ numbers that matter fit a byte: these two do not.
        let link = match bytes.u8() {
            254 => 258,
            255 => 276,
            link => u16::from(link),
        };
        let lacking = u32::from(bytes.u8().saturating_sub(0x80));
        let len = usize::from(bytes.u16() % 2048);
        let data = bytes.slice(len);
        number += 1;
        chunk.frames.push(Frame {
            at: Timestamp::from_nanos(number * 1_000_000),
            carried: 0,
            number,
            id: FrameId { file: 0, number },
            link: LinkType(link),
            interface: 0,
            wire_len: data.len() as u32 + lacking,
            start: chunk.bytes.len() as u32,
            captured: data.len() as u32,
            direction: None,
        });
        chunk.bytes.extend_from_slice(data);
    }
    chunk
}

/// A packet with nothing special about it: an empty segment over IPv4.
pub fn plain_packet() -> Packet {
    const FRAME: [u8; 44] = [
        101, 0, 40, 0, // raw IP, nothing lacking, 40 octets
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, //
        0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
    ];
    let mut decoded = Decoded::default();
    Decoder::new(Checksums::Ignore, 1).decode(&frames(&FRAME), &mut decoded);
    decoded.packets[0]
}

/// Decodes the frames and follows their connections to the end, few at a time.
pub fn follow(chunk: &Chunk) {
    let mut decoded = Decoded::default();
    Decoder::new(Checksums::Count, 1).with_datagrams(true).decode(chunk, &mut decoded);
    let config = Config { max_connections: 8, timeline_entries: 16, seed: 1, ..Config::default() };
    let mut tracker = Tracker::new(config);
    // As another shard would, which overhears DNS over TCP.
    let mut neighbour = Tracker::new(config);
    let mut keys = Keys::default();
    keys.add(chunk.keys.clone());
    tracker.handle(Input::Keys(&Arc::new(keys)));
    for packet in &decoded.packets {
        let input = PacketInput::new(packet, &decoded, &chunk.bytes);
        assert_eq!(input.options.len(), usize::from(packet.tail.options), "options lie in the bytes");
        assert_eq!(input.payload.len(), packet.tail.payload as usize, "payload lies in the bytes");
        if let Body::Tcp(segment) = packet.body {
            assert!(packet.tail.payload <= segment.len, "the wire held what the capture holds");
        }
        neighbour.overhear(&input);
        while neighbour.poll().is_some() {}
        tracker.handle(Input::Packet(&input));
        assert!(tracker.open_connections() <= 8, "the bound on open connections holds");
        while tracker.poll().is_some() {}
    }
    for placed in &chunk.marks {
        match &placed.mark {
            Mark::Socket(_, socket) => drop(tracker.handle(Input::Socket(socket))),
            Mark::Stray(_, stray) => drop(tracker.handle(Input::Stray(stray))),
            Mark::Now(now) => tracker.handle_timeout(*now),
            _ => {}
        }
        assert!(tracker.open_connections() <= 8, "the bound on open connections holds");
        while tracker.poll().is_some() {}
    }
    tracker.finish();
    while tracker.poll().is_some() {}
}
