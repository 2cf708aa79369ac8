//! Findings put together: what `observer doctor` tells.

use std::collections::BTreeMap;

use super::passing::Passing;
use super::{Context, FINDINGS, Page, Readings, Together, Verdict, readings};
use crate::record::{
    About, Case, ConnectionRecord, Doubt, Evidence, Finding, FindingRecord, FirewallRule, LookupRecord, Severity,
};

/// Cases that are kept of each finding.
const CASES: usize = 10;

/// Counters that are evidence of each case.
const COUNTERS: usize = 8;

/// What was found so far.
#[derive(Default)]
pub struct Report {
    /// By place in [`FINDINGS`].
    groups: BTreeMap<usize, Group>,
    together: Together,
    /// What gauges have shown so far.
    passing: Passing,
    /// Counters that grew, each as it was read last: by the place of the finding that goes by them.
    counters: BTreeMap<(usize, Counter), Evidence>,
}

/// What counts: a gauge, the network namespace, and the rule of the firewall.
type Counter = (&'static str, Option<u32>, Option<Box<FirewallRule>>);

/// All findings of one name.
#[derive(Debug, Default)]
struct Group {
    count: u64,
    /// The worst first, the earliest among equals.
    cases: Vec<Case>,
}

impl Report {
    /// Takes in a connection that was judged.
    pub fn connection(&mut self, record: &ConnectionRecord) {
        let told = self.together.connection(record);
        for finding in record.findings.iter().filter(|finding| !told.contains(&finding.name)) {
            let about = About {
                connection: Some(record.id),
                client: Some(record.client),
                server: Some(record.server),
                netns: record.netns,
                ..About::default()
            };
            self.add(Case { about, finding: finding.clone() });
        }
    }

    /// Takes in a lookup.
    pub fn lookup(&mut self, record: &LookupRecord) {
        self.together.lookup(record);
    }

    /// Takes in what gauges show while the host is watched. `until` of the context is when.
    pub fn passing(&mut self, readings: Readings<'_>, context: &Context<'_>) {
        self.passing.sweep(readings, context);
    }

    /// Takes in what gauges show in the end, and tells what they showed before and is over.
    pub fn gauges(&mut self, readings: Readings<'_>, context: &Context<'_>) {
        self.together.gauges(readings);
        let mut passing = std::mem::take(&mut self.passing);
        for (place, finding) in FINDINGS.iter().enumerate() {
            let grown = finding.counters().iter().flat_map(|name| readings.of(name)).filter(|one| readings::grows(one));
            for reading in grown {
                let counter = (reading.name, reading.netns, reading.subject.rule.clone());
                self.counters.insert((place, counter), readings::evidence_of(reading));
            }
            for (about, verdict) in finding.gauges(readings, context) {
                let case = case(finding.page(), about, verdict, &[]);
                if !passing.is_worse_than(place, &case) {
                    self.add_at(place, case);
                }
            }
        }
        for (place, case) in passing.finish(context.until) {
            self.add_at(place, case);
        }
    }

    /// Takes in something that was found otherwise. A finding that is not in [`FINDINGS`] is left out.
    pub fn add(&mut self, case: Case) {
        let place = FINDINGS.iter().position(|finding| finding.page().name == case.finding.name);
        if let Some(place) = place {
            self.add_at(place, case);
        }
    }

    /// The same, of the finding at a place in [`FINDINGS`].
    pub(super) fn add_at(&mut self, place: usize, case: Case) {
        self.groups.entry(place).or_default().add(case);
    }

    /// Takes in all of another one.
    pub fn merge(&mut self, other: Self) {
        self.counters.extend(other.counters);
        for (place, group) in other.groups {
            self.groups.entry(place).or_default().merge(group);
        }
        self.passing.merge(other.passing);
        self.together.merge(other.together);
    }

    /// All there is, the worst first; of what is as bad, first what gauges show: a full queue or table is why connections fail.
    pub fn finish(mut self, context: &Context<'_>) -> Vec<FindingRecord> {
        for (place, case) in self.together.cases(context) {
            self.add_at(place, case);
        }
        let mut records: Vec<FindingRecord> = Vec::new();
        for (place, Group { count, mut cases }) in self.groups {
            for case in &mut cases {
                let is_here = |(_, netns, _): &Counter| may_concern(*netns, &case.about);
                let grown = self.counters.iter().filter(|((of, counter), _)| *of == place && is_here(counter));
                case.finding.evidence.extend(grown.take(COUNTERS).map(|(_, evidence)| evidence.clone()));
            }
            let Some(page) = FINDINGS.get(place).map(|finding| finding.page()) else { continue };
            let severity = cases.iter().map(|case| case.finding.severity).max().unwrap_or(Severity::Info);
            records.push(FindingRecord { name: page.name, title: page.title, severity, count, cases });
        }
        let is_gauge = |about: &About| about.netns.is_some() && about.connection.is_none();
        let is_by_gauges = |record: &FindingRecord| record.cases.iter().any(|case| is_gauge(&case.about));
        records.sort_by_key(|record| std::cmp::Reverse((record.severity, is_by_gauges(record))));
        records
    }
}

/// Whether what a network namespace counts can have to do with a case: what stays on a host never leaves its namespace.
fn may_concern(netns: Option<u32>, about: &About) -> bool {
    let ips = about.client.map(|end| end.ip).zip(about.server.map(|end| end.ip));
    let stays = ips.is_some_and(|(client, server)| client == server || server.is_loopback());
    !stays || about.netns.is_none() || netns.is_none() || netns == about.netns
}

/// What a verdict says of something that is no connection.
pub fn case(page: &'static Page, about: About, verdict: Verdict, doubts: &[Doubt]) -> Case {
    let finding: Finding = verdict.of(page, &about, doubts);
    Case { about, finding }
}

impl Group {
    fn add(&mut self, case: Case) {
        self.count += 1;
        self.keep(case);
    }

    fn keep(&mut self, case: Case) {
        let key = |case: &Case| (std::cmp::Reverse(case.finding.severity), case.about.clone());
        let place = self.cases.partition_point(|known| key(known) <= key(&case));
        if place < CASES {
            self.cases.insert(place, case);
            self.cases.truncate(CASES);
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        other.cases.into_iter().for_each(|case| self.keep(case));
    }
}
