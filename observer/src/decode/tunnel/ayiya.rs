//! Anything In Anything (draft-massar-v6ops-ayiya), as 6in4 brokers used it.

use crate::decode::bytes::{Miss, Outcome};
use crate::decode::ip::{looks_like_ip, protocol};
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn ayiya(&mut self, datagram: Datagram<'_>) -> Outcome {
        const FORWARD: u8 = 1;
        let (&[identity, signature, operation, next, _, _, _, _], rest) = datagram.bytes.split()?;
        if operation & 0x0f != FORWARD || !matches!(next, protocol::IPV4 | protocol::IPV6) {
            return Err(Miss::Other);
        }
        let inner = rest.skip((1 << (identity >> 4)) + usize::from(signature >> 4) * 4)?;
        if !looks_like_ip(inner) {
            return Err(Miss::Other);
        }
        self.tunnel_over_udp(TunnelKind::Ayiya, None, &datagram)?;
        self.ip(inner)
    }
}
