//! `observer doctor` on this host: what is wrong, then the gauges as bars.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use observer::finding::growth;
use observer::record::{CaptureRecord, FindingRecord, GaugeRecord, Subject, Unit};
use observer::time::Nanos;

use super::page::{Line, Page, Tone, bar, escape};
use super::{finding, units};

/// All that is told.
#[derive(Clone, Copy, Debug)]
pub struct Doctor<'a> {
    /// What is wrong, the worst first.
    pub found: &'a [FindingRecord],
    /// The readings of the last sweep.
    pub readings: &'a [GaugeRecord],
    /// The network namespace that this process is in.
    pub own: Option<u32>,
    /// What namespaces are called, by their inodes.
    pub names: &'a BTreeMap<u32, String>,
    /// What could not be read, and why.
    pub unread: &'a [String],
    /// What was watched.
    pub capture: &'a CaptureRecord,
    /// For how long.
    pub how_long: Duration,
    /// How often gauges were read, the time on the processor that each took, and that it took besides to find whose the
    /// sockets are.
    pub effort: (u32, Duration, Duration),
}

/// From this share on it is told when something will be full, and where less is taken, if it is that soon: one connection
/// more or less lets anything grow.
const FILLING: f64 = 0.1;
const SOON: Nanos = Nanos::from_secs(3600);

/// Bars that are drawn, the fullest first.
const BARS: usize = 12;

/// Destinations of TIME-WAIT that are told, those with the most.
const DESTINATIONS: usize = 5;

/// Readings that are told elsewhere.
const WITHOUT_BAR: [&str; 2] = ["retransmission_percent", "tcp_memory_pressure"];

/// Columns of the names.
const NAME: usize = 17;

/// Draws everything.
pub fn draw(page: &Page, out: &mut String, doctor: &Doctor<'_>) {
    let how_long = Nanos(u64::try_from(doctor.how_long.as_nanos()).unwrap_or(u64::MAX));
    let connections = units::number_of(doctor.capture.connections, "connection");
    let head = Line::new().then(Tone::Strong, "this host").then(Tone::Dim, format!(": {connections} seen in "));
    let time = |time: Duration| units::time(Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
    let (sweeps, each, looking) = doctor.effort;
    let mut effort = format!("; gauges read {}, {} each", units::number_of(sweeps.into(), "time"), time(each));
    if looking > Duration::ZERO {
        effort.push_str(&format!(", {} for whose the sockets are", time(looking)));
    }
    page.paragraph(out, &Line::new(), &head.then(Tone::Dim, units::time(how_long) + &effort));
    page.blank(out);
    doctor
        .found
        .iter()
        .for_each(|record| finding::kind(page, out, record, doctor.capture.first_seen.unwrap_or_default()));
    let places = Places { home: home(doctor.readings, doctor.own), names: doctor.names };
    bars(page, out, doctor.readings, places);
    close_wait(page, out, doctor.readings, places);
    time_wait(page, out, doctor.readings, places);
    states(page, out, doctor.readings);
    tracked(page, out, doctor.readings, places);
    firewall(page, out, doctor.readings, places);
    rates(page, out, doctor.readings, places);
    for what in doctor.unread {
        let first = Line::new().then(Tone::Notice, "not seen  ");
        page.paragraph(out, &first, &Line::new().then(Tone::Dim, escape(what)));
    }
    page.blank(out);
    let well = match doctor.capture.connections {
        0 => "Nothing is wrong; no connection was seen.".to_string(),
        _ => format!("Nothing is wrong with {connections}."),
    };
    finding::last_line(page, out, doctor.found, &well);
}

/// The namespace that goes without saying: this process's own, or where that was not looked at, the first.
fn home(readings: &[GaugeRecord], own: Option<u32>) -> Option<u32> {
    let is_own = |reading: &GaugeRecord| reading.netns.is_some() && reading.netns == own;
    if readings.iter().any(is_own) { own } else { readings.iter().find_map(|reading| reading.netns) }
}

/// Where readings are from.
#[derive(Clone, Copy)]
struct Places<'a> {
    /// The namespace that goes without saying.
    home: Option<u32>,
    names: &'a BTreeMap<u32, String>,
}

impl Places<'_> {
    /// A namespace, where it does not go without saying.
    fn elsewhere(&self, netns: Option<u32>) -> Option<String> {
        let netns = netns.filter(|_| netns != self.home)?;
        let name = self.names.get(&netns).map_or_else(|| netns.to_string(), |name| escape(name));
        Some(format!("(netns\u{a0}{name})"))
    }
}

/// The fullest of what has a limit: name, bar, share, and how long it lasts.
fn bars(page: &Page, out: &mut String, readings: &[GaugeRecord], places: Places<'_>) {
    const BAR: usize = 20;
    let has_bar = |reading: &&GaugeRecord| reading.limit.is_some() && !WITHOUT_BAR.contains(&reading.name);
    let mut full: Vec<_> = readings.iter().filter(has_bar).collect();
    full.sort_by_key(|reading| Reverse((reading.fill().unwrap_or(0.0) * 1e6) as u64));
    // Queues, destinations and other namespaces are of interest only where there is something in them.
    let is_home = |reading: &GaugeRecord| {
        reading.subject == Subject::default() && reading.netns.is_none_or(|netns| Some(netns) == places.home)
    };
    full.retain(|reading| reading.value.0 > 0.0 || is_home(reading));
    for reading in full.into_iter().take(BARS) {
        let fill = reading.fill().unwrap_or(0.0);
        let tone = if fill >= 0.95 {
            Tone::Bad
        } else if fill >= 0.8 {
            Tone::Notice
        } else {
            Tone::Good
        };
        let mut first = Line::new().then(Tone::Plain, reading.name.replace('_', " "));
        first.pad(NAME);
        let width = first.width();
        first.push(tone, bar((fill.min(1.0) * 1e6) as u64, 1_000_000, BAR));
        first.pad(width + BAR + 1);
        first.push(Tone::Plain, format!("{:>4}\u{a0}% ", (fill * 100.0).floor()));
        let limit = units::count(reading.limit.unwrap_or(0));
        let mut text = format!("{}\u{a0}of\u{a0}{limit}", units::count(reading.value.0.max(0.0).round() as u64));
        if let Some(rate) = reading.rate.filter(|rate| rate.0 > 0.0) {
            text.push_str(&format!(" {}", growth(rate.0)));
        }
        let mut text = Line::new().then(Tone::Plain, text);
        if let Some(left) = reading.time_left_ns.filter(|left| fill >= FILLING || *left <= SOON) {
            text.push(Tone::Notice, format!(" full\u{a0}in\u{a0}{}", units::time(left).replace(' ', "\u{a0}")));
        }
        let what = subject(reading, places);
        if !what.is_empty() {
            text.push(Tone::Dim, format!(" {what}"));
        }
        page.paragraph(out, &first, &text);
    }
}

/// What a reading is of, in words.
fn subject(reading: &GaugeRecord, places: Places<'_>) -> String {
    let subject = &reading.subject;
    let mut words = Vec::new();
    words.extend(subject.process.as_ref().map(|process| format!("{}[{}]", escape(&process.name), process.pid)));
    words.extend(subject.listener.map(units::end));
    words.extend(subject.destination.map(|end| format!("→\u{a0}{}", units::end(end))));
    words.extend(places.elsewhere(reading.netns));
    words.join(" ")
}

/// CLOSE-WAIT by process: how many, how fast they grow, how old they are, and how long the process's descriptors last.
fn close_wait(page: &Page, out: &mut String, readings: &[GaugeRecord], places: Places<'_>) {
    for reading in readings.iter().filter(|reading| reading.name == "close_wait") {
        let who = reading.subject.process.as_ref();
        let who = who.map_or("of no known process".to_string(), |who| format!("{}[{}]", escape(&who.name), who.pid));
        let mut words = format!("{}\u{a0}{who}", units::count(reading.value.0 as u64));
        if let Some(rate) = reading.rate.filter(|rate| rate.0 > 0.0) {
            words.push_str(&format!(" {}", growth(rate.0)));
        }
        let ages = reading.ages.unwrap_or_default();
        let ages = [
            (ages.over_1s, ages.over_10s, "1\u{a0}s"),
            (ages.over_10s, ages.over_1min, "10\u{a0}s"),
            (ages.over_1min, ages.over_10min, "1\u{a0}min"),
            (ages.over_10min, 0, "10\u{a0}min"),
        ];
        // Of those that are all older still, the longer time says it.
        for (count, _, age) in ages.into_iter().filter(|(count, longer, _)| count > longer) {
            words.push_str(&format!(", {}\u{a0}>\u{a0}{age}", units::count(count)));
        }
        let mut text = Line::new().then(Tone::Plain, words);
        if let Some(left) = reading.time_left_ns {
            text.push(Tone::Notice, format!(", EMFILE\u{a0}in\u{a0}{}", units::time(left).replace(' ', "\u{a0}")));
        }
        text.push(Tone::Dim, places.elsewhere(reading.netns).map_or(String::new(), |netns| format!(" {netns}")));
        labelled(page, out, "close wait", &text);
    }
}

/// Where the connections in TIME-WAIT led, and whether their ports are taken again, by namespace.
fn time_wait(page: &Page, out: &mut String, readings: &[GaugeRecord], places: Places<'_>) {
    for netns in namespaces(readings, places.home) {
        let here = || readings.iter().filter(|reading| reading.netns == netns);
        let led = here().filter(|reading| reading.name == "time_wait_of_destination");
        let mut words: Vec<_> = led
            .filter_map(|reading| {
                let end = units::end(reading.subject.destination?);
                Some(format!("{}\u{a0}→\u{a0}{end}", units::count(reading.value.0 as u64)))
            })
            .take(DESTINATIONS)
            .collect();
        if words.is_empty() {
            continue;
        }
        words.extend(
            here().find(|one| one.name == "tcp_tw_reuse").map(|one| format!("tcp_tw_reuse\u{a0}{}", one.value.0)),
        );
        let mut text = Line::new().then(Tone::Plain, words.join(" · "));
        text.push(Tone::Dim, places.elsewhere(netns).map_or(String::new(), |netns| format!(" {netns}")));
        labelled(page, out, "time wait to", &text);
    }
}

/// A line behind its name.
fn labelled(page: &Page, out: &mut String, name: &str, text: &Line) {
    let mut first = Line::new().then(Tone::Plain, name);
    first.pad(NAME);
    page.paragraph(out, &first, text);
}

/// How many sockets are in each state, of all namespaces.
fn states(page: &Page, out: &mut String, readings: &[GaugeRecord]) {
    let mut counts: Vec<(&'static str, u64)> = Vec::new();
    for reading in readings.iter().filter(|reading| reading.name == "sockets") {
        let Some(state) = reading.subject.state else { continue };
        let count = reading.value.0 as u64;
        match counts.iter_mut().find(|(name, _)| *name == state.name()) {
            Some((_, all)) => *all += count,
            None => counts.push((state.name(), count)),
        }
    }
    let words = counts.into_iter().filter(|(_, count)| *count > 0);
    let words: Vec<_> = words.map(|(name, count)| format!("{name}\u{a0}{}", units::count(count))).collect();
    if !words.is_empty() {
        labelled(page, out, "sockets", &Line::new().then(Tone::Plain, words.join(" · ")));
    }
}

/// What connection tracking tells of itself: new flows, and entries where they were read.
fn tracked(page: &Page, out: &mut String, readings: &[GaugeRecord], places: Places<'_>) {
    let mut words = Vec::new();
    for reading in readings.iter().filter(|reading| reading.value.0 > 0.0) {
        let mut word = match (reading.name, &reading.subject) {
            ("conntrack_new_flows", _) => format!("{}\u{a0}new/s", reading.value.0),
            (_, Subject { tracked: Some(state), .. }) => {
                format!("{}\u{a0}{}\u{a0}{}", state.protocol, state.state, units::count(reading.value.0 as u64))
            }
            ("conntrack_of_source", Subject { source: Some(source), .. }) => {
                format!("from\u{a0}{source}\u{a0}{}", units::count(reading.value.0 as u64))
            }
            _ => continue,
        };
        if let Some(netns) = places.elsewhere(reading.netns) {
            word.push_str(&format!("\u{a0}{netns}"));
        }
        words.push(word);
    }
    if !words.is_empty() {
        labelled(page, out, "tracked", &Line::new().then(Tone::Plain, words.join(" · ")));
    }
}

/// Which rules dropped or rejected packets while it was watched.
fn firewall(page: &Page, out: &mut String, readings: &[GaugeRecord], places: Places<'_>) {
    for reading in readings {
        let (Some(rule), Some(rate)) = (&reading.subject.rule, reading.rate) else { continue };
        let mut text = Line::new().then(Tone::Plain, format!("{} {}", escape(&rule.to_string()), growth(rate.0)));
        text.push(Tone::Dim, format!(", {}\u{a0}packets in all", units::count(reading.value.0 as u64)));
        text.push(Tone::Dim, places.elsewhere(reading.netns).map_or(String::new(), |netns| format!(" {netns}")));
        labelled(page, out, "firewall", &text);
    }
}

/// What the stack of each namespace counted while it was watched: what did not happen is left out.
fn rates(page: &Page, out: &mut String, readings: &[GaugeRecord], places: Places<'_>) {
    for netns in namespaces(readings, places.home) {
        let mut words = Vec::new();
        for reading in readings.iter().filter(|reading| reading.netns == netns) {
            match (reading.unit, reading.rate) {
                (Unit::Percent, _) if reading.value.0 > 0.0 => {
                    words.push(format!("retransmitted\u{a0}{}\u{a0}%", reading.value.0));
                }
                (Unit::Events | Unit::Segments, Some(rate)) if rate.0 > 0.0 && reading.limit.is_none() => {
                    words.push(format!("{}\u{a0}{}", reading.name.replace('_', "\u{a0}"), growth(rate.0)));
                }
                _ => {}
            }
        }
        if !words.is_empty() {
            let mut text = Line::new().then(Tone::Plain, words.join(" · "));
            text.push(Tone::Dim, places.elsewhere(netns).map_or(String::new(), |netns| format!(" {netns}")));
            labelled(page, out, "the stack", &text);
        }
    }
}

/// Every namespace of which there are readings, each once, the one that goes without saying first.
fn namespaces(readings: &[GaugeRecord], home: Option<u32>) -> Vec<Option<u32>> {
    let others: BTreeSet<_> = readings.iter().map(|reading| reading.netns).filter(|netns| *netns != home).collect();
    std::iter::once(home).chain(others).collect()
}
