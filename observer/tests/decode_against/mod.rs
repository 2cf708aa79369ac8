//! The decoder's segments held against tshark's, frame by frame: what the tests that do so share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use observer::capture::{Chunk, Reader};
use observer::decode::{Checksums, Decoder};
use observer::packet::{Body, Decoded};

/// A segment, as far as both say something of it: ends, control bits, raw sequence number, octets of payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub src: String,
    pub dst: String,
    pub flags: u16,
    pub seq: u32,
    pub len: u32,
}

/// The frames of a capture that hold segments.
#[derive(Debug, Default)]
pub struct Frames {
    pub segments: BTreeMap<u64, Vec<Seen>>,
    /// Frames that tshark calls malformed, that hold several TCP headers or a quoted one, or a header that the capture
    /// cut: nothing is compared.
    pub left_out: BTreeSet<u64>,
}

/// Whether a tshark is installed whose results are those written down.
pub fn tshark_is_there() -> bool {
    Command::new("tshark")
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with("TShark (Wireshark) 4."))
}

/// What the decoder says of a capture file. What is damaged ends the reading.
pub fn decoder(capture: &Path) -> Frames {
    let mut chunk = Chunk { bytes: std::fs::read(capture).expect("a capture can be read"), ..Chunk::default() };
    let mut reader = Reader::new(0);
    let _damage = reader.read(&mut chunk);
    let mut decoded = Decoded::default();
    Decoder::new(Checksums::Count, 0).decode(&chunk, &mut decoded);
    let mut frames = Frames::default();
    for packet in &decoded.packets {
        let (tuple, number) = (packet.tuple, packet.frame.number);
        let Body::Tcp(segment) = packet.body else { continue };
        let end = |address: observer::packet::Address, port| format!("{} {port}", address.to_ip(tuple.version));
        frames.segments.entry(number).or_default().push(Seen {
            src: end(tuple.src, tuple.sport),
            dst: end(tuple.dst, tuple.dport),
            flags: segment.flags.bits(),
            seq: segment.seq.0,
            len: segment.len,
        });
    }
    frames
}

/// What tshark says of a capture file.
pub fn tshark(capture: &Path) -> Frames {
    const FIELDS: [&str; 12] = [
        "frame.number",
        "frame.protocols",
        "ip.src",
        "ipv6.src",
        "tcp.srcport",
        "ip.dst",
        "ipv6.dst",
        "tcp.dstport",
        "tcp.flags",
        "tcp.seq_raw",
        "tcp.len",
        "_ws.malformed",
    ];
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture).args(["-Y", "tcp", "-T", "fields", "-E", "occurrence=l"]);
    FIELDS.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.output().expect("tshark runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut frames = Frames::default();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let &[number, protocols, src4, src6, sport, dst4, dst6, dport, flags, seq, len, malformed] = &cells[..] else {
            continue;
        };
        let number = number.parse().expect("a frame number");
        let layers: Vec<&str> = protocols.split(':').collect();
        let tcp = layers.iter().rposition(|&layer| layer == "tcp").unwrap_or(0);
        let quoted = layers.iter().take(tcp).any(|&layer| layer == "icmp" || layer == "icmpv6");
        let several = layers.iter().filter(|&&layer| layer == "tcp").count() != 1;
        let Some(flags) = flags.strip_prefix("0x").filter(|_| !several && !quoted && malformed.is_empty()) else {
            frames.left_out.insert(number);
            continue;
        };
        let ip = layers.iter().take(tcp).rfind(|&&layer| layer == "ip" || layer == "ipv6");
        let (src, dst) = if ip == Some(&"ipv6") { (src6, dst6) } else { (src4, dst4) };
        frames.segments.entry(number).or_default().push(Seen {
            src: format!("{src} {sport}"),
            dst: format!("{dst} {dport}"),
            flags: u16::from_str_radix(flags, 16).expect("flags in hexadecimal") & 0x1ff,
            seq: seq.parse().expect("a sequence number"),
            // A first fragment has none.
            len: len.parse().unwrap_or(u32::MAX),
        });
    }
    frames
}
