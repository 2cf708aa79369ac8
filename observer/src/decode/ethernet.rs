//! Ethernet, its tags, and what EtherTypes announce.

use crate::packet::Layer;

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::walk::Walk;

/// EtherTypes, as IEEE and IANA list them.
pub(super) mod ethertype {
    pub(in crate::decode) const IPV4: u16 = 0x0800;
    /// 802.1Q without the tag: TRILL (RFC 6325).
    pub(in crate::decode) const TRILL: u16 = 0x22f3;
    pub(in crate::decode) const TRANSPARENT_BRIDGING: u16 = 0x6558;
    pub(in crate::decode) const IPV6: u16 = 0x86dd;
    pub(in crate::decode) const PPP: u16 = 0x880b;
    pub(in crate::decode) const MPLS: u16 = 0x8847;
    /// Once multicast; now MPLS with a label that the receiver did not assign (RFC 5332).
    pub(in crate::decode) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(in crate::decode) const PPPOE_SESSION: u16 = 0x8864;
    /// LLC in frames that are too long for a length field.
    pub(in crate::decode) const JUMBO_LLC: u16 = 0x8870;
    /// IEEE 802.1AE.
    pub(in crate::decode) const MACSEC: u16 = 0x88e5;
    /// IEEE 802.1ah: provider backbone bridges' service tag.
    pub(in crate::decode) const SERVICE_TAG: u16 = 0x88e7;
    /// Cisco FabricPath, in the place of an EtherType: tag and time to live, then a whole frame.
    pub(in crate::decode) const FABRIC_PATH: u16 = 0x8903;
    pub(in crate::decode) const VN_TAG: u16 = 0x8926;
    /// High-availability seamless redundancy (IEC 62439-3).
    pub(in crate::decode) const HSR: u16 = 0x892f;
    /// IEEE 802.1BR.
    pub(in crate::decode) const E_TAG: u16 = 0x893f;
    /// B.A.T.M.A.N. advanced, between mesh nodes.
    pub(in crate::decode) const BATMAN: u16 = 0x4305;
    /// Arista's time stamps.
    pub(in crate::decode) const ARISTA: u16 = 0xd28b;
    /// Network service header (RFC 8300).
    pub(in crate::decode) const NSH: u16 = 0x894f;
    /// IEEE 802.1CB.
    pub(in crate::decode) const REDUNDANCY_TAG: u16 = 0xf1c1;

    /// Whether a VLAN tag follows: 802.1Q, 802.1ad, and what stacked tags had before 802.1ad settled on one.
    pub(in crate::decode) const fn is_tag(kind: u16) -> bool {
        matches!(kind, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
    }
}

/// The largest value of an Ethernet header's last field that is a length and not a type (IEEE 802.3).
const MAX_LENGTH: u16 = 1500;

impl Walk<'_> {
    /// Ethernet II or IEEE 802.3.
    pub(super) fn ethernet(&mut self, bytes: Bytes<'_>) -> Outcome {
        let ([.., a, b], rest) = bytes.split::<14>()?;
        self.type_or_length(be16([*a, *b]), rest)
    }

    /// What an Ethernet header's last field announces.
    fn type_or_length(&mut self, field: u16, bytes: Bytes<'_>) -> Outcome {
        if field <= MAX_LENGTH { self.llc(bytes.limit(u32::from(field))) } else { self.ethertype(field, bytes) }
    }

    /// What the EtherType (or length) in the first two octets announces.
    pub(super) fn ethertype_after(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&kind, rest) = bytes.split()?;
        self.type_or_length(be16(kind), rest)
    }

    /// What an EtherType announces.
    pub(super) fn ethertype(&mut self, kind: u16, bytes: Bytes<'_>) -> Outcome {
        match kind {
            ethertype::IPV4 => self.ip(bytes),
            ethertype::IPV6 => self.ipv6(bytes),
            kind if ethertype::is_tag(kind) => self.vlan(bytes),
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => self.mpls(bytes),
            ethertype::PPPOE_SESSION => self.pppoe(bytes),
            _ => self.rare_ethertype(kind, bytes),
        }
    }

    fn rare_ethertype(&mut self, kind: u16, bytes: Bytes<'_>) -> Outcome {
        self.descend()?;
        match kind {
            ethertype::PPP => self.ppp(bytes),
            ethertype::TRANSPARENT_BRIDGING => self.ethernet(bytes),
            ethertype::JUMBO_LLC => self.llc(bytes),
            ethertype::SERVICE_TAG => self.service_tag(bytes),
            ethertype::MACSEC => self.macsec(bytes),
            ethertype::NSH => self.nsh(bytes),
            ethertype::TRILL => self.trill(bytes),
            ethertype::FABRIC_PATH => self.ethernet(bytes.skip(2)?),
            ethertype::VN_TAG | ethertype::HSR | ethertype::REDUNDANCY_TAG => self.ethertype_after(bytes.skip(4)?),
            ethertype::E_TAG => self.ethertype_after(bytes.skip(6)?),
            ethertype::ARISTA => self.arista(bytes),
            ethertype::BATMAN => self.batman(bytes),
            _ => Err(Miss::Other),
        }
    }

    /// Subtype, version, and a time stamp whose length the version gives.
    fn arista(&mut self, bytes: Bytes<'_>) -> Outcome {
        const LONG: u8 = 1;
        const SHORT: u8 = 2;
        let (&[_, _, length, _], rest) = bytes.split()?;
        match length {
            LONG => self.ethertype_after(rest.skip(8)?),
            SHORT => self.ethertype_after(rest.skip(6)?),
            _ => Err(Miss::Other),
        }
    }

    /// What goes to one node, or to all, holds a frame; version 15 of the protocol.
    fn batman(&mut self, bytes: Bytes<'_>) -> Outcome {
        const VERSION: u8 = 15;
        const BROADCAST: u8 = 0x01;
        const UNICAST: u8 = 0x40;
        match bytes.peek()? {
            [UNICAST, VERSION] => self.ethernet(bytes.skip(10)?),
            [BROADCAST, VERSION] => self.ethernet(bytes.skip(14)?),
            _ => Err(Miss::Other),
        }
    }

    /// IEEE 802.1Q; the tag of a priority-tagged frame is identifier 0.
    fn vlan(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[a, b, c, d], rest) = bytes.split()?;
        self.push(Layer::Vlan(be16([a, b]) & 0x0fff))?;
        self.type_or_length(be16([c, d]), rest)
    }

    /// IEEE 802.1ah: priority and flags, the service identifier, then the customer's frame.
    fn service_tag(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[_, a, b, c], rest) = bytes.split()?;
        self.push(Layer::Pbb(u32::from_be_bytes([0, a, b, c])))?;
        self.ethernet(rest)
    }

    /// IEEE 802.2 LLC: IP by its own SAP, or by EtherType in SNAP.
    pub(super) fn llc(&mut self, bytes: Bytes<'_>) -> Outcome {
        const SNAP: u8 = 0xaa;
        const IP: u8 = 0x06;
        const UNNUMBERED: u8 = 0x03;
        self.descend()?;
        let ([dsap, ssap, control], rest) = bytes.split()?;
        match (*dsap, *ssap, *control) {
            (SNAP, SNAP, UNNUMBERED) => self.snap(rest),
            (IP, IP, UNNUMBERED) => self.ip(rest),
            _ => Err(Miss::Other),
        }
    }

    /// Who defines the protocol number, and the number.
    pub(super) fn snap(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[x, y, z, a, b], rest) = bytes.split()?;
        match ([x, y, z], be16([a, b])) {
            // RFC 1042; IEEE 802.1H for bridges.
            ([0, 0, 0] | [0, 0, 0xf8], kind) => self.ethertype(kind, rest),
            // RFC 2684: bridged Ethernet with and without FCS, after two octets of padding.
            ([0, 0x80, 0xc2], 1 | 7) => self.ethernet(rest.skip(2)?),
            _ => Err(Miss::Other),
        }
    }

    /// IEEE 802.1AE: what is authenticated only can be read.
    fn macsec(&mut self, bytes: Bytes<'_>) -> Outcome {
        const ENCRYPTED_OR_CHANGED: u8 = 0x0c;
        const CHANNEL: u8 = 0x20;
        let (&[control, ..], rest) = bytes.split::<6>()?;
        if control & ENCRYPTED_OR_CHANGED != 0 {
            return Err(Miss::Other);
        }
        self.ethertype_after(if control & CHANNEL != 0 { rest.skip(8)? } else { rest })
    }

    /// RFC 8300: the header's length in words, and its own numbers for what follows.
    fn nsh(&mut self, bytes: Bytes<'_>) -> Outcome {
        let &[_, length, _, protocol] = bytes.peek()?;
        self.nsh_protocol(protocol, bytes.skip(usize::from(length & 0x3f) * 4)?)
    }

    /// What the protocol numbers of NSH and VXLAN-GPE announce.
    pub(super) fn nsh_protocol(&mut self, protocol: u8, bytes: Bytes<'_>) -> Outcome {
        self.descend()?;
        match protocol {
            1 | 2 => self.ip(bytes),
            3 => self.ethernet(bytes),
            4 => self.nsh(bytes),
            5 => self.mpls(bytes),
            _ => Err(Miss::Other),
        }
    }

    /// RFC 6325: a header whose options are counted in words, then the frame as it came in.
    fn trill(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[a, b, ..], rest) = bytes.split::<6>()?;
        self.ethernet(rest.skip(usize::from((be16([a, b]) >> 6) & 0x1f) * 4)?)
    }
}
