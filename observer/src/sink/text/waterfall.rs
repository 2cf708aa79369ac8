//! The phases of a connection, drawn to scale.

use observer::record::{ConnectionRecord, Phase, PhaseRecord, Side, TimelineEntry, Transport};
use observer::time::{Nanos, Timestamp};
use observer::tracker::AnalysisSet;

use super::page::{Line, Page, Tone};
use super::{units, words};

/// Columns of a row's name.
const NAME: usize = 20;
/// Columns of a row's figures, where the page is wide and where it is not.
const FIGURES: [usize; 2] = [30, 14];
/// With fewer columns than this a drawing tells nothing.
const LEAST: usize = 12;

/// Draws the phases of a connection that took some time.
pub fn draw(page: &Page, out: &mut String, record: &ConnectionRecord) {
    let [wide, narrow] = FIGURES;
    let is_wide = page.width >= 100;
    let figures = if is_wide { wide } else { narrow };
    let start = record.phases.first().map_or(record.first_seen, |phase| phase.start.min(record.first_seen));
    let scale = Scale {
        start,
        length: record.last_seen.since(start),
        columns: page.width.saturating_sub(NAME + figures + 1).min(100),
        wide: is_wide,
    };
    if record.duration_ns.0 == 0 || scale.columns < LEAST {
        return;
    }
    for row in rows(record, &scale) {
        let mut line = Line::new().then(row.tone, format!("  {}", row.name));
        line.pad(NAME);
        line.extend(row.bar);
        line.pad(NAME + scale.columns + 1);
        line.push(Tone::Plain, row.figures);
        page.line(out, &line);
    }
}

struct Row {
    name: &'static str,
    tone: Tone,
    bar: Line,
    figures: String,
}

fn rows(record: &ConnectionRecord, scale: &Scale) -> Vec<Row> {
    let entries = record.timeline.as_ref().map_or(&[][..], |timeline| &timeline.entries);
    let mut rows = Vec::new();
    let (lookup, phases) =
        record.phases.split_at(record.phases.iter().take_while(|phase| phase.phase == Phase::Dns).count());
    rows.extend(lookup.iter().filter_map(|lookup| phase(record, lookup, scale)));
    rows.extend(handshake(record, scale));
    rows.extend(phases.iter().filter_map(|later| phase(record, later, scale)));
    for from in [Side::Client, Side::Server] {
        rows.extend(data(record, entries, from, scale));
    }
    for side in [Side::Client, Side::Server] {
        rows.extend(no_window(record, entries, side, scale));
    }
    if record.is_all_seen() && (record.handshake.syn.is_none() || record.handshake.syn_ack.is_some()) {
        rows.extend(idle(entries, scale));
    }
    rows.extend(close(record, scale));
    rows
}

fn handshake(record: &ConnectionRecord, scale: &Scale) -> Option<Row> {
    let from = record.handshake.syn?;
    let answered = record.handshake.syn_ack.is_some();
    let until =
        record.handshake.ack.or(record.handshake.syn_ack).or(record.close.rst.server).unwrap_or(record.last_seen);
    let name = match (record.handshake.ack, answered, record.close.rst.server) {
        (Some(_), _, _) => "TCP handshake",
        (None, false, Some(_)) => "refused after",
        (None, false, None) => "no answer for",
        (None, true, _) => "handshake cut off",
    };
    let tone = if record.handshake.ack.is_some() { Tone::Good } else { Tone::Bad };
    Some(Row { name, tone, bar: scale.bar(&[(from, until)], '█', tone), figures: units::time(until.since(from)) })
}

/// A phase of what the connection was for that took some time. Connect and close have rows of their own.
fn phase(record: &ConnectionRecord, phase: &PhaseRecord, scale: &Scale) -> Option<Row> {
    if phase.length_ns.0 == 0 {
        return None;
    }
    let (tone, mark) = match phase.phase {
        Phase::Connect | Phase::Close => return None,
        Phase::Tls if record.tls.as_ref().is_some_and(|tls| !tls.established) => (Tone::Bad, '█'),
        Phase::Quic if record.quic.as_ref().is_some_and(|quic| quic.handshake_ns.is_none()) => (Tone::Bad, '█'),
        Phase::Dns | Phase::Quic | Phase::Tls => (Tone::Good, '█'),
        Phase::Request => (Tone::Client, '▓'),
        Phase::Server => (Tone::Dim, '░'),
        Phase::Transfer => (Tone::Server, '▓'),
    };
    let bar = scale.bar(&[(phase.start, phase.start.plus(phase.length_ns))], mark, tone);
    Some(Row { name: phase.phase.words(), tone, bar, figures: units::time(phase.length_ns) })
}

fn data(record: &ConnectionRecord, entries: &[TimelineEntry], from: Side, scale: &Scale) -> Option<Row> {
    let sent = record.bytes_of(from).unwrap_or(0);
    // When datagrams came is not kept.
    if sent == 0 || record.transport != Transport::Tcp {
        return None;
    }
    let spans = |again: bool| -> Vec<_> {
        let own = entries.iter().filter(|entry| entry.from == from && entry.bytes > 0 && !entry.is_event());
        own.filter(|entry| entry.retransmission.is_some() == again).map(|entry| (entry.at, entry.until)).collect()
    };
    let tone = words::tone(from);
    let mut cells = scale.cells(&spans(false), '█', tone);
    for (cell, again) in cells.iter_mut().zip(scale.cells(&spans(true), '×', Tone::Bad)) {
        if again.is_some() {
            *cell = again;
        }
    }
    let name = match from {
        Side::Client => "client → server",
        Side::Server => "server → client",
    };
    let speed = record.flow.and_then(|flow| flow.of(from).throughput_bps).filter(|_| sent > 10_000);
    let figures = match speed {
        Some(speed) if scale.wide => format!("{}, {}", units::bytes(sent), units::rate(speed)),
        _ => units::bytes(sent),
    };
    Some(Row { name, tone, bar: line_of(&cells), figures })
}

/// While the other end might not send: from a zero window to the next word of the same end that offers more.
fn no_window(record: &ConnectionRecord, entries: &[TimelineEntry], side: Side, scale: &Scale) -> Option<Row> {
    let mut spans = Vec::new();
    let mut since = None;
    if record.packets.is_none() {
        // What opens it again is not seen: it was closed between two that acknowledge the same.
        let mut last: Option<&TimelineEntry> = None;
        let is_full = |entry: &&TimelineEntry| entry.from == side && entry.analysis.contains(AnalysisSet::ZERO_WINDOW);
        for entry in entries.iter().filter(is_full) {
            let before = last.filter(|last| last.ack == entry.ack);
            spans.push((before.map_or(entry.at, |last| last.until), entry.until));
            last = Some(entry);
        }
        spans.retain(|(from, until)| from < until);
    }
    let whole = record.packets.is_some();
    for entry in entries.iter().filter(|entry| whole && entry.from == side && !entry.is_event()) {
        if entry.analysis.contains(AnalysisSet::ZERO_WINDOW) {
            since = since.or(Some(entry.at));
        } else if let Some(since) = since.take() {
            spans.push((since, entry.at));
        }
    }
    spans.extend(since.map(|since| (since, record.last_seen)));
    if spans.is_empty() {
        return None;
    }
    let name = match side {
        Side::Client => "client window 0",
        Side::Server => "server window 0",
    };
    let total = spans.iter().map(|(from, until)| until.since(*from).0).sum();
    Some(Row { name, tone: Tone::Bad, bar: scale.bar(&spans, '▒', Tone::Bad), figures: units::time(Nanos(total)) })
}

/// Silences that make a good part of the whole.
fn idle(entries: &[TimelineEntry], scale: &Scale) -> Option<Row> {
    let least = Nanos((scale.length.0 / 10).max(Nanos::from_millis(100).0));
    let mut gaps = Vec::new();
    let mut last = entries.first()?.until;
    for entry in entries {
        if entry.at.since(last) >= least {
            gaps.push((last, entry.at));
        }
        last = last.max(entry.until);
    }
    if gaps.is_empty() {
        return None;
    }
    let total = gaps.iter().map(|(from, until)| until.since(*from).0).sum();
    Some(Row {
        name: "idle",
        tone: Tone::Dim,
        bar: scale.bar(&gaps, '░', Tone::Dim),
        figures: units::time(Nanos(total)),
    })
}

fn close(record: &ConnectionRecord, scale: &Scale) -> Option<Row> {
    let close = &record.close;
    let resets = [close.rst.client, close.rst.server];
    let from = [close.fin.client, close.fin.server].into_iter().chain(resets).flatten().min()?;
    let reset = resets.iter().flatten().any(|at| *at == from);
    if record.handshake.syn.is_some() && record.handshake.syn_ack.is_none() && reset {
        return None;
    }
    let (name, tone) = if reset { ("reset", Tone::Bad) } else { ("close", Tone::Good) };
    let spans = [(from, record.last_seen)];
    Some(Row { name, tone, bar: scale.bar(&spans, '█', tone), figures: units::time(record.last_seen.since(from)) })
}

/// Maps time to columns.
struct Scale {
    start: Timestamp,
    length: Nanos,
    columns: usize,
    /// Whether there is room for more figures.
    wide: bool,
}

type Cell = Option<(Tone, char)>;

impl Scale {
    fn bar(&self, spans: &[(Timestamp, Timestamp)], mark: char, tone: Tone) -> Line {
        line_of(&self.cells(spans, mark, tone))
    }

    /// The columns that the spans touch.
    fn cells(&self, spans: &[(Timestamp, Timestamp)], mark: char, tone: Tone) -> Vec<Cell> {
        let mut cells = vec![None; self.columns];
        for (from, until) in spans {
            let (first, last) = (self.column(*from), self.column(*until));
            if let Some(part) = cells.get_mut(first..=last.max(first)) {
                part.fill(Some((tone, mark)));
            }
        }
        cells
    }

    fn column(&self, at: Timestamp) -> usize {
        let part = u128::from(at.since(self.start).0) * self.columns as u128 / u128::from(self.length.0.max(1));
        usize::try_from(part).unwrap_or(usize::MAX).min(self.columns.saturating_sub(1))
    }
}

fn line_of(cells: &[Cell]) -> Line {
    let mut line = Line::new();
    for cell in cells {
        let (tone, mark) = cell.unwrap_or((Tone::Plain, ' '));
        line.push(tone, &*mark.encode_utf8(&mut [0; 4]));
    }
    line
}
