//! Writing captures: pcap records of TCP segments in Ethernet frames, every length and checksum right.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// The head of a pcap file: microseconds, little-endian, Ethernet, nothing cut off.
pub const FILE_HEADER: [u8; 24] = [
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, //
];

/// Options of a Linux host's SYN: MSS 1460, SACK permitted, timestamps, window scale 7.
pub fn syn_options(timestamps: (u32, u32)) -> [u8; 20] {
    let mut options = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7];
    options[8..12].copy_from_slice(&timestamps.0.to_be_bytes());
    options[12..16].copy_from_slice(&timestamps.1.to_be_bytes());
    options
}

/// Options of every later segment: two no-operations and the timestamps.
pub fn options(timestamps: (u32, u32)) -> [u8; 12] {
    let mut options = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    options[4..8].copy_from_slice(&timestamps.0.to_be_bytes());
    options[8..12].copy_from_slice(&timestamps.1.to_be_bytes());
    options
}

/// A TCP segment to write.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    /// A multiple of four bytes.
    pub options: &'a [u8],
    pub payload: &'a [u8],
}

impl Segment<'_> {
    /// Appends the record of this segment, captured `micros` after the epoch.
    pub fn write(&self, micros: u64, out: &mut Vec<u8>) {
        let tcp_len = 20 + self.options.len() + self.payload.len();
        let ip_len = if self.src.is_ipv4() { 20 } else { 40 };
        let frame_len = (14 + ip_len + tcp_len) as u32;
        for word in [(micros / 1_000_000) as u32, (micros % 1_000_000) as u32, frame_len, frame_len] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1]);
        let pseudo = self.ip_header(tcp_len, out);
        let tcp = out.len();
        out.extend_from_slice(&self.src.port().to_be_bytes());
        out.extend_from_slice(&self.dst.port().to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.ack.to_be_bytes());
        out.extend_from_slice(&[((20 + self.options.len()) as u8 / 4) << 4, self.flags]);
        out.extend_from_slice(&self.window.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.options);
        out.extend_from_slice(self.payload);
        let sum = checksum(pseudo + sum(&out[tcp..]));
        out[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
    }

    /// Appends EtherType and IP header; gives the sum of the pseudo-header.
    fn ip_header(&self, tcp_len: usize, out: &mut Vec<u8>) -> u64 {
        let start = out.len() + 2;
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                out.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
                out.extend_from_slice(&((20 + tcp_len) as u16).to_be_bytes());
                // Linux numbers the packets of a connection; any number will do for packets that are not fragmented.
                out.extend_from_slice(&(self.seq as u16).to_be_bytes());
                out.extend_from_slice(&[0x40, 0, 64, 6, 0, 0]);
                out.extend_from_slice(&src.octets());
                out.extend_from_slice(&dst.octets());
                let own = checksum(sum(&out[start..]));
                out[start + 10..start + 12].copy_from_slice(&own.to_be_bytes());
                sum(&src.octets()) + sum(&dst.octets()) + 6 + tcp_len as u64
            }
            (src, dst) => {
                let [src, dst] = [src, dst].map(|ip| match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                });
                out.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
                out.extend_from_slice(&(tcp_len as u16).to_be_bytes());
                out.extend_from_slice(&[6, 64]);
                out.extend_from_slice(&src);
                out.extend_from_slice(&dst);
                sum(&src) + sum(&dst) + 6 + tcp_len as u64
            }
        }
    }
}

/// The sum of big-endian 16-bit words (RFC 1071), not folded yet; an odd byte counts as the high one.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    // Two words at a time: their halves meet when the sum is folded.
    let whole: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    whole + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum into the checksum.
fn checksum(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checksum over data that holds its own checksum is zero.
    #[test]
    fn checksums_verify() {
        for (src, dst) in [("10.0.0.1:1", "10.0.0.2:2"), ("[fd00::1]:1", "[fd00::2]:2")] {
            let [src, dst] = [src, dst].map(|end| end.parse::<SocketAddr>().expect("an address"));
            let options = options((1, 2));
            let segment =
                Segment { src, dst, seq: 7, ack: 9, flags: ACK, window: 1, options: &options, payload: b"odd" };
            let mut record = Vec::new();
            segment.write(1_000_001, &mut record);
            let (ip_len, addresses) = if src.is_ipv4() { (20, 12..20) } else { (40, 8..40) };
            let ip = &record[16 + 14..];
            assert_eq!(ip.len(), ip_len + 20 + 12 + 3);
            if src.is_ipv4() {
                assert_eq!(checksum(sum(&ip[..20])), 0);
            }
            let pseudo = sum(&ip[addresses]) + 6 + (ip.len() - ip_len) as u64;
            assert_eq!(checksum(pseudo + sum(&ip[ip_len..])), 0);
        }
    }
}
