//! What a connection was for, and where its time went.

use schemars::JsonSchema;
use serde::Serialize;

use super::target::{redacted, without_port};
use super::{Http2Record, LookupRecord, LookupsRecord, QuicRecord, Side, Sides, SshRecord, TlsRecord, WebSocketRecord};
use crate::time::{Nanos, Timestamp};

/// What the protocols inside a connection showed.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// What was spoken in the end.
    pub protocol: Option<ProtocolName>,
    /// What was spoken before.
    pub via: Vec<ProtocolName>,
    /// What was meant by the address, by whatever told.
    pub name: Option<NameRecord>,
    /// The lookup that gave the client the server's address.
    pub dns: Option<Box<LookupRecord>>,
    /// Names are looked up over it.
    pub lookups: Option<LookupsRecord>,
    /// TLS.
    pub tls: Option<Box<TlsRecord>>,
    /// QUIC.
    pub quic: Option<Box<QuicRecord>>,
    /// SSH.
    pub ssh: Option<SshRecord>,
    /// What was said before the first request.
    pub prelude: Prelude,
    /// Requests and responses, in order.
    pub exchanges: Exchanges,
    /// HTTP.
    pub http: Option<HttpRecord>,
    /// Calls of a database or a queue.
    pub calls: Option<CallsRecord>,
    /// HTTP/2.
    pub http2: Option<Http2Record>,
    /// WebSocket.
    pub websocket: Option<WebSocketRecord>,
    /// Messages that contradict themselves or are too large, and segments that contradict those that came before a hole was
    /// filled.
    pub malformed: u64,
    /// Octets were given up to stay within the bound on memory.
    pub given_up: bool,
    /// What may hold secrets is to be told.
    pub show_secrets: bool,
}

impl Application {
    /// Notes that `protocol` was spoken, after what was noted before.
    pub fn speaks(&mut self, protocol: ProtocolName) {
        self.via.extend(self.protocol.replace(protocol));
    }

    /// Adds HTTP that was spoken, behind what was before: its facts, and those of its exchanges that are kept.
    pub(crate) fn add_http(&mut self, facts: &HttpRecord, exchanges: &[Exchange]) {
        let host = exchanges.iter().find_map(|exchange| exchange.host.as_deref());
        if let Some(host) = host.filter(|_| self.name.is_none()) {
            self.name = Some(NameRecord { name: without_port(host).to_string(), from: NameSource::Host });
        }
        let show_secrets = self.show_secrets;
        self.exchanges.entries.extend(exchanges.iter().map(|exchange| exchange.shown(show_secrets)));
        self.exchanges.cut += facts.requests.saturating_sub(exchanges.len() as u64);
        let all = self.http.take().unwrap_or_default().and(facts);
        self.http = Some(all.timed(&self.exchanges.entries));
    }
}

/// What two ends said in the clear before TLS or the first request: a greeting, STARTTLS, SOCKS. It may go on with what
/// [`Exchanges`] tells as well.
#[derive(Clone, Debug, Default)]
pub struct Prelude {
    /// Who spoke when, in order.
    pub turns: Vec<PreludeTurn>,
    /// When the first turn began that is not among them, as there were too many.
    pub cut: Option<Timestamp>,
}

/// Octets that one end sent, before the other did.
#[derive(Clone, Copy, Debug)]
pub struct PreludeTurn {
    /// Who.
    pub from: Side,
    /// The first of them.
    pub start: Timestamp,
    /// The last.
    pub end: Timestamp,
}

/// A protocol over a transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolName {
    /// RFC 8446, RFC 5246 and those before.
    Tls,
    /// HTTP/1.0 or HTTP/1.1 (RFC 9112).
    Http,
    /// RFC 9113.
    Http2,
    /// RFC 9000, RFC 9369.
    Quic,
    /// RFC 9147, RFC 6347 and those before.
    Dtls,
    /// RFC 6455.
    #[serde(rename = "websocket")]
    WebSocket,
    /// RFC 1035, over TCP by RFC 7766.
    Dns,
    /// RFC 4253.
    Ssh,
    /// RFC 5321.
    Smtp,
    /// RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
    /// RFC 959: the control connection.
    Ftp,
    /// The PROXY protocol's header.
    Proxy,
    /// SOCKS 4 or 5 (RFC 1928).
    Socks,
    /// PostgreSQL's frontend/backend protocol.
    Postgresql,
    /// MySQL's client/server protocol.
    Mysql,
    /// Redis's, RESP.
    Redis,
    /// Memcached's, text or binary.
    Memcached,
    /// MongoDB's wire protocol.
    Mongodb,
    /// Kafka's.
    Kafka,
    /// AMQP 0-9-1 or 1.0.
    Amqp,
    /// MQTT.
    Mqtt,
}

impl ProtocolName {
    /// As people write it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Http2 => "HTTP/2",
            Self::Quic => "QUIC",
            Self::Dtls => "DTLS",
            Self::WebSocket => "WebSocket",
            Self::Dns => "DNS",
            Self::Ssh => "SSH",
            Self::Smtp => "SMTP",
            Self::Imap => "IMAP",
            Self::Pop3 => "POP3",
            Self::Ftp => "FTP",
            Self::Proxy => "PROXY",
            Self::Socks => "SOCKS",
            Self::Postgresql => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Redis => "Redis",
            Self::Memcached => "Memcached",
            Self::Mongodb => "MongoDB",
            Self::Kafka => "Kafka",
            Self::Amqp => "AMQP",
            Self::Mqtt => "MQTT",
        }
    }
}

/// The name of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NameRecord {
    /// The name.
    pub name: String,
    /// What told it.
    pub from: NameSource,
}

/// What told a server's name, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// The client's TLS hello (SNI).
    Sni,
    /// The Host field of the first request that has one.
    Host,
    /// What the client asked a proxy for.
    Proxy,
    /// The answer to the client's last lookup that has the server's address in it.
    Dns,
}

/// HTTP over a connection, all exchanges together, whichever versions they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HttpRecord {
    /// The version of the first response, of the first request where there was none: `HTTP/1.1`. Where HTTP led to HTTP (by
    /// CONNECT, by an upgrade) that of the last; each exchange has its own.
    pub version: String,
    /// Requests.
    pub requests: u64,
    /// Responses, without those of status 1xx.
    pub responses: u64,
    /// Responses of status 4xx and 5xx.
    pub errors: u64,
    /// Requests that were sent before the response to the one before had ended.
    pub pipelined: u64,
    /// The protocol that the connection was upgraded to, as the Upgrade field has it.
    pub upgrade: Option<String>,
    /// From a request's end to the first octet of its response, of the exchanges that are kept.
    pub first_byte_ns: Option<Spread>,
    /// From the first octet of a response to its last, likewise, of those that were seen to their end.
    pub transfer_ns: Option<Spread>,
}

impl HttpRecord {
    /// The same with what was spoken behind it. Times are left out.
    fn and(self, later: &Self) -> Self {
        Self {
            version: if later.version.is_empty() { self.version } else { later.version.clone() },
            requests: self.requests + later.requests,
            responses: self.responses + later.responses,
            errors: self.errors + later.errors,
            pipelined: self.pipelined + later.pipelined,
            upgrade: later.upgrade.clone().or(self.upgrade),
            first_byte_ns: None,
            transfer_ns: None,
        }
    }

    /// The same with the times of those of these exchanges that are HTTP's.
    #[must_use]
    fn timed(self, exchanges: &[Exchange]) -> Self {
        let of_http = || exchanges.iter().filter(|exchange| exchange.http_version().is_some());
        let first_byte_ns = Spread::of(of_http().filter_map(Exchange::first_byte_ns));
        let transfer_ns = Spread::of(of_http().filter_map(Exchange::transfer_ns));
        Self { first_byte_ns, transfer_ns, ..self }
    }
}

/// Calls of a database or a queue over a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CallsRecord {
    /// Calls.
    pub requests: u64,
    /// Calls whose answers were seen to begin.
    pub responses: u64,
    /// Answers that were errors; of Kafka's it does not show.
    pub errors: u64,
    /// From a call's end to the first octet of its answer: the shortest, the median, the longest, in nanoseconds. Calls that
    /// wait for what others do are left out.
    pub first_byte_ns: Option<Spread>,
    /// Octets are missing, and the calls or answers that this end sent after them are not counted.
    pub gap: Sides<bool>,
}

/// How times are spread, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Spread {
    /// The shortest.
    pub min_ns: Nanos,
    /// As many are shorter as are longer.
    pub median_ns: Nanos,
    /// 95 % are as short or shorter.
    pub p95_ns: Nanos,
    /// The longest.
    pub max_ns: Nanos,
}

impl Spread {
    /// Of some times; `None` of none.
    pub fn of(times: impl Iterator<Item = Nanos>) -> Option<Self> {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        let median_ns = *times.get(times.len() / 2)?;
        // By the nearest rank.
        let p95_ns = *times.get((times.len() * 95).div_ceil(100).saturating_sub(1))?;
        Some(Self { min_ns: *times.first()?, median_ns, p95_ns, max_ns: *times.last()? })
    }
}

/// Requests and their responses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Exchanges {
    /// The first of them, in the order of the requests.
    pub entries: Vec<Exchange>,
    /// How many were left out to stay within the bound.
    pub cut: u64,
}

/// One request and its response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Exchange {
    /// The method, of databases and queues the command; `null` where the request was not seen.
    pub method: Option<String>,
    /// The Host field, or the authority of the target; a user and password in front of it are left out.
    pub host: Option<String>,
    /// The target's path. Users and passwords in it are left out, and the values of its query, its fragment and its segments'
    /// parameters.
    pub path: Option<String>,
    /// The versions of HTTP that the request and the response are in, each `null` where it was not seen; absent where this is
    /// none of HTTP.
    #[serde(skip_serializing_if = "is_not_http")]
    #[schemars(default)]
    pub version: Sides<Option<HttpVersion>>,
    /// The response's status; `null` where none was seen.
    pub status: Option<u16>,
    /// Octets of the request's body, as far as seen.
    pub request_bytes: u64,
    /// Octets of the response's body, as far as seen.
    pub response_bytes: u64,
    /// Whether the response was seen to its end.
    pub complete: bool,
    /// Octets of the server are missing that hold the response, or the rest of it, where there was one: live, only the first
    /// octets of each direction are seen. Absent where none are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub unseen: bool,
    /// The server asked for the rest of the request (status 100).
    pub continued: bool,
    /// HTTP/2: the code of the RST_STREAM that ended it (`CANCEL`); absent where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// Databases and queues: the code of the error that was the answer; absent where it was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// gRPC: the code of `grpc-status`, 0 where all is well; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    /// Time of the request's first octet.
    pub request: Option<Timestamp>,
    /// Time of the request's last octet.
    pub request_end: Option<Timestamp>,
    /// Time of the response's first octet.
    pub response: Option<Timestamp>,
    /// Time of the response's last octet.
    pub response_end: Option<Timestamp>,
    /// HTTP/1: octets of the request's head, up to and with the empty line.
    #[serde(skip)]
    #[schemars(skip)]
    pub request_head: Option<u64>,
    /// The same of the response.
    #[serde(skip)]
    #[schemars(skip)]
    pub response_head: Option<u64>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum HttpVersion {
    /// RFC 1945.
    #[serde(rename = "HTTP/1.0")]
    Http1_0,
    /// RFC 9112.
    #[serde(rename = "HTTP/1.1")]
    Http1_1,
    /// RFC 9113.
    #[serde(rename = "HTTP/2")]
    Http2,
}

impl HttpVersion {
    /// HTTP/1 in this minor version (RFC 9112, section 2.3).
    pub(crate) const fn first(minor: u8) -> Self {
        if minor == 0 { Self::Http1_0 } else { Self::Http1_1 }
    }

    /// As people write it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Http1_0 => "HTTP/1.0",
            Self::Http1_1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

fn is_not_http(version: &Sides<Option<HttpVersion>>) -> bool {
    version.client.or(version.server).is_none()
}

impl Exchange {
    /// These, where octets of the server's are missing behind what is known of them if `lost`.
    pub(crate) fn seen(exchanges: &[Self], lost: bool) -> Vec<Self> {
        exchanges.iter().map(|one| Self { unseen: lost && !one.complete, ..one.clone() }).collect()
    }

    /// The version of HTTP of the response, of the request where there was none; `None` of what is none of HTTP.
    pub fn http_version(&self) -> Option<HttpVersion> {
        self.version.server.or(self.version.client)
    }

    /// The exchange as it is told: its path without passwords and values, unless secrets are shown.
    pub fn shown(&self, show_secrets: bool) -> Self {
        let path = self.path.as_deref().map(|path| if show_secrets { path.to_string() } else { redacted(path) });
        Self { path, ..self.clone() }
    }

    /// From the request's end to the response's first octet.
    pub fn first_byte_ns(&self) -> Option<Nanos> {
        self.response?.checked_since(self.request_end?)
    }

    /// From the first octet of a complete response to its last.
    pub fn transfer_ns(&self) -> Option<Nanos> {
        self.response_end.filter(|_| self.complete)?.checked_since(self.response?)
    }
}

/// A part of a connection's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PhaseRecord {
    /// What went on.
    pub phase: Phase,
    /// When it began.
    pub start: Timestamp,
    /// How long it took, in nanoseconds.
    pub length_ns: Nanos,
    /// From what to what it was measured.
    pub measured: &'static str,
}

/// What a part of a connection's time was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking up the server's name.
    Dns,
    /// The TCP handshake.
    Connect,
    /// The QUIC handshake, TLS in it; where that failed, up to the CONNECTION_CLOSE that says so.
    Quic,
    /// The TLS handshake, or that of DTLS; where it failed, up to the fatal alert or the close.
    Tls,
    /// The first request's octets.
    Request,
    /// The server, before its first octet.
    Server,
    /// The first response's octets.
    Transfer,
    /// From the first FIN or RST to the last packet.
    Close,
}

impl Phase {
    /// As people say it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Connect => "TCP connect",
            Self::Quic => "QUIC handshake",
            Self::Tls => "TLS",
            Self::Request => "request",
            Self::Server => "server",
            Self::Transfer => "transfer",
            Self::Close => "close",
        }
    }
}
