//! The last segments of a burst are lost, and only a timer notices.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct TailLoss;

const PAGE: Page = Page {
    name: "tail-loss",
    title: "tail loss",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The last segments of a request or response were lost. Nothing came after them that could have made the \
              receiver ask for them, so that the sender had to wait for a timer: a tail loss probe after about two round \
              trips (and 200 ms for a single segment), or a retransmission timeout. One lost packet makes a short exchange \
              that much slower.",
    causes: &["Loss on the way, as of any other packet: short exchanges only notice it more."],
    rule: &[
        "One end sent its last segment again after a time of silence in which nothing else was sent, and before an RTO was \
         due: a tail loss probe (RFC 8985, section 7; tcp_send_loss_probe() in the kernel).",
        "The other end had not acknowledged it before, and did so afterwards; its window was never closed.",
        "It held payload: a FIN alone keeps nobody waiting.",
    ],
    remedy: &[
        "Look for the loss, from the end that sent again: `mtr -n {PEER}`, `ip -s link`",
        "See that both ends use RACK and TLP: `sysctl net.ipv4.tcp_recovery net.ipv4.tcp_early_retrans`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::a_tail_that_only_a_probe_saves",
        near_miss: "observer/src/finding/tests/transfer.rs::a_tail_that_only_a_probe_saves",
    },
};

impl Finding for TailLoss {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let causes = record.retransmissions?;
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| causes.of(*side).tail_loss_probe)?;
        let probes = causes.of(by).tail_loss_probe;
        let flow = record.flow?;
        // What is sent into a closed window is no loss.
        let given_up = flow.of(by).unanswered.is_some() || flow.of(by.other()).zero_window_ns.0 > 0;
        // A FIN alone keeps nobody waiting, and its probe is often needless.
        let gaps = record.analysis.is_some_and(|analysis| *analysis.lost_segment.of(by) > 0);
        let seen_twice = record.bytes?.of(by) > record.unique_bytes?.of(by);
        if probes == 0 || given_up || !(gaps || seen_twice) || evidence::closes_in_vain(record, by) {
            return None;
        }
        let who = super::verdict::name(by);
        let what = format!(
            "The {who}'s last segments were lost {}: it noticed when its probe timer ran out.",
            if probes == 1 { "once".to_string() } else { units::number_of(probes, "time") }
        );
        let again = evidence::notable(record, NotableKind::Retransmission, by, "retransmission");
        Some(Verdict::new(Severity::Warning, what).by(again).with("PEER", evidence::address(record, by.other())))
    }
}
