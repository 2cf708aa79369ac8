//! Window probes of the other kind: Linux asks a closed window with an empty segment before the next sequence number,
//! BSD and Windows with the next octet (RFC 9293, section 3.8.6.1).

use std::collections::HashMap;

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

use crate::lab::network::fault::Fate;
use crate::lab::network::wire::{Passing, Segment};
use observer::sequence::Seq;

/// Turns probes of the one kind into the other, for connections that `chosen` picks by their port. The octet is no part
/// of the stream: a closed window makes the receiver drop it.
pub fn one_octet_probes(chosen: impl Fn(&Segment) -> bool) -> impl FnMut(&Passing<'_>) -> Fate {
    let mut directions: HashMap<(u16, u16), Direction> = HashMap::new();
    move |passing| {
        let Some(tcp) = passing.tcp.filter(|tcp| chosen(tcp)) else { return Fate::Pass };
        let is_closed = directions.get(&(tcp.dport, tcp.sport)).is_some_and(|other| other.window == 0);
        let own = directions.entry((tcp.sport, tcp.dport)).or_default();
        let is_probe = tcp.len == 0 && !tcp.flags.syn_fin_rst() && own.next == Some(tcp.seq.plus(1));
        if !is_probe {
            let after = tcp.seq.plus(tcp.len as u32 + u32::from(tcp.flags.syn_fin_rst()));
            let is_new = tcp.flags.is_bare_syn() || own.next.is_none_or(|next| after.after(next));
            own.next = if is_new { Some(after) } else { own.next };
        }
        own.window = tcp.window;
        let probe = if is_probe && is_closed { with_octet(passing.frame) } else { None };
        probe.map_or(Fate::Pass, Fate::Replaced)
    }
}

/// What one end has sent so far.
#[derive(Debug, Default)]
struct Direction {
    next: Option<Seq>,
    window: u16,
}

/// The segment one sequence number further on and with one octet of payload; `None` for what is no TCP segment over IP.
fn with_octet(frame: &[u8]) -> Option<Vec<u8>> {
    const OCTET: [u8; 1] = [b'?'];
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    let (mut net, Some(TransportHeader::Tcp(mut tcp))) = (headers.net?, headers.transport) else { return None };
    tcp.sequence_number = tcp.sequence_number.wrapping_add(1);
    let length = tcp.header_len() + OCTET.len();
    let mut out = Vec::with_capacity(frame.len() + OCTET.len());
    headers.link?.write(&mut out).ok()?;
    match &mut net {
        NetHeaders::Ipv4(ip, _) => {
            ip.set_payload_len(length).ok()?;
            ip.header_checksum = ip.calc_header_checksum();
            tcp.checksum = tcp.calc_checksum_ipv4(ip, &OCTET).ok()?;
            ip.write(&mut out).ok()?;
        }
        NetHeaders::Ipv6(ip, _) => {
            ip.set_payload_length(length).ok()?;
            tcp.checksum = tcp.calc_checksum_ipv6(ip, &OCTET).ok()?;
            ip.write(&mut out).ok()?;
        }
        NetHeaders::Arp(_) => return None,
    }
    tcp.write(&mut out).ok()?;
    out.extend_from_slice(&OCTET);
    Some(out)
}
