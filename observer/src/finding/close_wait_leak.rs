//! A process does not close sockets whose other end is done.

use super::close_wait::left_open;
use super::readings::{Readings, about, evidence, fills_within, percent};
use super::{Context, Finding, Page, Proof, RestsOn, Thresholds, Verdict};
use crate::record::{About, GaugeRecord, Severity};

/// See [`PAGE`].
pub struct CloseWaitLeak;

const PAGE: Page = Page {
    name: "close-wait-leak",
    title: "CLOSE-WAIT leak",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "The other end has closed, and a process of this host does not close its own sockets: many have waited for a \
              minute or longer, or there are ever more of them. Such a socket stays until the process closes it or ends. \
              Each keeps a file descriptor; when those run out, accept(2) and socket(2) fail with EMFILE.",
    causes: &[
        "The program forgets to close a connection: an error path, a response whose body is not read, a pool that never \
         looks at its connections.",
        "The program hangs, or waits for something else, and does not read the end of its connections.",
    ],
    rule: &[
        "close_wait_sockets or more sockets of one process are in TCP_CLOSE_WAIT (include/net/tcp_states.h, RFC 9293 \
         section 3.3.2) for longer than a minute: by what was seen, or by the time since the last acknowledgment came \
         (tcpi_last_ack_recv). Or so many are for longer than a second, their number grows by one or more a second, and at \
         that rate the process has no descriptor left within descriptors_run_out_within.",
        "It is an error where descriptors_percent of the process's file descriptors are in use (RLIMIT_NOFILE).",
    ],
    remedy: &[
        "See them: `observer sockets -anp state close-wait`",
        "See what the process waits for: `cat /proc/{PID}/stack`, `gdb -p {PID} -batch -ex 'thread apply all bt'`",
        "Mend the program: close the socket when read(2) gives 0; as a stopgap restart it, or raise its limit: `prlimit --pid \
         {PID} --nofile=65536`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/gauge/tests/leaks.rs::a_close_wait_leak_is_found_once_it_is_a_minute_old",
        near_miss: "tests/tests/gauges/main.rs::a_close_wait_is_counted_for_its_process_and_grows_old",
    },
};

impl Finding for CloseWaitLeak {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let leaks = readings.of("close_wait").filter_map(|reading| {
            let thresholds = context.thresholds;
            if !is_leak(reading, thresholds) {
                return None;
            }
            let descriptors = readings.beside(reading, "descriptors");
            let is_close = descriptors.is_some_and(|one| percent(one) >= thresholds.descriptors_percent);
            let what = left_open(reading)?;
            let severity = if is_close { Severity::Error } else { Severity::Warning };
            let shown = [Some(reading), descriptors].into_iter().flatten().map(evidence);
            let who = reading.subject.process.as_ref();
            let pid = who.map_or("PID".to_string(), |who| who.pid.to_string());
            Some((about(reading), Verdict::new(severity, what).by(shown).with("PID", pid)))
        });
        leaks.collect()
    }
}

/// Whether a process leaves so many sockets in CLOSE-WAIT, or ever more, that it is no oversight of a few.
pub(super) fn is_leak(reading: &GaugeRecord, thresholds: &Thresholds) -> bool {
    let ages = reading.ages.unwrap_or_default();
    // A server that closes in its turn passes through the state within milliseconds.
    let are_left = ages.over_1s >= thresholds.close_wait_sockets;
    ages.over_1min >= thresholds.close_wait_sockets
        || are_left && fills_within(reading, thresholds.descriptors_run_out_within)
}
