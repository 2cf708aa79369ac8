//! The receiver's window, not the network, decides how fast data goes.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::time::Nanos;
use crate::units;

/// See [`PAGE`].
pub struct WindowLimited;

const PAGE: Page = Page {
    name: "window-limited",
    title: "limited by the receiver's window",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The sender had more to send, and time and again filled the window that the receiver offers: it goes no faster \
              than a window in a round trip, however wide the network is.",
    causes: &[
        "The receiver's buffer is too small for the path: window / round trip is the ceiling (SO_RCVBUF set by the program, \
         tcp_rmem).",
        "Window scaling was not agreed on: the window ends at 64 KiB (RFC 7323). Something on the way may have taken the \
         option off.",
        "The receiver's program reads a little more slowly than data comes.",
    ],
    rule: &[
        "One end sent segments that filled the window window_full_segments times or more (Wireshark's \
         tcp.analysis.window_full).",
        "It sent bulk_bytes or more.",
        "A round trip takes window_limited_rtt or longer: on shorter ones the program is what is slow.",
        "The window was not closed for zero_window: that is a finding of its own.",
    ],
    remedy: &[
        "At {RECEIVER}, give it room: `sysctl -w net.ipv4.tcp_rmem='4096 131072 33554432'`",
        "See that the program does not set SO_RCVBUF: `ss -tmn 'dst {SENDER}'` (rb)",
        "See that window scaling is on at both ends: `sysctl net.ipv4.tcp_window_scaling`",
    ],
    instead_of: &["sender-limited"],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::a_window_that_is_always_full",
        near_miss: "observer/src/finding/tests/transfer.rs::a_window_that_is_always_full",
    },
};

impl Finding for WindowLimited {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let full = record.analysis?.window_full;
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| *full.of(*side))?;
        let (flow, thresholds) = (record.flow?, context.thresholds);
        let window = flow.of(by.other()).window?.max;
        let rtt = round_trip(record)?;
        let few = *full.of(by) < thresholds.window_full_segments || record.bytes_of(by)? < thresholds.bulk_bytes;
        let closed = flow.of(by.other()).zero_window_ns >= thresholds.zero_window;
        if few || closed || rtt < thresholds.window_limited_rtt {
            return None;
        }
        let ceiling = u128::from(window) * 8 * 1_000_000_000 / u128::from(rtt.0.max(1));
        let (sender, receiver) = (super::verdict::name(by), super::verdict::name(by.other()));
        let scaling = match record.handshake.agreed {
            Some(agreed) if !agreed.window_scale => "; window scaling was not agreed on",
            _ => "",
        };
        let what = format!(
            "The {sender} filled the {receiver}'s window of at most {} {}: over a round trip of {} that is no more than \
             {}{scaling}.",
            units::bytes(window.into()),
            units::number_of(*full.of(by), "time"),
            units::time(rtt),
            units::rate(u64::try_from(ceiling).unwrap_or(u64::MAX)),
        );
        let (from, to) = match by {
            Side::Client => (record.client.ip, record.server.ip),
            Side::Server => (record.server.ip, record.client.ip),
        };
        let verdict = Verdict::new(Severity::Warning, what)
            .by(evidence::notable(record, NotableKind::WindowFull, by, "segment that fills the window"))
            .with("SENDER", from)
            .with("RECEIVER", to);
        Some(verdict)
    }
}

/// A round trip over the whole path, as far as one was measured.
pub fn round_trip(record: &ConnectionRecord) -> Option<Nanos> {
    record.rtt.min_path_ns.or(record.handshake.rtt_ns)
}
