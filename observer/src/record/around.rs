//! What is around a connection: tunnels, tags, and errors that quote it.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Side, Sides};
use crate::packet::TunnelKind;
use crate::time::Timestamp;

/// What is around a connection's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Encapsulation {
    /// The tunnels, outermost first: a part of the connection's key.
    pub tunnels: Vec<TunnelRecord>,
    /// The identifiers on the client's packets and on the server's; of the first packet that had any.
    pub tags: Sides<Tags>,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TunnelRecord {
    /// What kind.
    pub kind: TunnelKind,
    /// Its outer addresses, in no order.
    pub ends: [IpAddr; 2],
}

/// Identifiers that may differ by direction, each list outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tags {
    /// VLAN identifiers (802.1Q, 802.1ad).
    pub vlan: Vec<u16>,
    /// MPLS labels.
    pub mpls: Vec<u32>,
    /// Service identifiers of provider backbone bridging.
    pub pbb: Vec<u32>,
    /// PPPoE sessions.
    pub pppoe: Vec<u16>,
    /// What each tunnel's header names: VNI, TEID, GRE key or ERSPAN session; `null` where it names nothing.
    pub tunnel_id: Vec<Option<u32>>,
    /// Outer UDP source port of each tunnel; `null` for tunnels that are not over UDP.
    pub source_port: Vec<Option<u16>>,
}

/// One ICMP or ICMPv6 error about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct IcmpRecord {
    /// When it was captured.
    pub at: Timestamp,
    /// Its frame number.
    pub frame: u64,
    /// Who sent it.
    pub from: IpAddr,
    /// Which end it tells: the one whose segment it quotes.
    pub to: Side,
    /// ICMP type (ICMPv6 type where the connection is IPv6).
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Type and code in words, as tcpdump has them: `port unreachable`.
    pub name: &'static str,
    /// The next hop's MTU in octets, from "fragmentation needed" and "packet too big".
    pub mtu: Option<u32>,
}
