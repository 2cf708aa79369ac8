//! What observer says of a connection: the objects that `--output json` prints, one a line.
//!
//! Every field's doc gives its unit and where it comes from; `observer schema` prints the same as JSON Schema. What a
//! source could not see is `null`, never 0.

mod application;
mod around;
mod capture;
mod check;
mod community;
mod finding;
mod gauge;
mod http2;
mod kernel;
mod lookup;
mod measure;
mod nat;
mod notable;
mod process;
mod quic;
mod sides;
mod socket;
mod source;
mod split;
mod ssh;
mod state;
mod summary;
mod syn_options;
pub(crate) mod target;
mod timeline;
mod tls;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use self::application::*;
pub use self::around::*;
pub use self::capture::{CaptureRecord, FileRecord, HookRecord, InterfaceRecord, SecretsRecord};
pub use self::check::{CapabilityRecord, CheckRecord, FeatureRecord};
pub use self::community::CommunityId;
pub use self::finding::*;
pub use self::gauge::*;
pub use self::http2::*;
pub use self::kernel::{DropRecord, KernelSocket, KernelSockets, TcpInfo};
pub use self::lookup::*;
pub use self::measure::*;
pub use self::nat::*;
pub use self::notable::*;
pub use self::process::*;
pub use self::quic::*;
pub use self::sides::*;
pub use self::socket::{SocketProcess, SocketRecord, SocketTimer};
pub use self::source::Source;
pub use self::split::*;
pub use self::ssh::SshRecord;
pub use self::state::{ConnState, TcpState};
pub use self::summary::{SocketSummary, TransportSummary};
pub use self::syn_options::SynOptions;
pub use self::timeline::{EntryKind, Timeline, TimelineEntry};
pub use self::tls::*;
use crate::packet::IpVersion;
use crate::time::{Nanos, Timestamp};

/// One line of JSON output.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Object {
    /// One connection, when nothing more will be said of it.
    Connection(Box<ConnectionRecord>),
    /// One connection that goes on, as it stands: live, at every `--interval`, and when it turns remarkable (see `turned`).
    Update(Box<ConnectionRecord>),
    /// One lookup of a name, over UDP or TCP.
    Lookup(Box<LookupRecord>),
    /// What was read, once, at the end.
    Capture(Box<CaptureRecord>),
    /// What this host allows: `observer check`.
    Check(Box<CheckRecord>),
    /// What is wrong, all of one kind: `observer doctor`.
    Finding(Box<FindingRecord>),
    /// One reading of one gauge: `observer doctor`.
    Gauge(Box<GaugeRecord>),
    /// One socket of this host: `observer sockets`.
    Socket(Box<SocketRecord>),
    /// The sockets of one network namespace in numbers: `observer sockets --summary`.
    SocketSummary(Box<SocketSummary>),
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct Endpoint {
    /// Its address. From the innermost IP header.
    pub ip: IpAddr,
    /// Its port. From the TCP header.
    pub port: u16,
}

/// Where the numbers of connections begin that no packet opened: beyond those of frames.
pub(crate) const WITHOUT_FRAME: u64 = 1 << 48;

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
    /// What happened, by Zeek's letters: upper case by the originator (the client), lower case by the responder. This and
    /// what else every segment has to be seen for is `null` where the source passes on a part of them only (the kernel's
    /// packet filter).
    pub history: Option<String>,
    /// State of each end's TCP when the connection was last seen, by RFC 9293 and `ss`, as far as the packets show.
    #[serde(skip_serializing_if = "TcpOnly::is_absent")]
    #[schemars(default, with = "Sides<TcpState>")]
    pub tcp_state: TcpOnly<Sides<TcpState>>,
    /// Segments sent; `null` where not all were seen (see `kernel`).
    pub packets: Option<Sides<u64>>,
    /// Octets of TCP payload on the wire, retransmissions included; `null` likewise.
    pub bytes: Option<Sides<u64>>,
    /// Octets of TCP payload, each sequence number counted once; `null` likewise.
    pub unique_bytes: Option<Sides<u64>>,
    /// The three-way handshake.
    #[serde(skip_serializing_if = "TcpOnly::is_absent")]
    #[schemars(default, with = "Handshake")]
    pub handshake: TcpOnly<Handshake>,
    /// Round-trip times.
    pub rtt: Rtt,
    /// Segments by what Wireshark's `tcp.analysis` says of them, by sender; `null` where not all
    /// were seen.
    pub analysis: Option<Analysis>,
    /// Retransmitted segments by what made the sender send them again, by sender;
    /// `null` where not all were seen.
    pub retransmissions: Option<Sides<Retransmissions>>,
    /// How data flowed, by sender; `null` where not all segments were seen.
    pub flow: Option<Sides<FlowFacts>>,
    /// How long each end kept its window at 0, at least, in nanoseconds: where not all segments were seen, those with a
    /// window of 0 are, and what opens it again is not. Absent where it never was, and where `flow` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_window_ns: Option<Sides<Nanos>>,
    /// How the connection was closed.
    #[serde(skip_serializing_if = "TcpOnly::is_absent")]
    #[schemars(default, with = "Close")]
    pub close: TcpOnly<Close>,
    /// The name that the client knows the server by; absent where nothing told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<NameRecord>,
    /// The protocol that was spoken in the end, recognised by its content; absent where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
    /// The protocols before it, each of which gave way to the next (CONNECT, STARTTLS, upgrades).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub via: Vec<ProtocolName>,
    /// The lookup that gave the client the server's address: the last one before the connection, within its time to live;
    /// absent where none was seen. The client is known by its address. Live, every address of this host is one client; in
    /// captures, where the lookup went over the other family (AAAA asked for over IPv4), it counts where only one client was
    /// given that address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<LookupRecord>>,
    /// Names are looked up over this connection; absent where nothing shows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub lookups: Option<LookupsRecord>,
    /// TLS; absent where it was not spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<TlsRecord>>,
    /// QUIC; absent where it was not spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quic: Option<Box<QuicRecord>>,
    /// SSH; absent where it was not spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Box<SshRecord>>,
    /// Calls of a database or a queue; absent where none was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<Box<CallsRecord>>,
    /// HTTP/2: streams and flow control; absent where it was not spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<Box<Http2Record>>,
    /// WebSocket; absent where it was not spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<Box<WebSocketRecord>>,
    /// HTTP; absent where it was not spoken, or not in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<HttpRecord>>,
    /// Requests and responses; absent where there were none in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchanges: Option<Box<Exchanges>>,
    /// Where the connection's time went, in order; absent where no protocol was recognised. Of QUIC and DTLS the lookup and
    /// the handshake: requests, responses and the close are encrypted, and nothing here says how long they took.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub phases: Vec<PhaseRecord>,
    /// Whom the connection waited for; absent where no request was seen, or a round trip is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Box<Split>>,
    /// Round trips before the first octet of the first response; absent where the handshake or a request was not seen, and
    /// behind proxies and STARTTLS. Over DTLS, where it does not show whether there are requests, `tls` has those of the
    /// handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trips: Option<RoundTripCount>,
    /// Messages of those protocols that contradict themselves or are too large; absent where there are none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub malformed: u64,
    /// True where what was kept of a protocol was given up to stay within the bound on memory; absent otherwise.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub given_up: bool,
    /// Packets that were captured a second time (both ends of a bridge, `-i any`). Counted nowhere else.
    pub duplicates: u64,
    /// Segments with a wrong IP or TCP checksum, by sender; believed unless `--checksums drop`. `null` where not checked.
    pub bad_checksums: Option<Sides<u64>>,
    /// Those of them with nothing wrong but that their TCP checksum is the pseudo-header's sum so far: they were captured
    /// before the sender's network card completed it (checksum offloading). Absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub partial_checksums: Option<Sides<u64>>,
    /// Tunnels and tags around the connection; `null` for a connection in plain frames.
    pub tunnel: Option<Box<Encapsulation>>,
    /// ICMP and ICMPv6 errors that quote the connection.
    pub icmp: Vec<IcmpRecord>,
    /// True where the connection was given up to stay within `--max-connections`, not because it ended.
    pub evicted: bool,
    /// In an update: what made the connection remarkable since it was last told. Absent where nothing did, and where the
    /// connection is final.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub turned: Vec<Turn>,
    /// Inode of the network namespace that it was seen in; absent in captures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// The sockets of this host; absent in captures, `null` for an end that has none here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Box<KernelSockets>>,
    /// Its packets that this host dropped; absent where none were, and in captures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub drops: Vec<DropRecord>,
    /// Records of the kernel's hooks, or packets, that were lost while the connection lived, of any connection: some may
    /// have been its own. Absent in captures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Processes at the ends: the kernel's word, or what packet comments name (as ptcpdump and rustnet write them);
    /// absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub processes: Vec<ProcessRecord>,
    /// What fed this record.
    pub sources: Vec<Source>,
    /// Segments that findings name, by kind and sender; absent where there are none, or where not all were seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub notable: Vec<Notable>,
    /// What was the case when it was reset; absent where it was not, or where not all segments were seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Box<Reset>>,
    /// The last five seconds or more (`reset_after_idle`, where that is less) in which nothing was captured of it, before
    /// something was; absent where there were none, or where not all segments were seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<Box<Silence>>,
    /// How its addresses are translated on this host; absent where they are not, or it was not observed live.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub nat: Option<Box<NatRecord>>,
    /// What is wrong with it, the worst first (see `observer explain`).
    pub findings: Vec<Finding>,
    /// What happened, in order; with `--timeline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9000, over UDP.
    Quic,
}

/// What made one end the client, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolesFrom {
    /// It sent the SYN.
    Syn,
    /// It was sent the SYN-ACK.
    SynAck,
    /// QUIC: it sent an Initial packet under the client's keys, or one that no server sends.
    Initial,
    /// Both sent a SYN (simultaneous open): the first to do so.
    SimultaneousOpen,
    /// The kernel: it called connect(2), or the other end accepted.
    Kernel,
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

/// What makes a connection remarkable while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Its SYN had no answer and was sent again.
    SynUnanswered,
    /// One end sent three segments again, or more.
    Retransmissions,
    /// One end has no room for data: its window is 0.
    ZeroWindow,
    /// A RST was seen, and yet it goes on.
    Reset,
    /// One end has left the other's FIN unanswered for a minute: its program has not closed the socket.
    CloseWait,
    /// One end came to a state that `--state` names.
    State,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl ConnectionRecord {
    /// The number of the frame that opened it; `None` where it was the kernel that told of it first.
    pub fn first_frame(&self) -> Option<u64> {
        (self.id < WITHOUT_FRAME).then_some(self.id)
    }

    /// Octets of payload that `side` had to send, each counted once; `None` where that is not known.
    pub fn unique_bytes_of(&self, side: Side) -> Option<u64> {
        let seen = self.unique_bytes.map(|bytes| *bytes.of(side));
        seen.or_else(|| {
            let again = self.info(side).and_then(|info| info.bytes_retrans).unwrap_or(0);
            self.bytes_of(side).map(|sent| sent.saturating_sub(again))
        })
    }

    /// Octets of payload that one end sent and that no segment in the timeline shows, each counted once: where the kernel's
    /// filter passes on the first octets of each direction. `None` where that is not known.
    pub fn unseen_bytes_of(&self, side: Side) -> Option<u64> {
        if self.bytes.is_some() {
            return Some(0);
        }
        let entries = self.timeline.as_ref().map_or(&[][..], |timeline| &timeline.entries);
        let seen =
            entries.iter().filter(|entry| entry.from == side && !entry.is_event()).map(|entry| entry.bytes).sum();
        self.unique_bytes_of(side).map(|sent| sent.saturating_sub(seen))
    }

    /// Whether the timeline shows all payload: where it shows none, nothing was sent.
    pub fn is_all_seen(&self) -> bool {
        [Side::Client, Side::Server].into_iter().all(|side| self.unseen_bytes_of(side) == Some(0))
    }

    /// Octets of payload that one end sent: those on the wire, or where not all segments were seen, by the kernel's
    /// counters of whichever end has a socket here. `None` where neither tells.
    pub fn bytes_of(&self, side: Side) -> Option<u64> {
        let on_the_wire = self.bytes.map(|bytes| *bytes.of(side));
        on_the_wire.or_else(|| {
            let (own, other) = (self.info(side), self.info(side.other()));
            let received = || {
                let counted = other.and_then(|info| info.bytes_received)?;
                Some(counted.saturating_sub(self.took_fin(side.other()).into()))
            };
            own.and_then(|info| info.bytes_sent).or_else(received)
        })
    }

    /// Whether the socket at one end has taken the other's FIN, which the kernel counts among the octets received.
    fn took_fin(&self, side: Side) -> bool {
        let state = self.socket(side).map(|socket| socket.state);
        let after = [TcpState::CloseWait, TcpState::LastAck, TcpState::Closing, TcpState::TimeWait];
        self.close.fin.of(side.other()).is_some() || state.is_some_and(|state| after.contains(&state))
    }

    /// Segments that one end sent, likewise.
    pub fn packets_of(&self, side: Side) -> Option<u64> {
        let on_the_wire = self.packets.map(|packets| *packets.of(side));
        on_the_wire.or_else(|| {
            let (own, other) = (self.info(side), self.info(side.other()));
            own.and_then(|info| info.segs_out).or_else(|| other.and_then(|info| info.segs_in)).map(u64::from)
        })
    }

    /// Segments that one end sent again, likewise.
    pub fn retransmitted_by(&self, side: Side) -> u64 {
        let causes = self.retransmissions.map(|causes| *causes.of(side));
        let on_the_wire = causes.map(|Retransmissions { rto, fast, tail_loss_probe, spurious, sack_repaired }| {
            rto + fast + tail_loss_probe + spurious + sack_repaired
        });
        let counted = || self.info(side).and_then(|info| info.total_retrans).map(u64::from);
        let told = || self.socket(side).map(|socket| socket.retransmit_events);
        on_the_wire.or_else(counted).or_else(told).unwrap_or(0)
    }

    /// Whether the capture lacks octets of one end that the other has acknowledged.
    pub fn lacks_some_of(&self, side: Side) -> bool {
        self.analysis.is_some_and(|analysis| *analysis.ack_lost_segment.of(side.other()) > 0)
    }

    /// Octets of payload of both ends, as far as known.
    pub fn total_bytes(&self) -> u64 {
        self.bytes_of(Side::Client).unwrap_or(0) + self.bytes_of(Side::Server).unwrap_or(0)
    }

    /// Segments of both ends whose checksums say that they changed on their way; not those that were captured before
    /// theirs were complete.
    pub fn damaged(&self) -> u64 {
        let of = |counted: Option<Sides<u64>>| counted.map_or(0, |count| count.client + count.server);
        of(self.bad_checksums).saturating_sub(of(self.partial_checksums))
    }

    /// Segments of both ends, as far as known.
    pub fn total_packets(&self) -> u64 {
        self.packets_of(Side::Client).unwrap_or(0) + self.packets_of(Side::Server).unwrap_or(0)
    }

    /// The kernel's socket at one end; `None` where there is none here.
    pub fn socket(&self, side: Side) -> Option<&KernelSocket> {
        self.kernel.as_ref()?.of(side).as_ref()
    }

    fn info(&self, side: Side) -> Option<&TcpInfo> {
        self.socket(side)?.info.as_ref()
    }
}

impl Endpoint {
    /// An end from the fields of a packet.
    pub fn new(address: crate::packet::Address, version: IpVersion, port: u16) -> Self {
        Self { ip: address.to_ip(version), port }
    }
}
