//! Bytes flipped in every one of the project's captures, read, decoded and followed to records: whatever stands in a
//! file, the library comes to an end, within bounds, and does not panic.

use std::fs;
use std::path::Path;

use observer::capture::{Chunk, Reader};
use observer::decode::{Checksums, Decoder};
use observer::input::{Input, PacketInput};
use observer::packet::Decoded;
use observer::tracker::{Config, Event, Tracker};
use observer_tests::capture_files;

/// Where each byte of a file's head is flipped: what describes the file stands there.
const HEAD: usize = 400;
/// How often one byte anywhere is flipped, in each capture.
const SINGLE: usize = 250;
/// How often bytes in many frames at once are flipped, in each capture; their framing stays whole, so that what they
/// hold goes on through decoder and tracker.
const MANY: usize = 100;

#[test]
fn no_flipped_byte_does_harm() {
    const SEED: u64 = 2;
    let mut dice = fastrand::Rng::with_seed(SEED);
    for path in capture_files() {
        let whole = fs::read(&path).expect("the capture can be read");
        let frames = follow(&whole, &path);
        assert!(!frames.is_empty(), "{} holds no frames", path.display());
        let mut flipped = whole.clone();
        let mut try_with = |places: &[(usize, u8)]| {
            for (place, mask) in places {
                flipped[*place] ^= mask;
            }
            follow(&flipped, &path);
            for (place, _) in places {
                flipped[*place] = whole[*place];
            }
        };
        for place in 0..HEAD.min(whole.len()) {
            try_with(&[(place, dice.u8(1..))]);
        }
        for _ in 0..SINGLE {
            try_with(&[(dice.usize(..whole.len()), dice.u8(1..))]);
        }
        for _ in 0..MANY {
            let one_in = dice.usize(1..20);
            let hit: Vec<_> = frames.iter().filter(|_| dice.usize(..one_in) == 0).collect();
            // Mostly headers: there is more to get wrong in them than in payload.
            let places = hit.iter().map(|(start, len)| {
                const HEADERS: usize = 100;
                let end = if dice.bool() { *len } else { HEADERS.min(*len) };
                (start + dice.usize(..end), dice.u8(1..))
            });
            try_with(&places.collect::<Vec<_>>());
        }
    }
}

/// Reads, decodes and follows a capture to its end, or to the error in it. Gives where its frames lie.
fn follow(bytes: &[u8], path: &Path) -> Vec<(usize, usize)> {
    let mut chunk = Chunk { bytes: bytes.to_vec(), ..Chunk::default() };
    // What cannot be read is an error, and what came before it is followed all the same.
    let _ = Reader::new(0).read(&mut chunk);
    /// No format spends less on a frame.
    const LEAST: usize = 16;
    assert!(chunk.frames.len() <= bytes.len() / LEAST, "{}: too many frames", path.display());
    let mut decoded = Decoded::default();
    Decoder::new(Checksums::Count, 1).decode(&chunk, &mut decoded);
    assert!(decoded.packets.len() <= chunk.frames.len(), "{}: more packets than frames", path.display());
    for strict_wireshark in [false, true] {
        let config = Config { timeline_entries: 100, strict_wireshark, seed: 1, ..Config::default() };
        let mut tracker = Tracker::new(config);
        let mut counted = 0;
        for packet in &decoded.packets {
            tracker.handle(Input::Packet(&PacketInput::new(packet, &decoded, &chunk.bytes)));
            counted += packets(&mut tracker);
        }
        tracker.finish();
        counted += packets(&mut tracker);
        assert!(counted <= decoded.packets.len() as u64, "{}: a packet was counted twice", path.display());
    }
    chunk.frames.iter().map(|frame| (frame.start as usize, frame.captured as usize)).collect()
}

/// Packets in the connections that the tracker gives out, each made into JSON as the binary would.
fn packets(tracker: &mut Tracker) -> u64 {
    let mut packets = 0;
    while let Some(Event::Connection(record)) = tracker.poll() {
        serde_json::to_string(&record).expect("every record can be written");
        packets += record.packets.expect("every segment was seen").client
            + record.packets.expect("every segment was seen").server;
    }
    packets
}
