//! What sinks over connections tell in their end besides: what many of them show together.

use observer::finding::{Context, Thresholds, Together as Tallies};
use observer::record::{CaptureRecord, ConnectionRecord, FindingRecord, LookupRecord};

/// What connections and lookups have shown so far.
pub struct Together {
    tallies: Tallies,
    thresholds: Thresholds,
}

impl Together {
    /// Nothing seen yet.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { tallies: Tallies::default(), thresholds }
    }

    /// Takes in a connection.
    pub fn connection(&mut self, record: &ConnectionRecord) {
        self.tallies.connection(record);
    }

    /// Takes in a lookup.
    pub fn lookup(&mut self, record: &LookupRecord) {
        self.tallies.lookup(record);
    }

    /// What those of all shards show by the end of the input, the worst first.
    pub fn finish(all: Vec<Self>, capture: &CaptureRecord) -> Vec<FindingRecord> {
        let merged = all.into_iter().reduce(|mut one, other| {
            one.tallies.merge(other.tallies);
            one
        });
        let Some(Self { tallies, thresholds }) = merged else { return Vec::new() };
        let lost = capture.dropped.is_some_and(|dropped| dropped > 0);
        let until = capture.last_seen.unwrap_or_default();
        tallies.findings(&Context { thresholds: &thresholds, until, lost })
    }
}
