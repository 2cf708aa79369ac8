//! Connection tracking: how full its table is, and what was dropped because of it.

use std::net::IpAddr;

use foldhash::HashMap;

use super::text::processors;
use super::trend::Trends;
use super::{Gauge, Sweep, Text, top};
use crate::conntrack::Entry;
use crate::record::{GaugeRecord, Subject, TrackedState, Unit, Value};
use crate::time::{Nanos, Timestamp};

/// `conntrack`, `conntrack_buckets`, and a counter for each line of [`COUNTERS`]; `conntrack_new_flows` where events are
/// listened to; `conntrack_of_state` and `conntrack_of_source` where the entries are read.
#[derive(Debug, Default)]
pub struct Conntrack {
    trends: Trends<&'static str>,
    /// Flows that have begun since the last reading of their rate, and when that was.
    new: Option<(u64, Timestamp)>,
}

/// What ctnetlink told of one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// How many have begun since the last sweep; `None` where events are not listened to, or some were lost.
    pub new: Option<u64>,
    /// Every entry; `None` where they were not asked for.
    pub tracked: Option<Tracked>,
}

/// The entries of connection tracking in numbers.
#[derive(Clone, Debug, Default)]
pub struct Tracked {
    by_state: HashMap<TrackedState, u64>,
    by_source: HashMap<IpAddr, u64>,
}

impl Tracked {
    /// Counts one.
    pub fn add(&mut self, entry: &Entry) {
        let state = TrackedState { protocol: entry.protocol_name().unwrap_or("other"), state: entry.state_name() };
        *self.by_state.entry(state).or_default() += 1;
        *self.by_source.entry(Entry::ends(&entry.original).0.ip).or_default() += 1;
    }
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
            if let Some(by_processor) = processors(text, column) {
                let times = by_processor.iter().sum();
                let rate = self.trends.rate_of_counter(name, sweep.at, times);
                let source = Text::ConntrackStat.source();
                let reading = sweep.reading(name, Subject::default(), times, Unit::Events, source).growing(rate);
                out.push(GaugeRecord { by_processor: Some(by_processor), ..reading });
            }
        }
        self.flows(sweep, out);
    }
}

impl Conntrack {
    fn flows(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        /// Over less time than this, a rate says little.
        const LEAST: Nanos = Nanos::from_millis(100);
        let begun = self.new.map_or(sweep.at, |(_, since)| since);
        self.new = sweep.flows.new.map(|new| (new + self.new.map_or(0, |(before, _)| before), begun));
        if let Some((new, since)) = self.new.filter(|(_, since)| sweep.at.since(*since) >= LEAST) {
            let source = "ctnetlink NFNLGRP_CONNTRACK_NEW";
            let reading = sweep.reading("conntrack_new_flows", Subject::default(), 0, Unit::EntriesPerSecond, source);
            let value = Value((new as f64 * 10.0 / sweep.at.since(since).as_secs_f64()).round() / 10.0);
            out.push(GaugeRecord { value, ..reading });
            self.new = Some((0, sweep.at));
        }
        let Some(tracked) = &sweep.flows.tracked else { return };
        let source = "ctnetlink IPCTNL_MSG_CT_GET";
        let of = |name, subject, entries| sweep.reading(name, subject, entries, Unit::Entries, source);
        let mut by_state: Vec<_> = tracked.by_state.iter().collect();
        by_state.sort_by_key(|(state, entries)| (std::cmp::Reverse(**entries), **state));
        for (state, entries) in by_state {
            let subject = Subject { tracked: Some(*state), ..Subject::default() };
            out.push(of("conntrack_of_state", subject, *entries));
        }
        for (source, entries) in top(tracked.by_source.clone()) {
            let subject = Subject { source: Some(source), ..Subject::default() };
            out.push(of("conntrack_of_source", subject, entries));
        }
    }
}
