//! GRE (RFC 2784 with RFC 2890, and RFC 1701's routing), PPTP's version of it (RFC 2637), and what is known by GRE
//! protocol types only: ERSPAN, NVGRE (RFC 7637), WCCP redirection, EoIP, Aruba's 802.11 frames.

use crate::decode::bytes::{Bytes, Miss, Outcome, be16};
use crate::decode::ip::{Ip, looks_like_ip};
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Version 1 only.
const ACKNOWLEDGMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

/// GRE protocol types that are no EtherTypes.
mod protocol_type {
    pub(super) const ERSPAN_1_2: u16 = 0x88be;
    pub(super) const ERSPAN_3: u16 = 0x22eb;
    pub(super) const PPP: u16 = 0x880b;
    pub(super) const WCCP: u16 = 0x883e;
    pub(super) const EOIP: u16 = 0x6400;

    /// Aruba's controllers number their tunnels so; an 802.11 frame without FCS follows.
    pub(super) const fn is_aruba(kind: u16) -> bool {
        matches!(kind, 0x8200..=0x8370 | 0x9000) && kind & 0xf == 0
    }
}

impl Walk<'_> {
    /// A GRE packet; `source_port` where it comes over UDP (RFC 8086).
    pub(in crate::decode) fn gre(&mut self, ip: Ip, bytes: Bytes<'_>, source_port: Option<u16>) -> Outcome {
        let (&[a, b, c, d], mut rest) = bytes.split()?;
        let (flags, kind) = (be16([a, b]), be16([c, d]));
        let version = flags & VERSION;
        if version > 1 || (version == 1 && !matches!(kind, protocol_type::PPP | protocol_type::EOIP)) {
            return Err(Miss::Other);
        }
        if flags & (CHECKSUM | ROUTING) != 0 {
            rest = rest.skip(4)?;
        }
        let mut key = None;
        if flags & KEY != 0 {
            let (octets, after) = rest.split()?;
            (key, rest) = (Some(*octets), after);
        }
        let (id, length) = match key {
            // Version 1 has payload length and call identifier there.
            Some([x, y, a, b]) if version == 1 => (Some(u32::from(be16([a, b]))), Some(be16([x, y]))),
            key => (key.map(u32::from_be_bytes), None),
        };
        if flags & SEQUENCE != 0 {
            rest = rest.skip(4)?;
        }
        if version == 1 && flags & ACKNOWLEDGMENT != 0 {
            rest = rest.skip(4)?;
        }
        if flags & ROUTING != 0 {
            rest = skip_routing(rest)?;
        }
        if let Some(length) = length {
            rest = rest.limit(u32::from(length));
        }
        match kind {
            protocol_type::ERSPAN_1_2 | protocol_type::ERSPAN_3 => self.erspan(ip, kind, flags, rest),
            _ => {
                self.tunnel(TunnelKind::Gre, &ip, id, source_port)?;
                self.gre_payload(kind, rest)
            }
        }
    }

    fn gre_payload(&mut self, kind: u16, bytes: Bytes<'_>) -> Outcome {
        match kind {
            // What WCCP version 2 puts in front of the packet is known by not looking like one.
            protocol_type::WCCP if looks_like_ip(bytes) => self.ip(bytes),
            protocol_type::WCCP => self.ip(bytes.skip(4)?),
            protocol_type::EOIP => self.ethernet(bytes),
            kind if protocol_type::is_aruba(kind) => self.wifi(bytes),
            kind => self.ethertype(kind, bytes),
        }
    }

    /// ERSPAN type I has no header of its own, type II has 8 octets, type III 12 and eight more where its O bit says so
    /// (draft-foschiano-erspan).
    fn erspan(&mut self, ip: Ip, kind: u16, flags: u16, bytes: Bytes<'_>) -> Outcome {
        const PLATFORM_HEADER: u8 = 0x01;
        if kind == protocol_type::ERSPAN_1_2 && flags & SEQUENCE == 0 {
            self.tunnel(TunnelKind::Erspan, &ip, None, None)?;
            return self.ethernet(bytes);
        }
        let &[_, _, a, b, ..] = bytes.peek::<8>()?;
        let session = u32::from(be16([a, b]) & 0x03ff);
        let inner = if kind == protocol_type::ERSPAN_1_2 {
            bytes.skip(8)?
        } else {
            let (&[.., last], rest) = bytes.split::<12>()?;
            if last & PLATFORM_HEADER != 0 { rest.skip(8)? } else { rest }
        };
        self.tunnel(TunnelKind::Erspan, &ip, Some(session), None)?;
        self.ethernet(inner)
    }
}

/// Source route entries (RFC 1701): address family, offset, length, octets; the last one is empty.
fn skip_routing(mut bytes: Bytes<'_>) -> Result<Bytes<'_>, Miss> {
    loop {
        let (&[a, b, _, length], rest) = bytes.split()?;
        bytes = rest.skip(usize::from(length))?;
        if (a, b, length) == (0, 0, 0) {
            return Ok(bytes);
        }
    }
}
