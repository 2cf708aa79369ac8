//! Teredo (RFC 4380, section 5.1.1).

use crate::decode::bytes::{Miss, Outcome};
use crate::decode::ip::looks_like_ip;
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn teredo(&mut self, datagram: Datagram<'_>) -> Outcome {
        let mut inner = datagram.bytes;
        // Authentication: lengths of client identifier and of value, both, a nonce and a confirmation octet.
        if let Ok((&[0, 1, identifier, value], rest)) = inner.split() {
            inner = rest.skip(usize::from(identifier) + usize::from(value) + 9)?;
        }
        // Origin indication: port and address.
        if let Ok((&[0, 0, _, _, _, _, _, _], rest)) = inner.split() {
            inner = rest;
        }
        let &[first] = inner.peek()?;
        if first >> 4 != 6 || !looks_like_ip(inner) {
            return Err(Miss::Other);
        }
        self.tunnel_over_udp(TunnelKind::Teredo, None, &datagram)?;
        self.ip(inner)
    }
}
