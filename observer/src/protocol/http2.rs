//! HTTP/2 in the clear (RFC 9113), by prior knowledge or after an upgrade: each stream's request and response.
//!
//! Frames are walked; header blocks are read, as every one of them changes how the next ones are read (HPACK, RFC 7541);
//! everything else is passed over. A gap in a direction ends it.

use std::collections::HashMap;

use loona_hpack::Decoder;

use super::text::clean;
use super::{Arrival, Guess, Next, Protocol, Take};
use crate::record::{Application, Exchange, HttpRecord, NameRecord, NameSource, ProtocolName, Side, Sides};
use crate::time::Timestamp;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME: usize = 9;
/// Octets of a frame that is read, and of a header block put together from several.
const MOST_FRAME: usize = 64 << 10;
const MOST_BLOCK: usize = 128 << 10;
/// Octets of the table that a header block may refer to.
const MOST_TABLE: usize = 64 << 10;
/// Exchanges that are kept, and streams that are open.
const MOST_EXCHANGES: usize = 100;
const MOST_OPEN: usize = 1000;
/// Characters of what a field holds.
const MOST_VALUE: usize = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection that speaks HTTP/2.
#[derive(Default)]
struct Http2 {
    ends: Sides<End>,
    exchanges: Vec<Exchange>,
    /// Which exchange each open stream is.
    open: HashMap<u32, usize>,
    facts: HttpRecord,
    malformed: u64,
}

/// Where one end is.
struct End {
    greeted: bool,
    decoder: Decoder<'static>,
    /// A header block that is not complete, and what its first frame says.
    block: Vec<u8>,
    begun: Option<(u32, u8, Timestamp)>,
    /// The frame at hand: its stream and whether it ends it.
    frame: (u32, bool),
}

impl Default for End {
    fn default() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(MOST_TABLE);
        Self { greeted: false, decoder, block: Vec::new(), begun: None, frame: (0, false) }
    }
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("exchanges", &self.exchanges).field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Whether these octets are a client's preface.
pub(super) fn recognise(octets: &[u8]) -> Guess {
    match () {
        () if octets.starts_with(PREFACE) => Guess::Yes(Side::Client, Box::new(Http2::default())),
        () if PREFACE.starts_with(octets) => Guess::Unsure,
        () => Guess::No,
    }
}

impl Protocol for Http2 {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, at: Timestamp) -> Take {
        let octets = match arrival {
            Arrival::Octets(octets) => octets,
            Arrival::Passed(_) => {
                let (stream, ends) = self.ends.of(from).frame;
                if ends {
                    self.end_stream(from, stream, at);
                }
                return Take::used(0);
            }
            // What comes next refers to what is missing.
            Arrival::Gap(_) | Arrival::End => return Take::nothing(),
        };
        let end = self.ends.of_mut(from);
        if from == Side::Client && !end.greeted {
            end.greeted = true;
            return Take::used(PREFACE.len());
        }
        let &[a, b, c, kind, flags, d, e, f, g, ref payload @ ..] = octets else { return Take::wait_for(FRAME) };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
        end.frame = (stream, kind == DATA && flags & END_STREAM != 0);
        if !matches!(kind, HEADERS | CONTINUATION | PUSH_PROMISE) {
            match kind {
                DATA => self.data(from, stream, length as u64, at),
                RST_STREAM => self.reset(stream),
                _ => {}
            }
            return Take::then(FRAME, Next::Pass(length as u64));
        }
        if length > MOST_FRAME {
            self.malformed += 1;
            return Take::nothing();
        }
        let Some(payload) = payload.get(..length) else { return Take::wait_for(FRAME + length) };
        if self.fragment(from, (kind, flags, stream), payload, at).is_none() {
            self.malformed += 1;
            return Take::nothing();
        }
        Take::used(FRAME + length)
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Http2);
        into.malformed += self.malformed;
        let host = self.exchanges.iter().find_map(|exchange| exchange.host.clone());
        if let Some(host) = host.filter(|_| into.name.is_none()) {
            let name = super::http1::without_port(&host).to_string();
            into.name = Some(NameRecord { name, from: NameSource::Host });
        }
        let version = "HTTP/2".to_string();
        into.http = Some(HttpRecord { version, ..self.facts.clone() }.timed(&self.exchanges));
        let show_secrets = into.show_secrets;
        into.exchanges.entries.extend(self.exchanges.iter().map(|exchange| exchange.shown(show_secrets)));
        into.exchanges.cut += self.facts.requests.saturating_sub(MOST_EXCHANGES as u64);
    }

    fn held(&self) -> usize {
        self.ends.client.block.capacity() + self.ends.server.block.capacity()
    }
}

impl Http2 {
    /// Takes a part of a header block; `None` where it makes no sense.
    fn fragment(
        &mut self,
        from: Side,
        (kind, flags, stream): (u8, u8, u32),
        payload: &[u8],
        at: Timestamp,
    ) -> Option<()> {
        let end = self.ends.of_mut(from);
        let mut part = payload;
        if kind != CONTINUATION {
            let mut padding = 0;
            if flags & PADDED != 0 {
                let (length, rest) = part.split_first()?;
                (padding, part) = (usize::from(*length), rest);
            }
            // A dependency and a weight, or the stream that is promised.
            let front = match kind {
                HEADERS if flags & PRIORITY != 0 => 5,
                PUSH_PROMISE => 4,
                _ => 0,
            };
            part = part.get(front..)?;
            part = part.get(..part.len().checked_sub(padding)?)?;
            (end.block, end.begun) = (Vec::new(), Some((stream, if kind == HEADERS { flags } else { 0 }, at)));
        }
        let (begun, first_flags, since) = end.begun?;
        if begun != stream || end.block.len() + part.len() > MOST_BLOCK {
            return None;
        }
        end.block.extend_from_slice(part);
        if flags & END_HEADERS == 0 {
            return Some(());
        }
        end.begun = None;
        let block = std::mem::take(&mut end.block);
        let mut message = Exchange::default();
        let mut take = |name: &[u8], value: &[u8]| match name {
            b":method" => message.method = Some(clean(value, 32)),
            b":authority" => message.host = Some(clean(value, 255)),
            b":path" => message.path = Some(clean(value, MOST_VALUE)),
            b":status" => message.status = std::str::from_utf8(value).ok().and_then(|status| status.parse().ok()),
            _ => {}
        };
        end.decoder.decode_with_cb(&block, |name, value| take(&name, &value)).ok()?;
        if kind != PUSH_PROMISE || first_flags != 0 {
            self.headers(from, stream, message, (since, at));
        }
        if first_flags & END_STREAM != 0 {
            self.end_stream(from, stream, at);
        }
        Some(())
    }

    fn headers(&mut self, from: Side, stream: u32, message: Exchange, (since, at): (Timestamp, Timestamp)) {
        match (from, message.method.is_some(), message.status) {
            (Side::Client, true, _) => {
                self.facts.requests += 1;
                self.facts.pipelined += u64::from(!self.open.is_empty());
                if self.exchanges.len() < MOST_EXCHANGES && self.open.len() < MOST_OPEN {
                    self.open.insert(stream, self.exchanges.len());
                    self.exchanges.push(Exchange { request: Some(since), request_end: Some(at), ..message });
                }
            }
            (Side::Server, _, Some(status)) if !(100..200).contains(&status) => {
                self.facts.responses += 1;
                self.facts.errors += u64::from(status >= 400);
                if let Some(exchange) = self.exchange(stream) {
                    (exchange.status, exchange.response) = (Some(status), Some(since));
                    exchange.response_end = Some(at);
                }
            }
            (Side::Server, _, Some(100)) => {
                if let Some(exchange) = self.exchange(stream) {
                    exchange.continued = true;
                }
            }
            // Trailers.
            _ => {}
        }
    }

    fn exchange(&mut self, stream: u32) -> Option<&mut Exchange> {
        self.exchanges.get_mut(*self.open.get(&stream)?)
    }

    fn data(&mut self, from: Side, stream: u32, octets: u64, at: Timestamp) {
        let Some(exchange) = self.exchange(stream) else { return };
        match from {
            Side::Client => {
                exchange.request_bytes += octets;
                exchange.request_end = Some(at);
            }
            Side::Server => {
                exchange.response_bytes += octets;
                exchange.response_end = Some(at);
            }
        }
    }

    fn end_stream(&mut self, from: Side, stream: u32, at: Timestamp) {
        let Some(exchange) = self.exchange(stream) else { return };
        match from {
            Side::Client => exchange.request_end = Some(at),
            Side::Server => {
                (exchange.response_end, exchange.complete) = (Some(at), true);
                self.open.remove(&stream);
            }
        }
    }

    fn reset(&mut self, stream: u32) {
        self.open.remove(&stream);
    }
}
