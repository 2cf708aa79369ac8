//! VXLAN (RFC 7348) and its generic protocol extension (draft-ietf-nvo3-vxlan-gpe).

use crate::decode::bytes::{Miss, Outcome};
use crate::decode::mpls::looks_like_ethernet;
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

use super::Datagram;

/// The VNI field is valid.
const HAS_VNI: u8 = 0x08;

/// The next protocol field is valid.
const HAS_PROTOCOL: u8 = 0x04;

impl Walk<'_> {
    pub(super) fn vxlan(&mut self, datagram: Datagram<'_>) -> Outcome {
        let (&[flags, _, _, _, a, b, c, _], inner) = datagram.bytes.split()?;
        // Not every sender sets the flag.
        if flags & HAS_VNI == 0 && !looks_like_ethernet(inner) {
            return Err(Miss::Other);
        }
        self.tunnel_over_udp(TunnelKind::Vxlan, Some(u32::from_be_bytes([0, a, b, c])), &datagram)?;
        self.ethernet(inner)
    }

    pub(super) fn vxlan_gpe(&mut self, datagram: Datagram<'_>) -> Outcome {
        let (&[flags, _, _, protocol, a, b, c, _], inner) = datagram.bytes.split()?;
        if flags & HAS_VNI == 0 {
            return Err(Miss::Other);
        }
        self.tunnel_over_udp(TunnelKind::Vxlan, Some(u32::from_be_bytes([0, a, b, c])), &datagram)?;
        if flags & HAS_PROTOCOL == 0 {
            return self.ethernet(inner);
        }
        self.nsh_protocol(protocol, inner)
    }
}
