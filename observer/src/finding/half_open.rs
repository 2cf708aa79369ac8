//! The server waits for the ACK that would complete the handshake.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Doubt, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct HalfOpen;

const PAGE: Page = Page {
    name: "half-open",
    title: "handshake left half open",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The server answered the SYN, and the client never acknowledged the answer: to the server the connection stays \
              in SYN-RECV and holds a place in the SYN backlog until it gives up (tcp_synack_retries, about a minute).",
    causes: &[
        "The SYN-ACK does not reach the client: a filter on the way back, or asymmetric routing.",
        "The client's address was forged: one of a SYN flood.",
        "The client died, or a scanner never meant to go on.",
    ],
    rule: &[
        "A SYN and a SYN-ACK were seen (RFC 9293, section 3.5).",
        "No ACK of the SYN-ACK, no data and no reset came from the client.",
        "The SYN-ACK was sent again (tcp_retransmit_synack in the kernel), or the input goes on for unanswered_after.",
    ],
    remedy: &[
        "At {CLIENT}, see whether the SYN-ACK arrives: `tcpdump -ni any 'tcp port {PORT} and host {SERVER}'`",
        "On {SERVER}, see how many there are: `ss -tn state syn-recv 'sport = :{PORT}'`",
        "Where there are many, let SYN cookies hold the backlog: `sysctl net.ipv4.tcp_syncookies`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_handshake_that_is_not_completed_is_half_open",
        near_miss: "observer/src/finding/tests.rs::a_handshake_that_is_not_completed_is_half_open",
    },
};

impl Finding for HalfOpen {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let handshake = &record.handshake;
        let syn_ack = handshake.syn_ack?;
        handshake.syn?;
        let close = &record.close;
        let went_on = handshake.ack.is_some()
            || close.rst.client.is_some()
            || close.rst.server.is_some()
            || close.fin.client.is_some()
            || record.bytes_of(Side::Client).is_some_and(|bytes| bytes > 0)
            || handshake.simultaneous_open;
        // Where not every packet is passed on, the bare ACK is not among those that are.
        if went_on || record.packets.is_none() || !record.icmp.is_empty() {
            return None;
        }
        let again = handshake.syn_ack_retransmissions;
        let waited = context.waited(syn_ack).max(record.last_seen.since(syn_ack));
        if again == 0 && waited < context.thresholds.unanswered_after {
            return None;
        }
        let times = units::number_of(u64::from(again) + 1, "SYN-ACK");
        let what = format!(
            "{} never completed the handshake with {}: {times} in {} had no ACK.",
            record.client.ip,
            units::end(record.server),
            units::time(waited)
        );
        let verdict = Verdict::new(Severity::Warning, what)
            .by([evidence::first(record, Side::Client, "SYN"), evidence::at(syn_ack, Side::Server, "SYN-ACK")])
            .by(evidence::notable(record, NotableKind::SynAckAgain, Side::Server, "SYN-ACK sent again"));
        Some(verdict.doubt_if(again == 0, Doubt::InputEnds))
    }
}
