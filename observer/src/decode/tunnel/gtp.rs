//! GTP-U, version 1 (3GPP TS 29.281, section 5).

use crate::decode::bytes::{Miss, Outcome, be16};
use crate::decode::ip::looks_like_ip;
use crate::decode::mpls::looks_like_ethernet;
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn gtp(&mut self, datagram: Datagram<'_>) -> Outcome {
        /// Version 1, protocol type GTP (not GTP').
        const VERSION: u8 = 0x30;
        const EXTENSIONS: u8 = 0x04;
        /// Any of these makes sequence number, N-PDU number and next extension header type present.
        const OPTIONAL: u8 = 0x07;
        const G_PDU: u8 = 255;
        let (&[flags, kind, x, y, a, b, c, d], rest) = datagram.bytes.split()?;
        if flags & 0xf0 != VERSION || kind != G_PDU {
            return Err(Miss::Other);
        }
        let mut inner = rest.limit(u32::from(be16([x, y])));
        if flags & OPTIONAL != 0 {
            let (&[_, _, _, mut next], rest) = inner.split()?;
            inner = rest;
            while flags & EXTENSIONS != 0 && next != 0 {
                let &[length] = inner.peek()?;
                let whole = usize::from(length) * 4;
                let last = whole.checked_sub(1).ok_or(Miss::Malformed)?;
                next = *inner.data().get(last).ok_or_else(|| inner.short(whole))?;
                inner = inner.skip(whole)?;
            }
        }
        self.tunnel_over_udp(TunnelKind::Gtp, Some(u32::from_be_bytes([a, b, c, d])), &datagram)?;
        // What a bearer carries is not in the header: IP, Ethernet (5G), or PPP.
        match inner.peek()? {
            [first] if matches!(first >> 4, 4 | 6) && (looks_like_ip(inner) || !looks_like_ethernet(inner)) => {
                self.ip(inner)
            }
            [0xff] => self.ppp(inner),
            _ if looks_like_ethernet(inner) => self.ethernet(inner),
            _ => Err(Miss::Other),
        }
    }
}
