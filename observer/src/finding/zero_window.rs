//! A receiver does not read.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side, Sides};
use crate::units;

/// See [`PAGE`].
pub struct ZeroWindow;

const PAGE: Page = Page {
    name: "zero-window",
    title: "receiver does not read: zero window",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "One end said that it has no room for more data: its program does not read what has come, and the kernel's \
              buffer is full. The sender has to stop and asks from time to time. The network is not at fault.",
    causes: &[
        "The program at that end is busy, blocked on something else (a disk, a lock, a database), or overloaded.",
        "It reads slowly on purpose: a download that is throttled or paused.",
        "Its receive buffer is too small for bursts (SO_RCVBUF, tcp_rmem).",
    ],
    rule: &[
        "One end sent a window of 0 without SYN, FIN or RST (RFC 9293, section 3.8.6).",
        "The window stayed closed for zero_window or longer, all times added up; an error from zero_window_long on. Where \
         what opens it is not seen (live), it was closed between two segments with a window of 0 that acknowledge the same: \
         the answers to the sender's probes.",
    ],
    remedy: &[
        "At {STALLED}, see what has not been read: `ss -tnmp 'dst {PEER}'` (Recv-Q)",
        "See what its program waits for: `cat /proc/PID/stack`, `strace -fp PID`, `perf top -p PID`",
        "Where it only has bursts to take: `sysctl net.ipv4.tcp_rmem`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::a_closed_window_is_a_receiver_that_does_not_read",
        near_miss: "observer/src/finding/tests/transfer.rs::a_closed_window_is_a_receiver_that_does_not_read",
    },
};

impl Finding for ZeroWindow {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let all_seen =
            record.flow.map(|flow| Sides { client: flow.client.zero_window_ns, server: flow.server.zero_window_ns });
        let closed = all_seen.or(record.zero_window_ns)?;
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| *closed.of(*side))?;
        let closed = *closed.of(by);
        let thresholds = context.thresholds;
        if closed < thresholds.zero_window {
            return None;
        }
        let severity = if closed < thresholds.zero_window_long { Severity::Warning } else { Severity::Error };
        let (stalled, peer) = match by {
            Side::Client => (record.client, record.server),
            Side::Server => (record.server, record.client),
        };
        let who = super::verdict::name(by);
        let least = if all_seen.is_none() { "at least " } else { "" };
        let what =
            format!("The {who} held its window at 0 for {least}{}: its program did not read.", units::time(closed));
        let verdict = Verdict::new(severity, what)
            .by(evidence::notable(record, NotableKind::ZeroWindow, by, "zero window"))
            .with("STALLED", stalled.ip)
            .with("PEER", units::end(peer));
        Some(verdict)
    }
}
