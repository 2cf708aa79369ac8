//! What many connections show together while a host is watched without end: of the last minutes, each thing told once.

use std::collections::BTreeSet;

use observer::finding::{Context, Thresholds, Together};
use observer::record::{About, ConnectionRecord, FindingRecord, LookupRecord};
use observer::time::Timestamp;

/// What connections and lookups have shown lately.
pub struct Lately {
    together: Together,
    thresholds: Thresholds,
    /// Seconds since it began, and when it was looked through last.
    seconds: u32,
    looked: u32,
    /// Something has come since.
    has_news: bool,
    /// The newest that was seen.
    now: Timestamp,
    told: BTreeSet<(&'static str, About)>,
}

/// How often it is looked through, in seconds.
const EVERY: u32 = 10;
/// After so many seconds it begins anew: what goes on for longer is told again, and what is spread over hours is not put
/// together.
const LONGEST: u32 = 300;

impl Lately {
    /// Nothing seen yet.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            together: Together::default(),
            thresholds,
            seconds: 0,
            looked: 0,
            has_news: false,
            now: Timestamp::default(),
            told: BTreeSet::new(),
        }
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
        self.has_news = true;
        self.now = self.now.max(at);
    }

    /// A second has gone by: what is new, where it is time to look.
    pub fn tick(&mut self) -> Vec<FindingRecord> {
        self.seconds += 1;
        let is_over = self.seconds >= LONGEST;
        let found = if is_over || self.seconds - self.looked >= EVERY { self.look() } else { Vec::new() };
        if is_over {
            *self = Self::new(self.thresholds);
        }
        found
    }

    /// What is new.
    pub fn look(&mut self) -> Vec<FindingRecord> {
        if !std::mem::take(&mut self.has_news) {
            return Vec::new();
        }
        self.looked = self.seconds;
        let context = Context { thresholds: &self.thresholds, until: self.now, lost: false };
        let mut found = self.together.findings(&context);
        for record in &mut found {
            let untold = record.count.saturating_sub(record.cases.len() as u64);
            record.cases.retain(|case| self.told.insert((record.name, case.about.clone())));
            record.count = record.cases.len() as u64 + untold;
            record.cases.iter_mut().for_each(|case| case.finding.forget_file());
        }
        found.retain(|record| !record.cases.is_empty());
        found
    }
}
