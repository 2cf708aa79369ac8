//! Entries of connection tracking as ctnetlink shows them (include/uapi/linux/netfilter/nfnetlink_conntrack.h), handed in as
//! bytes.

use crate::packet::{Address, IpVersion, Tuple};
use crate::record::Endpoint;
use crate::socket::attributes;

/// A connection that is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Protocol above IP, by its number.
    pub protocol: u8,
    /// What its first packet had: who began it is the source. Protocols without ports have zeros.
    pub original: Tuple,
    /// What its answers have. Without translation it is the original with its ends exchanged.
    pub reply: Tuple,
    /// `IPS_*` of include/uapi/linux/netfilter/nf_conntrack_common.h.
    pub status: u32,
    /// Of TCP: its state, as `TCP_CONNTRACK_*` numbers it.
    pub tcp_state: Option<u8>,
}

/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 1 << 1;
/// `IPS_SRC_NAT`: the source is translated.
pub const SRC_NAT: u32 = 1 << 4;
/// `IPS_DST_NAT`: the destination is translated.
pub const DST_NAT: u32 = 1 << 5;

/// Octets of `struct nfgenmsg`, before the attributes.
pub const HEADER: usize = 4;

/// `CTA_*`.
pub mod kind {
    /// Of the entry: the original tuple.
    pub const TUPLE_ORIG: u16 = 1;
    /// The reply tuple.
    pub const TUPLE_REPLY: u16 = 2;
    /// The status.
    pub const STATUS: u16 = 3;
    /// What the protocol has to say.
    pub const PROTOINFO: u16 = 4;
    /// Of a question: the bits of the status that are to be as is said.
    pub const STATUS_MASK: u16 = 26;
}

/// Protocols above IP, as conntrack(8) calls them.
const PROTOCOLS: [(u8, &str); 8] =
    [(1, "icmp"), (6, "tcp"), (17, "udp"), (33, "dccp"), (47, "gre"), (58, "icmpv6"), (132, "sctp"), (136, "udplite")];

/// `TCP_CONNTRACK_*`, as conntrack(8) prints them.
const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

const TCP: u8 = 6;

impl Entry {
    /// Reads the payload of one message of ctnetlink; `None` where it is no entry.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let (_, rest) = message.split_at_checked(HEADER)?;
        let find = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let (protocol, original) = tuple(find(kind::TUPLE_ORIG)?)?;
        let (_, reply) = tuple(find(kind::TUPLE_REPLY)?)?;
        let status =
            find(kind::STATUS).and_then(|value| value.first_chunk()).map_or(0, |bits| u32::from_be_bytes(*bits));
        let tcp_state = find(kind::PROTOINFO).and_then(|info| {
            // CTA_PROTOINFO_TCP, and CTA_PROTOINFO_TCP_STATE in it.
            let (_, tcp) = attributes(info).find(|(kind, _)| *kind == 1)?;
            let (_, state) = attributes(tcp).find(|(kind, _)| *kind == 1)?;
            state.first().copied()
        });
        Some(Self { protocol, original, reply, status, tcp_state: tcp_state.filter(|_| protocol == TCP) })
    }

    /// Whether addresses or ports are translated.
    pub const fn is_translated(&self) -> bool {
        self.status & (SRC_NAT | DST_NAT) != 0
    }

    /// Its protocol; `None` for one without a name here.
    pub fn protocol_name(&self) -> Option<&'static str> {
        PROTOCOLS.iter().find(|(number, _)| *number == self.protocol).map(|(_, name)| *name)
    }

    /// The state of TCP; of others, whether it was answered.
    pub fn state_name(&self) -> &'static str {
        match self.tcp_state.and_then(|state| TCP_STATES.get(usize::from(state))) {
            Some(name) => name,
            None if self.status & SEEN_REPLY != 0 => "REPLIED",
            None => "UNREPLIED",
        }
    }

    /// The ends of the original or the reply: source and destination.
    pub fn ends(tuple: &Tuple) -> (Endpoint, Endpoint) {
        (Endpoint::new(tuple.src, tuple.version, tuple.sport), Endpoint::new(tuple.dst, tuple.version, tuple.dport))
    }
}

/// `CTA_TUPLE_*`: addresses, protocol and ports.
fn tuple(bytes: &[u8]) -> Option<(u8, Tuple)> {
    const IP: u16 = 1;
    const PROTO: u16 = 2;
    let (mut src, mut dst) = (None, None);
    let mut version = IpVersion::V4;
    let (mut number, mut sport, mut dport) = (0, 0, 0);
    for (kind, value) in attributes(bytes) {
        match kind {
            IP => {
                for (kind, value) in attributes(value) {
                    let address = match value.len() {
                        4 => Address::from(std::net::IpAddr::from(*value.first_chunk::<4>()?)),
                        _ => {
                            version = IpVersion::V6;
                            Address::from(std::net::IpAddr::from(*value.first_chunk::<16>()?))
                        }
                    };
                    match kind {
                        // CTA_IP_V4_SRC, CTA_IP_V6_SRC
                        1 | 3 => src = Some(address),
                        2 | 4 => dst = Some(address),
                        _ => {}
                    }
                }
            }
            PROTO => {
                for (kind, value) in attributes(value) {
                    let port = || value.first_chunk().map(|port| u16::from_be_bytes(*port));
                    match kind {
                        // CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT
                        1 => number = *value.first()?,
                        2 => sport = port()?,
                        3 => dport = port()?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((number, Tuple { src: src?, dst: dst?, sport, dport, version }))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::IpAddr;

    use super::*;

    /// An attribute of netlink, filled up to a multiple of 4 octets.
    pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple_of(protocol: u8, [src, dst]: [([u8; 4], u16); 2]) -> Vec<u8> {
        let ip = [attribute(1, &src.0), attribute(2, &dst.0)].concat();
        let ports = [attribute(1, &[protocol]), attribute(2, &src.1.to_be_bytes()), attribute(3, &dst.1.to_be_bytes())];
        // NLA_F_NESTED
        [attribute(0x8001, &ip), attribute(0x8002, &ports.concat())].concat()
    }

    /// A message of the kernel: a connection from `src` to `dst` whose answers come from `from` and go to `to`.
    pub fn message(protocol: u8, original: [([u8; 4], u16); 2], reply: [([u8; 4], u16); 2], status: u32) -> Vec<u8> {
        let info = attribute(0x8001, &attribute(1, &[3]));
        let parts = [
            attribute(0x8001, &tuple_of(protocol, original)),
            attribute(0x8002, &tuple_of(protocol, reply)),
            attribute(3, &status.to_be_bytes()),
            attribute(0x8004, &info),
        ];
        [vec![2, 0, 0, 0], parts.concat()].concat()
    }

    #[test]
    fn an_entry_is_read() {
        let (client, service, server) = (([10, 0, 0, 1], 40_000), ([10, 96, 0, 1], 443), ([10, 244, 0, 5], 8443));
        let bytes = message(6, [client, service], [server, client], DST_NAT | SEEN_REPLY);
        let entry = Entry::parse(&bytes).expect("it is one");
        assert_eq!((entry.protocol_name(), entry.state_name()), (Some("tcp"), "ESTABLISHED"));
        assert!(entry.is_translated());
        let (from, to) = Entry::ends(&entry.original);
        assert_eq!((from.ip, to.ip, to.port), (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 96, 0, 1]), 443));
        let (from, to) = Entry::ends(&entry.reply);
        assert_eq!((from.ip, from.port, to.port), (IpAddr::from([10, 244, 0, 5]), 8443, 40_000));
        let bytes = message(17, [client, service], [service, client], 0);
        let entry = Entry::parse(&bytes).expect("it is one");
        assert_eq!((entry.protocol_name(), entry.state_name()), (Some("udp"), "UNREPLIED"));
        assert!(!entry.is_translated());
    }

    #[test]
    fn what_is_cut_short_is_none_or_less() {
        let end = ([10, 0, 0, 1], 1);
        let bytes = message(6, [end, end], [end, end], SRC_NAT);
        for len in 0..bytes.len() {
            if let Some(entry) = Entry::parse(&bytes[..len]) {
                assert_eq!(entry.original.sport, 1, "{len}");
            }
        }
    }
}
