//! LISP data packets (RFC 9300, section 5.1).

use crate::decode::bytes::{Miss, Outcome};
use crate::decode::ip::looks_like_ip;
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn lisp(&mut self, datagram: Datagram<'_>) -> Outcome {
        const INSTANCE: u8 = 0x08;
        let (&[flags, _, _, _, a, b, c, _], inner) = datagram.bytes.split()?;
        if !looks_like_ip(inner) {
            return Err(Miss::Other);
        }
        let id = (flags & INSTANCE != 0).then(|| u32::from_be_bytes([0, a, b, c]));
        self.tunnel_over_udp(TunnelKind::Lisp, id, &datagram)?;
        self.ip(inner)
    }
}
