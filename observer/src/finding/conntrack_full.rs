//! The table of connection tracking is full, or soon will be.

use super::readings::{Readings, about, evidence, grows, percent};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict};
use crate::gauge::CONNTRACK;
use crate::record::{About, Severity};
use crate::units;

/// See [`PAGE`].
pub struct ConntrackFull;

const PAGE: Page = Page {
    name: "conntrack-full",
    title: "connection tracking table full or filling",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "Every flow that passes connection tracking (NAT, stateful rules, kube-proxy) has an entry in one table. When it \
              is full, first packets of new flows are dropped: connects time out, and the kernel's log says \
              `nf_conntrack: table full, dropping packet`.",
    causes: &[
        "More flows than the table was made for.",
        "Entries that live long: established TCP is kept for five days by default, also where the ends have long gone.",
        "A scan or a flood that makes an entry with each packet.",
    ],
    rule: &[
        "Entries (nf_conntrack_count) are conntrack_percent or more of nf_conntrack_max; or they will reach it within \
         conntrack_fills_within at the rate at which they grow, and are a tenth of it already.",
        "It is an error where the counters drop or early_drop grow (__nf_conntrack_alloc, early_drop), or the table is full.",
    ],
    remedy: &[
        "See what fills it: `conntrack -L -p tcp | grep -o -E 'ESTABLISHED|TIME_WAIT|SYN_SENT|UNREPLIED' | sort | uniq -c`",
        "More room now: `sysctl -w net.netfilter.nf_conntrack_max={DOUBLE}`, with as many buckets as a quarter of that",
        "Shorter lives: `sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=86400`",
        "No tracking for what needs none: `nft add rule raw prerouting tcp dport 80 notrack`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/gauges/conntrack.rs::the_table_of_connection_tracking_fills",
        near_miss: "tests/tests/gauges/conntrack.rs::the_table_of_connection_tracking_fills",
    },
};

impl Finding for ConntrackFull {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tells_of_passing(&self) -> bool {
        true
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for reading in readings.of(CONNTRACK) {
            let thresholds = context.thresholds;
            let drops = ["conntrack_drop", "conntrack_early_drop"];
            let drops: Vec<_> =
                drops.iter().filter_map(|name| readings.beside(reading, name)).filter(|drops| grows(drops)).collect();
            let fills = percent(reading) >= 10
                && reading.time_left_ns.is_some_and(|left| left <= thresholds.conntrack_fills_within);
            let is_full = percent(reading) >= 100;
            if percent(reading) < thresholds.conntrack_percent && !fills && !is_full {
                continue;
            }
            let severity = if is_full || !drops.is_empty() { Severity::Error } else { Severity::Warning };
            let left = reading.time_left_ns.filter(|_| !is_full);
            let left = left.map_or(String::new(), |left| format!(", full in {}", units::time(left)));
            let limit = reading.limit.unwrap_or(0);
            let what = format!(
                "Connection tracking holds {} of {} entries ({} %){left}{}.",
                units::count(reading.value.0 as u64),
                units::count(limit),
                percent(reading),
                if drops.is_empty() { "" } else { ", and new flows are dropped" },
            );
            let shown = std::iter::once(reading).chain(drops).map(evidence);
            let verdict = Verdict::new(severity, what).by(shown).with("DOUBLE", limit.saturating_mul(2));
            verdicts.push((about(reading), verdict));
        }
        verdicts
    }
}
