//! What fed a record: packets, or the hooks of the kernel.

use schemars::JsonSchema;
use serde::Serialize;

/// What fed a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Captured packets.
    Packets,
    /// The kernel's changes of state (`sock:inet_sock_set_state`).
    State,
    /// The end of a socket (`tcp:tcp_destroy_sock`).
    Destroy,
    /// Segments sent again (`tcp:tcp_retransmit_skb`).
    Retransmit,
    /// SYN-ACKs sent again (`tcp:tcp_retransmit_synack`).
    SynAck,
    /// Resets sent (`tcp:tcp_send_reset`).
    ResetSent,
    /// Resets received (`tcp:tcp_receive_reset`).
    ResetReceived,
    /// Packets dropped (`skb:kfree_skb`).
    Drop,
    /// Errors of sockets (`sock:inet_sk_error_report`).
    Error,
    /// accept(2).
    Accept,
    /// Sockets that were there before (`iter/tcp`).
    Existing,
    /// Congestion states (`tcp:tcp_cong_state_set`).
    Congestion,
    /// The kernel's tables of sockets, looked at from time to time (sock_diag): a change is told at the first look that
    /// shows it.
    SockDiag,
}
