//! One connection in a line: what `observer watch` prints when it ends; and one lookup that failed.

use observer::record::{
    ConnState, ConnectionRecord, KernelSocket, LookupRecord, OwnerHow, ProcessRecord, Side, TcpState, Turn,
};
use observer::time::Timestamp;

use super::page::{Line, Page, Tone};
use super::{finding, units, words};

/// Draws a connection in a line, or a few where the page is narrow; `place` is the network namespace, where it has to be said.
pub fn draw(page: &Page, out: &mut String, record: &ConnectionRecord, place: Option<&str>) {
    let first = Line::new().then(Tone::Dim, format!("{} ", time_of_day(record.first_seen)));
    let (outcome, tone) = match record.turned.as_slice() {
        [] => words::outcome_of(record),
        _ => ("still open", Tone::Notice),
    };
    let mut text = Line::new();
    for (place, end) in [record.client, record.server].into_iter().enumerate() {
        let side = if place == 0 { Side::Client } else { Side::Server };
        if place == 1 {
            text.push(Tone::Dim, " → ");
        }
        if let Some(owner) = owner(record, side) {
            text.push(words::tone(side), format!("{} ", words::process(owner)));
        }
        text.push(Tone::Strong, units::end(end));
    }
    words::place(&mut text, place);
    text.push(Tone::Dim, " · ");
    text.push(tone, outcome);
    for turn in &record.turned {
        let (words, tone) = words::turn(*turn);
        text.push(Tone::Dim, " · ");
        text.push(tone, words);
        if *turn == Turn::State {
            text.push(tone, format!("{}/{}", record.tcp_state.client.name(), record.tcp_state.server.name()));
        }
    }
    for part in figures(record) {
        text.push(Tone::Dim, " · ");
        text.push(Tone::Plain, part);
    }
    for part in troubles(record) {
        text.push(Tone::Dim, " · ");
        text.push(Tone::Bad, part);
    }
    // That it was refused, the outcome says already.
    for (tone, name) in finding::names(record).into_iter().filter(|(_, name)| *name != outcome) {
        text.push(Tone::Dim, " · ");
        text.push(tone, name);
    }
    page.paragraph(out, &first, &text);
}

/// Whether it goes on, as far as is known.
fn is_open(record: &ConnectionRecord) -> bool {
    !record.turned.is_empty() || record.conn_state == ConnState::S1
}

/// Draws a lookup that failed, likewise.
pub fn draw_lookup(page: &Page, out: &mut String, record: &LookupRecord, place: Option<&str>) {
    let lookup = &record.lookup;
    let first = Line::new().then(Tone::Dim, format!("{} ", time_of_day(lookup.at)));
    let mut text = Line::new().then(Tone::Plain, "lookup of ");
    text.push(Tone::Strong, format!("{} {}", lookup.name, lookup.kind));
    words::place(&mut text, place);
    text.push(Tone::Dim, " · ");
    text.push(Tone::Bad, lookup.outcome().to_string());
    text.push(Tone::Dim, " · ");
    text.push(Tone::Plain, format!("asked {}", units::end(record.server)));
    if lookup.queries > 1 {
        text.push(Tone::Plain, format!(" {} times", units::count(lookup.queries)));
    }
    if lookup.asked() > lookup.queries {
        text.push(Tone::Plain, format!(", {} times in all", units::count(lookup.asked())));
    }
    if let Some(latency) = lookup.waited() {
        text.push(Tone::Dim, " · ");
        text.push(Tone::Plain, format!("answered in {}", units::time(latency)));
    }
    page.paragraph(out, &first, &text);
}

/// The process that has an end; of several, the one that is known best.
pub fn owner(record: &ConnectionRecord, side: Side) -> Option<&ProcessRecord> {
    let of_side = || record.processes.iter().filter(|process| process.side == Some(side));
    of_side().find(|process| process.how != Some(OwnerHow::Listener)).or_else(|| of_side().next())
}

fn figures(record: &ConnectionRecord) -> Vec<String> {
    let mut parts = Vec::new();
    let socket = record.socket(Side::Client);
    let connect = record.handshake.connect_ns.or_else(|| socket.and_then(|socket| socket.connect_ns));
    let answered = !matches!(record.conn_state, ConnState::REJ | ConnState::S0);
    parts.extend(connect.filter(|_| answered).map(|time| format!("connected in {}", units::time(time))));
    let sent = |side| record.unique_bytes_of(side).filter(|bytes| *bytes > 0).map(units::bytes);
    match (sent(Side::Client), sent(Side::Server)) {
        (None, None) => {}
        (up, down) => {
            let none = || "0\u{a0}B".to_string();
            parts.push(format!("↑\u{a0}{} ↓\u{a0}{}", up.unwrap_or_else(none), down.unwrap_or_else(none)));
        }
    }
    let existed =
        [Side::Client, Side::Server].into_iter().filter_map(|side| record.socket(side)).any(|one| one.existed);
    if existed {
        parts.push("begun before the watch".to_string());
    }
    // Of what was seen at one moment alone, it is not known how long it took.
    parts.extend((record.duration_ns.0 > 0).then(|| {
        let time = units::time(record.duration_ns);
        // What comes after the last that was seen is not known either.
        if is_open(record) { format!("last active after {time}") } else { time }
    }));
    parts
}

fn troubles(record: &ConnectionRecord) -> Vec<String> {
    let mut parts = Vec::new();
    // What a socket has sent in SYN-SENT are SYNs, before the watch as well.
    let asks = record.tcp_state.client == TcpState::SynSent;
    let seen = u64::from(record.handshake.syn_retransmissions);
    let syns = if asks { record.retransmitted_by(Side::Client).max(seen) } else { seen };
    if syns > 0 {
        parts.push(format!("{} sent again", units::number_of(syns, "SYN")));
    }
    for side in [Side::Client, Side::Server] {
        let who = words::side(side);
        let again = record.retransmitted_by(side);
        let beyond = if side == Side::Client { again.saturating_sub(syns) } else { again };
        if beyond > 0 {
            parts.push(format!("{who} sent {} again", units::number_of(beyond, "segment")));
        }
        let error = record.socket(side).and_then(|socket: &KernelSocket| socket.error.as_ref());
        parts.extend(error.map(|error| format!("{who}: {error}")));
    }
    if record.evicted {
        parts.push("given up to stay within --max-connections".to_string());
    }
    if let Some(lost) = record.lost.filter(|lost| *lost > 0) {
        parts.push(format!("{} lost meanwhile", units::number_of(lost, "record")));
    }
    parts
}

/// Time of day, in local time.
fn time_of_day(moment: Timestamp) -> String {
    let (seconds, nanos) = moment.split();
    let at = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::new(seconds, nanos as i32).ok());
    match at {
        Some(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S.%3f").to_string(),
        None => moment.to_string(),
    }
}
