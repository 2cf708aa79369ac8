//! HTTP/2 (RFC 9113), by prior knowledge, after an upgrade, or inside of TLS: each stream's request and response, and what
//! flow control made of them.
//!
//! Frames are walked; header blocks are read, as every one of them changes how the next ones are read (HPACK, RFC 7541);
//! so are the short frames that say something of streams and windows. Everything else is passed over. A gap in a direction
//! ends it.

mod window;

use std::collections::HashMap;

use loona_hpack::Decoder;

use self::window::Window;
use super::dns::is_content_type;
use super::text::clean;
use super::{Arrival, Guess, Next, Protocol, Take};
use crate::record::{
    Application, Exchange, Http2GoAway, Http2Record, Http2Reset, Http2Stall, HttpRecord, HttpVersion, LookupsOver,
    LookupsRecord, ProtocolName, Side, Sides, target,
};
use crate::time::Timestamp;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME: usize = 9;
/// Octets of a frame that is read, and of a header block put together from several.
const MOST_FRAME: usize = 64 << 10;
const MOST_BLOCK: usize = 128 << 10;
/// Frames that a header block may be spread over.
const MOST_FRAGMENTS: u16 = 256;
/// Octets of the fields that a header block stands for: a few of its own may refer to very many (section 10.5.1).
const MOST_FIELDS: usize = 512 << 10;
/// Octets of the table that a header block may refer to.
const MOST_TABLE: usize = 64 << 10;
/// Octets of a SETTINGS frame that is read: more settings than there are.
const MOST_SETTINGS: usize = 64 * 6;
/// Exchanges that are kept, and streams that are open.
const MOST_EXCHANGES: usize = 100;
const MOST_OPEN: usize = 1000;
/// GOAWAY frames that are kept, and kinds of resets.
const MOST_GOAWAYS: usize = 8;
const MOST_RESETS: usize = 32;
/// Characters of a host that are kept.
const MOST_HOST: usize = 255;

/// Kinds of frames (section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// SETTINGS_INITIAL_WINDOW_SIZE (section 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A connection that speaks HTTP/2.
#[derive(Default)]
pub(super) struct Http2 {
    ends: Sides<End>,
    exchanges: Vec<Exchange>,
    open: HashMap<u32, Open>,
    facts: HttpRecord,
    streams: Http2Record,
    /// Bodies of it are messages of DNS.
    carries_dns: bool,
    /// The most streams that were open at once.
    most_open: u64,
    malformed: u64,
}

/// A stream that is open.
#[derive(Debug)]
struct Open {
    /// Which exchange it is, where that is kept.
    exchange: Option<usize>,
    /// The end has sent all it has to.
    ended: Sides<bool>,
    /// What each end may send.
    windows: Sides<Window>,
}

/// Where one end is.
struct End {
    greeted: bool,
    decoder: Decoder<'static>,
    /// A header block that is not complete, and what its first frame says.
    block: Vec<u8>,
    begun: Option<(u32, u8, Timestamp)>,
    /// Frames that it is spread over so far.
    fragments: u16,
    /// The DATA frame at hand.
    frame: Option<Data>,
    /// The last stream that it opened.
    last_stream: u32,
    /// What a stream's window holds first, by the other end's SETTINGS, and the connection's.
    initial: i64,
    window: Window,
    stalls: Stalls,
    /// Some of its frames were not seen.
    lost: bool,
}

/// Times that an end had to wait.
#[derive(Clone, Copy, Debug, Default)]
struct Stalls {
    connection: Http2Stall,
    streams: Http2Stall,
}

/// A DATA frame.
#[derive(Clone, Copy, Debug)]
struct Data {
    stream: u32,
    octets: u64,
    is_last: bool,
}

/// A header block, as far as it matters.
#[derive(Debug, Default)]
struct Message {
    exchange: Exchange,
    is_grpc: bool,
    is_dns: bool,
    /// Octets of all fields together, by section 6.5.2 of the RFC.
    octets: usize,
}

impl Default for End {
    fn default() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(MOST_TABLE);
        Self {
            greeted: false,
            decoder,
            block: Vec::new(),
            fragments: 0,
            begun: None,
            frame: None,
            last_stream: 0,
            initial: window::INITIAL,
            window: Window::new(window::INITIAL),
            stalls: Stalls::default(),
            lost: false,
        }
    }
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("exchanges", &self.exchanges).field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Whether these octets are an end's preface (section 3.4): the client's own, or the SETTINGS that a server begins with.
pub(super) fn recognise(octets: &[u8]) -> Guess {
    match () {
        () if octets.starts_with(PREFACE) => Guess::Yes(Side::Client, Box::new(Http2::default())),
        () if PREFACE.starts_with(octets) => Guess::Unsure,
        () => recognise_settings(octets),
    }
}

/// A server's SETTINGS: of few known kinds, on no stream, with no flags.
fn recognise_settings(octets: &[u8]) -> Guess {
    // Those of RFC 9113, and of those that were registered later the ones that are in use.
    const KNOWN: std::ops::RangeInclusive<u16> = 1..=9;
    match *octets {
        [0, 0, length, SETTINGS, 0, 0, 0, 0, 0, ref rest @ ..] if length.is_multiple_of(6) && length <= 60 => {
            let (settings, _) = rest.get(..length.into()).unwrap_or(rest).as_chunks::<6>();
            match settings.iter().all(|&[a, b, ..]| KNOWN.contains(&u16::from_be_bytes([a, b]))) {
                true if rest.len() >= length.into() => Guess::Yes(Side::Server, Box::new(Http2::default())),
                true => Guess::Unsure,
                false => Guess::No,
            }
        }
        [0] | [0, 0] | [0, 0, _] | [0, 0, _, SETTINGS] => Guess::Unsure,
        [0, 0, _, SETTINGS, ref rest @ ..] if rest.len() < 5 && rest.iter().all(|octet| *octet == 0) => Guess::Unsure,
        _ => Guess::No,
    }
}

impl Protocol for Http2 {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, at: Timestamp) -> Take {
        match arrival {
            Arrival::Octets(octets) => self.frame(from, octets, at),
            Arrival::Passed(_) => {
                if let Some(data) = self.ends.of_mut(from).frame.take() {
                    self.data(from, data, at);
                }
                Take::used(0)
            }
            // What comes next refers to what is missing.
            Arrival::Gap(_) => {
                self.ends.of_mut(from).lost = true;
                Take::nothing()
            }
            Arrival::End => Take::nothing(),
        }
    }

    fn has_prelude(&self) -> bool {
        false
    }

    fn minds_unseen(&self) -> bool {
        true
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Http2);
        into.malformed += self.malformed;
        let version = HttpVersion::Http2.words().to_string();
        let exchanges = Exchange::seen(&self.exchanges, self.ends.server.lost);
        into.add_http(&HttpRecord { version, ..self.facts.clone() }, &exchanges);
        into.lookups = self.carries_dns.then_some(LookupsRecord::over(LookupsOver::Https)).or(into.lookups);
        let mut streams = self.streams.clone();
        let is_whole = !self.ends.client.lost && !self.ends.server.lost;
        streams.most_open = is_whole.then_some(self.most_open);
        for side in [Side::Client, Side::Server] {
            let Stalls { connection, streams: all } = self.ends.of(side).stalls;
            let stalls = streams.stalls.of_mut(side);
            (stalls.connection, stalls.streams) = (is_whole.then_some(connection), is_whole.then_some(all));
        }
        into.http2 = Some(streams);
    }

    fn held(&self) -> usize {
        self.ends.client.block.capacity() + self.ends.server.block.capacity()
    }
}

impl Http2 {
    /// After an upgrade (RFC 7540, section 3.2), whose request is the first stream's: the answer to it comes there.
    pub(super) fn upgraded(request: Option<Exchange>) -> Self {
        let mut http = Self::default();
        http.facts.requests = 1;
        let request = request.map(|request| {
            let version = Sides { server: None, ..request.version };
            let request = Exchange { version, status: None, response: None, response_head: None, ..request };
            Exchange { response_end: None, complete: false, ..request }
        });
        http.open_stream(1, request);
        http.streams.streams.client = 1;
        if let Some(stream) = http.open.get_mut(&1) {
            stream.ended.client = true;
        }
        http
    }

    /// Takes one frame.
    fn frame(&mut self, from: Side, octets: &[u8], at: Timestamp) -> Take {
        let end = self.ends.of_mut(from);
        if from == Side::Client && !end.greeted {
            if octets.len() < PREFACE.len() {
                return Take::wait_for(PREFACE.len());
            }
            if !octets.starts_with(PREFACE) {
                self.malformed += 1;
                end.lost = true;
                return Take::nothing();
            }
            end.greeted = true;
            return Take::used(PREFACE.len());
        }
        let &[a, b, c, kind, flags, d, e, f, g, ref rest @ ..] = octets else { return Take::wait_for(FRAME) };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
        // How much of the payload is read.
        let wanted = match kind {
            HEADERS | CONTINUATION | PUSH_PROMISE => length,
            SETTINGS if length <= MOST_SETTINGS => length,
            RST_STREAM | WINDOW_UPDATE => 4,
            GOAWAY => 8,
            _ => 0,
        };
        let Some(payload) = rest.get(..wanted).filter(|_| wanted <= length.min(MOST_FRAME)) else {
            if wanted <= length.min(MOST_FRAME) {
                return Take::wait_for(FRAME + wanted);
            }
            return self.give_up(from);
        };
        let read = match (kind, payload) {
            (DATA, _) => {
                let is_last = flags & END_STREAM != 0;
                end.frame = Some(Data { stream, octets: length as u64, is_last });
                Some(())
            }
            (HEADERS | CONTINUATION | PUSH_PROMISE, _) => self.fragment(from, (kind, flags, stream), payload, at),
            (RST_STREAM, &[a, b, c, d]) => {
                self.reset(from, stream, u32::from_be_bytes([a, b, c, d]));
                Some(())
            }
            (SETTINGS, _) if flags & ACK == 0 => {
                self.settings(from, payload, at);
                Some(())
            }
            (WINDOW_UPDATE, &[a, b, c, d]) => {
                let octets = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
                self.window_update(from, stream, octets.into(), at);
                Some(())
            }
            (GOAWAY, &[a, b, c, d, e, f, g, h]) => {
                let last_stream = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
                if self.streams.goaways.len() < MOST_GOAWAYS {
                    let code = error_name(u32::from_be_bytes([e, f, g, h]));
                    self.streams.goaways.push(Http2GoAway { at, from, last_stream, code });
                }
                Some(())
            }
            _ => Some(()),
        };
        if read.is_none() {
            return self.give_up(from);
        }
        Take::then(FRAME + wanted, Next::Pass((length - wanted) as u64))
    }

    /// Something that is no HTTP/2: nothing more can be told of this end.
    fn give_up(&mut self, from: Side) -> Take {
        self.malformed += 1;
        self.ends.of_mut(from).lost = true;
        Take::nothing()
    }

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
            self.streams.streams.server += u64::from(kind == PUSH_PROMISE && from == Side::Server);
            (end.block, end.begun) = (Vec::new(), Some((stream, if kind == HEADERS { flags } else { 0 }, at)));
            end.fragments = 0;
        }
        let (begun, first_flags, since) = end.begun?;
        end.fragments += 1;
        if begun != stream || end.block.len() + part.len() > MOST_BLOCK || end.fragments > MOST_FRAGMENTS {
            return None;
        }
        end.block.extend_from_slice(part);
        if flags & END_HEADERS == 0 {
            return Some(());
        }
        end.begun = None;
        let block = std::mem::take(&mut end.block);
        let mut message = Message::default();
        end.decoder.decode_with_cb(&block, |name, value| message.field(&name, &value)).ok()?;
        if message.octets > MOST_FIELDS {
            return None;
        }
        if kind != PUSH_PROMISE || first_flags != 0 {
            self.headers(from, stream, message, (since, at));
        }
        if first_flags & END_STREAM != 0 {
            self.end_stream(from, stream, at);
        }
        Some(())
    }

    fn headers(&mut self, from: Side, stream: u32, message: Message, (since, at): (Timestamp, Timestamp)) {
        let Message { exchange: said, is_grpc, is_dns, .. } = message;
        self.carries_dns |= is_dns;
        match (from, said.method.is_some(), said.status) {
            (Side::Client, true, _) => {
                self.facts.requests += 1;
                self.facts.pipelined += u64::from(self.open.values().any(|open| !open.ended.server));
                self.streams.streams.client += 1;
                self.ends.client.last_stream = self.ends.client.last_stream.max(stream);
                let version = Sides { client: Some(HttpVersion::Http2), server: None };
                let exchange = Exchange { version, request: Some(since), request_end: Some(at), ..said };
                self.open_stream(stream, Some(exchange));
                if is_grpc {
                    self.streams.grpc.get_or_insert_default().calls += 1;
                }
            }
            (Side::Server, _, Some(100)) => {
                if let Some(exchange) = self.exchange(stream) {
                    exchange.continued = true;
                }
            }
            (Side::Server, _, Some(status)) if !(100..200).contains(&status) => {
                self.facts.responses += 1;
                self.facts.errors += u64::from(status >= 400);
                // A request that was not seen.
                if stream % 2 == 1 && stream > self.ends.client.last_stream && !self.open.contains_key(&stream) {
                    self.ends.client.last_stream = stream;
                    self.facts.requests += 1;
                    self.open_stream(stream, Some(Exchange::default()));
                }
                if let Some(exchange) = self.exchange(stream) {
                    (exchange.status, exchange.response) = (Some(status), Some(since));
                    exchange.response_end = Some(at);
                    exchange.version.server = Some(HttpVersion::Http2);
                }
            }
            // Trailers.
            _ => {}
        }
        if let Some(status) = said.grpc_status.filter(|_| from == Side::Server) {
            let grpc = self.streams.grpc.get_or_insert_default();
            grpc.errors += u64::from(status != 0);
            if let Some(exchange) = self.exchange(stream) {
                exchange.grpc_status = Some(status);
            }
        }
    }

    /// A stream begins.
    fn open_stream(&mut self, stream: u32, exchange: Option<Exchange>) {
        let room = self.exchanges.len() < MOST_EXCHANGES;
        let index = exchange.filter(|_| room).map(|exchange| {
            self.exchanges.push(exchange);
            self.exchanges.len() - 1
        });
        if self.open.len() >= MOST_OPEN {
            return;
        }
        let windows = Sides { client: self.ends.client.initial, server: self.ends.server.initial }.map(Window::new);
        let open = Open { exchange: index, ended: Sides::default(), windows };
        self.open.insert(stream, open);
        self.most_open = self.most_open.max(self.open.len() as u64);
    }

    fn exchange(&mut self, stream: u32) -> Option<&mut Exchange> {
        self.exchanges.get_mut(self.open.get(&stream)?.exchange?)
    }

    /// A DATA frame has gone by. Its padding and the length of it count for flow control as well (section 6.9.1), and little
    /// otherwise.
    fn data(&mut self, from: Side, data: Data, at: Timestamp) {
        let Data { stream, octets, is_last } = data;
        let counted = octets as i64;
        let Self { ends, open, .. } = self;
        let End { window, stalls, .. } = ends.of_mut(from);
        window.send(counted, at, &mut stalls.connection);
        if let Some(open) = open.get_mut(&stream) {
            open.windows.of_mut(from).send(counted, at, &mut stalls.streams);
        }
        if let Some(exchange) = self.exchange(stream) {
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
        if is_last {
            self.end_stream(from, stream, at);
        }
    }

    fn end_stream(&mut self, from: Side, stream: u32, at: Timestamp) {
        if let Some(exchange) = self.exchange(stream) {
            match from {
                Side::Client => exchange.request_end = Some(at),
                Side::Server => (exchange.response_end, exchange.complete) = (Some(at), true),
            }
        }
        if let Some(open) = self.open.get_mut(&stream) {
            *open.ended.of_mut(from) = true;
            if open.ended.client && open.ended.server {
                self.open.remove(&stream);
            }
        }
    }

    fn reset(&mut self, from: Side, stream: u32, code: u32) {
        let code = error_name(code);
        if let Some(exchange) = self.exchange(stream) {
            exchange.reset = Some(code.clone());
        }
        self.open.remove(&stream);
        let resets = &mut self.streams.resets;
        if let Some(reset) = resets.iter_mut().find(|reset| reset.from == from && reset.code == code) {
            reset.count += 1;
        } else if resets.len() < MOST_RESETS {
            resets.push(Http2Reset { from, code, count: 1 });
        }
    }

    /// An end says how it wants to be sent to.
    fn settings(&mut self, from: Side, settings: &[u8], at: Timestamp) {
        let (settings, _) = settings.as_chunks::<6>();
        for &[a, b, c, d, e, f] in settings {
            if u16::from_be_bytes([a, b]) != INITIAL_WINDOW_SIZE {
                continue;
            }
            let sender = from.other();
            let initial = i64::from(u32::from_be_bytes([c, d, e, f]) & 0x7fff_ffff);
            let change = initial - std::mem::replace(&mut self.ends.of_mut(sender).initial, initial);
            self.open.values_mut().for_each(|open| open.windows.of_mut(sender).grant(change, at));
        }
    }

    fn window_update(&mut self, from: Side, stream: u32, octets: i64, at: Timestamp) {
        let sender = from.other();
        if stream == 0 {
            self.ends.of_mut(sender).window.grant(octets, at);
        } else if let Some(open) = self.open.get_mut(&stream) {
            open.windows.of_mut(sender).grant(octets, at);
        }
    }
}

impl Message {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let Self { exchange, is_grpc, is_dns, octets } = self;
        *octets += name.len() + value.len() + 32;
        if *octets > MOST_FIELDS {
            return;
        }
        let number = || std::str::from_utf8(value).ok();
        match name {
            b":method" => exchange.method = Some(clean(value, 32)),
            b":authority" => exchange.host = Some(clean(target::host(value), MOST_HOST)),
            b"host" if exchange.host.is_none() => exchange.host = Some(clean(target::host(value), MOST_HOST)),
            b":path" => exchange.path = Some(clean(value, target::MOST_PATH)),
            b":status" => exchange.status = number().and_then(|status| status.parse().ok()),
            b"grpc-status" => exchange.grpc_status = number().and_then(|status| status.parse().ok()),
            b"content-type" => {
                *is_grpc = value.starts_with(b"application/grpc");
                *is_dns = is_content_type(value);
            }
            _ => {}
        }
    }
}

/// An error code's name (section 7).
fn error_name(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).map_or_else(|| format!("{code:#x}"), |name| (*name).to_string())
}
