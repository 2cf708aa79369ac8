//! Small captures made by hand: TCP segments between addresses, as bytes of a pcap file.

/// A pcap file of raw IPv4 packets.
pub struct Pcap {
    bytes: Vec<u8>,
    identification: u16,
}

/// One segment; what is not named is 0.
#[derive(Clone, Copy, Default)]
pub struct Segment<'a> {
    /// Microseconds since the capture began.
    pub at: u64,
    /// Last octet of the sender's address in 10.0.0.0/24, and its port.
    pub from: (u8, u16),
    /// The same of the receiver.
    pub to: (u8, u16),
    /// As tcpdump prints them.
    pub flags: &'a str,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window field.
    pub window: u16,
    /// Options, a multiple of 4 octets.
    pub options: &'a [u8],
    /// Octets of payload.
    pub len: usize,
}

/// MSS 1460, SACK permitted, window scale 7.
pub const SYN_OPTIONS: &[u8] = &[2, 4, 5, 180, 4, 2, 1, 1, 3, 3, 7, 1];

const START: u64 = 1_700_000_000;
const LINKTYPE_RAW: u32 = 101;

impl Pcap {
    /// A file without packets.
    pub fn new() -> Self {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&262_144u32.to_le_bytes());
        bytes.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        Self { bytes, identification: 0 }
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a segment.
    pub fn segment(&mut self, segment: Segment<'_>) {
        let tcp = tcp(&segment);
        let mut ip = vec![0x45, 0];
        ip.extend_from_slice(&(20 + tcp.len() as u16).to_be_bytes());
        self.identification = self.identification.wrapping_add(1);
        ip.extend_from_slice(&self.identification.to_be_bytes());
        ip.extend_from_slice(&[0x40, 0, 64, 6, 0, 0, 10, 0, 0, segment.from.0, 10, 0, 0, segment.to.0]);
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend_from_slice(&tcp);
        self.packet(segment.at, &ip);
    }

    /// Appends an IP packet.
    pub fn packet(&mut self, at: u64, packet: &[u8]) {
        let time = [(START + at / 1_000_000) as u32, (at % 1_000_000) as u32];
        for field in [time[0], time[1], packet.len() as u32, packet.len() as u32] {
            self.bytes.extend_from_slice(&field.to_le_bytes());
        }
        self.bytes.extend_from_slice(packet);
    }
}

fn tcp(segment: &Segment<'_>) -> Vec<u8> {
    let flag = |letter| match letter {
        'F' => 1,
        'S' => 2,
        'R' => 4,
        'P' => 8,
        '.' => 16,
        other => panic!("no flag {other}"),
    };
    let flags: u8 = segment.flags.chars().map(flag).sum();
    let mut tcp = Vec::new();
    tcp.extend_from_slice(&segment.from.1.to_be_bytes());
    tcp.extend_from_slice(&segment.to.1.to_be_bytes());
    tcp.extend_from_slice(&segment.seq.to_be_bytes());
    tcp.extend_from_slice(&segment.ack.to_be_bytes());
    tcp.extend_from_slice(&[(5 + segment.options.len() as u8 / 4) << 4, flags]);
    tcp.extend_from_slice(&segment.window.to_be_bytes());
    tcp.extend_from_slice(&[0; 4]);
    tcp.extend_from_slice(segment.options);
    tcp.resize(tcp.len() + segment.len, b'x');
    let length = (tcp.len() as u16).to_be_bytes();
    let pseudo = [10, 0, 0, segment.from.0, 10, 0, 0, segment.to.0, 0, 6, length[0], length[1]];
    let sum = checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}

fn checksum(parts: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    let mut sum: u32 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
