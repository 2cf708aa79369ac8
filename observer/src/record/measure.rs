//! What was measured of a connection: its handshake, round trips, retransmissions, flow of data.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Sides, SynOptions};
use crate::time::{Nanos, Timestamp};

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
    /// A SYN that was sent again left out the request for ECN that the first one had (RFC 3168, section 6.1.1.1); absent
    /// where none did.
    #[serde(skip_serializing_if = "super::is_false")]
    #[schemars(default)]
    pub gave_up_ecn: bool,
    /// A SYN that was sent again left out the Fast Open option or the data that the first one had (RFC 7413, section
    /// 4.2.1); absent where none did.
    #[serde(skip_serializing_if = "super::is_false")]
    #[schemars(default)]
    pub gave_up_fast_open: bool,
    /// What each end's SYN offered; `null` where that SYN was not captured.
    pub offered: Sides<Option<Offer>>,
    /// What both ends can use; `null` where not both SYNs were captured.
    pub agreed: Option<Agreed>,
    /// Options of each end's SYN that one capture point saw and another did not: something between them took them out.
    /// Absent where there are none, and where each SYN was captured once.
    #[serde(skip_serializing_if = "SynOptions::are_none")]
    #[schemars(default)]
    pub stripped: Sides<SynOptions>,
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
    /// After three duplicate ACKs (RFC 5681), as many octets reported by SACK, or an ICMP error that said that it was too
    /// large (RFC 1191).
    pub fast: u64,
    /// The last segment sent again after about two round trips of silence (tail loss probe, RFC 8985).
    pub tail_loss_probe: u64,
    /// Sent again although it had been acknowledged; or as a tail loss probe of what the other end had (DSACK, RFC 2883).
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
    /// The segment that this end sent again on a timeout, the last one, where the other end never acknowledged it; absent
    /// where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
    /// Round trips while little was in flight and while much was; absent where never 32 KiB were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_rtt: Option<LoadedRtt>,
    /// Times that this end sent on at once when an ACK came that had been delayed; absent where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delayed_acks: Option<DelayedAcks>,
}

/// A segment that was sent again and again in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unanswered {
    /// Its payload in octets; the least of all times.
    pub length: u32,
    /// How often it was sent again on a timeout.
    pub times: u64,
    /// When it was sent again first.
    pub first: Timestamp,
    /// Number of that frame, counted over all input as `id` is.
    pub first_frame: u64,
    /// When it was sent again last.
    pub last: Timestamp,
    /// Number of that frame.
    pub last_frame: u64,
    /// Packets of the other end since it was sent again first.
    pub heard_since: u64,
    /// A segment as large as the largest of this end was acknowledged before.
    pub as_large_passed: bool,
    /// Payload in octets of the largest segment of this end that is known to have been acknowledged; 0 where none is.
    pub acknowledged: u32,
    /// No router may cut it: it had the DF flag all the times (RFC 791, section 3.1), or is IPv6.
    pub dont_fragment: bool,
}

/// Round trips by acknowledgment, by how much was in flight when they ended: means, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoadedRtt {
    /// While at most an eighth of the most was in flight; `null` where none was measured.
    pub light_ns: Option<Nanos>,
    /// While at least half of the most was in flight.
    pub heavy_ns: Nanos,
    /// How many the latter are.
    pub samples: u64,
}

/// Times that a sender waited for an ACK that the receiver delayed, though it had more to send (RFC 896 against RFC 1122,
/// section 4.2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DelayedAcks {
    /// How often.
    pub count: u64,
    /// How long, beyond the round trip, all together, in nanoseconds.
    pub waited_ns: Nanos,
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
