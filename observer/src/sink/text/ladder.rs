//! A connection's timeline, a line an entry: time, direction, flags, what it meant, state reached.

use observer::record::{ConnectionRecord, EntryKind, Sides, TcpState, TimelineEntry};
use observer::time::{Nanos, Timestamp};

use super::page::{Line, Page, Tone};
use super::{units, words};

/// Draws the ladder. At most `limit` entries are shown: the first, the last, and what is remarkable between them.
pub fn draw(page: &Page, out: &mut String, record: &ConnectionRecord, limit: usize) {
    let Some(timeline) = &record.timeline else { return };
    let entries = &timeline.entries;
    let columns = Columns::new(page, record);
    let shown = choose(entries, limit);
    let mut said = words::Said::default();
    let mut state = None;
    let mut last: Option<Timestamp> = None;
    let mut folded = Folded::default();
    for (entry, shown) in entries.iter().zip(shown) {
        let meaning = said.meaning(record, entry);
        if !shown {
            folded.add(entry);
            last = Some(entry.until);
            continue;
        }
        folded.draw(page, out, &columns);
        if let Some(last) = last {
            silence(page, out, &columns, record, last, entry.at);
        }
        columns.draw(page, out, record, entry, meaning, state != Some(entry.state));
        state = Some(entry.state);
        last = Some(last.unwrap_or(entry.until).max(entry.until));
    }
    folded.draw(page, out, &columns);
    if timeline.cut > 0 {
        let text = format!("{} more of the middle of this timeline: the rest was not kept", units::count(timeline.cut));
        page.paragraph(out, &columns.indent(), &Line::new().then(Tone::Dim, text));
    }
}

/// Which entries are shown.
fn choose(entries: &[TimelineEntry], limit: usize) -> Vec<bool> {
    let mut shown = vec![entries.len() <= limit; entries.len()];
    if entries.len() <= limit {
        return shown;
    }
    let (head, tail) = (limit / 2, limit / 4);
    let mut left = limit - head - tail;
    let count = entries.len();
    for (place, (entry, shown)) in entries.iter().zip(&mut shown).enumerate() {
        let edge = place < head || place >= count - tail;
        let remarkable = !edge && left > 0 && words::is_remarkable(entry);
        left -= usize::from(remarkable);
        *shown = edge || remarkable;
    }
    shown
}

/// Entries that are not shown one by one.
#[derive(Default)]
struct Folded {
    entries: u64,
    packets: u64,
    bytes: u64,
    remarkable: u64,
}

impl Folded {
    fn add(&mut self, entry: &TimelineEntry) {
        self.entries += 1;
        self.packets += entry.packets;
        self.bytes += entry.bytes;
        self.remarkable += u64::from(words::is_remarkable(entry));
    }

    fn draw(&mut self, page: &Page, out: &mut String, columns: &Columns) {
        if self.entries > 0 {
            let mut text = format!("⋮ {}, {}", units::number_of(self.packets, "segment"), units::bytes(self.bytes));
            if self.remarkable > 0 {
                text.push_str(&format!(", {} of note among them", self.remarkable));
            }
            page.paragraph(out, &columns.indent(), &Line::new().then(Tone::Dim, text));
        }
        *self = Self::default();
    }
}

/// Says so where nothing was sent for long.
fn silence(
    page: &Page,
    out: &mut String,
    columns: &Columns,
    record: &ConnectionRecord,
    last: Timestamp,
    at: Timestamp,
) {
    let gap = at.since(last);
    let round_trips = record.handshake.rtt_ns.map_or(0, |rtt| rtt.0.saturating_mul(4));
    if gap.0 >= round_trips.max(Nanos::from_millis(500).0) {
        let text = format!("⋮ {} of silence", units::time(gap));
        page.paragraph(out, &columns.indent(), &Line::new().then(Tone::Dim, text));
    }
}

/// How the page is divided.
struct Columns {
    time: usize,
    arrow: Arrow,
    /// Where the states stand; `None` puts them behind the words.
    state: Option<usize>,
}

/// How a direction is drawn.
enum Arrow {
    /// `client ──[S]──▶ server`, with so many columns between the two.
    Named(usize),
    /// `→ [S]`.
    Short,
}

impl Columns {
    fn new(page: &Page, record: &ConnectionRecord) -> Self {
        let seconds = record.duration_ns.0 / 1_000_000_000;
        let arrow = match page.width {
            0..76 => Arrow::Short,
            76..100 => Arrow::Named(12),
            _ => Arrow::Named(18),
        };
        let state = (page.width >= 110).then(|| page.width.min(160).saturating_sub(STATES));
        Self { time: seconds.to_string().len() + 1 + MICROS, arrow, state }
    }

    /// An empty line up to where the words begin.
    fn indent(&self) -> Line {
        let mut line = Line::new();
        line.pad(2 + self.time + 2 + self.arrow.width() + 2);
        line
    }

    fn draw(
        &self,
        page: &Page,
        out: &mut String,
        record: &ConnectionRecord,
        entry: &TimelineEntry,
        mut meaning: Line,
        new_state: bool,
    ) {
        let time = clock(entry.at.since(record.first_seen));
        let mut first = Line::new().then(Tone::Dim, format!("  {time:>width$}", width = self.time));
        first.push(Tone::Plain, "  ");
        first.extend(self.arrow.draw(entry));
        first.push(Tone::Plain, "  ");
        let indent = first.width();
        let states = Line::new().then(Tone::Dim, states(entry.state));
        let room = match self.state {
            Some(column) => column.saturating_sub(indent + 2),
            None => page.width.saturating_sub(indent),
        };
        if new_state && self.state.is_none() {
            meaning.push(Tone::Plain, " ");
            meaning.push(Tone::Dim, format!("⇒ {}", unbroken_states(entry.state)));
        }
        for (number, part) in meaning.wrap(room).into_iter().enumerate() {
            let mut line = if number == 0 { first.clone() } else { Line::new() };
            line.pad(indent);
            line.extend(part);
            if let (0, true, Some(column)) = (number, new_state, self.state) {
                line.pad(column);
                line.extend(states.clone());
            }
            page.line(out, &line);
        }
    }
}

/// Columns of `FIN-WAIT-1 / CLOSE-WAIT`.
const STATES: usize = 23;
/// Columns of `000 000`.
const MICROS: usize = 7;

fn states(states: Sides<TcpState>) -> String {
    format!("{} / {}", states.client.name(), states.server.name())
}

fn unbroken_states(states: Sides<TcpState>) -> String {
    format!("{}/{}", states.client.name(), states.server.name())
}

/// Seconds and microseconds: `12.345 678`.
fn clock(length: Nanos) -> String {
    let micros = length.0 / 1000;
    format!("{}.{:03} {:03}", micros / 1_000_000, micros / 1000 % 1000, micros % 1000)
}

impl Arrow {
    fn width(&self) -> usize {
        match self {
            Self::Named(columns) => columns + 14,
            Self::Short => 8,
        }
    }

    fn draw(&self, entry: &TimelineEntry) -> Line {
        let tone = words::tone(entry.from);
        let tone = if words::is_trouble(entry) { Tone::Bad } else { tone };
        let flags = if entry.kind == EntryKind::Icmp { "ICMP".to_string() } else { format!("[{}]", entry.flags) };
        let to_server = entry.from == observer::record::Side::Client;
        match self {
            Self::Short => {
                let head = if to_server { "→" } else { "←" };
                let mut line = Line::new().then(tone, format!("{head} {flags}"));
                line.pad(self.width());
                line
            }
            Self::Named(columns) => {
                let shaft = columns.saturating_sub(flags.chars().count() + 1);
                let (left, right) = (shaft / 2, shaft - shaft / 2);
                let arrow = if to_server {
                    format!("{}{flags}{}▶", "─".repeat(left), "─".repeat(right))
                } else {
                    format!("◀{}{flags}{}", "─".repeat(left), "─".repeat(right))
                };
                Line::new().then(Tone::Plain, "client ").then(tone, arrow).then(Tone::Plain, " server")
            }
        }
    }
}
