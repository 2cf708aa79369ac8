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

    /// Takes in all of another shard's.
    pub fn merge(&mut self, other: Self) {
        self.tallies.merge(other.tallies);
    }

    /// What all shards have seen.
    pub fn of_all(shards: Vec<Self>) -> Option<Self> {
        shards.into_iter().reduce(|mut one, other| {
            one.merge(other);
            one
        })
    }

    /// What was found by the end of the input, the worst first.
    pub fn finish(&self, capture: &CaptureRecord) -> Vec<FindingRecord> {
        let lost = capture.dropped.is_some_and(|dropped| dropped > 0);
        let until = capture.last_seen.unwrap_or_default();
        self.tallies.findings(&Context { thresholds: &self.thresholds, until, lost })
    }
}
