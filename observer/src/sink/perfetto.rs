//! `--output perfetto`: a trace in Chrome's Trace Event Format, which ui.perfetto.dev and chrome://tracing open.
//!
//! A server's address and port is a process, a connection a thread of it. The connection, its phases and exchanges are
//! complete events (`X`), what happened at one moment are instants (`i`). Slices of one thread must lie within one another:
//! those that do not are async events (`b`, `e`), which get tracks of their own. Times are in whole microseconds: the
//! format's numbers are doubles, and those of our days hold no more.

use std::cmp::Reverse;
use std::io::Write;

use anyhow::Result;
use observer::record::{CaptureRecord, ConnectionRecord, Endpoint};
use observer::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Sink;
use super::elements::Elements;
use super::incident::incidents;
use super::text::units;

/// Prints the events of each connection.
pub struct Perfetto {
    events: Elements,
    connection: Option<u64>,
}

impl Perfetto {
    /// Of all connections, or of the given one.
    pub fn new(connection: Option<u64>) -> Self {
        Self { events: Elements::new(), connection }
    }
}

impl Sink for Perfetto {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        if self.connection.is_some_and(|id| id != record.id) {
            return Ok(());
        }
        for (place, event) in (0..).zip(Track::of(&record)) {
            self.events.push((record.id, place), &event)?;
        }
        Ok(())
    }

    fn has_printed(&self) -> bool {
        self.events.has_printed()
    }

    fn finish(sinks: Vec<Self>, _: &CaptureRecord, out: &mut dyn Write) -> Result<()> {
        write!(out, r#"{{"displayTimeUnit":"ns","traceEvents":["#)?;
        Elements::finish(sinks.into_iter().map(|sink| sink.events).collect(), out)?;
        Ok(writeln!(out, "\n]}}")?)
    }
}

#[derive(Serialize)]
struct Event {
    name: String,
    /// `M`: a name; `X`: a slice; `b`, `e`: the ends of an async one; `i`: an instant.
    ph: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<u64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<u64>,
    pid: u32,
    tid: u64,
    /// What joins the ends of an async slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// An instant's scope: `t`, its thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Value::is_null")]
    args: Value,
}

/// Something that took time.
struct Slice {
    name: String,
    category: &'static str,
    start: Timestamp,
    end: Timestamp,
    args: Value,
}

/// The events of one connection.
struct Track {
    pid: u32,
    tid: u64,
    events: Vec<Event>,
}

impl Track {
    fn of(record: &ConnectionRecord) -> Vec<Event> {
        let mut track = Self { pid: pid(&record.server), tid: record.id, events: Vec::new() };
        let server = units::end(record.server);
        let process = match &record.name {
            Some(name) => format!("{} ({server})", name.name),
            None => server.clone(),
        };
        track.name("process_name", &process);
        track.name("thread_name", &format!("#{} {}", record.id, units::end(record.client)));
        track.slices(slices(record));
        for (name, entry) in incidents(record) {
            let args = json!({
                "from": entry.from,
                "frame": entry.frame,
                "segments": entry.packets,
                "cause": entry.retransmission,
                "reason": entry.detail,
            });
            let event = track.event(name.to_string(), "i", Some("incident"), args);
            track.events.push(Event { ts: Some(micros(entry.at)), s: Some("t"), ..event });
        }
        track.events
    }

    fn name(&mut self, what: &str, name: &str) {
        self.events.push(self.event(what.to_string(), "M", None, json!({ "name": name })));
    }

    /// Adds slices. Those that begin within another and end after it are async.
    fn slices(&mut self, mut slices: Vec<Slice>) {
        slices.sort_by_key(|slice| (micros(slice.start), Reverse(micros(slice.end))));
        // Ends of the slices that the one at hand lies in, the innermost last.
        let mut around: Vec<u64> = Vec::new();
        for (number, slice) in slices.into_iter().enumerate() {
            let Slice { name, category, start, end, args } = slice;
            let (from, to) = (micros(start), micros(end));
            around.retain(|end| *end > from);
            if around.last().is_some_and(|around| *around < to) {
                let id = Some(format!("{}.{number}", self.tid));
                let event = self.event(name.clone(), "b", Some(category), args);
                self.events.push(Event { ts: Some(from), id: id.clone(), ..event });
                let event = self.event(name, "e", Some(category), Value::Null);
                self.events.push(Event { ts: Some(to), id, ..event });
                continue;
            }
            around.push(to);
            let event = self.event(name, "X", Some(category), args);
            self.events.push(Event { ts: Some(from), dur: Some(to - from), ..event });
        }
    }

    fn event(&self, name: String, ph: &'static str, cat: Option<&'static str>, args: Value) -> Event {
        Event { name, ph, cat, ts: None, dur: None, pid: self.pid, tid: self.tid, id: None, s: None, args }
    }
}

/// The connection, its phases, its exchanges.
fn slices(record: &ConnectionRecord) -> Vec<Slice> {
    let mut slices: Vec<_> = record
        .phases
        .iter()
        .map(|phase| Slice {
            name: phase.phase.words().to_string(),
            category: "phase",
            start: phase.start,
            end: phase.start.plus(phase.length_ns),
            args: json!({ "measured": phase.measured, "length_ns": phase.length_ns }),
        })
        .collect();
    for exchange in record.exchanges.iter().flat_map(|exchanges| &exchanges.entries) {
        let Some(start) = exchange.request.or(exchange.response) else { continue };
        let times = [exchange.request_end, exchange.response, exchange.response_end];
        let method = exchange.method.as_deref().unwrap_or("(request not seen)");
        let target = exchange.path.as_deref().or(exchange.host.as_deref()).unwrap_or_default();
        slices.push(Slice {
            name: format!("{method} {target}").trim_end().to_string(),
            category: "exchange",
            start,
            end: times.into_iter().flatten().max().unwrap_or(start),
            args: json!({
                "host": exchange.host,
                "status": exchange.status,
                "error": exchange.error,
                "request_bytes": exchange.request_bytes,
                "response_bytes": exchange.response_bytes,
                "first_byte_ns": exchange.first_byte_ns(),
            }),
        });
    }
    let start = slices.iter().map(|slice| slice.start).fold(record.first_seen, Timestamp::min);
    let end = slices.iter().map(|slice| slice.end).fold(record.last_seen, Timestamp::max);
    let args = json!({
        "client": units::end(record.client),
        "server": units::end(record.server),
        "community_id": record.community_id,
        "conn_state": record.conn_state,
        "bytes": record.bytes,
        "rtt_ns": record.handshake.rtt_ns,
        "split": record.split,
        "round_trips": record.round_trips.map(|count| count.total),
        "tls": record.tls.as_ref().map(|tls| &tls.version),
    });
    let name = record.protocol.map_or("connection", |protocol| protocol.words()).to_string();
    // Of slices that are as long the first is the outer one.
    slices.insert(0, Slice { name, category: "connection", start, end, args });
    slices
}

/// A number for an end that is the same in every shard. 0 is the idle process's.
fn pid(end: &Endpoint) -> u32 {
    let hash = Sha256::digest(units::end(*end));
    let number = hash.first_chunk().map_or(1, |octets| u32::from_be_bytes(*octets));
    (number & (i32::MAX as u32)).max(1)
}

const fn micros(at: Timestamp) -> u64 {
    at.as_nanos() / 1000
}
