//! What many connections and lookups show together, which none of them shows alone.

use std::any::Any;

use super::twins::Twins;
use super::{Context, FINDINGS, Readings, Report, Tally, report};
use crate::record::{Case, ConnectionRecord, Doubt, FindingRecord, LookupRecord};

/// The tallies of all findings that have one.
pub struct Together {
    /// By place in [`FINDINGS`].
    tallies: Vec<(usize, Box<dyn Tally>)>,
    twins: Twins,
}

impl Default for Together {
    fn default() -> Self {
        let tallies = FINDINGS.iter().enumerate().filter_map(|(place, finding)| Some((place, finding.tally()?)));
        Self { tallies: tallies.collect(), twins: Twins::default() }
    }
}

impl Together {
    /// Takes in a connection that was judged. One between two namespaces of this host counts once: given is what was found of
    /// it as the other saw it.
    pub fn connection(&mut self, record: &ConnectionRecord) -> Vec<&'static str> {
        let twin = self.twins.of(record);
        for (_, tally) in &mut self.tallies {
            if twin.is_none() || tally.compares_namespaces() {
                tally.connection(record);
            }
        }
        twin.unwrap_or_default()
    }

    /// Takes in a lookup.
    pub fn lookup(&mut self, record: &LookupRecord) {
        self.tallies.iter_mut().for_each(|(_, tally)| tally.lookup(record));
    }

    /// Takes in what gauges show in the end.
    pub(super) fn gauges(&mut self, readings: Readings<'_>) {
        self.tallies.iter_mut().for_each(|(_, tally)| tally.gauges(readings));
    }

    /// Takes in all of another one.
    pub fn merge(&mut self, other: Self) {
        for ((_, own), (_, other)) in self.tallies.iter_mut().zip(other.tallies) {
            let other: Box<dyn Any> = other;
            own.merge(other);
        }
    }

    /// What was found, each with the place of its finding in [`FINDINGS`].
    pub(super) fn cases(&self, context: &Context<'_>) -> Vec<(usize, Case)> {
        let doubts: &[Doubt] = if context.lost { &[Doubt::Lost] } else { &[] };
        let mut cases = Vec::new();
        for (place, tally) in &self.tallies {
            let Some(page) = FINDINGS.get(*place).map(|finding| finding.page()) else { continue };
            let verdicts = tally.verdicts(context).into_iter();
            cases.extend(verdicts.map(|(about, verdict)| (*place, report::case(page, about, verdict, doubts))));
        }
        cases
    }

    /// What was found so far, the worst first.
    pub fn findings(&self, context: &Context<'_>) -> Vec<FindingRecord> {
        let mut report = Report::default();
        self.cases(context).into_iter().for_each(|(place, case)| report.add_at(place, case));
        report.finish(context)
    }
}
