//! What frames start with: link-layer headers, and the EtherTypes behind them.

use crate::capture::LinkType;
use crate::packet::Layer;

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::walk::Walk;

/// EtherTypes, as IEEE and IANA list them.
pub(super) mod ethertype {
    pub(in crate::decode) const IPV4: u16 = 0x0800;
    pub(in crate::decode) const IPV6: u16 = 0x86dd;
    pub(in crate::decode) const MPLS: u16 = 0x8847;
    /// Once multicast; now MPLS with a label that the receiver did not assign (RFC 5332).
    pub(in crate::decode) const MPLS_UPSTREAM: u16 = 0x8848;

    /// Whether a VLAN tag follows: 802.1Q, 802.1ad, and what stacked tags had before 802.1ad settled on one.
    pub(in crate::decode) const fn is_tag(kind: u16) -> bool {
        matches!(kind, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
    }
}

/// The largest value of an Ethernet header's last field that is a length and not a type (IEEE 802.3).
const MAX_LENGTH: u16 = 1500;

impl Walk<'_> {
    /// A whole frame, by the link type of its capture.
    pub(super) fn link(&mut self, data: &[u8]) -> Outcome {
        let bytes = Bytes::new(data, self.frame.start, self.frame.wire_len);
        let LinkType(link) = self.frame.link;
        match link {
            1 => self.ethernet(bytes),
            0 | 108 => self.loopback(bytes),
            12 | 14 | 101 | 228 | 229 => self.ip(bytes),
            113 => self.sll(bytes),
            276 => self.sll2(bytes),
            _ => Err(Miss::UnknownLink),
        }
    }

    /// Ethernet II or IEEE 802.3.
    pub(super) fn ethernet(&mut self, bytes: Bytes<'_>) -> Outcome {
        let ([.., a, b], rest) = bytes.split::<14>()?;
        self.type_or_length(be16([*a, *b]), rest)
    }

    /// What an Ethernet header's last field announces.
    pub(super) fn type_or_length(&mut self, field: u16, bytes: Bytes<'_>) -> Outcome {
        if field <= MAX_LENGTH { self.llc(bytes.limit(u32::from(field))) } else { self.ethertype(field, bytes) }
    }

    /// What an EtherType announces.
    pub(super) fn ethertype(&mut self, kind: u16, bytes: Bytes<'_>) -> Outcome {
        match kind {
            ethertype::IPV4 | ethertype::IPV6 => self.ip(bytes),
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => self.mpls(bytes),
            kind if ethertype::is_tag(kind) => self.vlan(bytes),
            _ => Err(Miss::Other),
        }
    }

    /// IEEE 802.1Q; the tag of a priority-tagged frame is identifier 0.
    fn vlan(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[a, b, c, d], rest) = bytes.split()?;
        self.push(Layer::Vlan(be16([a, b]) & 0x0fff))?;
        self.type_or_length(be16([c, d]), rest)
    }

    /// IEEE 802.2 LLC: IP by its own SAP, or by EtherType in SNAP.
    pub(super) fn llc(&mut self, bytes: Bytes<'_>) -> Outcome {
        const SNAP: u8 = 0xaa;
        const IP: u8 = 0x06;
        const UNNUMBERED: u8 = 0x03;
        self.descend()?;
        let ([dsap, ssap, control], rest) = bytes.split()?;
        match (dsap & 0xfe, ssap & 0xfe, *control) {
            (SNAP, SNAP, UNNUMBERED) => {
                let (&[x, y, z, a, b], rest) = rest.split()?;
                match [x, y, z] {
                    // RFC 1042, and IEEE 802.1H for bridges.
                    [0, 0, 0] | [0, 0, 0xf8] => self.ethertype(be16([a, b]), rest),
                    _ => Err(Miss::Other),
                }
            }
            (IP, IP, UNNUMBERED) => self.ip(rest),
            _ => Err(Miss::Other),
        }
    }

    /// BSD loopback: the address family, in the byte order of the machine that captured.
    fn loopback(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (family, rest) = bytes.split()?;
        let family = u32::from_le_bytes(*family);
        match if family > 0xffff { family.swap_bytes() } else { family } {
            // AF_INET everywhere; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
            2 | 10 | 23 | 24 | 28 | 30 => self.ip(rest),
            kind if kind > u32::from(MAX_LENGTH) => self.ethertype(kind as u16, rest),
            _ => Err(Miss::Other),
        }
    }

    /// Linux "cooked" capture, version 1.
    fn sll(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[_, _, a, b, .., c, d], rest) = bytes.split::<16>()?;
        self.cooked(be16([a, b]), be16([c, d]), rest)
    }

    /// Linux "cooked" capture, version 2.
    fn sll2(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[c, d, _, _, _, _, _, _, a, b, ..], rest) = bytes.split::<20>()?;
        self.cooked(be16([a, b]), be16([c, d]), rest)
    }

    /// What both versions say: the device's ARPHRD_ type, and a protocol field whose meaning depends on it.
    fn cooked(&mut self, _device: u16, protocol: u16, bytes: Bytes<'_>) -> Outcome {
        const P_802_2: u16 = 0x0004;
        match protocol {
            P_802_2 => self.llc(bytes),
            kind => self.ethertype(kind, bytes),
        }
    }
}
