//! This host sends many segments again.

use super::readings::{Readings, about, evidence};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict};
use crate::record::{About, Severity};

/// See [`PAGE`].
pub struct RetransmissionRate;

const PAGE: Page = Page {
    name: "retransmission-rate",
    title: "high retransmission rate",
    severity: Severity::Warning,
    rests_on: RestsOn::Presence,
    meaning: "Of all segments that this host sends, many are sent again. Something on the way loses packets, or is so slow \
              that the host believes so.",
    causes: &[
        "Loss on a link that many connections share: a full queue, a bad cable, Wi-Fi, a policer.",
        "A destination that does not answer: SYNs are sent again too.",
    ],
    rule: &[
        "RetransSegs is retransmission_percent or more of OutSegs and RetransSegs together, as both grew while it was watched \
         (RFC 4022; __tcp_retransmit_skb).",
        "retransmission_segments or more segments were sent a second, so that it is no accident.",
    ],
    remedy: &[
        "See which connections: `observer watch`, `observer sockets -ni | grep retrans`",
        "See where packets go: `ip -s link`, `nstat -az | grep -i -e drop -e prune`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/live/verdicts.rs::segments_that_are_sent_again_show_in_the_rate_of_the_host",
        near_miss: "tests/tests/gauges/main.rs::what_the_stack_counts_is_told_as_rates",
    },
};

impl Finding for RetransmissionRate {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for reading in readings.of("retransmission_percent") {
            let sent = readings.whole(reading, "segments_sent");
            let rate = sent.and_then(|sent| sent.rate).map_or(0.0, |rate| rate.0);
            let thresholds = context.thresholds;
            let is_high = reading.value.0 >= thresholds.retransmission_percent as f64;
            if !is_high || rate < thresholds.retransmission_segments as f64 {
                continue;
            }
            let what = format!("{:.1} % of the segments that are sent are sent again.", reading.value.0);
            let others = ["segments_retransmitted", "retransmission_timeouts", "tail_loss_probes"];
            let others = others.iter().filter_map(|name| readings.whole(reading, name));
            let shown = sent.into_iter().chain(others).map(evidence);
            verdicts.push((about(reading), Verdict::new(Severity::Warning, what).by(shown)));
        }
        verdicts
    }
}
