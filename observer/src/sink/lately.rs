//! What many connections show together while a host is watched without end: of the last minutes, each thing told once.

use std::collections::BTreeSet;

use observer::finding::{Context, Thresholds, Together};
use observer::record::{About, ConnectionRecord, FindingRecord, LookupRecord};
use observer::time::{Nanos, Timestamp};

/// What connections and lookups have shown lately.
pub struct Lately {
    together: Together,
    thresholds: Thresholds,
    /// Where it begins.
    since: Timestamp,
    /// When it was looked through last.
    looked: Timestamp,
    /// The newest that was seen.
    now: Timestamp,
    told: BTreeSet<(&'static str, About)>,
}

/// How often it is looked through.
const EVERY: Nanos = Nanos::from_secs(10);
/// After this long it begins anew: what goes on for longer is told again, and what is spread over hours is not put together.
const LONGEST: Nanos = Nanos::from_secs(300);

impl Lately {
    /// Nothing seen yet.
    pub fn new(thresholds: Thresholds) -> Self {
        let (start, told) = (Timestamp::default(), BTreeSet::new());
        Self { together: Together::default(), thresholds, since: start, looked: start, now: start, told }
    }

    /// Takes in a connection that has ended.
    pub fn connection(&mut self, record: &ConnectionRecord) {
        self.comes_to(record.last_seen);
        self.together.connection(record);
    }

    /// Takes in a lookup.
    pub fn lookup(&mut self, record: &LookupRecord) {
        self.comes_to(record.lookup.at);
        self.together.lookup(record);
    }

    fn comes_to(&mut self, at: Timestamp) {
        if self.since == Timestamp::default() {
            (self.since, self.looked) = (at, at);
        }
        self.now = self.now.max(at);
    }

    /// What is new, where it is time to look, or at the end.
    pub fn news(&mut self, is_end: bool) -> Vec<FindingRecord> {
        if !is_end && self.now.since(self.looked) < EVERY {
            return Vec::new();
        }
        self.looked = self.now;
        let context = Context { thresholds: &self.thresholds, until: self.now, lost: false };
        let mut found = self.together.findings(&context);
        for record in &mut found {
            record.cases.retain(|case| self.told.insert((record.name, case.about.clone())));
            record.cases.iter_mut().for_each(|case| case.finding.forget_frames());
        }
        found.retain(|record| !record.cases.is_empty());
        if self.now.since(self.since) >= LONGEST {
            *self = Self::new(self.thresholds);
        }
        found
    }
}
