//! IPv4 (RFC 791) and IPv6 (RFC 8200) with their extension headers.

use etherparse::err::ipv4::HeaderSliceError as Ipv4Error;
use etherparse::err::ipv6::HeaderSliceError as Ipv6Error;
use etherparse::{IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice};

use crate::flow;
use crate::packet::{Address, IpVersion, Layer, Notes, Tunnel, TunnelKind, Tuple};

use super::Checksums;
use super::bytes::{Bytes, Miss, Outcome, be16};
use super::checksum::Sum;
use super::fragment::Key;
use super::walk::Walk;

/// Protocol numbers, as IANA lists them.
pub(super) mod protocol {
    pub(in crate::decode) const HOP_BY_HOP: u8 = 0;
    pub(in crate::decode) const ICMP: u8 = 1;
    pub(in crate::decode) const IPV4: u8 = 4;
    pub(in crate::decode) const TCP: u8 = 6;
    pub(in crate::decode) const UDP: u8 = 17;
    pub(in crate::decode) const IPV6: u8 = 41;
    pub(in crate::decode) const ROUTING: u8 = 43;
    pub(in crate::decode) const FRAGMENT: u8 = 44;
    pub(in crate::decode) const GRE: u8 = 47;
    pub(in crate::decode) const AUTHENTICATION: u8 = 51;
    pub(in crate::decode) const ICMPV6: u8 = 58;
    pub(in crate::decode) const DESTINATION_OPTIONS: u8 = 60;
    pub(in crate::decode) const ETHERIP: u8 = 97;
    pub(in crate::decode) const MOBILITY: u8 = 135;
    pub(in crate::decode) const MPLS: u8 = 137;
    pub(in crate::decode) const HIP: u8 = 139;
    pub(in crate::decode) const SHIM6: u8 = 140;
}

/// What is remembered of an IP header once its payload is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip {
    pub(super) src: Address,
    pub(super) dst: Address,
    /// Where a routing header sends the packet in the end: what the TCP checksum covers (RFC 8200, section 8.1).
    pub(super) final_dst: Address,
    pub(super) version: IpVersion,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) id: u16,
    /// Octets that the length field claims beyond what the frame held.
    pub(super) missing: u16,
    pub(super) notes: Notes,
    /// Whether this is one fragment, taken for what it shows of the whole.
    pub(super) fragmented: bool,
}

impl Walk<'_> {
    /// An IP packet of the version that its first octet gives. Where IPv6 alone is announced, [`Walk::ipv6`] is stricter;
    /// what announces IPv4 is as old as IP and was used for both.
    pub(super) fn ip(&mut self, bytes: Bytes<'_>) -> Outcome {
        let [first] = bytes.peek()?;
        match first >> 4 {
            4 => self.ipv4(bytes),
            6 => self.ipv6(bytes),
            _ => Err(Miss::Malformed),
        }
    }

    fn ipv4(&mut self, bytes: Bytes<'_>) -> Outcome {
        self.descend()?;
        let header = Ipv4HeaderSlice::from_slice(bytes.data()).map_err(|error| match error {
            Ipv4Error::Len(error) => bytes.short(error.required_len),
            Ipv4Error::Content(_) => Miss::Malformed,
        })?;
        let length = u32::from(header.total_len());
        let octets = header.slice();
        let mut ip = Ip {
            src: Address::v4(header.source()),
            dst: Address::v4(header.destination()),
            final_dst: last_stop(header.options()).unwrap_or(Address::v4(header.destination())),
            version: IpVersion::V4,
            ttl: header.ttl(),
            tos: octets.get(1).copied().unwrap_or(0),
            id: header.identification(),
            missing: length.saturating_sub(bytes.wire()) as u16,
            notes: if header.dont_fragment() { Notes::DONT_FRAGMENT } else { Notes::empty() },
            fragmented: false,
        };
        if self.decoder.checksums == Checksums::Count && !Sum::default().octets(octets).is_right() {
            ip.notes |= Notes::BAD_IP_CHECKSUM;
        }
        let bytes = match length {
            0 => {
                ip.notes |= Notes::LENGTH_ZERO;
                bytes
            }
            _ if (length as usize) < octets.len() => return Err(Miss::Malformed),
            _ => bytes.limit(length),
        };
        if ip.missing > 0 {
            ip.notes |= Notes::TRUNCATED_IP;
        }
        let payload = bytes.skip(octets.len())?;
        let next = header.protocol().0;
        if header.is_fragmenting_payload() {
            let key = self.fragment_key(&ip, u32::from(ip.id), next);
            let offset = u32::from(header.fragments_offset().value()) * 8;
            return self.fragment(ip, key, next, offset, header.more_fragments(), payload);
        }
        self.ip_payload(next, ip, payload)
    }

    /// An IPv6 packet.
    pub(super) fn ipv6(&mut self, bytes: Bytes<'_>) -> Outcome {
        self.descend()?;
        let header = Ipv6HeaderSlice::from_slice(bytes.data()).map_err(|error| match error {
            Ipv6Error::Len(error) => bytes.short(error.required_len),
            Ipv6Error::Content(_) => Miss::Malformed,
        })?;
        let payload = bytes.skip(header.slice().len())?;
        let next = header.next_header().0;
        let mut notes = Notes::empty();
        let length = match u32::from(header.payload_length()) {
            0 => jumbo_length(next, payload).unwrap_or_else(|| {
                notes |= Notes::LENGTH_ZERO;
                payload.wire()
            }),
            length => length,
        };
        if length > payload.wire() {
            notes |= Notes::TRUNCATED_IP;
        }
        let ip = Ip {
            src: Address(header.source()),
            dst: Address(header.destination()),
            final_dst: Address(header.destination()),
            version: IpVersion::V6,
            ttl: header.hop_limit(),
            tos: header.traffic_class(),
            id: 0,
            missing: u16::try_from(length.saturating_sub(payload.wire())).unwrap_or(u16::MAX),
            notes,
            fragmented: false,
        };
        self.ip_payload(next, ip, payload.limit(length))
    }

    /// What an IP header announces, extension headers first.
    pub(super) fn ip_payload(&mut self, mut next: u8, mut ip: Ip, mut payload: Bytes<'_>) -> Outcome {
        loop {
            match next {
                protocol::TCP => return self.tcp(ip, payload),
                protocol::UDP => return self.udp(ip, payload),
                protocol::ICMP if ip.version == IpVersion::V4 => return self.icmp(ip, payload),
                protocol::ICMPV6 if ip.version == IpVersion::V6 => return self.icmpv6(ip, payload),
                protocol::GRE => return self.gre(ip, payload, None),
                protocol::ETHERIP => return self.etherip(ip, payload),
                protocol::MPLS => {
                    self.tunnel(TunnelKind::Mpls, &ip, None, None)?;
                    return self.mpls(payload);
                }
                protocol::IPV4 | protocol::IPV6 => {
                    let kind = match (ip.version, next) {
                        (IpVersion::V4, protocol::IPV4) => TunnelKind::Ipip,
                        (IpVersion::V4, _) => TunnelKind::SixInFour,
                        (IpVersion::V6, protocol::IPV4) => TunnelKind::FourInSix,
                        (IpVersion::V6, _) => TunnelKind::SixInSix,
                    };
                    self.tunnel(kind, &ip, None, None)?;
                    return if next == protocol::IPV6 { self.ipv6(payload) } else { self.ip(payload) };
                }
                protocol::AUTHENTICATION => {
                    let header = IpAuthHeaderSlice::from_slice(payload.data()).map_err(|_| payload.short(12))?;
                    next = header.next_header().0;
                    payload = payload.skip(header.slice().len())?;
                }
                protocol::FRAGMENT if ip.version == IpVersion::V6 => {
                    // Not etherparse 0.19's reading, which takes offset and flag from the wrong bits.
                    let (&[kind, _, x, y, id @ ..], rest) = payload.split::<8>()?;
                    let (offset, more) = (u32::from(be16([x, y]) & 0xfff8), y & 1 == 1);
                    (next, payload) = (kind, rest);
                    // An "atomic fragment" (RFC 6946) is whole by itself.
                    if offset > 0 || more {
                        let key = self.fragment_key(&ip, u32::from_be_bytes(id), 0);
                        return self.fragment(ip, key, next, offset, more, payload);
                    }
                }
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION_OPTIONS
                | protocol::MOBILITY
                | protocol::HIP
                | protocol::SHIM6
                    if ip.version == IpVersion::V6 =>
                {
                    let header = Ipv6RawExtHeaderSlice::from_slice(payload.data())
                        .map_err(|error| payload.short(error.required_len))?;
                    if next == protocol::ROUTING {
                        ip.final_dst = final_destination(header.slice()).unwrap_or(ip.final_dst);
                    }
                    next = header.next_header().0;
                    payload = payload.skip(header.slice().len())?;
                }
                _ => return Err(Miss::Other),
            }
        }
    }

    fn fragment_key(&self, ip: &Ip, id: u32, protocol: u8) -> Key {
        let ends = Tuple { src: ip.src, dst: ip.dst, version: ip.version, ..Tuple::default() };
        let context = flow::hash(&ends, self.layers(), self.decoder.seed);
        Key { src: ip.src, dst: ip.dst, id, protocol, context }
    }

    /// Notes a tunnel whose outer header is `ip`.
    pub(super) fn tunnel(&mut self, kind: TunnelKind, ip: &Ip, id: Option<u32>, source_port: Option<u16>) -> Outcome {
        let Ip { src, dst, version, notes, .. } = *ip;
        self.around |= notes & Notes::BAD_IP_CHECKSUM;
        self.push(Layer::Tunnel(Tunnel { kind, src, dst, version, id, source_port }))
    }
}

/// The payload length that a jumbogram's hop-by-hop option gives (RFC 2675).
fn jumbo_length(next: u8, payload: Bytes<'_>) -> Option<u32> {
    const JUMBO: u8 = 0xc2;
    const PAD1: u8 = 0;
    if next != protocol::HOP_BY_HOP {
        return None;
    }
    let header = Ipv6RawExtHeaderSlice::from_slice(payload.data()).ok()?;
    let mut options = header.payload();
    loop {
        match *options {
            [JUMBO, 4, a, b, c, d, ..] => return Some(u32::from_be_bytes([a, b, c, d])),
            [PAD1, ref rest @ ..] => options = rest,
            [_, length, ref rest @ ..] => options = rest.get(usize::from(length)..)?,
            _ => return None,
        }
    }
}

/// The last address of an IPv4 source route (RFC 791) that is not used up.
fn last_stop(mut options: &[u8]) -> Option<Address> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    loop {
        match *options {
            [] | [END, ..] => return None,
            [NO_OPERATION, ref rest @ ..] => options = rest,
            [kind, length, ..] => {
                let (option, rest) = options.split_at_checked(usize::from(length).max(2))?;
                if let (LOOSE_ROUTE | STRICT_ROUTE, &[_, _, pointer, .., a, b, c, d]) = (kind, option) {
                    return (pointer <= length).then_some(Address::v4([a, b, c, d]));
                }
                options = rest;
            }
            [_] => return None,
        }
    }
}

/// The last stop that an IPv6 routing header names while there are stops left: its last address (types 0 and 2), or its
/// first segment (type 4, RFC 8754, whose list runs backwards).
fn final_destination(header: &[u8]) -> Option<Address> {
    let &[_, _, kind, left, _, _, _, _, ref addresses @ ..] = header else {
        return None;
    };
    if left == 0 {
        return None;
    }
    match kind {
        0 | 2 => addresses.last_chunk().copied().map(Address),
        4 => addresses.first_chunk().copied().map(Address),
        _ => None,
    }
}

/// Whether an IP packet can start here: what guesses at a tunnel's contents rest on.
pub(super) fn looks_like_ip(bytes: Bytes<'_>) -> bool {
    match *bytes.data() {
        [first @ 0x45..=0x4f, _, a, b, ..] => {
            let (header, length) = (u32::from(first & 0xf) * 4, u32::from(be16([a, b])));
            header <= bytes.wire() && (length == 0 || (header <= length && length <= bytes.wire()))
        }
        [0x60..=0x6f, _, _, _, a, b, ..] => bytes.wire() >= 40 && u32::from(be16([a, b])) <= bytes.wire() - 40,
        _ => false,
    }
}
