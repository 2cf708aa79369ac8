//! HTTP/1.0 and HTTP/1.1 (RFC 9112): requests, responses, and when they went by. Bodies are passed over.
//!
//! - Responses belong to requests in their order, pipelined or not; those of status 1xx announce another.
//! - A body's length is what RFC 9112, section 6.3, says it is.
//! - After a gap, a message is found again where a segment begins with one.

use std::collections::VecDeque;

use httparse::{EMPTY_HEADER, Header, ParserConfig, Request, Response, Status};

use super::dns::is_content_type;
use super::http2::Http2;
use super::text::clean;
use super::websocket::WebSocket;
use super::{Arrival, Guess, Next, Protocol, Take};
use crate::record::{
    Application, Exchange, HttpRecord, HttpVersion, LookupsOver, LookupsRecord, ProtocolName, Side, Sides, target,
};
use crate::time::Timestamp;

/// Octets of a message's head, and of a line between chunks.
const MOST_HEAD: usize = 64 << 10;
const MOST_LINE: usize = 4 << 10;
/// Fields of a head.
const MOST_FIELDS: usize = 128;
/// Exchanges that are kept of one connection.
const MOST_EXCHANGES: usize = 100;
/// Requests that may wait for their responses.
const MOST_WAITING: usize = 1000;
/// Characters of a host that are kept.
const MOST_HOST: usize = 255;

/// Letters of a method.
const MOST_METHOD: usize = 24;

/// A connection that speaks HTTP/1.
#[derive(Debug, Default)]
struct Http {
    ends: Sides<End>,
    exchanges: Vec<Exchange>,
    waiting: VecDeque<Waiting>,
    facts: HttpRecord,
    /// Bodies of it are messages of DNS.
    carries_dns: bool,
    malformed: u64,
    /// The response at hand, and which exchange it belongs to.
    answering: Option<Waiting>,
    /// What the connection was upgraded to.
    upgraded: Option<Upgrade>,
}

/// A protocol that an upgrade leads to.
#[derive(Clone, Copy, Debug)]
enum Upgrade {
    WebSocket,
    /// HTTP/2, whose first stream is the exchange that led to it.
    Http2 {
        index: u64,
    },
}

/// A request that waits for its response.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Which exchange it is, from 0, those that are not kept included.
    index: u64,
    method: Method,
}

/// A method, as far as it matters to the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Head,
    Connect,
    Other,
}

/// Where one end is.
#[derive(Debug, Default)]
struct End {
    state: State,
    /// When the message at hand began.
    begun: Option<Timestamp>,
    /// Which exchange it belongs to.
    index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a head, so many octets of which hold no end.
    Head { scanned: usize },
    /// In a body of known length.
    Body { length: u64 },
    /// In a body that ends with the connection.
    UntilEnd,
    /// Before the length of a chunk.
    ChunkLength,
    /// In a chunk and the end of its line.
    Chunk { length: u64 },
    /// In the fields behind the last chunk.
    Trailer,
    /// Octets are missing: somewhere.
    Lost,
}

impl Default for State {
    fn default() -> Self {
        Self::Head { scanned: 0 }
    }
}

/// Whether these octets begin a connection that speaks HTTP/1.
pub(super) fn recognise(octets: &[u8]) -> Guess {
    const VERSION: &[u8] = b"HTTP/1.";
    if octets.starts_with(VERSION) {
        return Guess::Yes(Side::Server, Box::new(Http::default()));
    }
    // What does not begin as a method is not looked through for the end of a line.
    let is_letter = |octet: &&u8| octet.is_ascii_uppercase() || matches!(octet, b'_' | b'-');
    let method = octets.iter().take(MOST_METHOD + 1).take_while(is_letter).count();
    let is_method = (1..=MOST_METHOD).contains(&method) && octets.get(method).is_none_or(|octet| *octet == b' ');
    if !is_method {
        return if VERSION.starts_with(octets) { Guess::Unsure } else { Guess::No };
    }
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    match () {
        () if line.len() == octets.len() => Guess::Unsure,
        () if line.windows(VERSION.len()).any(|part| part == VERSION) => {
            Guess::Yes(Side::Client, Box::new(Http::default()))
        }
        () => Guess::No,
    }
}

impl Protocol for Http {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, at: Timestamp) -> Take {
        match arrival {
            Arrival::Octets(octets) => self.octets(from, octets, at),
            Arrival::Passed(octets) => self.passed(from, octets, at),
            Arrival::Gap(_) => {
                self.lose(from);
                Take::used(0)
            }
            Arrival::End => {
                self.end(from, at);
                Take::nothing()
            }
        }
    }

    fn successor(&mut self) -> Option<Box<dyn Protocol>> {
        match self.upgraded? {
            Upgrade::WebSocket => Some(Box::new(WebSocket::default())),
            Upgrade::Http2 { index } => Some(Box::new(Http2::upgraded(self.give_away(index)))),
        }
    }

    fn has_prelude(&self) -> bool {
        false
    }

    fn minds_unseen(&self) -> bool {
        true
    }

    fn unseen(&mut self, from: Side) {
        let index = self.ends.of(from).index;
        match (from, self.exchange(index)) {
            (Side::Client, Some(exchange)) => exchange.request_end = None,
            (Side::Server, Some(exchange)) => exchange.response_end = None,
            (_, None) => {}
        }
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Http);
        into.malformed += self.malformed;
        into.add_http(&self.facts, &Exchange::seen(&self.exchanges, self.ends.server.state == State::Lost));
        into.lookups = self.carries_dns.then_some(LookupsRecord::over(LookupsOver::Https)).or(into.lookups);
    }
}

impl Http {
    fn octets(&mut self, from: Side, octets: &[u8], at: Timestamp) -> Take {
        let end = self.ends.of_mut(from);
        match end.state {
            State::Head { scanned } => self.head(from, octets, scanned, at),
            State::ChunkLength => self.chunk(from, octets),
            State::Trailer => self.trailer(from, octets, at),
            State::Lost => {
                if matches!((recognise(octets), from), (Guess::Yes(by, _), from) if by == from) {
                    end.state = State::default();
                    self.find_again(from);
                    return self.head(from, octets, 0, at);
                }
                Take::used(octets.len())
            }
            State::Body { .. } | State::UntilEnd | State::Chunk { .. } => Take::used(octets.len()),
        }
    }

    /// Takes a head, once all of it is there.
    fn head(&mut self, from: Side, octets: &[u8], scanned: usize, at: Timestamp) -> Take {
        // Empty lines may stand before a request (RFC 9112, section 2.2).
        let blank = octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        if blank > 0 && scanned == 0 {
            return Take::used(blank);
        }
        let end = self.ends.of_mut(from);
        end.begun.get_or_insert(at);
        let Some(length) = head_length(octets, scanned) else {
            if octets.len() > MOST_HEAD {
                self.malformed += 1;
                self.lose(from);
                return Take::nothing();
            }
            end.state = State::Head { scanned: octets.len().saturating_sub(3) };
            return Take::wait_for(octets.len() + 1);
        };
        let head = octets.get(..length).unwrap_or(octets);
        let next = match from {
            Side::Client => self.request(head, at),
            Side::Server => self.response(head, at),
        };
        match next {
            Some(Next::Octets) => Take::used(length),
            Some(next) => Take::then(length, next),
            None => {
                self.malformed += 1;
                self.lose(from);
                Take::used(octets.len())
            }
        }
    }

    fn request(&mut self, head: &[u8], at: Timestamp) -> Option<Next> {
        let octets = head.len() as u64;
        let mut fields = [EMPTY_HEADER; MOST_FIELDS];
        let mut request = Request::new(&mut fields);
        let mut config = ParserConfig::default();
        config.allow_multiple_spaces_in_request_line_delimiters(true).ignore_invalid_headers_in_requests(true);
        let mended = mended(head);
        let head = mended.as_deref().unwrap_or(head);
        let Ok(Status::Complete(_)) = config.parse_request(&mut request, head) else { return None };
        let (name, asked, version) = (request.method?, request.path?, request.version?);
        let method = match name {
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let index = self.facts.requests;
        let version = HttpVersion::first(version);
        if self.facts.requests == 0 && self.facts.responses == 0 {
            self.facts.version = version.words().to_string();
        }
        self.facts.requests += 1;
        let is_known = self.ends.server.state != State::Lost;
        self.facts.pipelined += u64::from(is_known && (!self.waiting.is_empty() || self.answering.is_some()));
        if self.waiting.len() == MOST_WAITING {
            self.malformed += 1;
            self.waiting.clear();
        }
        self.waiting.push_back(Waiting { index, method });
        let begun = self.ends.client.begun.take();
        self.carries_dns |= field(request.headers, "content-type").is_some_and(is_content_type);
        let (authority, path) = target::split(asked);
        let authority = if method == Method::Connect { Some(asked) } else { authority };
        let authority = authority.map(str::as_bytes).or_else(|| field(request.headers, "host"));
        if self.exchanges.len() < MOST_EXCHANGES {
            self.exchanges.push(Exchange {
                method: Some(clean(name.as_bytes(), 32)),
                host: authority.map(|authority| clean(target::host(authority), MOST_HOST)),
                path: (method != Method::Connect).then(|| clean(path.as_bytes(), target::MOST_PATH)),
                version: Sides { client: Some(version), server: None },
                request: begun,
                request_head: Some(octets),
                ..Exchange::default()
            });
        }
        self.ends.client.index = index;
        let length = body_length(request.headers, self)?;
        Some(self.begin_body(Side::Client, length.unwrap_or(Length::Octets(0)), at))
    }

    fn response(&mut self, head: &[u8], at: Timestamp) -> Option<Next> {
        let mut fields = [EMPTY_HEADER; MOST_FIELDS];
        let mut response = Response::new(&mut fields);
        let mut config = ParserConfig::default();
        config
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true);
        let Ok(Status::Complete(_)) = config.parse_response(&mut response, head) else { return None };
        let (status, version) = (response.code?, response.version?);
        let begun = self.ends.server.begun.take();
        if (100..200).contains(&status) && status != 101 {
            if status == 100
                && let Some(waiting) = self.waiting.front().copied()
                && let Some(exchange) = self.exchange(waiting.index)
            {
                exchange.continued = true;
            }
            self.ends.server.state = State::default();
            return Some(Next::Octets);
        }
        let version = HttpVersion::first(version);
        if self.facts.responses == 0 {
            self.facts.version = version.words().to_string();
        }
        self.carries_dns |= field(response.headers, "content-type").is_some_and(is_content_type);
        self.facts.responses += 1;
        self.facts.errors += u64::from(status >= 400);
        let waiting = self.waiting.pop_front().unwrap_or_else(|| self.unasked());
        self.answering = Some(waiting);
        self.ends.server.index = waiting.index;
        if let Some(exchange) = self.exchange(waiting.index) {
            (exchange.status, exchange.response) = (Some(status), begun);
            exchange.version.server = Some(version);
            exchange.response_head = Some(head.len() as u64);
        }
        let is_tunnel = waiting.method == Method::Connect && (200..300).contains(&status);
        if status == 101 || is_tunnel {
            let upgrade = field(response.headers, "upgrade").map(|name| clean(name, 64));
            self.facts.upgrade = upgrade.filter(|_| status == 101);
            self.upgraded = match self.facts.upgrade.as_deref() {
                Some(name) if name.eq_ignore_ascii_case("websocket") => Some(Upgrade::WebSocket),
                Some(name) if name.eq_ignore_ascii_case("h2c") => Some(Upgrade::Http2 { index: waiting.index }),
                _ => None,
            };
            self.finish_message(Side::Server, true, at);
            return Some(Next::Change);
        }
        let has_none = waiting.method == Method::Head || matches!(status, 204 | 304);
        let length = if has_none { Some(Length::Octets(0)) } else { body_length(response.headers, self)? };
        Some(self.begin_body(Side::Server, length.unwrap_or(Length::UntilEnd), at))
    }

    /// A response whose request was not seen.
    fn unasked(&mut self) -> Waiting {
        let index = self.facts.requests;
        self.facts.requests += 1;
        if self.exchanges.len() < MOST_EXCHANGES {
            self.exchanges.push(Exchange::default());
        }
        Waiting { index, method: Method::Other }
    }

    /// Takes out the exchange that is to be HTTP/2's; `None` where it is not kept.
    fn give_away(&mut self, index: u64) -> Option<Exchange> {
        self.facts.requests -= 1;
        self.facts.responses -= 1;
        let place = usize::try_from(index).ok().filter(|place| *place < self.exchanges.len())?;
        Some(self.exchanges.remove(place))
    }

    fn exchange(&mut self, index: u64) -> Option<&mut Exchange> {
        self.exchanges.get_mut(usize::try_from(index).ok()?)
    }

    fn begin_body(&mut self, from: Side, length: Length, at: Timestamp) -> Next {
        let (state, next) = match length {
            Length::Octets(0) => {
                self.finish_message(from, true, at);
                return Next::Octets;
            }
            Length::Octets(length) => (State::Body { length }, Next::Pass(length)),
            Length::Chunks => (State::ChunkLength, Next::Octets),
            Length::UntilEnd => (State::UntilEnd, Next::Pass(u64::MAX)),
        };
        self.ends.of_mut(from).state = state;
        next
    }

    /// The length of the next chunk; 0 is the last one's.
    fn chunk(&mut self, from: Side, octets: &[u8]) -> Take {
        let Some(line) = octets.iter().position(|octet| *octet == b'\n') else {
            if octets.len() > MOST_LINE {
                return self.give_up(from);
            }
            return Take::wait_for(octets.len() + 1);
        };
        let digits = octets.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
        let digits = octets.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
        let Ok(length) = u64::from_str_radix(digits, 16) else { return self.give_up(from) };
        let end = self.ends.of_mut(from);
        if length == 0 {
            end.state = State::Trailer;
            return Take::used(line + 1);
        }
        end.state = State::Chunk { length };
        Take::then(line + 1, Next::Pass(length.saturating_add(2)))
    }

    fn trailer(&mut self, from: Side, octets: &[u8], at: Timestamp) -> Take {
        let Some(line) = octets.iter().position(|octet| *octet == b'\n') else {
            if octets.len() > MOST_LINE {
                return self.give_up(from);
            }
            return Take::wait_for(octets.len() + 1);
        };
        if matches!(octets.get(..line), Some(b"" | b"\r")) {
            self.finish_message(from, true, at);
        }
        Take::used(line + 1)
    }

    fn passed(&mut self, from: Side, octets: u64, at: Timestamp) -> Take {
        let end = self.ends.of_mut(from);
        match end.state {
            State::Body { length } => {
                self.add_body(from, octets.min(length));
                if octets >= length {
                    self.finish_message(from, true, at);
                }
            }
            State::Chunk { length } => {
                end.state = State::ChunkLength;
                self.add_body(from, octets.min(length));
            }
            State::UntilEnd => {
                self.add_body(from, octets);
                self.finish_message(from, true, at);
            }
            _ => {}
        }
        Take::used(0)
    }

    fn add_body(&mut self, from: Side, octets: u64) {
        let index = self.ends.of(from).index;
        let Some(exchange) = self.exchange(index) else { return };
        match from {
            Side::Client => exchange.request_bytes += octets,
            Side::Server => exchange.response_bytes += octets,
        }
    }

    /// The message at hand is at its end, `complete` or cut off.
    fn finish_message(&mut self, from: Side, complete: bool, at: Timestamp) {
        let end = self.ends.of_mut(from);
        end.state = State::default();
        let index = end.index;
        match from {
            Side::Client => {
                if let Some(exchange) = self.exchange(index) {
                    exchange.request_end = Some(at);
                }
            }
            Side::Server => {
                self.answering = None;
                if let Some(exchange) = self.exchange(index) {
                    (exchange.response_end, exchange.complete) = (Some(at), complete);
                }
            }
        }
    }

    /// Something that is no HTTP: nothing more can be told.
    fn give_up(&mut self, from: Side) -> Take {
        self.malformed += 1;
        self.lose(from);
        Take::nothing()
    }

    fn lose(&mut self, from: Side) {
        let end = self.ends.of_mut(from);
        (end.state, end.begun) = (State::Lost, None);
        if from == Side::Client {
            // Which request a response belongs to is not known any more.
            self.waiting.clear();
        }
    }

    /// After a gap: of the requests that wait, the last one is the most likely to be answered.
    fn find_again(&mut self, from: Side) {
        if from == Side::Server && self.waiting.len() > 1 {
            self.waiting.drain(..self.waiting.len() - 1);
        }
    }

    fn end(&mut self, from: Side, at: Timestamp) {
        let is_within = match self.ends.of(from).state {
            State::Head { .. } | State::Lost => false,
            State::Body { .. } | State::UntilEnd | State::ChunkLength | State::Chunk { .. } | State::Trailer => true,
        };
        if is_within {
            self.finish_message(from, false, at);
        }
    }
}

/// How long a body is.
enum Length {
    Octets(u64),
    Chunks,
    UntilEnd,
}

/// The length that a head's fields give; `None` within where they give none, and around where they make no sense.
fn body_length(fields: &[Header<'_>], http: &mut Http) -> Option<Option<Length>> {
    if let Some(coding) = field(fields, "transfer-encoding") {
        let last = coding.rsplit(|octet| *octet == b',').next().unwrap_or_default().trim_ascii();
        let is_chunked = last.eq_ignore_ascii_case(b"chunked");
        return Some(Some(if is_chunked { Length::Chunks } else { Length::UntilEnd }));
    }
    let Some(length) = field(fields, "content-length") else { return Some(None) };
    let length = std::str::from_utf8(length).ok().and_then(|length| length.trim().parse().ok());
    if length.is_none() {
        http.malformed += 1;
    }
    Some(length.map(Length::Octets))
}

fn field<'a>(fields: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// Octets up to the empty line that ends a head; the first `scanned` hold none.
fn head_length(octets: &[u8], scanned: usize) -> Option<usize> {
    let mut at = scanned;
    loop {
        at += octets.get(at..)?.iter().position(|octet| *octet == b'\n')? + 1;
        match octets.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

/// A head whose target has spaces in it, which some clients do not escape, with an escape in their place.
fn mended(head: &[u8]) -> Option<Vec<u8>> {
    let end = head.iter().position(|octet| matches!(octet, b'\r' | b'\n'))?;
    let (line, rest) = head.split_at_checked(end)?;
    let first = line.iter().position(|octet| *octet == b' ')?;
    let last = line.iter().rposition(|octet| *octet == b' ')?;
    let target = line.get(first + 1..last)?.trim_ascii();
    if !target.contains(&b' ') {
        return None;
    }
    let escaped = target.split(|octet| *octet == b' ').collect::<Vec<_>>().join(&b"%20"[..]);
    Some([line.get(..=first)?, &escaped, line.get(last..)?, rest].concat())
}
