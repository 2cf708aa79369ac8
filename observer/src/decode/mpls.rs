//! MPLS label stacks (RFC 3032) and the Ethernet pseudowires under them (RFC 4448).

use crate::packet::Layer;

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::ethernet::ethertype;
use super::ip::looks_like_ip;
use super::walk::Walk;

impl Walk<'_> {
    /// A label stack and what is under it. Nothing in the stack says what that is: it is guessed from its first octets.
    pub(super) fn mpls(&mut self, mut bytes: Bytes<'_>) -> Outcome {
        self.descend()?;
        loop {
            let (&[a, b, c, _], rest) = bytes.split()?;
            self.push(Layer::Mpls(u32::from_be_bytes([0, a, b, c]) >> 4))?;
            bytes = rest;
            if c & 1 == 1 {
                break;
            }
        }
        if looks_like_ip(bytes) {
            return self.ip(bytes);
        }
        let [first] = bytes.peek()?;
        match bytes.skip(4) {
            // A control word starts with four bits of 0 (RFC 4385).
            Ok(rest) if first >> 4 == 0 && looks_like_ethernet(rest) => self.ethernet(rest),
            _ if looks_like_ethernet(bytes) => self.ethernet(bytes),
            // IP after all, whose length is more than the frame has.
            _ if matches!(first, 0x45..=0x4f | 0x60..=0x6f) => self.ip(bytes),
            _ => Err(Miss::Other),
        }
    }
}

/// Whether an Ethernet frame that can lead to IP may start here.
pub(super) fn looks_like_ethernet(bytes: Bytes<'_>) -> bool {
    let Ok((&[.., a, b], rest)) = bytes.split::<14>() else {
        return false;
    };
    match be16([a, b]) {
        ethertype::IPV4 | ethertype::IPV6 => looks_like_ip(rest),
        field => ethertype::is_tag(field),
    }
}
