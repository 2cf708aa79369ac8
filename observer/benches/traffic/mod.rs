//! Traffic to measure with: connections that interleave, from handshake to close.

use etherparse::PacketBuilder;
use observer::capture::{Chunk, Reader};
use observer::decode::{Checksums, Decoder};
use observer::packet::Decoded;

/// How many connections are open at once.
const ABREAST: u16 = 100;

/// One segment of a connection: sent by the client or not; its sequence and acknowledgment number, counted from the
/// initial ones; flags as tcpdump prints them; octets of payload.
type Step = (bool, u32, u32, &'static str, usize);

const CONNECTION: [Step; 12] = [
    (true, 0, 0, "S", 0),
    (false, 0, 1, "S.", 0),
    (true, 1, 1, ".", 0),
    (true, 1, 1, "P.", 300),
    (false, 1, 301, ".", 0),
    (false, 1, 301, ".", 1448),
    (false, 1449, 301, ".", 1448),
    (true, 301, 2897, ".", 0),
    (false, 2897, 301, "P.", 900),
    (true, 301, 3797, "F.", 0),
    (false, 3797, 302, "F.", 0),
    (true, 302, 3798, ".", 0),
];

/// A pcap file of so many connections.
pub fn capture(connections: u16) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    let mut micros = 0;
    for first in (0..connections).step_by(usize::from(ABREAST)) {
        for step in &CONNECTION {
            for connection in first..connections.min(first + ABREAST) {
                micros += 10;
                record(connection, step, micros, &mut file);
            }
        }
    }
    file
}

fn record(connection: u16, &(by_client, seq, ack, flags, len): &Step, micros: u32, file: &mut Vec<u8>) {
    let [high, low] = connection.to_be_bytes();
    let (client, server) = (([10, 0, high, low], 40_000), ([192, 0, 2, 1], 443));
    let ((src, sport), (dst, dport)) = if by_client { (client, server) } else { (server, client) };
    let initial = u32::from(connection) * 10_000;
    let mut packet = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(src, dst, 64)
        .tcp(sport, dport, initial + seq, 502)
        .options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1])
        .expect("these options fit");
    if flags.contains('.') {
        packet = packet.ack(initial + ack);
    }
    packet = if flags.contains('S') { packet.syn() } else { packet };
    packet = if flags.contains('F') { packet.fin() } else { packet };
    packet = if flags.contains('P') { packet.psh() } else { packet };
    let payload = vec![0x5a; len];
    let size = packet.size(len) as u32;
    for word in [1_600_000_000 + micros / 1_000_000, micros % 1_000_000, size, size] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    packet.write(file, &payload).expect("memory takes everything");
}

/// The frames of a capture.
pub fn frames(capture: Vec<u8>) -> Chunk {
    let mut chunk = Chunk { bytes: capture, ..Chunk::default() };
    Reader::new(0).read(&mut chunk).expect("the capture is whole");
    chunk
}

/// Decodes frames.
pub fn decode(chunk: &Chunk) -> Decoded {
    let mut decoded = Decoded::default();
    Decoder::new(Checksums::Count, 1).decode(chunk, &mut decoded);
    decoded
}
