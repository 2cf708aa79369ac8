//! TaZmen Sniffer Protocol: frames that a sniffer sends on.

use crate::decode::bytes::{Miss, Outcome, be16};
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

impl Walk<'_> {
    pub(super) fn tzsp(&mut self, datagram: Datagram<'_>) -> Outcome {
        const VERSION: u8 = 1;
        /// A received frame, or one to be sent.
        const HOLDS_FRAME: [u8; 2] = [0, 1];
        const PADDING: u8 = 0;
        const END: u8 = 1;
        let (&[version, kind, a, b], mut rest) = datagram.bytes.split()?;
        if version != VERSION || !HOLDS_FRAME.contains(&kind) {
            return Err(Miss::Other);
        }
        loop {
            let (&[tag], after) = rest.split()?;
            rest = match tag {
                END => {
                    rest = after;
                    break;
                }
                PADDING => after,
                _ => {
                    let (&[length], value) = after.split()?;
                    value.skip(usize::from(length))?
                }
            };
        }
        self.tunnel_over_udp(TunnelKind::Tzsp, None, &datagram)?;
        match be16([a, b]) {
            0x01 => self.ethernet(rest),
            0x12 => self.wifi(rest),
            0x77 => self.prism(rest),
            0x7f => self.avs(rest),
            _ => Err(Miss::Other),
        }
    }
}
