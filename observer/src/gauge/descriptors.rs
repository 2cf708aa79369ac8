//! File descriptors of processes that have sockets open, against what they may have: beyond it accept(2) and socket(2) fail
//! with EMFILE.

use std::collections::BTreeSet;

use super::trend::Trends;
use super::{Gauge, Sweep, TOP};
use crate::record::{GaugeRecord, Unit};

/// `descriptors`, of the processes that are closest to their limit.
#[derive(Debug, Default)]
pub struct Descriptors {
    trends: Trends<u32>,
}

impl Gauge for Descriptors {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        // A process belongs to the namespace in which it has sockets open.
        let here: BTreeSet<u32> = sweep.sockets().filter_map(|seen| seen.known.owner).collect();
        let mut readings = Vec::new();
        for pid in here {
            let Some(process) = sweep.processes.facts.get(&pid) else { continue };
            let Some(descriptors) = process.descriptors else { continue };
            let rate = self.trends.rate(pid, sweep.at, descriptors as f64);
            let subject = sweep.processes.subject(pid);
            let reading = sweep.reading("descriptors", subject, descriptors, Unit::Descriptors, "/proc/PID/fd");
            readings.push(reading.within(process.limit).growing(rate));
        }
        self.trends.forget(sweep.at);
        let fill = |reading: &GaugeRecord| reading.fill().unwrap_or(0.0);
        readings.sort_by(|one, other| fill(other).total_cmp(&fill(one)));
        readings.truncate(TOP);
        out.extend(readings);
    }
}
