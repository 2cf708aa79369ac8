//! What gauges showed for a while, while a host was watched.

use std::collections::BTreeMap;

use super::{Context, FINDINGS, Readings, report};
use crate::record::{About, Case, GaugeRecord};
use crate::time::Timestamp;
use crate::units;

/// Subjects of which it is kept that something was wrong with them.
const MOST: usize = 1024;

/// The worst of each subject, by the finding's place in [`FINDINGS`].
#[derive(Debug, Default)]
pub struct Passing(BTreeMap<(usize, About), Passed>);

/// What was wrong with a subject.
#[derive(Debug)]
struct Passed {
    case: Case,
    /// When it was last seen to be so.
    last: Timestamp,
}

impl Passing {
    /// Takes in the readings of a sweep that is not the last.
    pub fn sweep(&mut self, readings: Readings<'_>, context: &Context<'_>) {
        // How long something will last is judged in the end, over all the time that was watched: what grows between two
        // sweeps may be a single step.
        let told = |reading: &GaugeRecord| GaugeRecord { time_left_ns: None, ..reading.clone() };
        let readings: Vec<GaugeRecord> = readings.0.iter().map(told).collect();
        for (place, finding) in FINDINGS.iter().enumerate().filter(|(_, finding)| finding.tells_of_passing()) {
            for (about, verdict) in finding.gauges(Readings(&readings), context) {
                let last = context.until;
                let key = (place, subject(&about));
                let case = report::case(finding.page(), about, verdict, &[]);
                let is_full = self.0.len() >= MOST;
                match self.0.get_mut(&key) {
                    Some(known) if known.case.finding.severity > case.finding.severity => {}
                    Some(known) => *known = Passed { case, last },
                    None if is_full => {}
                    None => drop(self.0.insert(key, Passed { case, last })),
                }
            }
        }
    }

    /// Whether something worse was wrong with the subject of a case than the case says; else nothing more is to be told of it.
    pub fn is_worse_than(&mut self, place: usize, case: &Case) -> bool {
        let key = (place, subject(&case.about));
        let was_worse = self.0.get(&key).is_some_and(|passed| passed.case.finding.severity > case.finding.severity);
        if !was_worse {
            self.0.remove(&key);
        }
        was_worse
    }

    /// What is left, which is over by `end`.
    pub fn finish(self, end: Timestamp) -> impl Iterator<Item = (usize, Case)> {
        self.0.into_iter().map(move |((place, _), Passed { mut case, last })| {
            let since = units::time(end.since(last));
            case.finding.what.push_str(&format!(" That was so until {since} before the end.").replace('\u{a0}', " "));
            (place, case)
        })
    }

    /// Takes in all of another one.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// What tells subjects apart: a listener is the same whether its process is known yet or not.
fn subject(about: &About) -> About {
    let is_end = about.server.is_some();
    About { name: about.name.clone().filter(|_| !is_end), ..about.clone() }
}
