//! Tunnels: one file a kind. Those over UDP are told by their port and by what they hold, so that other traffic that
//! happens to use the port is left alone.

mod ayiya;
mod capwap;
mod etherip;
mod geneve;
mod gre;
mod gtp;
mod l2tp;
mod lisp;
mod teredo;
mod tzsp;
mod vxlan;

use crate::packet::{self, Body, TunnelKind, Tuple};

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::ip::Ip;
use super::walk::Walk;

/// A tunnel over UDP, as its own file sees it: what is outside, and what follows the UDP header.
#[derive(Clone, Copy)]
struct Datagram<'a> {
    ip: Ip,
    source_port: u16,
    bytes: Bytes<'a>,
}

impl Walk<'_> {
    /// A UDP datagram (RFC 768): TCP comes out of it only where it is a tunnel.
    pub(super) fn udp(&mut self, ip: Ip, bytes: Bytes<'_>) -> Outcome {
        let (&[p, q, r, s, a, b, _, _], rest) = bytes.split()?;
        let bytes = match be16([a, b]) {
            // A jumbogram's (RFC 2675, section 4).
            0 if bytes.wire() > u32::from(u16::MAX) => rest,
            length => rest.limit(u32::from(length).checked_sub(8).ok_or(Miss::Malformed)?),
        };
        let (source_port, port) = (be16([p, q]), be16([r, s]));
        let datagram = Datagram { ip, source_port, bytes };
        let outcome = match self.tunnel_at(port, datagram) {
            Err(Miss::Other) if source_port != port => self.tunnel_at(source_port, datagram),
            outcome => outcome,
        };
        if self.decoder.datagrams && outcome == Err(Miss::Other) {
            let tuple = Tuple { src: ip.src, dst: ip.dst, sport: source_port, dport: port, version: ip.version };
            self.emit(&ip, tuple, Body::Udp(packet::Datagram { len: bytes.wire() }), bytes, 0);
            self.decoder.counts.other += 1;
        }
        outcome
    }

    /// `Miss::Other` means that nothing was passed yet: the header is not that of a tunnel.
    fn tunnel_at(&mut self, port: u16, datagram: Datagram<'_>) -> Outcome {
        match port {
            1701 => self.l2tp(datagram),
            2152 => self.gtp(datagram),
            3544 => self.teredo(datagram),
            4341 => self.lisp(datagram),
            4754 => self.gre(datagram.ip, datagram.bytes, Some(datagram.source_port)),
            4789 | 8472 => self.vxlan(datagram),
            4790 => self.vxlan_gpe(datagram),
            5072 => self.ayiya(datagram),
            5247 => self.capwap(datagram),
            6081 => self.geneve(datagram),
            37008 => self.tzsp(datagram),
            6635 => {
                self.tunnel_over_udp(TunnelKind::Mpls, None, &datagram)?;
                self.mpls(datagram.bytes)
            }
            _ => Err(Miss::Other),
        }
    }

    fn tunnel_over_udp(&mut self, kind: TunnelKind, id: Option<u32>, datagram: &Datagram<'_>) -> Outcome {
        self.tunnel(kind, &datagram.ip, id, Some(datagram.source_port))
    }
}
