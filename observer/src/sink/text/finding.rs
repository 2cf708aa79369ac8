//! Findings as people read them.

use observer::record::{About, CaptureRecord, Case, ConnectionRecord, Evidence, Finding, FindingRecord, Severity};
use observer::time::Timestamp;

use super::overview::heading;
use super::page::{Line, Page, Tone, escape};
use super::{units, words};

/// Cases that are told of each finding.
const CASES: usize = 3;

/// Pieces of evidence that are told of each case.
const PIECES: usize = 4;

/// Draws all findings, the worst first.
pub fn report(page: &Page, out: &mut String, found: &[FindingRecord], capture: &CaptureRecord) {
    super::overview::what_was_read(page, out, capture);
    page.blank(out);
    super::overview::warnings(page, out, capture);
    let start = capture.first_seen.unwrap_or_default();
    for record in found {
        kind(page, out, record, start);
    }
    let well = match capture.connections {
        0 => "No connection was seen: there is nothing to judge.".to_string(),
        seen => format!("Nothing is wrong with {}.", units::number_of(seen, "connection")),
    };
    last_line(page, out, found, &well);
}

/// How much is wrong; `well` is said where nothing is.
pub fn last_line(page: &Page, out: &mut String, found: &[FindingRecord], well: &str) {
    let count = |severity| found.iter().filter(|record| record.severity == severity).count() as u64;
    let line = match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => Line::new().then(Tone::Good, well),
        (errors, warnings) => {
            let kinds =
                [(errors, "kind of error", "kinds of errors"), (warnings, "kind of warning", "kinds of warnings")];
            let kinds = kinds.into_iter().filter(|(count, ..)| *count > 0);
            let words = kinds.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }));
            Line::new().then(Tone::Strong, words.collect::<Vec<_>>().join(", "))
        }
    };
    let line = match found.first() {
        None => line,
        Some(record) => line.then(Tone::Dim, format!("; more of one: observer explain {}", record.name)),
    };
    page.paragraph(out, &Line::new(), &line);
}

/// One kind of finding.
pub fn kind(page: &Page, out: &mut String, record: &FindingRecord, start: Timestamp) {
    let mut head = Line::new().then(tone(record.severity), format!("{:<8}", record.severity.name()));
    head.push(Tone::Strong, record.name);
    head.push(Tone::Plain, format!(": {}", record.title));
    if record.count > 1 {
        head.push(Tone::Dim, format!(" ({} times)", units::count(record.count)));
    }
    page.paragraph(out, &Line::new(), &head);
    for case in record.cases.iter().take(CASES) {
        draw_case(page, out, case, start);
    }
    let more = record.count.saturating_sub(record.cases.len().min(CASES) as u64);
    if more > 0 {
        page.line(out, &Line::new().then(Tone::Dim, format!("  and {} more", units::count(more))));
    }
    if let Some(case) = record.cases.first() {
        page.line(out, &Line::new().then(Tone::Dim, "  what to do"));
        case.finding.remedy.iter().for_each(|step| draw_step(page, out, "  - ", step));
    }
    page.blank(out);
}

/// What is wrong with many connections together, in short.
pub fn together(page: &Page, out: &mut String, found: &[FindingRecord]) {
    if found.is_empty() {
        return;
    }
    heading(page, out, "Together", "");
    for record in found {
        cases(page, out, record, CASES, &Line::new().then(Tone::Plain, "  "));
    }
    page.blank(out);
}

/// What is found while a host is watched.
pub fn line(page: &Page, out: &mut String, record: &FindingRecord) {
    cases(page, out, record, usize::MAX, &Line::new().then(tone(record.severity), "! "));
}

/// Up to so many cases behind `first`, and how many more there are.
fn cases(page: &Page, out: &mut String, record: &FindingRecord, most: usize, first: &Line) {
    record.cases.iter().take(most).for_each(|case| page.paragraph(out, first, &fact(&case.finding)));
    let more = record.count.saturating_sub(record.cases.len().min(most) as u64);
    if more > 0 {
        let text = format!("  and {} more of {}: observer doctor", units::count(more), record.name);
        page.line(out, &Line::new().then(Tone::Dim, text));
    }
}

fn draw_case(page: &Page, out: &mut String, case: &Case, start: Timestamp) {
    let finding = &case.finding;
    let mut text = Line::new().then(Tone::Plain, escape(&finding.what));
    text.push(Tone::Dim, sureness(finding));
    let about = about(&case.about);
    if !about.is_empty() {
        text.push(Tone::Dim, format!(" [{about}]"));
    }
    page.paragraph(out, &Line::new().then(Tone::Plain, "  "), &text);
    for piece in finding.evidence.iter().take(PIECES) {
        page.paragraph(out, &Line::new().then(Tone::Plain, "      "), &draw_piece(piece, start));
    }
}

/// A step of a remedy: its commands stand out.
pub fn draw_step(page: &Page, out: &mut String, first: &str, step: &str) {
    let mut text = Line::new();
    for (number, part) in step.split('`').enumerate() {
        let (tone, mark) = if number % 2 == 1 { (Tone::Strong, "`") } else { (Tone::Plain, "") };
        text.push(tone, format!("{mark}{}{mark}", escape_prose(part)));
    }
    page.paragraph(out, &Line::new().then(Tone::Plain, first), &text);
}

/// Our own text may hold signs that what comes from a capture may not.
fn escape_prose(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn draw_piece(piece: &Evidence, start: Timestamp) -> Line {
    let mut parts = Vec::new();
    match (piece.frame, piece.last_frame) {
        (Some(first), Some(last)) => parts.push(format!("frames {first} to {last}")),
        (Some(frame), None) => parts.push(format!("frame {frame}")),
        _ => {}
    }
    if let Some(at) = piece.at {
        let until = piece.until.map_or(String::new(), |until| format!(" to +{}", units::time(until.since(start))));
        parts.push(format!("+{}{until}", units::time(at.since(start))));
    }
    parts.extend(piece.from.map(|side| words::side(side).to_string()));
    parts.push(escape(&piece.what));
    Line::new().then(Tone::Dim, parts.join(" · "))
}

/// How sure it is and why no surer: nothing where it is.
fn sureness(finding: &Finding) -> String {
    if finding.confidence == observer::record::Confidence::High {
        return String::new();
    }
    let doubts: Vec<_> = finding.doubts.iter().map(|doubt| doubt.words()).collect();
    let why = if doubts.is_empty() { String::new() } else { format!(": {}", doubts.join(", ")) };
    format!(" (confidence {}{why})", finding.confidence.name())
}

fn about(about: &About) -> String {
    let ends = match (about.client, about.server) {
        (Some(client), Some(server)) => Some(format!("{} → {}", units::end(client), units::end(server))),
        _ => None,
    };
    let id = about.first_frame().map(|frame| format!("#{frame}"));
    [id, ends].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What is wrong with a connection, a paragraph each; `full` with what to do.
pub fn facts(record: &ConnectionRecord, full: bool) -> Vec<Line> {
    let fact = |finding: &Finding| {
        let mut text = fact(finding);
        if full {
            text.push(Tone::Dim, format!(" More: observer explain {}", finding.name));
        }
        text
    };
    record.findings.iter().map(fact).collect()
}

/// A finding in a paragraph.
fn fact(finding: &Finding) -> Line {
    let mut text = Line::new().then(tone(finding.severity), finding.name);
    text.push(Tone::Plain, format!(": {}", escape(&finding.what)));
    text.push(Tone::Dim, sureness(finding));
    let frames: Vec<_> = finding.evidence.iter().filter_map(frames).collect();
    if !frames.is_empty() {
        text.push(Tone::Dim, format!(" [{}]", frames.join(", ")));
    }
    text
}

fn frames(piece: &Evidence) -> Option<String> {
    match (piece.frame?, piece.last_frame) {
        (first, Some(last)) => Some(format!("frames {first} to {last}")),
        (frame, None) => Some(format!("frame {frame}")),
    }
}

/// The names of what is wrong with a connection.
pub fn names(record: &ConnectionRecord) -> Vec<(Tone, &'static str)> {
    record.findings.iter().map(|finding| (tone(finding.severity), finding.name)).collect()
}

/// How a severity looks.
pub const fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Info => Tone::Plain,
        Severity::Warning => Tone::Notice,
        Severity::Error => Tone::Bad,
    }
}
