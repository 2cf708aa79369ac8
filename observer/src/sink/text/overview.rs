//! All connections of a capture taken together.

use std::cmp::Reverse;

use observer::record::{CaptureRecord, ConnState, FindingRecord, Retransmissions};
use observer::time::Nanos;

use super::page::{Line, Page, Tone, bar, escape};
use super::{finding, units, words};
use crate::sink::lookups::Lookups;
use crate::sink::sketch::{Distribution, Load, Talker};
use crate::sink::summary::{List, Row, TROUBLES, Totals};

/// Rows of a table of talkers.
const TALKERS: usize = 5;
/// Columns below which a bar tells nothing.
const SHORTEST_BAR: usize = 8;
/// Interfaces, and comments, that are named.
const INTERFACES: usize = 8;
/// Rows of a histogram.
const RANGES: usize = 10;

/// What there is to say of all connections.
pub struct Overview {
    /// Counts.
    pub totals: Totals,
    /// Lookups of names.
    pub lookups: Lookups,
    /// What is wrong with many connections together, the worst first.
    pub together: Vec<FindingRecord>,
}

/// Draws the summary. `show_one` is the command that shows a connection, without its `id`; there is none for a stream.
pub fn summary(
    page: &Page,
    out: &mut String,
    Overview { totals, lookups, together }: Overview,
    capture: &CaptureRecord,
    show_one: Option<&str>,
) {
    what_was_read(page, out, capture);
    let quic = match totals.quic {
        0 => String::new(),
        quic => format!(" ({} of QUIC)", units::count(quic)),
    };
    let counts = [
        (totals.packets, "segment", totals.quic < totals.connections),
        (totals.datagrams, "datagram", totals.datagrams > 0),
    ];
    let packets = counts.iter().filter(|count| count.2 || totals.connections == 0 && count.1 == "segment");
    let packets: Vec<_> = packets.map(|(count, name, _)| units::number_of(*count, name)).collect();
    let all = Line::new()
        .then(Tone::Strong, units::number_of(totals.connections, "connection"))
        .then(Tone::Plain, quic)
        .then(Tone::Plain, format!(", {}, ", packets.join(", ")))
        .then(Tone::Plain, format!("{} of payload", units::bytes(totals.bytes)));
    page.paragraph(out, &Line::new(), &all);
    page.blank(out);
    warnings(page, out, capture);
    if totals.connections > 0 {
        outcomes(page, out, &totals);
        findings(page, out, &totals);
    }
    finding::together(page, out, &together);
    if totals.connections > 0 {
        round_trips(page, out, &totals.rtt);
        losses(page, out, &totals);
        talkers(page, out, "Busiest servers", &totals.servers.into_top(TALKERS));
        talkers(page, out, "Busiest clients", &totals.clients.into_top(TALKERS));
    }
    super::lookups::draw(page, out, lookups);
    quality(page, out, capture);
    list(page, out, totals.list, show_one);
}

/// Says prominently what lowers the worth of everything else.
pub fn warnings(page: &Page, out: &mut String, capture: &CaptureRecord) {
    let mut warnings = Vec::new();
    if let Some(dropped) = capture.dropped.filter(|dropped| *dropped > 0) {
        let lost = units::number_of(dropped, "frame");
        let share = units::percent(dropped, dropped.saturating_add(capture.frames));
        warnings.push(format!(
            "The capture itself lost {lost} ({share}): gaps, retransmissions and unanswered segments below may be its \
             own, not the network's."
        ));
    }
    if capture.evicted > 0 {
        let evicted = units::number_of(capture.evicted, "connection");
        warnings.push(format!(
            "{evicted} were given up to stay within --max-connections: what came later of them counts as new ones."
        ));
    }
    for file in &capture.files {
        if let Some(error) = &file.error {
            let read = if file.frames == 0 { "could not be read" } else { "was read in part" };
            warnings.push(format!("{} {read}: {}", escape(&file.name), escape(error)));
        }
    }
    for warning in &warnings {
        page.paragraph(out, &Line::new().then(Tone::Bad, "! "), &Line::new().then(Tone::Bad, warning));
    }
    if !warnings.is_empty() {
        page.blank(out);
    }
}

/// Closes a list of connections drawn in full. `show_one` is the command that shows a connection, without its `id`.
pub fn last_line(page: &Page, out: &mut String, capture: &CaptureRecord, show_one: Option<&str>) {
    what_was_read(page, out, capture);
    let mut text = Line::new().then(Tone::Dim, units::number_of(capture.connections, "connection"));
    for (count, words) in oddities(capture) {
        text.push(Tone::Dim, format!("; {} {words}", units::count(count)));
    }
    page.paragraph(out, &Line::new(), &text);
    if let Some(show_one) = show_one.filter(|_| capture.connections > 1) {
        let text = Line::new().then(Tone::Dim, "All there is of one: ").then(Tone::Plain, format!("{show_one} ID"));
        page.paragraph(out, &Line::new(), &text);
    }
}

pub fn what_was_read(page: &Page, out: &mut String, capture: &CaptureRecord) {
    let name = match capture.files.as_slice() {
        [] => "nothing".to_string(),
        [one] => escape(&one.name),
        [one, more @ ..] => format!("{} and {}", escape(&one.name), units::number_of(more.len() as u64, "more file")),
    };
    let mut text = Line::new().then(Tone::Strong, name);
    text.push(Tone::Dim, format!(": {}", units::number_of(capture.frames, "frame")));
    text.push(Tone::Dim, format!(", {}", units::bytes(capture.octets)));
    if let (Some(first), Some(last)) = (capture.first_seen, capture.last_seen) {
        if last > first {
            text.push(Tone::Dim, format!(", {}", units::time(last.since(first))));
        }
        text.push(Tone::Dim, format!(", from {}", units::date(first)));
    }
    page.paragraph(out, &Line::new(), &text);
}

pub fn heading(page: &Page, out: &mut String, text: &str, figures: &str) {
    let first = Line::new().then(Tone::Strong, text).then(Tone::Plain, "  ");
    page.paragraph(out, &first, &Line::new().then(Tone::Plain, figures));
}

/// A row of a table with a bar: name, count, share, bar.
fn bar_row(page: &Page, out: &mut String, name: Line, column: usize, part: u64, whole: u64, largest: u64) {
    let mut line = Line::new().then(Tone::Plain, "  ");
    line.extend(name);
    line.pad(column);
    line.push(Tone::Plain, format!("{:>11}  {:>8}  ", units::count(part), units::percent(part, whole)));
    let room = page.width.saturating_sub(line.width()).min(50);
    if room >= SHORTEST_BAR {
        line.push(Tone::Server, bar(part, largest, room));
    }
    page.line(out, &line);
}

fn outcomes(page: &Page, out: &mut String, totals: &Totals) {
    heading(page, out, "Outcome", "");
    let mut rows: Vec<_> = totals.outcomes.iter().collect();
    rows.sort_by_key(|(state, count)| (Reverse(**count), **state));
    let largest = rows.first().map_or(0, |row| *row.1);
    for ((state, over_udp), count) in rows {
        let (words, tone) = match (state, over_udp) {
            (ConnState::SF, true) => ("answered (UDP)", Tone::Good),
            (ConnState::S0, true) => ("no answer (UDP)", Tone::Bad),
            _ => words::outcome(*state),
        };
        let name = Line::new().then(Tone::Dim, format!("{:<7}", format!("{state:?}"))).then(tone, words);
        bar_row(page, out, name, 33, *count, totals.connections, largest);
    }
    page.blank(out);
}

fn findings(page: &Page, out: &mut String, totals: &Totals) {
    if totals.findings.is_empty() {
        return;
    }
    heading(page, out, "Findings", "observer explain NAME says more, observer doctor FILE shows them");
    let mut rows: Vec<_> = totals.findings.iter().collect();
    rows.sort_by_key(|(name, (severity, count))| (Reverse(*severity), Reverse(*count), **name));
    let longest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, (severity, count)) in rows {
        let mut line = Line::new().then(Tone::Dim, format!("  {:<9}", severity.name()));
        line.push(finding::tone(*severity), *name);
        line.pad((11 + longest).max(33));
        line.push(Tone::Plain, format!("{:>11}", units::count(*count)));
        page.line(out, &line);
    }
    page.blank(out);
}

fn round_trips(page: &Page, out: &mut String, rtt: &Distribution) {
    let of = |percent| rtt.percentile(percent).map_or("-".to_string(), units::time);
    if rtt.count() == 0 {
        return;
    }
    let figures = format!("p50 {}, p90 {}, p99 {} of {}", of(50), of(90), of(99), units::count(rtt.count()));
    heading(page, out, "Handshake RTT", &figures);
    let ranges = gathered(rtt.ranges());
    let largest = ranges.iter().map(|range| range.2).max().unwrap_or(0);
    for (from, until, count) in ranges {
        let name = match (from, until) {
            (None, Some(until)) => format!("under {}", units::time(until)),
            (Some(from), None) => format!("{} and over", units::time(from)),
            (Some(from), Some(until)) => format!("{} to {}", units::time(from), units::time(until)),
            (None, None) => String::new(),
        };
        bar_row(page, out, Line::new().then(Tone::Plain, format!("{name:>19}")), 33, count, rtt.count(), largest);
    }
    page.blank(out);
}

type Range = (Option<Nanos>, Option<Nanos>, u64);

/// Neighbours put together, by decades, where there are too many to read.
fn gathered(ranges: Vec<Range>) -> Vec<Range> {
    if ranges.len() <= RANGES {
        return ranges;
    }
    let decade =
        |bound: Option<Nanos>| bound.is_none_or(|bound| (bound.0 / 1000).to_string().trim_end_matches('0') == "1");
    let mut gathered: Vec<Range> = Vec::new();
    for (from, until, count) in ranges {
        match gathered.last_mut() {
            Some(last) if !decade(from) => {
                last.1 = until;
                last.2 += count;
            }
            _ => gathered.push((from, until, count)),
        }
    }
    gathered
}

fn losses(page: &Page, out: &mut String, totals: &Totals) {
    let Retransmissions { rto, fast, tail_loss_probe, spurious, sack_repaired } = totals.retransmissions;
    let again = rto + fast + tail_loss_probe + spurious + sack_repaired;
    let figures = format!("{} of segments sent again ({})", units::percent(again, totals.packets), units::count(again));
    heading(page, out, "Retransmission", &figures);
    let twice = totals.bytes.saturating_sub(totals.unique_bytes);
    if twice > 0 {
        let share = units::percent(twice, totals.bytes);
        let text = format!("{} of payload ({share}) crossed the wire more than once", units::bytes(twice));
        page.paragraph(out, &Line::new().then(Tone::Plain, "  "), &Line::new().then(Tone::Plain, text));
    }
    let causes = [
        ("after a timeout", rto),
        ("fast, after duplicate ACKs", fast),
        ("SACK-repaired", sack_repaired),
        ("tail loss probe", tail_loss_probe),
        ("needless", spurious),
    ];
    let largest = causes.iter().map(|cause| cause.1).max().unwrap_or(0);
    for (name, count) in causes.into_iter().filter(|cause| cause.1 > 0) {
        bar_row(page, out, Line::new().then(Tone::Plain, name), 33, count, again, largest);
    }
    page.blank(out);
    let troubles: Vec<_> = TROUBLES.iter().zip(totals.trouble).filter(|(_, trouble)| trouble.count > 0).collect();
    if troubles.is_empty() {
        return;
    }
    heading(page, out, "Also seen", "");
    for ((name, _), trouble) in troubles {
        let count = units::count(trouble.count);
        let connections = units::number_of(trouble.connections, "connection");
        let mut line = Line::new().then(Tone::Plain, format!("  {name}"));
        line.pad(33);
        line.push(Tone::Plain, format!("{count:>11}  in {connections}"));
        if line.width() > page.width {
            line = Line::new().then(Tone::Plain, format!("  {name}: {count} in {connections}"));
        }
        page.line(out, &line);
    }
    page.blank(out);
}

fn talkers(page: &Page, out: &mut String, name: &str, talkers: &[(Talker, Load)]) {
    heading(page, out, name, "payload, connections, segments sent again");
    let facts = |load: &Load| {
        let again = units::percent(load.retransmitted, load.packets);
        format!("{:>9}  {:>11}  {again:>8}", units::bytes(load.bytes), units::count(load.connections))
    };
    let names = talkers.iter().map(|(talker, _)| talker.to_string().len()).max().unwrap_or(0);
    let widest = talkers.iter().map(|(_, load)| facts(load).chars().count()).max().unwrap_or(0);
    let column = 2 + names.max(30) + 2;
    for (talker, load) in talkers {
        let mut line = Line::new().then(Tone::Plain, format!("  {talker}"));
        if column + widest > page.width {
            page.line(out, &line);
            line = Line::new().then(Tone::Plain, "    ");
        } else {
            line.pad(column);
        }
        line.push(Tone::Plain, facts(load));
        page.line(out, &line);
    }
    page.blank(out);
}

/// What was odd about the frames, and how many of them.
fn oddities(capture: &CaptureRecord) -> Vec<(u64, &'static str)> {
    let all = [
        (capture.filtered, "frames left out by the filter"),
        (capture.other, "frames without TCP"),
        (capture.unknown_link, "frames of an unknown link type"),
        (capture.malformed, "malformed frames"),
        (capture.malformed_lookups, "malformed messages of DNS"),
        (capture.truncated, "frames cut short by the snapshot length"),
        (capture.fragments, "IP fragments"),
        (capture.fragments_dropped, "IP fragments given up"),
        (capture.duplicates, "packets captured twice"),
    ];
    all.into_iter().filter(|oddity| oddity.0 > 0).collect()
}

fn quality(page: &Page, out: &mut String, capture: &CaptureRecord) {
    heading(page, out, "Capture", "");
    let dropped = match capture.dropped {
        None => "the files do not say whether any were dropped".to_string(),
        Some(0) => "none dropped".to_string(),
        Some(dropped) => format!("{} dropped", units::count(dropped)),
    };
    let text = format!(
        "{} with {}; {dropped}",
        units::number_of(capture.frames, "frame"),
        units::number_of(capture.segments, "TCP segment")
    );
    let indent = Line::new().then(Tone::Plain, "  ");
    page.paragraph(out, &indent, &Line::new().then(Tone::Plain, text));
    for (count, words) in oddities(capture) {
        let text = format!("{} {words} ({})", units::count(count), units::percent(count, capture.frames));
        page.paragraph(out, &indent, &Line::new().then(Tone::Plain, text));
    }
    for interface in capture.files.iter().flat_map(|file| &file.interfaces).take(INTERFACES) {
        let mut parts = vec![escape(interface.name.as_deref().unwrap_or("without a name"))];
        parts.extend(interface.description.as_deref().map(escape));
        parts.extend(interface.filter.as_deref().map(|filter| format!("filter {}", escape(filter))));
        parts.extend(interface.received.map(|frames| format!("{} received", units::number_of(frames, "frame"))));
        parts.extend(interface.dropped.map(|frames| format!("{} dropped", units::count(frames))));
        if parts.len() > 1 || interface.name.is_some() {
            let text = format!("interface {}", parts.join(", "));
            page.paragraph(out, &indent, &Line::new().then(Tone::Plain, text));
        }
    }
    for comment in capture.files.iter().flat_map(|file| &file.comments).take(INTERFACES) {
        page.paragraph(out, &indent, &Line::new().then(Tone::Plain, format!("comment: {}", escape(comment))));
    }
    page.blank(out);
}

fn list(page: &Page, out: &mut String, list: List, show_one: Option<&str>) {
    let title = match &list {
        List::Remarkable(..) => "Most remarkable connections".to_string(),
        List::Ordered(order, _) => format!("Connections by {}", order.name()),
    };
    let rows = list.into_rows();
    let Some(example) = rows.first().map(|row| row.id) else { return };
    heading(page, out, &title, "");
    let ends = |row: &Row| format!("{} →\u{a0}{}", units::end(row.client), units::end(row.server));
    let widest = |width: &dyn Fn(&Row) -> usize| rows.iter().map(width).max().unwrap_or(0);
    let digits = widest(&|row| row.id.to_string().len());
    let column = digits + CODE + widest(&|row| ends(row).chars().count()) + 2;
    let one_line = column + widest(&|row| row.why.chars().count()) <= page.width;
    for row in &rows {
        let (_, tone) = words::outcome(row.state);
        let mut first = Line::new().then(Tone::Plain, format!("  {:>digits$}  ", row.id));
        first.push(tone, format!("{:?}", row.state));
        first.pad(digits + CODE);
        let (ends, why) = (Line::new().then(Tone::Plain, ends(row)), Line::new().then(Tone::Notice, row.why.clone()));
        if one_line {
            first.extend(ends);
            first.pad(column);
            first.extend(why);
            page.line(out, &first);
        } else {
            page.paragraph(out, &first, &ends);
            first = Line::new();
            first.pad(digits + CODE + 2);
            page.paragraph(out, &first, &why);
        }
    }
    page.blank(out);
    if let Some(show_one) = show_one {
        let text = Line::new().then(Tone::Dim, "Show one in full: ").then(Tone::Plain, format!("{show_one} {example}"));
        page.paragraph(out, &Line::new(), &text);
    }
}

/// Columns around a connection's number, and of its outcome's code.
const CODE: usize = 12;
