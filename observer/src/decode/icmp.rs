//! ICMP (RFC 792) and ICMPv6 (RFC 4443) errors that quote a TCP segment.

use etherparse::Ipv6RawExtHeaderSlice;

use crate::packet::{Address, Body, ErrorRef, Flags, IcmpError, IpVersion, Tuple};
use crate::sequence::Seq;

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::ip::{Ip, protocol};
use super::walk::Walk;

impl Walk<'_> {
    /// An ICMP message.
    pub(super) fn icmp(&mut self, ip: Ip, bytes: Bytes<'_>) -> Outcome {
        const UNREACHABLE: u8 = 3;
        const FRAGMENTATION_NEEDED: u8 = 4;
        const SOURCE_QUENCH: u8 = 4;
        const REDIRECT: u8 = 5;
        const TIME_EXCEEDED: u8 = 11;
        const PARAMETER_PROBLEM: u8 = 12;
        let (&[kind, code, _, _, _, _, a, b], quote) = bytes.split()?;
        if !matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM) {
            return Err(Miss::Other);
        }
        // RFC 1191: 0 is from a router that knows no next-hop MTU.
        let mtu = ((kind, code) == (UNREACHABLE, FRAGMENTATION_NEEDED)).then(|| u32::from(be16([a, b])));
        self.quoted(ip, kind, code, mtu.filter(|&mtu| mtu > 0), quote)
    }

    /// An ICMPv6 message.
    pub(super) fn icmpv6(&mut self, ip: Ip, bytes: Bytes<'_>) -> Outcome {
        const PACKET_TOO_BIG: u8 = 2;
        let (&[kind, code, _, _, mtu @ ..], quote) = bytes.split::<8>()?;
        // RFC 4443, section 2.1: errors have the high bit clear; 1 to 4 are those there are.
        if !matches!(kind, 1..=4) {
            return Err(Miss::Other);
        }
        let mtu = (kind == PACKET_TOO_BIG).then(|| u32::from_be_bytes(mtu));
        self.quoted(ip, kind, code, mtu, quote)
    }

    fn quoted(&mut self, ip: Ip, kind: u8, code: u8, mtu: Option<u32>, quote: Bytes<'_>) -> Outcome {
        let (src, dst, version, segment) = quoted_segment(quote)?;
        let (&[p, q, r, s, seq @ ..], rest) = segment.split::<8>()?;
        let tuple = Tuple { src, dst, sport: be16([p, q]), dport: be16([r, s]), version };
        // As of a segment, all up to the window.
        let flags = rest.peek().ok().map(|&[_, _, _, _, a, b, _, _]| Flags::from_bits_truncate(be16([a & 1, b])));
        let error = IcmpError { from: ip.src, kind, code, mtu, seq: Seq(u32::from_be_bytes(seq)), flags };
        let place = ErrorRef(self.out.errors.len() as u32);
        self.out.errors.push(error);
        self.emit(&ip, tuple, Body::Icmp(place), Bytes::new(&[], rest.start(), 0), 0);
        self.decoder.counts.icmp_errors += 1;
        Ok(())
    }
}

/// The addresses of a quoted IP packet, and the TCP segment in it. Lengths and checksums are not looked at: the quote is
/// cut, and what forwarded it may have changed them.
fn quoted_segment(quote: Bytes<'_>) -> Result<(Address, Address, IpVersion, Bytes<'_>), Miss> {
    let &[first] = quote.peek()?;
    match first >> 4 {
        4 => {
            let &[_, _, _, _, _, _, x, y, _, next, _, _, a, b, c, d, e, f, g, h] = quote.peek()?;
            let later_fragment = be16([x, y]) & 0x1fff != 0;
            if next != protocol::TCP || later_fragment || first & 0xf < 5 {
                return Err(Miss::Other);
            }
            let segment = quote.skip(usize::from(first & 0xf) * 4)?;
            Ok((Address::v4([a, b, c, d]), Address::v4([e, f, g, h]), IpVersion::V4, segment))
        }
        6 => {
            let (header, mut rest) = quote.split::<40>()?;
            let &[_, _, _, _, _, _, mut next, _, ref addresses @ ..] = header;
            let (Some(&src), Some(&dst)) = (addresses.first_chunk(), addresses.last_chunk()) else {
                return Err(Miss::Malformed);
            };
            while matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS) {
                let header =
                    Ipv6RawExtHeaderSlice::from_slice(rest.data()).map_err(|error| rest.short(error.required_len))?;
                next = header.next_header().0;
                rest = rest.skip(header.slice().len())?;
            }
            if next == protocol::TCP { Ok((Address(src), Address(dst), IpVersion::V6, rest)) } else { Err(Miss::Other) }
        }
        _ => Err(Miss::Other),
    }
}
