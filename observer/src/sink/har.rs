//! `--output har`: requests and responses as an HTTP Archive 1.2, which browsers' network panels open.
//!
//! Fields are those of the format's specification (W3C, HTTP Archive, 2012). What is not known is -1 or empty, as it says;
//! records hold neither header fields nor bodies.

use std::io::Write;
use std::net::IpAddr;

use anyhow::Result;
use observer::record::{CaptureRecord, ConnectionRecord, Exchange, HttpVersion, Phase, Side};
use observer::time::{Nanos, Timestamp};
use serde::Serialize;

use super::Sink;
use super::elements::Elements;
use super::url::url;

/// Prints each exchange as an entry, in the order they began.
pub struct Har {
    entries: Elements,
    connection: Option<u64>,
    left_out: u64,
}

impl Har {
    /// Of all connections, or of the given one.
    pub fn new(connection: Option<u64>) -> Self {
        Self { entries: Elements::new(), connection, left_out: 0 }
    }
}

impl Sink for Har {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        if self.connection.is_some_and(|id| id != record.id) {
            return Ok(());
        }
        let Some(exchanges) = record.exchanges.as_ref().filter(|_| record.http.is_some()) else { return Ok(()) };
        self.left_out += exchanges.cut;
        // Those of databases are none of HTTP.
        let of_http = exchanges.entries.iter().filter(|exchange| exchange.http_version().is_some());
        for (index, exchange) in of_http.enumerate() {
            let Some(entry) = Entry::new(&record, exchange, index == 0) else {
                self.left_out += 1;
                continue;
            };
            let among = record.id.saturating_mul(1 << 16).saturating_add(index as u64);
            self.entries.push((entry.begun.as_nanos(), among), &entry)?;
        }
        Ok(())
    }

    fn has_printed(&self) -> bool {
        self.entries.has_printed()
    }

    fn finish(sinks: Vec<Self>, _: &CaptureRecord, out: &mut dyn Write) -> Result<()> {
        let left_out: u64 = sinks.iter().map(|sink| sink.left_out).sum();
        let creator = Creator { name: "observer", version: env!("CARGO_PKG_VERSION") };
        write!(out, r#"{{"log":{{"version":"1.2","creator":{},"entries":["#, serde_json::to_string(&creator)?)?;
        Elements::finish(sinks.into_iter().map(|sink| sink.entries).collect(), out)?;
        let comment = match left_out {
            0 => String::new(),
            _ => format!(
                r#","comment":"{left_out} exchanges are left out: their requests were not seen, or they were too many""#
            ),
        };
        Ok(writeln!(out, "\n]{comment}}}}}")?)
    }
}

#[derive(Serialize)]
struct Creator {
    name: &'static str,
    version: &'static str,
}

/// One exchange.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(rename = "startedDateTime")]
    begun: Timestamp,
    /// The sum of `timings`, in milliseconds; `ssl` is a part of `connect`.
    time: f64,
    request: Request<'a>,
    response: Response,
    cache: Empty,
    timings: Timings,
    #[serde(rename = "serverIPAddress")]
    server_ip_address: IpAddr,
    connection: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'static str,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    method: &'a str,
    url: String,
    http_version: &'static str,
    cookies: [Empty; 0],
    headers: [Empty; 0],
    query_string: Vec<Query<'a>>,
    headers_size: i64,
    body_size: i64,
}

#[derive(Serialize)]
struct Query<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    /// 0 where there was none, as browsers have it.
    status: u16,
    status_text: &'static str,
    http_version: &'static str,
    cookies: [Empty; 0],
    headers: [Empty; 0],
    content: Content,
    #[serde(rename = "redirectURL")]
    redirect_url: &'static str,
    headers_size: i64,
    body_size: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    size: i64,
    mime_type: &'static str,
}

/// Milliseconds; -1 for what does not apply.
#[derive(Serialize)]
struct Timings {
    blocked: f64,
    dns: f64,
    connect: f64,
    send: f64,
    wait: f64,
    receive: f64,
    ssl: f64,
}

const UNKNOWN: i64 = -1;

impl<'a> Entry<'a> {
    /// An exchange of `record`; `None` where its request was not seen. Name, connection and encryption were made for the
    /// first one.
    fn new(record: &'a ConnectionRecord, exchange: &'a Exchange, is_first: bool) -> Option<Self> {
        let (method, request) = (exchange.method.as_deref()?, exchange.request?);
        let version = |seen: Option<HttpVersion>| seen.or(exchange.http_version()).map_or("", HttpVersion::words);
        let (begun, opening) = if is_first { opening(record, request) } else { (request, Opening::default()) };
        let timings = Timings::new(&opening, exchange, request);
        let response_size = exchange.status.map_or(UNKNOWN, |_| size(exchange.response_bytes));
        Some(Self {
            begun,
            time: timings.sum(),
            request: Request {
                method,
                url: url(record, exchange),
                http_version: version(exchange.version.client),
                cookies: [],
                headers: [],
                query_string: query(exchange.path.as_deref().unwrap_or_default()),
                headers_size: exchange.request_head.map_or(UNKNOWN, size),
                body_size: size(exchange.request_bytes),
            },
            response: Response {
                status: exchange.status.unwrap_or(0),
                status_text: "",
                http_version: version(exchange.version.server),
                cookies: [],
                headers: [],
                content: Content { size: response_size.max(0), mime_type: "" },
                redirect_url: "",
                headers_size: exchange.response_head.map_or(UNKNOWN, size),
                body_size: response_size,
            },
            cache: Empty {},
            timings,
            server_ip_address: record.server.ip,
            connection: record.id.to_string(),
            comment: match (exchange.status, exchange.complete) {
                (None, _) => "no response was seen",
                (Some(_), false) if exchange.unseen || record.lacks_some_of(Side::Server) => {
                    "not all of the response was captured"
                }
                (Some(_), false) => "the response was cut off",
                (Some(_), true) => "",
            },
        })
    }
}

/// What went before the first request.
#[derive(Default)]
struct Opening {
    blocked: Option<Nanos>,
    dns: Option<Nanos>,
    connect: Option<Nanos>,
    ssl: Option<Nanos>,
}

/// When a connection began to be made, and how the time up to its first request was spent.
fn opening(record: &ConnectionRecord, request: Timestamp) -> (Timestamp, Opening) {
    let before = |wanted| record.phases.iter().find(|phase| phase.phase == wanted && phase.start <= request);
    // With early data the request goes out before the TLS handshake has ended.
    let length = |wanted| before(wanted).map(|phase| phase.length_ns.min(request.since(phase.start)));
    let made_of = [Phase::Dns, Phase::Connect, Phase::Tls];
    let begun = made_of.into_iter().filter_map(before).map(|phase| phase.start).min().unwrap_or(request);
    let spent = made_of.into_iter().filter_map(length).map(|length| length.0).sum();
    let [dns, tcp, ssl] = made_of.map(length);
    let connect = tcp.map(|tcp| Nanos(tcp.0 + ssl.unwrap_or_default().0));
    let blocked = (begun < request).then(|| Nanos(request.since(begun).0.saturating_sub(spent)));
    (begun, Opening { blocked, dns, connect, ssl })
}

impl Timings {
    fn new(opening: &Opening, exchange: &Exchange, request: Timestamp) -> Self {
        let known = |length: Option<Nanos>| length.map_or(-1.0, milliseconds);
        let response = exchange.response.unwrap_or(Timestamp::from_nanos(u64::MAX));
        // A response may begin before the request has ended.
        let sent = exchange.request_end.unwrap_or(request).min(response).max(request);
        let answered = exchange.response.unwrap_or(sent).max(sent);
        let ended = exchange.response_end.unwrap_or(answered);
        Self {
            blocked: known(opening.blocked),
            dns: known(opening.dns),
            connect: known(opening.connect),
            send: milliseconds(sent.since(request)),
            wait: milliseconds(answered.since(sent)),
            receive: milliseconds(ended.since(answered)),
            ssl: known(opening.ssl),
        }
    }

    fn sum(&self) -> f64 {
        let Self { blocked, dns, connect, send, wait, receive, ssl: _ } = *self;
        [blocked, dns, connect, send, wait, receive].into_iter().filter(|length| *length > 0.0).sum()
    }
}

fn milliseconds(length: Nanos) -> f64 {
    length.0 as f64 / 1e6
}

fn size(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

/// The query of a path, values as the path has them.
fn query(path: &str) -> Vec<Query<'_>> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| Query { name, value }).collect()
}
