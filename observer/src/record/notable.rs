//! What was notable among a connection's segments: kept without a timeline, so that findings can name frames.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Side, Sides, Ttl};
use crate::time::{Nanos, Timestamp};

/// Segments of one kind that one end sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Notable {
    /// What they are.
    pub kind: NotableKind,
    /// Who sent them.
    pub from: Side,
    /// How many there were.
    pub count: u64,
    /// Time of the first.
    pub first: Timestamp,
    /// Number of its frame, counted over all input as `id` is.
    pub first_frame: u64,
    /// Time of the last.
    pub last: Timestamp,
    /// Number of its frame.
    pub last_frame: u64,
}

/// What makes a segment notable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotableKind {
    /// A SYN that was sent again.
    SynAgain,
    /// A SYN-ACK that was sent again.
    SynAckAgain,
    /// Payload or FIN that was sent again because it was missing.
    Retransmission,
    /// The same of which no octet had been captured before: what was sent first was lost before the capture point.
    Repair,
    /// Payload that was sent again although it had been acknowledged.
    Spurious,
    /// An ACK that says that what the other end sent again had arrived already (DSACK, RFC 2883).
    Dsack,
    /// A segment that came later than one that follows it in sequence.
    OutOfOrder,
    /// A segment that starts beyond what was seen.
    LostSegment,
    /// A window of 0.
    ZeroWindow,
    /// A segment that fills the window.
    WindowFull,
    /// A keep-alive.
    KeepAlive,
    /// A reset.
    Rst,
    /// An ICMP error that quotes a segment of this end.
    Icmp,
    /// A SYN or SYN-ACK that was captured before, at another place, with other options.
    OptionsDiffer,
}

/// What was the case when a connection was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reset {
    /// When the first RST was captured.
    pub at: Timestamp,
    /// Number of its frame, counted over all input as `id` is.
    pub frame: u64,
    /// Who sent it, by its addresses.
    pub from: Side,
    /// How long nothing had been captured of the connection, in nanoseconds.
    pub idle_ns: Nanos,
    /// Its time to live.
    pub ttl: u8,
    /// Smallest and largest time to live of its sender's packets before; `null` where there were none.
    pub ttl_before: Option<Ttl>,
    /// Octets that each end had sent and the other had not acknowledged, by the RST itself neither.
    pub unacknowledged: Sides<u64>,
    /// The end that sent payload last; `null` where none did.
    pub spoke_last: Option<Side>,
}

/// A time in which nothing was captured of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Silence {
    /// How long it was, in nanoseconds.
    pub length_ns: Nanos,
    /// When it ended.
    pub until: Timestamp,
    /// Number of the frame that ended it, counted over all input as `id` is.
    pub frame: u64,
    /// Who sent that.
    pub by: Side,
    /// Segments after it, that one included.
    pub packets_after: Sides<u64>,
}
