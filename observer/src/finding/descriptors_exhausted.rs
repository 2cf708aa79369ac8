//! A process runs out of file descriptors.

use super::readings::{Readings, about, evidence, fills_within, percent};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict};
use crate::record::{About, GaugeRecord, Severity};
use crate::units;

/// See [`PAGE`].
pub struct DescriptorsExhausted;

/// From here on the next burst fails.
const ERROR_PERCENT: u64 = 98;

/// What is emptier than this has only just begun.
const GROWING_PERCENT: u64 = 10;

const PAGE: Page = Page {
    name: "descriptors-exhausted",
    title: "file descriptors run out",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "A process with sockets has nearly as many file descriptors open as it may, or soon will. At the limit accept(2), \
              socket(2) and open(2) fail with EMFILE: connections wait in the accept queue, and many programs then spin.",
    causes: &[
        "More connections than the limit was set for; 1,024 is a common default.",
        "Descriptors that are not closed: see close-wait-leak.",
    ],
    rule: &[
        "A process that has sockets open holds descriptors_percent or more of RLIMIT_NOFILE (entries of /proc/PID/fd, \
         alloc_fd); or it holds a tenth of it already, takes one or more a second, and will have taken all within \
         descriptors_run_out_within at that rate.",
        "It is an error from 98 percent on.",
    ],
    remedy: &[
        "See what they are: `ls -l /proc/{PID}/fd | grep -o -E 'socket|pipe|anon_inode|/.*' | sort | uniq -c | sort -rn`",
        "A higher limit now: `prlimit --pid {PID} --nofile=65536`; for good: `LimitNOFILE=` in the unit",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/gauges/main.rs::descriptors_run_out",
        near_miss: "tests/tests/gauges/main.rs::descriptors_run_out",
    },
};

impl Finding for DescriptorsExhausted {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tells_of_passing(&self) -> bool {
        true
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let thresholds = context.thresholds;
        let runs_out = |reading: &&GaugeRecord| {
            let fills = fills_within(reading, thresholds.descriptors_run_out_within);
            percent(reading) >= thresholds.descriptors_percent || fills && percent(reading) >= GROWING_PERCENT
        };
        let full = readings.of("descriptors").filter(runs_out);
        full.filter_map(|reading| {
            let who = reading.subject.process.as_ref()?;
            let left = reading.time_left_ns.map_or(String::new(), |left| format!(", EMFILE in {}", units::time(left)));
            let what = format!(
                "{}[{}] has {} of {} file descriptors open{left}.",
                who.name,
                who.pid,
                units::count(reading.value.0 as u64),
                units::count(reading.limit.unwrap_or(0)),
            );
            let severity = if percent(reading) >= ERROR_PERCENT { Severity::Error } else { Severity::Warning };
            Some((about(reading), Verdict::new(severity, what).by([evidence(reading)]).with("PID", who.pid)))
        })
        .collect()
    }
}
