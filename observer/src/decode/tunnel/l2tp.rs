//! L2TP, version 2 (RFC 2661, section 3.1).

use crate::decode::bytes::{Miss, Outcome, be16};
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn l2tp(&mut self, datagram: Datagram<'_>) -> Outcome {
        const CONTROL: u16 = 0x8000;
        const LENGTH: u16 = 0x4000;
        const SEQUENCE: u16 = 0x0800;
        const OFFSET: u16 = 0x0200;
        const VERSION: u16 = 0x000f;
        let (&[a, b], mut rest) = datagram.bytes.split()?;
        let flags = be16([a, b]);
        if flags & (CONTROL | VERSION) != 2 {
            return Err(Miss::Other);
        }
        if flags & LENGTH != 0 {
            let (&[x, y], after) = rest.split()?;
            rest = after.limit(u32::from(be16([x, y])).checked_sub(4).ok_or(Miss::Malformed)?);
        }
        let (&[a, b, c, d], mut rest) = rest.split()?;
        if flags & SEQUENCE != 0 {
            rest = rest.skip(4)?;
        }
        if flags & OFFSET != 0 {
            let (&[x, y], after) = rest.split()?;
            rest = after.skip(usize::from(be16([x, y])))?;
        }
        self.tunnel_over_udp(TunnelKind::L2tp, Some(u32::from_be_bytes([a, b, c, d])), &datagram)?;
        self.ppp(rest)
    }
}
