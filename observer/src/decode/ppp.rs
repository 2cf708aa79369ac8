//! PPP (RFC 1661) and PPPoE (RFC 2516).

use crate::packet::Layer;

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::walk::Walk;

impl Walk<'_> {
    /// A PPP frame, with or without HDLC's address and control octets, its protocol field compressed or not.
    pub(super) fn ppp(&mut self, bytes: Bytes<'_>) -> Outcome {
        const IPV4: u16 = 0x0021;
        const BRIDGED: u16 = 0x0031;
        const IPV6: u16 = 0x0057;
        const MPLS: u16 = 0x0281;
        const MPLS_UPSTREAM: u16 = 0x0283;
        self.descend()?;
        let bytes = match bytes.split() {
            // All stations, unnumbered information; nothing else can start so, whatever the second octet.
            Ok(([0xff, _], rest)) => rest,
            _ => bytes,
        };
        let (&[first], after) = bytes.split()?;
        // Protocol numbers end in an odd octet and begin with an even one (RFC 1661, section 2).
        let (protocol, rest) = if first & 1 == 1 {
            (u16::from(first), after)
        } else {
            let (&[second], after) = after.split()?;
            (be16([first, second]), after)
        };
        match protocol {
            IPV4 => self.ip(rest),
            IPV6 => self.ipv6(rest),
            MPLS | MPLS_UPSTREAM => self.mpls(rest),
            BRIDGED => self.bridged(rest),
            _ => Err(Miss::Other),
        }
    }

    /// RFC 3518: flags and the kind of frame.
    fn bridged(&mut self, bytes: Bytes<'_>) -> Outcome {
        const ETHERNET: u8 = 1;
        let (&[_, kind], rest) = bytes.split()?;
        if kind == ETHERNET { self.ethernet(rest) } else { Err(Miss::Other) }
    }

    /// What captures of synchronous lines hold: PPP, or Cisco's HDLC.
    pub(super) fn hdlc(&mut self, bytes: Bytes<'_>) -> Outcome {
        const UNICAST: u8 = 0x0f;
        const BROADCAST: u8 = 0x8f;
        match bytes.peek()? {
            [UNICAST | BROADCAST] => self.cisco_hdlc(bytes),
            _ => self.ppp(bytes),
        }
    }

    /// Cisco's HDLC: address, control, EtherType.
    pub(super) fn cisco_hdlc(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[_, _, a, b], rest) = bytes.split()?;
        self.ethertype(be16([a, b]), rest)
    }

    /// A PPPoE session frame.
    pub(super) fn pppoe(&mut self, bytes: Bytes<'_>) -> Outcome {
        const SESSION_DATA: u8 = 0;
        let (&[_, code, a, b, x, y], rest) = bytes.split()?;
        if code != SESSION_DATA {
            return Err(Miss::Other);
        }
        self.push(Layer::Pppoe(be16([a, b])))?;
        self.ppp(rest.limit(u32::from(be16([x, y]))))
    }
}
