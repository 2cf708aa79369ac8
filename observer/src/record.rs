//! What observer says of a connection: the objects that `--output json` prints, one a line.
//!
//! Every field's doc gives its unit and where it comes from; `observer schema` prints the same as JSON Schema. What a
//! source could not see is `null`, never 0.

use std::net::IpAddr;

use base64::Engine as _;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use sha1::{Digest as _, Sha1};

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

/// Zeek's `conn_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub enum ConnState {
    /// Attempt seen, no reply.
    S0,
    /// Established, not terminated.
    S1,
    /// Normal establishment and termination.
    SF,
    /// Attempt rejected.
    REJ,
    /// Established, close attempt by the originator only.
    S2,
    /// Established, close attempt by the responder only.
    S3,
    /// Established, originator aborted with RST.
    RSTO,
    /// Established, responder aborted with RST.
    RSTR,
    /// Originator sent a SYN, then RST; no SYN-ACK seen.
    RSTOS0,
    /// Responder sent SYN-ACK, then RST; no SYN seen.
    RSTRH,
    /// Originator sent SYN, then FIN; no SYN-ACK seen.
    SH,
    /// Responder sent SYN-ACK, then FIN; no SYN seen.
    SHR,
    /// No SYN seen: midstream traffic.
    OTH,
}

/// A TCP state by the name that RFC 9293 and `ss` give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub enum TcpState {
    /// Nothing seen of this end yet, and nothing that tells.
    #[default]
    #[serde(rename = "unknown")]
    Unknown,
    /// Waits for a SYN.
    #[serde(rename = "LISTEN")]
    Listen,
    /// Has sent a SYN.
    #[serde(rename = "SYN-SENT")]
    SynSent,
    /// Has received a SYN and sent its own.
    #[serde(rename = "SYN-RECV")]
    SynRecv,
    /// Open.
    #[serde(rename = "ESTAB")]
    Estab,
    /// Has sent a FIN.
    #[serde(rename = "FIN-WAIT-1")]
    FinWait1,
    /// Its FIN is acknowledged; waits for the peer's.
    #[serde(rename = "FIN-WAIT-2")]
    FinWait2,
    /// Has received the peer's FIN, has not sent its own.
    #[serde(rename = "CLOSE-WAIT")]
    CloseWait,
    /// Both sent a FIN before seeing the other's; its own is not acknowledged.
    #[serde(rename = "CLOSING")]
    Closing,
    /// Sent its FIN after the peer's; waits for its acknowledgment.
    #[serde(rename = "LAST-ACK")]
    LastAck,
    /// Closed first; holds the pair of ports for twice the maximum segment lifetime.
    #[serde(rename = "TIME-WAIT")]
    TimeWait,
    /// No connection.
    #[serde(rename = "CLOSED")]
    Closed,
}

/// Community ID version 1 with seed 0: `1:` and the base64 of a SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct CommunityId([u8; 20]);

impl CommunityId {
    /// The identifier of a TCP connection between two ends, whichever comes first.
    pub fn tcp(one: Endpoint, other: Endpoint) -> Self {
        const SEED: [u8; 2] = [0, 0];
        const PROTOCOL_TCP: u8 = 6;
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        let mut sha = Sha1::new();
        sha.update(SEED);
        for end in [low, high] {
            match end.ip {
                IpAddr::V4(ip) => sha.update(ip.octets()),
                IpAddr::V6(ip) => sha.update(ip.octets()),
            }
        }
        sha.update([PROTOCOL_TCP, 0]);
        sha.update(low.port.to_be_bytes());
        sha.update(high.port.to_be_bytes());
        Self(sha.finalize().into())
    }
}

impl std::fmt::Display for CommunityId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0; 28];
        let length =
            base64::engine::general_purpose::STANDARD.encode_slice(self.0, &mut text).map_err(|_| std::fmt::Error)?;
        let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).ok_or(std::fmt::Error)?;
        write!(f, "1:{text}")
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The three-way handshake as it was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Handshake {
    /// Time of the first SYN.
    pub syn: Option<Timestamp>,
    /// Time of the first SYN-ACK.
    pub syn_ack: Option<Timestamp>,
    /// Time of the ACK of the SYN-ACK.
    pub ack: Option<Timestamp>,
    /// From the first SYN to the ACK of the SYN-ACK, in nanoseconds: what the client waited.
    pub connect_ns: Option<Nanos>,
    /// From the last SYN to the ACK of the SYN-ACK, in nanoseconds: Wireshark's `tcp.analysis.initial_rtt`.
    pub rtt_ns: Option<Nanos>,
    /// From the last SYN to the SYN-ACK, in nanoseconds: the round trip between the capture point and the server.
    pub server_rtt_ns: Option<Nanos>,
    /// From the last SYN-ACK to its ACK, in nanoseconds: the round trip between the capture point and the client.
    pub client_rtt_ns: Option<Nanos>,
    /// How often the SYN was sent again.
    pub syn_retransmissions: u32,
    /// How often the SYN-ACK was sent again.
    pub syn_ack_retransmissions: u32,
    /// Both ends sent a SYN before seeing the other's (RFC 9293, section 3.5).
    pub simultaneous_open: bool,
    /// The server answered the SYN with a SYN of its own and no ACK, or with an ACK first (split handshake).
    pub split: bool,
    /// What each end's SYN offered; `null` where that SYN was not captured.
    pub offered: Sides<Option<Offer>>,
    /// What both ends can use; `null` where not both SYNs were captured.
    pub agreed: Option<Agreed>,
}

/// What one end's SYN or SYN-ACK offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Offer {
    /// Maximum segment size this end accepts, in octets (RFC 9293, section 3.7.1).
    pub mss: Option<u16>,
    /// Window scale shift count (RFC 7323).
    pub window_scale: Option<u8>,
    /// SACK permitted (RFC 2018).
    pub sack: bool,
    /// Timestamps (RFC 7323).
    pub timestamps: bool,
    /// Octets of Fast Open cookie; 0 asks for one (RFC 7413).
    pub fast_open_cookie: Option<u8>,
    /// ECN-setup SYN or SYN-ACK (RFC 3168, section 6.1.1).
    pub ecn: bool,
    /// MP_CAPABLE or MP_JOIN (RFC 8684).
    pub mptcp: bool,
    /// The window field, in octets (never scaled in a SYN).
    pub window: u16,
}

/// What both ends offered, and so both may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Agreed {
    /// The smaller of the two maximum segment sizes, in octets; 536 or 1220 stand in for an end that named none.
    pub mss: u16,
    /// Window scaling.
    pub window_scale: bool,
    /// Selective acknowledgment.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Explicit congestion notification.
    pub ecn: bool,
    /// Multipath TCP.
    pub mptcp: bool,
    /// Data in the SYN was acknowledged by the SYN-ACK (TCP Fast Open).
    pub fast_open: bool,
}

/// Round-trip times between the capture point and each end; `client` holds those of segments that the client sent and
/// the server acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rtt {
    /// From a data segment to the acknowledgment that covers it; retransmitted segments are left out (Karn, RFC 6298).
    pub by_ack: Sides<Option<RttStats>>,
    /// From a TSval to its first echo (RFC 7323, section 4).
    pub by_timestamps: Sides<Option<RttStats>>,
    /// The smallest round trip over the whole path: the smallest of one side and of the other added up, in nanoseconds.
    pub min_path_ns: Option<Nanos>,
    /// Where the capture was taken, judged by the two halves of the handshake.
    pub capture_point: Option<CapturePoint>,
}

/// A distribution of round-trip times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RttStats {
    /// How many were measured.
    pub samples: u64,
    /// The smallest.
    pub min_ns: Nanos,
    /// Half are at or below it; within 6 %.
    pub median_ns: Nanos,
    /// 99 % are at or below it; within 6 %.
    pub p99_ns: Nanos,
    /// The largest.
    pub max_ns: Nanos,
}

/// Where a capture was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapturePoint {
    /// At the client or near it: its half of the handshake took under a tenth of the whole.
    NearClient,
    /// At the server or near it: its half took under a tenth of the whole.
    NearServer,
    /// Somewhere on the path between them.
    Middle,
}

/// Counts by Wireshark's `tcp.analysis` names; DESIGN's table gives each rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Analysis {
    /// Payload, SYN or FIN that was sent before, `fast_retransmission` and `spurious_retransmission` included.
    pub retransmission: Sides<u64>,
    /// A retransmission right after duplicate ACKs that ask for it.
    pub fast_retransmission: Sides<u64>,
    /// Payload that the other end had acknowledged already.
    pub spurious_retransmission: Sides<u64>,
    /// A segment that arrived later than one that follows it in sequence.
    pub out_of_order: Sides<u64>,
    /// A segment starts beyond what was seen: what lies between was lost before the capture point or by the capture.
    pub lost_segment: Sides<u64>,
    /// An ACK covers data that was not captured.
    pub ack_lost_segment: Sides<u64>,
    /// The same ACK again, without data.
    pub duplicate_ack: Sides<u64>,
    /// A window of 0.
    pub zero_window: Sides<u64>,
    /// One octet sent into a window of 0.
    pub zero_window_probe: Sides<u64>,
    /// The answer to a zero window probe that still says 0.
    pub zero_window_probe_ack: Sides<u64>,
    /// 0 or 1 octets one before the next sequence number.
    pub keep_alive: Sides<u64>,
    /// The answer to a keep-alive.
    pub keep_alive_ack: Sides<u64>,
    /// The segment fills the window the other end offered.
    pub window_full: Sides<u64>,
    /// An ACK that changes nothing but the window.
    pub window_update: Sides<u64>,
    /// A SYN with another initial sequence number on a pair of ports that a former connection used.
    pub reused_ports: Sides<u64>,
}

/// Retransmitted segments of one sender, by cause. A segment counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Retransmissions {
    /// After a retransmission timeout (RFC 6298), or for a cause that does not show.
    pub rto: u64,
    /// After three duplicate ACKs (RFC 5681), or as many octets reported by SACK.
    pub fast: u64,
    /// The last segment sent again after about two round trips of silence (tail loss probe, RFC 8985).
    pub tail_loss_probe: u64,
    /// Sent again although it had been acknowledged.
    pub spurious: u64,
    /// Sent again to fill a hole that SACK reported, within a recovery that was under way (RFC 6675).
    pub sack_repaired: u64,
}

/// What made a sender send a segment again; [`Retransmissions`] counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetransmissionCause {
    /// See [`Retransmissions::rto`].
    Rto,
    /// See [`Retransmissions::fast`].
    Fast,
    /// See [`Retransmissions::tail_loss_probe`].
    TailLossProbe,
    /// See [`Retransmissions::spurious`].
    Spurious,
    /// See [`Retransmissions::sack_repaired`].
    SackRepaired,
}

/// How one end's data flowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FlowFacts {
    /// Payload octets (each sequence number once) over the time from this end's first data to its last, in bit/s; `null`
    /// where that time is 0.
    pub throughput_bps: Option<u64>,
    /// The most payload that was sent and not yet acknowledged, in octets.
    pub max_in_flight: u64,
    /// The largest payload of one segment, in octets; over the MSS where the capture was taken before segmentation
    /// offload or after receive offload.
    pub max_segment: u32,
    /// The smallest and the largest window this end offered, scaled, in octets; `null` where the scale is not known.
    pub window: Option<WindowFacts>,
    /// How long this end kept its window at 0, in nanoseconds.
    pub zero_window_ns: Nanos,
    /// The longest time between two segments of this end, in nanoseconds.
    pub max_idle_ns: Nanos,
    /// Smallest and largest time to live (hop limit) of its packets; `null` where it sent none.
    pub ttl: Option<Ttl>,
    /// Packets by the ECN field of their IP header, and ECN flags of their TCP headers (RFC 3168).
    pub ecn: Ecn,
    /// Segments with the URG flag.
    pub urgent: u64,
}

/// The windows one end offered, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WindowFacts {
    /// The smallest.
    pub min: u32,
    /// The largest.
    pub max: u32,
}

/// Times to live of one end's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ttl {
    /// The smallest.
    pub min: u8,
    /// The largest.
    pub max: u8,
    /// Routers between that end and the capture point, if it started at the next of 64, 128 and 255.
    pub hops: u8,
}

/// ECN marks of one end's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ecn {
    /// Packets marked ECT(0) or ECT(1).
    pub ect: u64,
    /// Packets marked congestion experienced.
    pub ce: u64,
    /// Segments with the ECE flag, SYNs left out.
    pub ece: u64,
    /// Segments with the CWR flag, SYNs left out.
    pub cwr: u64,
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

/// What happened on a connection, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Timeline {
    /// The entries.
    pub entries: Vec<TimelineEntry>,
    /// Entries that were left out of the middle to stay within the bound.
    pub cut: u64,
}

/// One segment, one ICMP error, or a run of alike segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimelineEntry {
    /// When the (first) packet was captured.
    pub at: Timestamp,
    /// When the last packet of a run was captured; `at` for a single one.
    pub until: Timestamp,
    /// Frame number of the (first) packet.
    pub frame: u64,
    /// Frame number of the last packet of a run; `frame` for a single one.
    pub last_frame: u64,
    /// The file it stands in, counted from 0.
    pub file: u16,
    /// Who sent it.
    pub from: Side,
    /// What it is.
    pub kind: EntryKind,
    /// Segments in the run.
    pub packets: u64,
    /// Payload octets in the run.
    pub bytes: u64,
    /// ACKs without payload that the other end sent within a run of data.
    pub acks: u64,
    /// Flags of the (first) segment, as tcpdump prints them without brackets; empty for ICMP.
    #[serde(serialize_with = "display")]
    #[schemars(with = "String")]
    pub flags: crate::packet::Flags,
    /// What the segment analysis says of the segment.
    #[serde(serialize_with = "names")]
    #[schemars(with = "Vec<String>")]
    pub analysis: crate::tracker::AnalysisSet,
    /// What made its sender send it again; `null` for what was sent once. Alike over a run.
    pub retransmission: Option<RetransmissionCause>,
    /// State of both ends after it.
    pub state: Sides<TcpState>,
    /// Sequence number of the first octet, relative to the sender's initial one.
    pub seq: u32,
    /// Acknowledgment number relative to the other end's initial one; `null` without the ACK flag.
    pub ack: Option<u32>,
    /// Window offered, scaled, in octets; the bare field where the scale is not known.
    pub window: u32,
    /// What saw it.
    pub source: Source,
}

/// What an entry of the timeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// SYN without ACK.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// The ACK that completes the handshake.
    HandshakeAck,
    /// Payload.
    Data,
    /// An ACK without payload.
    Ack,
    /// FIN.
    Fin,
    /// RST.
    Rst,
    /// An ICMP error; `frame` finds it in `icmp`.
    Icmp,
}

/// What was read, said once at the end.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CaptureRecord {
    /// The files, in the order they were named.
    pub files: Vec<FileRecord>,
    /// Time of the first frame; `null` where there is none.
    pub first_seen: Option<Timestamp>,
    /// Time of the last frame.
    pub last_seen: Option<Timestamp>,
    /// Frames read, whatever they held.
    pub frames: u64,
    /// Octets captured in those frames.
    pub octets: u64,
    /// Frames that `--filter` left out.
    pub filtered: u64,
    /// TCP segments handed to the tracker.
    pub segments: u64,
    /// ICMP errors about TCP segments.
    pub icmp_errors: u64,
    /// Frames that hold no TCP.
    pub other: u64,
    /// Frames of a link-layer type that is not decoded.
    pub unknown_link: u64,
    /// Frames whose headers contradict themselves or end early.
    pub malformed: u64,
    /// Frames of which the capture kept only the first part (snapshot length).
    pub truncated: u64,
    /// IP fragments seen.
    pub fragments: u64,
    /// IP fragments given up: the rest never came, or the bound was reached.
    pub fragments_dropped: u64,
    /// Frames that the capturing machine reports as lost; `null` where the files do not say. What was lost may have
    /// changed any verdict.
    pub dropped: Option<u64>,
    /// Connections reported.
    pub connections: u64,
    /// Connections given up to stay within `--max-connections`.
    pub evicted: u64,
    /// Packets captured a second time.
    pub duplicates: u64,
    /// Octets of input that could not be read as frames, see `files[].error`.
    pub unreadable: bool,
}

/// One input file.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct FileRecord {
    /// Its name as given; `-` for standard input.
    pub name: String,
    /// `pcap`, `pcapng` or `snoop`; `null` where it is none of them.
    pub format: Option<&'static str>,
    /// `gzip`, `zstd` or `lz4`; `null` where not compressed.
    pub compression: Option<&'static str>,
    /// Frames read from it.
    pub frames: u64,
    /// Its interfaces, in the order the file describes them.
    pub interfaces: Vec<InterfaceRecord>,
    /// Comments on the whole file (pcapng section headers).
    pub comments: Vec<String>,
    /// What stopped the reading before its end, with the byte offset.
    pub error: Option<String>,
}

/// One interface of a capture file.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct InterfaceRecord {
    /// pcapng `if_name`.
    pub name: Option<String>,
    /// pcapng `if_description`.
    pub description: Option<String>,
    /// Capture filter (pcapng `if_filter`).
    pub filter: Option<String>,
    /// LINKTYPE_ number.
    pub link_type: u16,
    /// Snapshot length in octets; 0 for none.
    pub snap_len: u32,
    /// Frames received, by the last interface statistics block (`isb_ifrecv`).
    pub received: Option<u64>,
    /// Frames dropped by the interface or by the operating system (`isb_ifdrop` + `isb_osdrop`).
    pub dropped: Option<u64>,
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn names<S: Serializer>(set: &crate::tracker::AnalysisSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(set.iter_names().map(|(name, _)| name.to_ascii_lowercase()))
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

impl TcpState {
    /// The name that RFC 9293 and `ss` use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynRecv => "SYN-RECV",
            Self::Estab => "ESTAB",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "CLOSED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn community_id_of_the_specification() {
        let end = |ip: &str, port| Endpoint { ip: ip.parse().expect("an address"), port };
        let (client, server) = (end("128.232.110.120", 34855), end("66.35.250.204", 80));
        assert_eq!(CommunityId::tcp(client, server).to_string(), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(CommunityId::tcp(server, client).to_string(), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    }
}
