//! A handshake that takes a second or more, mostly because a SYN was lost.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct SlowHandshake;

const PAGE: Page = Page {
    name: "slow-handshake",
    title: "slow handshake",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The connection was opened, but that took long. A lost SYN or SYN-ACK costs a full retransmission timeout \
              (1 s, then 3 s, 7 s), as nothing has been measured yet. What a client calls \"sometimes a second slower\" is \
              most often this.",
    causes: &[
        "Packets are lost on the way, in either direction.",
        "The server drops SYNs because its accept queue or SYN backlog is full.",
        "A firewall or NAT sets up its state slowly, or drops the first packet of a flow.",
        "The round trip itself is that long.",
    ],
    rule: &[
        "The three-way handshake was completed (RFC 9293, section 3.5).",
        "From the first SYN to the ACK of the SYN-ACK it took slow_handshake or longer, or a SYN or SYN-ACK was sent again \
         before its answer came (RFC 6298, section 5.7).",
    ],
    remedy: &[
        "Where the SYN was sent again: on {SERVER}, see whether it drops SYNs: `nstat -az TcpExtListenOverflows \
         TcpExtListenDrops`, `ss -ltn 'sport = :{PORT}'` (Recv-Q against Send-Q)",
        "Look for loss on the way: `mtr -T -P {PORT} {SERVER}`",
        "Keep connections open and use them again: what is not opened cannot be slow",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_second_for_the_handshake_is_slow",
        near_miss: "observer/src/finding/tests.rs::a_second_for_the_handshake_is_slow",
    },
};

impl Finding for SlowHandshake {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let handshake = &record.handshake;
        let took = handshake.connect_ns?;
        let (syns, syn_acks) = (handshake.syn_retransmissions, handshake.syn_ack_retransmissions);
        // A SYN-ACK that is sent again after the ACK came is no part of what the client waited for.
        let waited = handshake.rtt_ns.is_some_and(|rtt| took.0 > rtt.0.saturating_mul(2)) && syns > 0
            || handshake.client_rtt_ns.zip(handshake.server_rtt_ns).is_some() && syn_acks > 0 && took.0 > RETRY;
        if took < context.thresholds.slow_handshake && !waited {
            return None;
        }
        let why = match (syns, syn_acks) {
            (0, 0) => ", without anything being sent again: the round trip, or the server, is that slow".to_string(),
            (0, again) => format!(": the SYN-ACK was sent again {}", times(again)),
            (again, _) => format!(": the SYN was sent again {}", times(again)),
        };
        let what = format!("Connecting to {} took {}{why}.", units::end(record.server), units::time(took));
        let ack = handshake.ack.map(|ack| evidence::at(ack, Side::Client, "ACK of the SYN-ACK"));
        let verdict = Verdict::new(Severity::Warning, what)
            .by([evidence::first(record, Side::Client, "SYN")])
            .by(evidence::notable(record, NotableKind::SynAgain, Side::Client, "SYN sent again"))
            .by(evidence::notable(record, NotableKind::SynAckAgain, Side::Server, "SYN-ACK sent again"))
            .by(ack);
        Some(verdict)
    }
}

/// The first timeout of a SYN-ACK, in nanoseconds (TCP_TIMEOUT_INIT), less what clocks may differ.
const RETRY: u64 = 900_000_000;

fn times(count: u32) -> String {
    match count {
        1 => "once".to_string(),
        2 => "twice".to_string(),
        _ => format!("{count} times"),
    }
}
