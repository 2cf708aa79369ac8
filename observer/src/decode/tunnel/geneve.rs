//! Geneve (RFC 8926).

use crate::decode::bytes::{Miss, Outcome, be16};
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn geneve(&mut self, datagram: Datagram<'_>) -> Outcome {
        let (&[first, _, x, y, a, b, c, _], rest) = datagram.bytes.split()?;
        let options = usize::from(first & 0x3f) * 4;
        let version = first >> 6;
        if version != 0 {
            return Err(Miss::Other);
        }
        let inner = rest.skip(options)?;
        self.tunnel_over_udp(TunnelKind::Geneve, Some(u32::from_be_bytes([0, a, b, c])), &datagram)?;
        self.ethertype(be16([x, y]), inner)
    }
}
