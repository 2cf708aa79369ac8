//! What happened on a connection, in order.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::{RetransmissionCause, Side, Sides, Source, TcpState, display};
use crate::time::Timestamp;

/// What happened on a connection, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Timeline {
    /// The entries.
    pub entries: Vec<TimelineEntry>,
    /// Entries that were left out of the middle to stay within the bound.
    pub cut: u64,
}

/// One segment, one ICMP error, one event of the kernel, or a run of alike segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimelineEntry {
    /// When the (first) packet was captured.
    pub at: Timestamp,
    /// When the last packet of a run was captured; `at` for a single one.
    pub until: Timestamp,
    /// Frame number of the (first) packet; 0 for an event of the kernel.
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
    /// Why, by the kernel's name of a reason or an error; absent for packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
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
    /// The kernel's socket at this end changed its state.
    State,
    /// The kernel sent a segment of this end again.
    Retransmit,
    /// The kernel was to send a segment of this end again, and could not even try.
    NotRetransmitted,
    /// The kernel sent a SYN-ACK of this end again.
    SynAckRetransmit,
    /// The kernel sent a RST for this end.
    ResetSent,
    /// The kernel's socket at this end took a RST.
    ResetReceived,
    /// The kernel dropped a packet of this end.
    Drop,
    /// The kernel's socket at this end was told an error.
    Error,
    /// The congestion control of this end's sender went to another state: Open, Disorder, CWR, Recovery or Loss (`enum
    /// tcp_ca_state`), which stands in `detail`.
    Congestion,
}

fn names<S: Serializer>(set: &crate::tracker::AnalysisSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(set.iter_names().map(|(name, _)| name.to_ascii_lowercase()))
}

impl TimelineEntry {
    /// Whether this is something that was told or done, not a segment that was seen.
    pub const fn is_event(&self) -> bool {
        self.frame == 0 || matches!(self.kind, EntryKind::Icmp)
    }
}
