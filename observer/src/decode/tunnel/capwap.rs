//! CAPWAP data packets (RFC 5415, section 4.3): 802.11 or Ethernet frames between access point and controller.

use crate::decode::bytes::{Miss, Outcome};
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn capwap(&mut self, datagram: Datagram<'_>) -> Outcome {
        /// Version 0, and no DTLS.
        const PREAMBLE: u8 = 0;
        const NATIVE: u8 = 0x01;
        const FRAGMENT: u8 = 0x80;
        const KEEP_ALIVE: u8 = 0x08;
        /// Wireless binding: IEEE 802.11.
        const WIFI: u8 = 1;
        let &[preamble, length, binding, flags, ..] = datagram.bytes.peek::<8>()?;
        if preamble != PREAMBLE || flags & (FRAGMENT | KEEP_ALIVE) != 0 {
            return Err(Miss::Other);
        }
        let inner = datagram.bytes.skip(usize::from(length >> 3) * 4)?;
        self.tunnel_over_udp(TunnelKind::Capwap, None, &datagram)?;
        match (binding & NATIVE, (binding >> 1) & 0x1f) {
            (0, _) => self.ethernet(inner),
            (_, WIFI) => self.wifi_either_order(inner),
            _ => Err(Miss::Other),
        }
    }
}
