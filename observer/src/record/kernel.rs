//! What the kernel itself says of a connection's sockets on this host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Side, Sides, TcpState};
use crate::time::{Nanos, Timestamp};

/// The sockets at both ends, as far as they are of this host.
pub type KernelSockets = Sides<Option<KernelSocket>>;

/// One socket of a connection, as the kernel last showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KernelSocket {
    /// The socket's cookie (`sk_cookie`), as `ss -e` prints it: names the socket for as long as the machine runs. `null`
    /// where the kernel gave none.
    pub cookie: Option<u64>,
    /// Its state. TIME-WAIT, which no event of the kernel shows, where the socket closed first and the other end's FIN is
    /// known.
    pub state: TcpState,
    /// It was there before observer was: what happened before is not known.
    pub existed: bool,
    /// When it was first seen: when connect(2) was called, or when the handshake was complete at a listening socket.
    pub first_seen: Timestamp,
    /// When the kernel called it established; `null` where that was not seen.
    pub established: Option<Timestamp>,
    /// From connect(2) to established, in nanoseconds; `null` at the accepting end.
    pub connect_ns: Option<Nanos>,
    /// When it went away; `null` while it lives.
    pub gone: Option<Timestamp>,
    /// The last error that it was told, by its name (`ECONNREFUSED`); `null` for none.
    pub error: Option<String>,
    /// Why it sent a RST, by the kernel's name (`enum sk_rst_reason`): `TCP_ABORT_ON_CLOSE` where data was left unread. Absent
    /// where it sent none, or the kernel gives no reason (before Linux 6.10).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub reset_reason: Option<String>,
    /// Segments that it sent again, by the events of `tcp:tcp_retransmit_skb`.
    pub retransmit_events: u64,
    /// The kernel's own numbers; `null` where it was not seen for long enough to ask.
    pub info: Option<TcpInfo>,
}

/// Packets of one end that this host dropped, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DropRecord {
    /// Who sent them.
    pub from: Side,
    /// The kernel's reason (`enum skb_drop_reason`), by name; `null` where it tells none.
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
    /// When the first was dropped.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
}

/// Numbers of one socket, named as in `struct tcp_info` and as `ss -ti` prints them. `null` where the kernel has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpInfo {
    /// Smoothed round-trip time in microseconds (`tcpi_rtt`, from `srtt_us` / 8).
    pub rtt: Option<u32>,
    /// Its mean deviation in microseconds (`tcpi_rttvar`, from `mdev_us` / 4).
    pub rttvar: Option<u32>,
    /// Least round-trip time in microseconds (`tcpi_min_rtt`); `null` before the first sample.
    pub minrtt: Option<u32>,
    /// Congestion window in segments (`tcpi_snd_cwnd`).
    pub cwnd: Option<u32>,
    /// Slow-start threshold in segments (`tcpi_snd_ssthresh`); `null` while there is none.
    pub ssthresh: Option<u32>,
    /// Maximum segment size for sending, in octets (`tcpi_snd_mss`, from `mss_cache`).
    pub mss: Option<u32>,
    /// Maximum segment size that was advertised, in octets (`tcpi_advmss`).
    pub advmss: Option<u32>,
    /// Octets of payload sent, retransmissions included (`tcpi_bytes_sent`).
    pub bytes_sent: Option<u64>,
    /// Octets of payload sent again (`tcpi_bytes_retrans`).
    pub bytes_retrans: Option<u64>,
    /// Sequence numbers that the other end acknowledged (`tcpi_bytes_acked`); counts SYN and FIN.
    pub bytes_acked: Option<u64>,
    /// Sequence numbers received in order (`tcpi_bytes_received`); counts FIN.
    pub bytes_received: Option<u64>,
    /// Segments sent (`tcpi_segs_out`).
    pub segs_out: Option<u32>,
    /// Segments received (`tcpi_segs_in`).
    pub segs_in: Option<u32>,
    /// Segments with payload sent (`tcpi_data_segs_out`).
    pub data_segs_out: Option<u32>,
    /// Segments with payload received (`tcpi_data_segs_in`).
    pub data_segs_in: Option<u32>,
    /// Segments sent again (`tcpi_total_retrans`).
    pub total_retrans: Option<u32>,
    /// Segments that were taken for lost over the whole life (`lost` of `struct tcp_sock`).
    pub lost: Option<u32>,
    /// Segments delivered (`tcpi_delivered`).
    pub delivered: Option<u32>,
    /// Of those, marked as congested (`tcpi_delivered_ce`).
    pub delivered_ce: Option<u32>,
    /// Times that reordering was seen (`tcpi_reord_seen`).
    pub reord_seen: Option<u32>,
    /// DSACK blocks received (`tcpi_dsack_dups`).
    pub dsack_dups: Option<u32>,
    /// Segments received out of order (`tcpi_rcv_ooopack`).
    pub rcv_ooopack: Option<u32>,
    /// Window that the other end offers, in octets (`tcpi_snd_wnd`).
    pub snd_wnd: Option<u32>,
    /// Window that is offered to the other end, in octets (`tcpi_rcv_wnd`).
    pub rcv_wnd: Option<u32>,
}
