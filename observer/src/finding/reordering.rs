//! Segments overtake each other.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Doubt, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct Reordering;

const PAGE: Page = Page {
    name: "reordering",
    title: "reordering",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "Segments arrived in another order than they were sent in. Beyond three segments or a part of a round trip, the \
              sender takes that for loss, sends again what was never lost and slows down.",
    causes: &[
        "Several ways to the receiver, between which packets of one connection are spread (per-packet load balancing, a \
         bond in balance-rr).",
        "A wireless link that repeats frames.",
        "The capture itself: several receive queues of one network card that are read in turn.",
    ],
    rule: &[
        "reordered_segments or more segments of one end were out of order (Wireshark's tcp.analysis.out_of_order).",
        "That is reordered_percent or more of the segments that it sent.",
    ],
    remedy: &[
        "See how much the kernel has learnt to expect: `ss -tin 'dst {SERVER}'` (reordering:), `nstat -az \
         TcpExtTCPSACKReorder TcpExtTCPTSReorder`",
        "Look for what spreads packets: `cat /proc/net/bonding/*`, the hash policy of routers with several ways",
        "Let RACK bear with it: `sysctl net.ipv4.tcp_recovery net.ipv4.tcp_max_reordering`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::segments_out_of_order",
        near_miss: "observer/src/finding/tests/transfer.rs::segments_out_of_order",
    },
};

impl Finding for Reordering {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let counts = record.analysis?.out_of_order;
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| *counts.of(*side))?;
        let (late, sent) = (*counts.of(by), *record.packets?.of(by));
        let thresholds = context.thresholds;
        if late < thresholds.reordered_segments || late * 100 < sent.saturating_mul(thresholds.reordered_percent) {
            return None;
        }
        let who = super::verdict::name(by);
        let what = format!(
            "{} of the {who}'s {} came out of order ({}).",
            units::count(late),
            units::number_of(sent, "segment"),
            units::percent(late, sent)
        );
        let verdict = Verdict::new(Severity::Warning, what)
            .by(evidence::notable(record, NotableKind::OutOfOrder, by, "segment out of order"))
            .doubt(Doubt::CapturePoint);
        Some(verdict)
    }
}
