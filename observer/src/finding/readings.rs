//! What rules over gauges share.

use crate::record::{About, Evidence, GaugeRecord};
use crate::time::Nanos;
use crate::units;

/// The readings of one sweep.
#[derive(Clone, Copy, Debug)]
pub struct Readings<'a>(pub &'a [GaugeRecord]);

impl<'a> Readings<'a> {
    /// Those of one gauge.
    pub fn of(self, name: &'static str) -> impl Iterator<Item = &'a GaugeRecord> {
        self.0.iter().filter(move |reading| reading.name == name)
    }

    /// The reading of another gauge in the same namespace, of the same subject.
    pub fn beside(self, reading: &GaugeRecord, name: &'static str) -> Option<&'a GaugeRecord> {
        self.of(name).find(|other| other.netns == reading.netns && other.subject == reading.subject)
    }

    /// The reading of another gauge in the same namespace, of the namespace as a whole.
    pub fn whole(self, reading: &GaugeRecord, name: &'static str) -> Option<&'a GaugeRecord> {
        self.of(name).find(|other| other.netns == reading.netns && other.subject == Default::default())
    }
}

/// How much of its limit is taken, in percent; 0 where it has none.
pub fn percent(reading: &GaugeRecord) -> u64 {
    reading.fill().map_or(0, |fill| (fill * 100.0) as u64)
}

/// Whether it grows.
pub fn grows(reading: &GaugeRecord) -> bool {
    reading.rate.is_some_and(|rate| rate.0 > 0.0)
}

/// Whether it will have reached its limit within `time` at the rate at which it grows, and grows by one a second at least:
/// what is slower may be a single step between two readings.
pub fn fills_within(reading: &GaugeRecord, time: Nanos) -> bool {
    reading.rate.is_some_and(|rate| rate.0 >= 1.0) && reading.time_left_ns.is_some_and(|left| left <= time)
}

/// A reading as evidence.
pub fn evidence(reading: &GaugeRecord) -> Evidence {
    Evidence { at: Some(reading.at), what: describe(reading), ..Evidence::default() }
}

/// The same of a counter beside connections, with its namespace: which one they cross is not known.
pub fn evidence_of(reading: &GaugeRecord) -> Evidence {
    let netns = reading.netns.map_or(String::new(), |netns| format!(" (netns {netns})"));
    let what = format!("{}{netns}", describe(reading)).replace('\u{a0}', " ");
    Evidence { at: Some(reading.at), what, ..Evidence::default() }
}

/// A reading in words: `conntrack: 950 of 1,000 entries, +12/s, full in 4.2 s`.
pub fn describe(reading: &GaugeRecord) -> String {
    let mut text = format!("{}: ", reading.name);
    if let Some(rule) = &reading.subject.rule {
        text.push_str(&format!("{rule}: "));
    }
    text.push_str(&units::count(reading.value.0.max(0.0) as u64));
    if let Some(limit) = reading.limit {
        text.push_str(&format!(" of {}", units::count(limit)));
    }
    text.push_str(&format!(" {}", reading.unit.name()));
    if let Some(rate) = reading.rate.filter(|rate| rate.0 != 0.0) {
        text.push_str(&format!(", {}", growth(rate.0)));
    }
    match reading.time_left_ns {
        Some(Nanos(0)) => text.push_str(", full"),
        Some(left) => text.push_str(&format!(", full in {}", units::time(left))),
        None => {}
    }
    text
}

/// Growth in a second, or of what is slow in a minute.
pub fn growth(rate: f64) -> String {
    if rate.abs() >= 1.0 { format!("{rate:+.0}/s") } else { format!("{:+.1}/min", rate * 60.0) }
}

/// What a reading is of.
pub fn about(reading: &GaugeRecord) -> About {
    let subject = &reading.subject;
    let process = subject.process.as_ref().map(|process| format!("{}[{}]", process.name, process.pid));
    let server = subject.listener.or(subject.destination);
    About { server, host: subject.source, name: process, netns: reading.netns, ..About::default() }
}
