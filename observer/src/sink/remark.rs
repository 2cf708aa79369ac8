//! What makes a connection worth a look: a rule a line, the most telling first.

use observer::record::{ConnState, ConnectionRecord, QuicClose, Sides};
use observer::time::Nanos;

use super::order::retransmitted;
use super::text::{handshake_rtt, units};

/// One reason.
pub struct Remark {
    /// How remarkable a connection is by this rule; 0 where it is not.
    pub weight: fn(&ConnectionRecord) -> u64,
    /// How many connections it may list.
    pub most: usize,
    /// Why, in a few words.
    pub why: fn(&ConnectionRecord) -> String,
}

/// Every reason there is.
pub const REMARKS: [Remark; 11] = [
    Remark {
        weight: |record| record.icmp.len() as u64,
        most: usize::MAX,
        why: |record| match record.icmp.first() {
            Some(error) => format!("ICMP {} from {}", error.name, error.from),
            None => String::new(),
        },
    },
    Remark {
        weight: |record| record.flow.map_or(0, |flow| flow.client.zero_window_ns.0.max(flow.server.zero_window_ns.0)),
        most: usize::MAX,
        why: |record| {
            let Sides { client, server } = record.flow.unwrap_or_default().map(|flow| flow.zero_window_ns);
            let who = if client >= server { "client" } else { "server" };
            format!("{who} held its window at 0 for {}", units::time(client.max(server)))
        },
    },
    Remark {
        weight: data_retransmitted,
        most: usize::MAX,
        why: |record| {
            let segments = record.total_packets();
            let again = data_retransmitted(record);
            format!("{} of {} sent again", units::count(again), units::number_of(segments, "segment"))
        },
    },
    Remark {
        weight: |record| match record.conn_state {
            ConnState::RSTO | ConnState::RSTR => 1 + record.total_bytes(),
            _ => 0,
        },
        most: usize::MAX,
        why: |record| {
            let who = if record.conn_state == ConnState::RSTO { "client" } else { "server" };
            let bytes = record.total_bytes();
            format!("reset by the {who} after {} in {}", units::bytes(bytes), units::time(record.duration_ns))
        },
    },
    Remark {
        weight: |record| match record.conn_state {
            ConnState::S0 => 1 + u64::from(record.handshake.syn_retransmissions),
            _ => 0,
        },
        most: usize::MAX,
        why: |record| {
            if let Some(quic) = &record.quic {
                return format!("no answer to {}", units::number_of(quic.packets.client.initial, "Initial packet"));
            }
            let syns = u64::from(record.handshake.syn_retransmissions) + 1;
            format!("no answer to {}", units::number_of(syns, "SYN"))
        },
    },
    Remark {
        weight: |record| u64::from(record.conn_state == ConnState::REJ),
        most: usize::MAX,
        why: |_| "refused".to_string(),
    },
    Remark {
        weight: |record| u64::from(closed_in_handshake(record).is_some()),
        most: usize::MAX,
        why: |record| match closed_in_handshake(record) {
            Some(close) => format!("closed in the handshake: {}", close.name),
            None => String::new(),
        },
    },
    Remark {
        weight: |record| match record.handshake.connect_ns {
            Some(time) if time >= SLOW || record.handshake.syn_retransmissions > 0 => time.0,
            _ => 0,
        },
        most: usize::MAX,
        why: |record| {
            let time = units::time(record.handshake.connect_ns.unwrap_or_default());
            match record.handshake.syn_retransmissions {
                0 => format!("connecting took {time}"),
                again => format!("connecting took {time}, {} sent again", units::number_of(again.into(), "SYN")),
            }
        },
    },
    Remark {
        weight: gaps,
        most: usize::MAX,
        why: |record| format!("{} came after a gap", units::number_of(gaps(record), "segment")),
    },
    Remark {
        weight: |record| handshake_rtt(record).map_or(0, |rtt| rtt.0),
        most: 2,
        why: |record| format!("long handshake RTT: {}", units::time(handshake_rtt(record).unwrap_or_default())),
    },
    Remark {
        weight: |record| record.total_bytes(),
        most: 2,
        why: |record| {
            let bytes = units::bytes(record.total_bytes());
            format!("much data: {bytes} in {}", units::time(record.duration_ns))
        },
    },
];

/// A handshake that takes longer is slow: RFC 6298's first retransmission timeout.
const SLOW: Nanos = Nanos::from_secs(1);

/// Segments sent again, without those of the handshake: they have rules of their own.
fn data_retransmitted(record: &ConnectionRecord) -> u64 {
    let handshake = record.handshake.syn_retransmissions + record.handshake.syn_ack_retransmissions;
    retransmitted(record).saturating_sub(handshake.into())
}

/// Why QUIC was closed before its handshake was done.
fn closed_in_handshake(record: &ConnectionRecord) -> Option<&QuicClose> {
    record.quic.as_ref()?.close.as_ref()
}

fn gaps(record: &ConnectionRecord) -> u64 {
    record.analysis.map_or(0, |analysis| analysis.lost_segment.client + analysis.lost_segment.server)
}
