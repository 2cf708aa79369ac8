//! A transfer that neither the network nor the receiver holds back.

use super::window_limited::round_trip;
use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct SenderLimited;

const PAGE: Page = Page {
    name: "sender-limited",
    title: "limited by the sender",
    severity: Severity::Info,
    rests_on: RestsOn::Absence,
    meaning: "A long transfer went without loss and far below the receiver's window: what held it back is at the sender, \
              its send buffer or its program.",
    causes: &[
        "The program produces data no faster (a disk, a database, compression, a rate limit).",
        "Its send buffer is smaller than bandwidth times round trip (SO_SNDBUF, tcp_wmem).",
        "It waits for an answer after each piece (a protocol with a small window of its own, as SSH and SMB have).",
    ],
    rule: &[
        "One end sent ten times bulk_bytes or more, over at least ten round trips.",
        "It sent nothing again, and filled no window.",
        "There was never more than half of the receiver's window in flight (RFC 7661, section 3: it is limited by the \
         application, or by its send buffer: TCP_CHRONO_SNDBUF_LIMITED in the kernel).",
        "A round trip takes window_limited_rtt or longer.",
    ],
    remedy: &[
        "At {SENDER}, see what holds it back: `ss -tin 'dst {RECEIVER}'` (busy, sndbuf_limited, app_limited)",
        "See that the program does not set SO_SNDBUF: `ss -tmn 'dst {RECEIVER}'` (tb), `sysctl net.ipv4.tcp_wmem`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::a_long_transfer_that_leaves_the_window_empty",
        near_miss: "observer/src/finding/tests/transfer.rs::a_long_transfer_that_leaves_the_window_empty",
    },
};

impl Finding for SenderLimited {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| record.bytes_of(*side))?;
        let (bytes, flow, thresholds) = (record.bytes_of(by)?, record.flow?, context.thresholds);
        let (own, rtt) = (flow.of(by), round_trip(record)?);
        let window = flow.of(by.other()).window?.max;
        let rate = own.throughput_bps?;
        let took = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.max(1));
        let short = bytes < thresholds.bulk_bytes.saturating_mul(10) || took < u128::from(rtt.0) * 10;
        let held = record.retransmitted_by(by) > 0 || *record.analysis?.window_full.of(by) > 0;
        if short || held || own.max_in_flight * 2 > window.into() || rtt < thresholds.window_limited_rtt {
            return None;
        }
        let ceiling = u128::from(own.max_in_flight) * 8 * 1_000_000_000 / u128::from(rtt.0.max(1));
        let why = if u128::from(rate) * 2 >= ceiling {
            format!(
                "it never had more than {} in flight: its send buffer, most likely",
                units::bytes(own.max_in_flight)
            )
        } else {
            "for most of the time it had nothing in flight: its program, most likely".to_string()
        };
        let who = super::verdict::name(by);
        let what =
            format!("The {who} sent {} at {}, held back by itself: {why}.", units::bytes(bytes), units::rate(rate));
        let (from, to) = match by {
            Side::Client => (record.client.ip, record.server.ip),
            Side::Server => (record.server.ip, record.client.ip),
        };
        let room = evidence::fact(format!("the receiver offered a window of up to {}", units::bytes(window.into())));
        Some(Verdict::new(Severity::Info, what).likely().by([room]).with("SENDER", from).with("RECEIVER", to))
    }
}
