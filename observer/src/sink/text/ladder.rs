//! A connection's timeline, a line an entry: time, direction, flags, what it meant, state reached.

use std::borrow::Cow;

use observer::record::{ConnectionRecord, EntryKind, Side, Sides, TcpState, TimelineEntry};
use observer::time::{Nanos, Timestamp};

use super::page::{Line, Page, Tone};
use super::{units, words};

/// Draws the ladder. At most `limit` entries are shown: the first, the last, and what is remarkable between them.
pub fn draw(page: &Page, out: &mut String, record: &ConnectionRecord, limit: usize) {
    let Some(timeline) = &record.timeline else { return };
    // The tracker keeps the first and the last entries, one more of the first where their number is odd.
    let cut = (timeline.cut > 0).then(|| timeline.entries.len().div_ceil(2));
    let (entries, cut) = gather(&timeline.entries, cut);
    let columns = Columns::new(page, record);
    let shown = choose(&entries, limit);
    let (is_all_seen, unseen) = (record.is_all_seen(), Unseen::after(&entries, record));
    let mut said = words::Said::default();
    let mut state = None;
    let mut last: Option<Timestamp> = None;
    let mut folded = Folded::default();
    columns.head(page, out);
    for (place, (entry, shown)) in entries.iter().zip(shown).enumerate() {
        let meaning = said.meaning(record, entry);
        if cut == Some(place) {
            folded.draw(page, out, &columns);
            columns.note(page, out, format!("⋮ here {} more entries were not kept", units::count(timeline.cut)));
        }
        if shown {
            folded.draw(page, out, &columns);
            if let Some(last) = last.filter(|_| is_all_seen && cut != Some(place)) {
                silence(page, out, &columns, record, last, entry.at);
            }
            columns.draw(page, out, record, entry, meaning, state != Some(entry.state));
            state = Some(entry.state);
            last = Some(last.unwrap_or(entry.until).max(entry.until));
        } else {
            folded.add(entry);
            last = Some(entry.until);
        }
        for Unseen { side, bytes, .. } in unseen.iter().filter(|unseen| unseen.place == place) {
            folded.draw(page, out, &columns);
            let (bytes, side) = (units::bytes(*bytes), words::side(*side));
            columns.note(page, out, format!("⋮ {bytes} more from the {side}, counted by the kernel, not seen"));
        }
    }
    folded.draw(page, out, &columns);
}

/// Within this time what the kernel does again it does for the same reason. A timeout is longer (TCP_RTO_MIN, 200 ms): those
/// stand alone.
const AT_ONCE: Nanos = Nanos::from_millis(100);

/// The entries, those of the kernel that repeat each other at once taken together, with as many `packets` as there are; and
/// the same place of them as `cut`.
fn gather(entries: &[TimelineEntry], cut: Option<usize>) -> (Vec<Cow<'_, TimelineEntry>>, Option<usize>) {
    let mut gathered: Vec<Cow<'_, TimelineEntry>> = Vec::new();
    let mut cut_place = None;
    for (place, entry) in entries.iter().enumerate() {
        if cut == Some(place) {
            cut_place = Some(gathered.len());
        }
        match gathered.last_mut().filter(|last| cut != Some(place) && repeats(last, entry)) {
            Some(last) => {
                let last = last.to_mut();
                last.packets = last.packets.max(1) + 1;
                last.until = entry.until;
            }
            None => gathered.push(Cow::Borrowed(entry)),
        }
    }
    (gathered, cut_place)
}

fn repeats(before: &TimelineEntry, entry: &TimelineEntry) -> bool {
    let what = |entry: &TimelineEntry| (entry.kind, entry.from, entry.state);
    matches!(entry.kind, EntryKind::Retransmit | EntryKind::Drop)
        && what(entry) == what(before)
        && entry.detail == before.detail
        && entry.at.since(before.until) < AT_ONCE
}

/// Payload that was not seen.
struct Unseen {
    /// The entry it comes after: the last of its sender that was.
    place: usize,
    side: Side,
    bytes: u64,
}

impl Unseen {
    fn after(entries: &[Cow<'_, TimelineEntry>], record: &ConnectionRecord) -> Vec<Self> {
        let of = |side: Side| {
            let bytes = record.unseen_bytes_of(side).filter(|bytes| *bytes > 0)?;
            let place = entries.iter().rposition(|entry| entry.from == side && !entry.is_event() && entry.bytes > 0)?;
            Some(Self { place, side, bytes })
        };
        [Side::Client, Side::Server].into_iter().filter_map(of).collect()
    }
}

/// Which entries are shown.
fn choose(entries: &[Cow<'_, TimelineEntry>], limit: usize) -> Vec<bool> {
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
    // A line that says one entry is left out takes as much room as the entry.
    for place in 1..count.saturating_sub(1) {
        if let Some([true, alone @ false, true]) = shown.get_mut(place - 1..=place + 1) {
            *alone = true;
        }
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
            columns.note(page, out, text);
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
        columns.note(page, out, format!("⋮ {} of silence", units::time(gap)));
    }
}

/// How the page is divided.
struct Columns {
    /// Columns of the time.
    time: usize,
    /// Columns between the two ends' lifelines; `None` draws none.
    arrow: Option<usize>,
    /// Where the states stand; `None` puts them behind the words.
    state: Option<usize>,
    /// The end that is on this host, where the other is elsewhere: what this host drops, it drops there.
    here: Option<Side>,
}

/// Columns of `FIN-WAIT-1 / CLOSE-WAIT`.
const STATES: usize = 23;
/// Columns of `000 000`.
const MICROS: usize = 7;
/// Columns of an arrow without lifelines: `→ [FP.]`.
const SHORT_ARROW: usize = 8;

impl Columns {
    fn new(page: &Page, record: &ConnectionRecord) -> Self {
        let seconds = record.duration_ns.0 / 1_000_000_000;
        let arrow = match page.width {
            0..72 => None,
            72..100 => Some(12),
            _ => Some(18),
        };
        let state = (page.width >= 110).then(|| page.width.min(150).saturating_sub(STATES));
        let here = match [Side::Client, Side::Server].map(|side| record.socket(side).map(|_| side)) {
            [Some(side), None] | [None, Some(side)] => Some(side),
            _ => None,
        };
        Self { time: seconds.to_string().len() + 1 + MICROS, arrow, state, here }
    }

    /// Names the lifelines.
    fn head(&self, page: &Page, out: &mut String) {
        let mut line = Line::new();
        if let Some(between) = self.arrow {
            line.pad(self.time + 2);
            line.push(Tone::Client, "client");
            line.pad(self.time + 2 + between);
            line.push(Tone::Server, "server");
        }
        if let Some(column) = self.state {
            line.pad(column);
            line.push(Tone::Dim, "client / server");
        }
        if !line.is_empty() {
            page.line(out, &line);
        }
    }

    /// A line up to where the words begin, with nothing but lifelines.
    fn between(&self) -> Line {
        let mut line = Line::new();
        line.pad(2 + self.time + 2);
        match self.arrow {
            Some(between) => line.push(Tone::Dim, format!("│{}│  ", " ".repeat(between))),
            None => line.pad(2 + self.time + 2 + SHORT_ARROW),
        }
        line
    }

    fn note(&self, page: &Page, out: &mut String, text: String) {
        let between = self.between();
        page.paragraph_between(out, &between, &between, &Line::new().then(Tone::Dim, text));
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
        let mut first = Line::new().then(Tone::Dim, format!("  {time:>width$}  ", width = self.time));
        self.arrow(&mut first, entry);
        let indent = first.width();
        let room = match self.state {
            Some(column) => column.saturating_sub(indent + 2),
            None => page.width.saturating_sub(indent),
        };
        if new_state && self.state.is_none() {
            meaning.push(Tone::Plain, " ");
            meaning.push(Tone::Dim, format!("⇒\u{a0}{}", states(entry.state, "/")));
        }
        for (number, part) in meaning.wrap(room).into_iter().enumerate() {
            let mut line = if number == 0 { first.clone() } else { self.between() };
            line.extend(part);
            if let (0, true, Some(column)) = (number, new_state, self.state) {
                line.pad(column);
                line.push(Tone::Dim, states(entry.state, " / "));
            }
            page.line(out, &line);
        }
    }

    fn arrow(&self, line: &mut Line, entry: &TimelineEntry) {
        let tone = if words::is_trouble(entry) { Tone::Bad } else { words::tone(entry.from) };
        if entry.is_event() && entry.kind != EntryKind::Icmp {
            self.event(line, entry, tone);
            return;
        }
        let flags = if entry.kind == EntryKind::Icmp { "ICMP".to_string() } else { format!("[{}]", entry.flags) };
        let to_server = entry.from == Side::Client;
        let Some(between) = self.arrow else {
            let column = line.width() + SHORT_ARROW;
            line.push(tone, format!("{} {flags} ", if to_server { "→" } else { "←" }));
            line.pad(column);
            return;
        };
        let shaft = between.saturating_sub(flags.chars().count() + 1);
        let (left, right) = ("─".repeat(shaft / 2), "─".repeat(shaft - shaft / 2));
        line.push(Tone::Dim, "│");
        line.push(tone, if to_server { format!("{left}{flags}{right}▶") } else { format!("◀{right}{flags}{left}") });
        line.push(Tone::Dim, "│  ");
    }
}

impl Columns {
    /// A mark on the lifeline of the end that an event of the kernel is about.
    fn event(&self, line: &mut Line, entry: &TimelineEntry, tone: Tone) {
        let dropped_at = self.here.filter(|_| entry.kind == EntryKind::Drop);
        let at_client = dropped_at.unwrap_or(entry.from) == Side::Client;
        let Some(between) = self.arrow else {
            let column = line.width() + SHORT_ARROW;
            line.push(tone, "●");
            line.pad(column);
            return;
        };
        let blank = " ".repeat(between);
        let [left, right] = if at_client { ["●", "│"] } else { ["│", "●"] };
        let tones = if at_client { [tone, Tone::Dim] } else { [Tone::Dim, tone] };
        let [left_tone, right_tone] = tones;
        line.push(left_tone, left);
        line.push(Tone::Dim, blank);
        line.push(right_tone, right);
        line.push(Tone::Dim, "  ");
    }
}

fn states(states: Sides<TcpState>, between: &str) -> String {
    let name = |state: TcpState| if state == TcpState::Unknown { "–" } else { state.name() };
    format!("{}{between}{}", name(states.client), name(states.server))
}

/// Seconds and microseconds: `12.345 678`.
fn clock(length: Nanos) -> String {
    let micros = length.0 / 1000;
    format!("{}.{:03} {:03}", micros / 1_000_000, micros / 1000 % 1000, micros % 1000)
}
