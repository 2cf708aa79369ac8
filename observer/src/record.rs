//! What observer says of a connection: the objects that `--output json` prints, one a line.
//!
//! Every field's doc gives its unit and where it comes from; `observer schema` prints the same as JSON Schema. What a
//! source could not see is `null`, never 0.

mod capture;
mod community;
mod measure;
mod state;
mod timeline;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use self::capture::{CaptureRecord, FileRecord, InterfaceRecord};
pub use self::community::CommunityId;
pub use self::measure::*;
pub use self::state::{ConnState, TcpState};
pub use self::timeline::{EntryKind, Timeline, TimelineEntry};
use crate::packet::{IpVersion, TunnelKind};
use crate::time::{Nanos, Timestamp};

/// One line of JSON output.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Object {
    /// One connection, when nothing more will be said of it.
    Connection(Box<ConnectionRecord>),
    /// What was read, once, at the end.
    Capture(Box<CaptureRecord>),
}

/// A value for each end of a connection: `client` opened it, `server` accepted it (see `roles_from`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sides<T> {
    /// Sent by, or true of, the end that opened the connection.
    pub client: T,
    /// Sent by, or true of, the end that accepted it.
    pub server: T,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct Endpoint {
    /// Its address. From the innermost IP header.
    pub ip: IpAddr,
    /// Its port. From the TCP header.
    pub port: u16,
}

/// Everything known of one connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ConnectionRecord {
    /// The number of its first frame, counted over all input: what `--connection` takes.
    pub id: u64,
    /// The transport protocol.
    pub transport: Transport,
    /// The end that opened the connection.
    pub client: Endpoint,
    /// The end that accepted it.
    pub server: Endpoint,
    /// Community ID, version 1 with seed 0, of the innermost tuple.
    pub community_id: CommunityId,
    /// Time of the first packet.
    pub first_seen: Timestamp,
    /// Time of the last packet.
    pub last_seen: Timestamp,
    /// From the first packet to the last, in nanoseconds.
    pub duration_ns: Nanos,
    /// How it was decided who is the client.
    pub roles_from: RolesFrom,
    /// Outcome, by Zeek's codes.
    pub conn_state: ConnState,
    /// What happened, by Zeek's letters: upper case by the originator (the client), lower case by the responder.
    pub history: String,
    /// State of each end's TCP when the connection was last seen, by RFC 9293 and `ss`, as far as the packets show.
    pub tcp_state: Sides<TcpState>,
    /// Segments sent.
    pub packets: Sides<u64>,
    /// Octets of TCP payload on the wire, retransmissions included.
    pub bytes: Sides<u64>,
    /// Octets of TCP payload, each sequence number counted once.
    pub unique_bytes: Sides<u64>,
    /// The three-way handshake.
    pub handshake: Handshake,
    /// Round-trip times.
    pub rtt: Rtt,
    /// Segments by what Wireshark's `tcp.analysis` says of them, by sender.
    pub analysis: Analysis,
    /// Retransmitted segments by what made the sender send them again, by sender.
    pub retransmissions: Sides<Retransmissions>,
    /// How data flowed, by sender.
    pub flow: Sides<FlowFacts>,
    /// How the connection was closed.
    pub close: Close,
    /// Packets that were captured a second time (both ends of a bridge, `-i any`). Counted nowhere else.
    pub duplicates: u64,
    /// Segments with a wrong IP or TCP checksum, by sender; believed unless `--checksums drop`. `null` where not checked.
    pub bad_checksums: Option<Sides<u64>>,
    /// Tunnels and tags around the connection; `null` for a connection in plain frames.
    pub tunnel: Option<Encapsulation>,
    /// ICMP and ICMPv6 errors that quote the connection.
    pub icmp: Vec<IcmpRecord>,
    /// True where the connection was given up to stay within `--max-connections`, not because it ended.
    pub evicted: bool,
    /// Processes that packet comments name (as ptcpdump and rustnet write them); absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub processes: Vec<ProcessRecord>,
    /// What fed this record.
    pub sources: Vec<Source>,
    /// Verdicts; empty until findings land.
    pub findings: Vec<Finding>,
    /// What happened, in order; with `--timeline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// RFC 9293.
    Tcp,
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The end that opened the connection.
    Client,
    /// The end that accepted it.
    Server,
}

/// What made one end the client, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolesFrom {
    /// It sent the SYN.
    Syn,
    /// It was sent the SYN-ACK.
    SynAck,
    /// Both sent a SYN (simultaneous open): the first to do so.
    SimultaneousOpen,
    /// No SYN was seen: the other end has a well-known port and it has not.
    Port,
    /// No SYN was seen and the ports do not tell: it sent the first packet.
    FirstPacket,
}

/// How a connection was closed, as far as captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Close {
    /// Time of each end's first FIN.
    pub fin: Sides<Option<Timestamp>>,
    /// Time of each end's first RST.
    pub rst: Sides<Option<Timestamp>>,
    /// The end that closed or reset first.
    pub first: Option<Side>,
    /// The end left in TIME-WAIT.
    pub time_wait: Option<Side>,
}

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

/// A process at one end of a connection, as comments on the packets name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProcessRecord {
    /// The end it runs at; `null` where the capture does not say which way the packets went.
    pub side: Option<Side>,
    /// Process identifier.
    pub pid: Option<u32>,
    /// Name of the process or of its program's file.
    pub name: Option<String>,
    /// Path of its program.
    pub command: Option<String>,
    /// Its arguments, separated by spaces.
    pub args: Option<String>,
    /// The user it runs as.
    pub uid: Option<u32>,
    /// Process identifier of its parent.
    pub parent_pid: Option<u32>,
    /// Name of the container it runs in.
    pub container: Option<String>,
    /// Identifier of that container.
    pub container_id: Option<String>,
    /// Name of the Kubernetes pod it runs in.
    pub pod: Option<String>,
    /// Namespace of that pod.
    pub namespace: Option<String>,
}

/// What fed a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Captured packets.
    Packets,
}

/// A verdict over a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Its name.
    pub name: String,
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Endpoint {
    /// An end from the fields of a packet.
    pub fn new(address: crate::packet::Address, version: IpVersion, port: u16) -> Self {
        Self { ip: address.to_ip(version), port }
    }
}

impl<T> Sides<T> {
    /// The value of one side.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Each side's value turned into another.
    pub fn map<U>(self, mut turn: impl FnMut(T) -> U) -> Sides<U> {
        Sides { client: turn(self.client), server: turn(self.server) }
    }

    /// The value of one side, to change it.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
