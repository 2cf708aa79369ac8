//! `--output otlp-json`: each connection as a trace of OpenTelemetry, one `ExportTraceServiceRequest` a line, as the
//! collector's `otlpjsonfile` receiver reads them.
//!
//! The connection is the root span; its phases and exchanges are spans below it. Attributes have the names of
//! OpenTelemetry's semantic conventions where these have one, and begin with `observer.` otherwise.

mod attributes;
mod wire;

use std::io::Write;

use anyhow::Result;
use observer::record::{CaptureRecord, ConnectionRecord, Phase, PhaseRecord};
use observer::time::Timestamp;
use sha2::{Digest as _, Sha256};

use self::wire::{Event, Kind, Request, Resource, ResourceSpans, Scope, ScopeSpans, Span, Status};
use super::Sink;
use super::incident::incidents;
use super::printer::Printer;

/// Prints each connection as a line.
pub struct Otlp {
    printer: Printer,
    connection: Option<u64>,
}

impl Otlp {
    /// Prints by `printer`; only the given connection, where there is one.
    pub fn new(printer: Printer, connection: Option<u64>) -> Self {
        Self { printer, connection }
    }
}

impl Sink for Otlp {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        if self.connection.is_some_and(|id| id != record.id) {
            return Ok(());
        }
        self.printer.print((record.id, 0), |buffer| line(buffer, &record))
    }

    fn settle(&mut self, first: impl FnOnce() -> u64) -> Result<()> {
        self.printer.settle(first)
    }

    fn has_printed(&self) -> bool {
        self.printer.has_printed()
    }

    fn finish(sinks: Vec<Self>, _: &CaptureRecord, out: &mut dyn Write) -> Result<()> {
        Printer::finish(sinks.into_iter().map(|sink| sink.printer).collect(), usize::MAX, out)
    }
}

/// Writes one connection's trace and ends the line.
pub fn line(mut out: impl Write, record: &ConnectionRecord) -> Result<()> {
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: attributes::of_resource() },
            scope_spans: [ScopeSpans {
                scope: Scope { name: "observer", version: env!("CARGO_PKG_VERSION") },
                spans: &Trace::of(record),
            }],
        }],
    };
    serde_json::to_writer(&mut out, &request)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// The spans of one connection.
struct Trace {
    id: [u8; 16],
    spans: Vec<Span>,
}

/// What a span of the trace is; its number makes the identifier.
#[derive(Clone, Copy)]
struct Place {
    number: u64,
    parent: Option<u64>,
}

const ROOT: u64 = 0;
/// Numbers of exchanges begin here, those of phases below.
const EXCHANGES: u64 = 100;

impl Trace {
    fn of(record: &ConnectionRecord) -> Vec<Span> {
        let name = format!("{}:{}:{}", record.community_id, record.first_seen, record.id);
        let mut trace = Self { id: first(Sha256::digest(name)), spans: Vec::new() };
        trace.root(record);
        let exchanges = record.exchanges.as_ref().map_or(&[][..], |exchanges| &exchanges.entries);
        for (number, phase) in (ROOT + 1..).zip(&record.phases) {
            let of_exchange = matches!(phase.phase, Phase::Request | Phase::Server | Phase::Transfer);
            let parent = if of_exchange && !exchanges.is_empty() { EXCHANGES } else { ROOT };
            trace.phase(record, phase, Place { number, parent: Some(parent) });
        }
        for (number, exchange) in (EXCHANGES..).zip(exchanges) {
            let Some(start) = exchange.request.or(exchange.response) else { continue };
            let times = [exchange.request_end, exchange.response, exchange.response_end];
            let end = times.into_iter().flatten().max().unwrap_or(start);
            let (attributes, status) = attributes::of_exchange(record, exchange);
            let name = attributes::name_of_exchange(record, exchange);
            let span = trace.span(Place { number, parent: Some(ROOT) }, name, (start, end), Kind::Client);
            trace.spans.push(Span { attributes, status, ..span });
        }
        trace.spans
    }

    fn root(&mut self, record: &ConnectionRecord) {
        let ends = record.phases.iter().map(|phase| phase.start.plus(phase.length_ns));
        let start = record.phases.iter().map(|phase| phase.start).min().unwrap_or(record.first_seen);
        let times = (start.min(record.first_seen), ends.max().unwrap_or(record.last_seen).max(record.last_seen));
        let (attributes, status) = attributes::of_connection(record);
        let events = incidents(record).map(|(name, entry)| Event {
            time_unix_nano: entry.at,
            name,
            attributes: attributes::of_incident(entry),
        });
        let name = format!("{} connection", attributes::transport(record));
        let span = self.span(Place { number: ROOT, parent: None }, name, times, Kind::Client);
        self.spans.push(Span { attributes, status, events: events.collect(), ..span });
    }

    fn phase(&mut self, record: &ConnectionRecord, phase: &PhaseRecord, place: Place) {
        let times = (phase.start, phase.start.plus(phase.length_ns));
        let (attributes, status) = attributes::of_phase(record, phase);
        let span = self.span(place, phase.phase.words().to_string(), times, Kind::Internal);
        self.spans.push(Span { attributes, status, ..span });
    }

    fn span(&self, place: Place, name: String, (start, end): (Timestamp, Timestamp), kind: Kind) -> Span {
        Span {
            trace_id: self.id,
            span_id: self.span_id(place.number),
            parent_span_id: place.parent.map_or([0; 8], |parent| self.span_id(parent)),
            name,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes: Vec::new(),
            events: Vec::new(),
            status: Status::default(),
        }
    }

    fn span_id(&self, number: u64) -> [u8; 8] {
        first(Sha256::new().chain_update(self.id).chain_update(number.to_be_bytes()).finalize())
    }
}

/// The first octets of a hash.
fn first<const LEN: usize>(hash: impl AsRef<[u8]>) -> [u8; LEN] {
    hash.as_ref().first_chunk().copied().unwrap_or([1; LEN])
}
