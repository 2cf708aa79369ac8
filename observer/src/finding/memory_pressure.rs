//! TCP of this host is short of memory.

use super::readings::{Readings, evidence, grows, percent};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict};
use crate::record::{About, Severity};
use crate::units;

/// See [`PAGE`].
pub struct MemoryPressure;

const PAGE: Page = Page {
    name: "memory-pressure",
    title: "TCP memory pressure",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "All TCP sockets of the host share tcp_mem. Above its second mark buffers and windows shrink, so that everything \
              is slower; at the third segments are dropped, and sockets without a process are killed (`TCP: out of memory`).",
    causes: &[
        "Many connections whose data nobody reads: slow programs, or slow clients.",
        "Buffers too large for the number of connections (tcp_rmem, tcp_wmem), or tcp_mem too small for the host.",
    ],
    rule: &[
        "Pages in use (`TCP: mem` of /proc/net/sockstat) are at tcp_mem[1] or above, or TCPMemoryPressures grows \
         (tcp_enter_memory_pressure).",
        "It is an error at tcp_mem[2], or where TCPAbortOnMemory grows (tcp_out_of_resources).",
    ],
    remedy: &[
        "See who holds it: `observer sockets -anmp | grep -B1 'skmem:(r[1-9]'`",
        "More room: `sysctl -w net.ipv4.tcp_mem='LOW PRESSURE MAX'`, in pages",
        "Smaller buffers: the last numbers of `sysctl net.ipv4.tcp_rmem net.ipv4.tcp_wmem`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/gauges/main.rs::memory_is_short",
        near_miss: "tests/tests/gauges/main.rs::memory_is_short",
    },
};

impl Finding for MemoryPressure {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tells_of_passing(&self) -> bool {
        true
    }

    fn gauges(&self, readings: Readings<'_>, _: &Context<'_>) -> Vec<(About, Verdict)> {
        let Some(memory) = readings.of("tcp_memory").next() else { return Vec::new() };
        let mark = readings.of("tcp_memory_pressure").next().filter(|mark| percent(mark) >= 100);
        let times = readings.of("memory_pressures").find(|times| grows(times));
        let aborts = readings.of("aborts_on_memory").find(|aborts| grows(aborts));
        if mark.is_none() && times.is_none() && aborts.is_none() {
            return Vec::new();
        }
        let is_error = aborts.is_some() || percent(memory) >= 100;
        let what = format!(
            "TCP takes {} of {} pages of memory{}.",
            units::count(memory.value.0 as u64),
            units::count(memory.limit.unwrap_or(0)),
            if aborts.is_some() { ", and connections are aborted for want of it" } else { "" },
        );
        let shown = [Some(memory), mark, times, aborts].into_iter().flatten().map(evidence);
        let severity = if is_error { Severity::Error } else { Severity::Warning };
        vec![(About::default(), Verdict::new(severity, what).by(shown))]
    }
}
