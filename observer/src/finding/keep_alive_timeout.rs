//! Keep-alives that nobody answers.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct KeepAliveTimeout;

const PAGE: Page = Page {
    name: "keep-alive-timeout",
    title: "keep-alives without an answer",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "One end asked time and again whether the other is still there, and had no answer: the other end, or the way to \
              it, has gone. After tcp_keepalive_probes in vain the connection is given up, and the program gets ETIMEDOUT.",
    causes: &[
        "The other host crashed, was switched off or lost its address.",
        "A NAT or firewall has forgotten the idle connection and drops its packets without a reset.",
    ],
    rule: &[
        "One end sent keep_alive_probes or more keep-alives than were answered (RFC 9293, section 3.8.4; Wireshark's \
         tcp.analysis.keep_alive).",
        "The connection did not go on afterwards: the last keep-alive is its last packet, or that of the reset that gives \
         it up.",
    ],
    remedy: &[
        "See whether the other host is there: `mtr -n {PEER}`",
        "Where something on the way forgets idle connections, ask more often than that: `sysctl -w \
         net.ipv4.tcp_keepalive_time=120`, or TCP_KEEPIDLE in the program",
    ],
    instead_of: &["packet-loss", "abortive-close"],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::keep_alives_that_nobody_answers",
        near_miss: "observer/src/finding/tests.rs::keep_alives_that_nobody_answers",
    },
};

impl Finding for KeepAliveTimeout {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let counts = record.analysis?;
        let unanswered =
            |side: &Side| counts.keep_alive.of(*side).saturating_sub(*counts.keep_alive_ack.of(side.other()));
        let by = [Side::Client, Side::Server].into_iter().max_by_key(unanswered)?;
        let count = unanswered(&by);
        let last = evidence::of(record, NotableKind::KeepAlive, by)?.last;
        let reset = record.reset.as_deref();
        let after =
            reset.filter(|reset| reset.from == by).map_or(record.last_seen, |reset| reset.at.min(record.last_seen));
        // A reset that gives up comes an interval after the last keep-alive.
        let ended = record.last_seen == last || reset.is_some_and(|reset| reset.from == by && reset.at == after);
        if evidence::is_one_way(record) || count < context.thresholds.keep_alive_probes || !ended {
            return None;
        }
        let (who, other) = (super::verdict::name(by), super::verdict::name(by.other()));
        let what = format!("The {other} did not answer the {who}'s last {}.", units::number_of(count, "keep-alive"));
        let verdict = Verdict::new(Severity::Error, what)
            .by(evidence::notable(record, NotableKind::KeepAlive, by, "keep-alive"))
            .by(evidence::notable(record, NotableKind::Rst, by, "RST"))
            .with("PEER", evidence::address(record, by.other()));
        Some(verdict)
    }
}
