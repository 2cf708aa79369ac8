//! A queue on the way grows with what is in flight.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct Bufferbloat;

const PAGE: Page = Page {
    name: "bufferbloat",
    title: "bufferbloat",
    severity: Severity::Warning,
    rests_on: RestsOn::Presence,
    meaning: "The round trip grew with the octets in flight: they stand in a queue on the way that is far too long. Nothing \
              is lost, but everything else that goes through the queue (calls, games, other people's requests) waits as \
              long.",
    causes: &[
        "A modem, router or wireless link with a large buffer and no active queue management.",
        "A shaper or policer with a deep queue.",
        "A congestion control that only stops at loss (Reno, CUBIC) on such a path.",
    ],
    rule: &[
        "While half or more of the most that was ever in flight was in flight (32 KiB or more), the mean round trip by \
         acknowledgment was bufferbloat or more above the shortest: what a queue that is too long adds (RFC 7567, section 2; \
         RFC 8290, section 1).",
        "It was three times the shortest or more.",
        "Five or more round trips were measured so.",
        "Neither window was closed: a receiver that does not read delays as well.",
    ],
    remedy: &[
        "Measure it: `ping {PEER}` while the transfer runs",
        "At the slow link, queue fairly and shortly: `tc qdisc replace dev eth0 root cake bandwidth 95mbit`, or fq_codel",
        "At the sender, use a congestion control that leaves queues empty: `sysctl -w net.ipv4.tcp_congestion_control=bbr`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::a_round_trip_that_grows_with_the_load_is_bufferbloat",
        near_miss: "observer/src/finding/tests/transfer.rs::a_round_trip_that_grows_with_the_load_is_bufferbloat",
    },
};

/// Round trips that have to be measured under load.
const SAMPLES: u64 = 5;

impl Finding for Bufferbloat {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let flow = record.flow?;
        let loaded = |side: &Side| flow.of(*side).loaded_rtt;
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| loaded(side).map(|rtt| rtt.heavy_ns))?;
        let (heavy, samples) = loaded(&by).map(|rtt| (rtt.heavy_ns, rtt.samples))?;
        let least = record.rtt.by_ack.of(by).map(|stats| stats.min_ns)?;
        let closed = flow.client.zero_window_ns.0.max(flow.server.zero_window_ns.0) > 0;
        let grown = heavy.0.saturating_sub(least.0);
        if closed
            || samples < SAMPLES
            || grown < context.thresholds.bufferbloat.0
            || heavy.0 < least.0.saturating_mul(3)
        {
            return None;
        }
        let who = super::verdict::name(by);
        let what = format!(
            "With up to {} of the {who}'s data in flight a round trip took {}, {} without.",
            units::bytes(flow.of(by).max_in_flight),
            units::time(heavy),
            units::time(least)
        );
        let measured = evidence::fact(format!("{} under load", units::number_of(samples, "round trip")));
        let peer = if by == Side::Client { record.server.ip } else { record.client.ip };
        let verdict = Verdict::new(Severity::Warning, what).by([measured]).with("PEER", peer);
        Some(if record.retransmitted_by(by) > 0 { verdict.likely() } else { verdict })
    }
}
