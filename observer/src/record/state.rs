//! How a connection went, and the state each end is in.

use schemars::JsonSchema;
use serde::Serialize;

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
