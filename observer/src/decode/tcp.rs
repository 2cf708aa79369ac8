//! TCP (RFC 9293, section 3.1).

use crate::packet::{Body, Flags, Notes, Segment, Tuple};
use crate::sequence::Seq;

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::ip::Ip;
use super::walk::Walk;
use super::{Checksums, checksum};

/// Octets of the header without options.
pub(super) const HEADER: u32 = 20;

/// Octets of it that tell what a segment does: all up to its window. After them come its checksum and urgent pointer.
const TELLING: usize = 16;

/// What every TCP header begins with.
pub(super) struct Header {
    pub sport: u16,
    pub dport: u16,
    /// Octets that the header has by its data offset.
    pub claimed: u32,
    /// The payload's length is 0: the header does not tell it.
    pub segment: Segment,
}

impl Header {
    pub(super) const fn read(header: &[u8; HEADER as usize]) -> Self {
        let &[p, q, r, s, a, b, c, d, e, f, g, h, offset, bits, w, x, _, _, u, v] = header;
        let segment = Segment {
            seq: Seq(u32::from_be_bytes([a, b, c, d])),
            ack: Seq(u32::from_be_bytes([e, f, g, h])),
            flags: Flags::from_bits_truncate(be16([offset & 1, bits])),
            window: be16([w, x]),
            urgent: be16([u, v]),
            len: 0,
        };
        Self { sport: be16([p, q]), dport: be16([r, s]), claimed: (offset >> 4) as u32 * 4, segment }
    }
}

impl Walk<'_> {
    /// A TCP segment: `bytes` is all of the IP payload.
    pub(super) fn tcp(&mut self, mut ip: Ip, bytes: Bytes<'_>) -> Outcome {
        let (header, tail) = match bytes.split() {
            Ok((header, tail)) => (*header, tail),
            Err(Miss::Cut) => {
                let (known, _) = bytes.split::<TELLING>()?;
                ip.notes |= Notes::HEADER_CUT;
                let mut header = [0; HEADER as usize];
                header.iter_mut().zip(known).for_each(|(octet, known)| *octet = *known);
                (header, bytes.beyond(HEADER))
            }
            Err(miss) => return Err(miss),
        };
        let Header { sport, dport, claimed, mut segment } = Header::read(&header);
        segment.len = (tail.wire() + HEADER).saturating_sub(claimed);
        if claimed < HEADER && !self.decoder.short_headers {
            return Err(Miss::Malformed);
        }
        let options = claimed.saturating_sub(HEADER);
        if claimed < HEADER || options > tail.wire() {
            ip.notes |= Notes::BAD_HEADER_LENGTH;
        }
        if options > tail.captured() && options <= tail.wire() {
            ip.notes |= Notes::OPTIONS_CUT;
        }
        ip.notes |= self.tcp_checksum(&ip, bytes);
        let tuple = Tuple { src: ip.src, dst: ip.dst, sport, dport, version: ip.version };
        let options = options.min(tail.captured()) as u8;
        self.emit(&ip, tuple, Body::Tcp(segment), tail, options);
        self.decoder.counts.segments += 1;
        Ok(())
    }

    fn tcp_checksum(&self, ip: &Ip, bytes: Bytes<'_>) -> Notes {
        if !bytes.is_whole() {
            return Notes::UNCHECKED | Notes::TRUNCATED;
        }
        let partial = ip.fragmented || ip.notes.contains(Notes::TRUNCATED_IP);
        if partial || self.decoder.checksums == Checksums::Ignore {
            return Notes::UNCHECKED;
        }
        checksum::of_tcp(bytes.data(), &ip.src, &ip.final_dst, ip.version)
    }
}
