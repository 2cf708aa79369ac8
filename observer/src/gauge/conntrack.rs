//! Connection tracking: how full its table is, and what was dropped because of it.

use super::text::processors;
use super::trend::Trends;
use super::{Gauge, Sweep, Text};
use crate::record::{GaugeRecord, Subject, Unit};

/// `conntrack`, `conntrack_buckets`, and a counter for each line of [`COUNTERS`].
#[derive(Debug, Default)]
pub struct Conntrack {
    trends: Trends<&'static str>,
}

/// The name of the gauge of the table itself.
pub const TABLE: &str = "conntrack";

/// Name and column of the counters.
const COUNTERS: [(&str, &str); 6] = [
    ("conntrack_insert_failed", "insert_failed"),
    ("conntrack_drop", "drop"),
    ("conntrack_early_drop", "early_drop"),
    ("conntrack_invalid", "invalid"),
    ("conntrack_search_restart", "search_restart"),
    ("conntrack_clashes", "clashres"),
];

impl Gauge for Conntrack {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        let Some(entries) = sweep.texts.number(Text::ConntrackCount) else { return };
        let rate = self.trends.rate(TABLE, sweep.at, entries as f64);
        let reading = sweep.reading(TABLE, Subject::default(), entries, Unit::Entries, Text::ConntrackCount.source());
        out.push(reading.within(sweep.texts.number(Text::ConntrackMax)).growing(rate));
        if let Some(buckets) = sweep.texts.number(Text::ConntrackBuckets) {
            let source = Text::ConntrackBuckets.source();
            out.push(sweep.reading("conntrack_buckets", Subject::default(), buckets, Unit::Setting, source));
        }
        let text = sweep.texts.get(Text::ConntrackStat).unwrap_or_default();
        for (name, column) in COUNTERS {
            if let Some(times) = processors(text, column) {
                let rate = self.trends.rate_of_counter(name, sweep.at, times);
                let source = Text::ConntrackStat.source();
                out.push(sweep.reading(name, Subject::default(), times, Unit::Events, source).growing(rate));
            }
        }
    }
}
