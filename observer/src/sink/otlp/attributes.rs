//! What spans say, by OpenTelemetry's semantic conventions (1.37): `network`, `client`, `server`, `tls`, `http`, `url`,
//! `db`, `messaging`, `dns`, `error`.

use observer::record::{
    ConnState, ConnectionRecord, Exchange, HttpVersion, IcmpRecord, Phase, PhaseRecord, ProtocolName, Side,
    TimelineEntry, TlsRecord, Transport,
};
use observer::time::date_time;

use super::wire::{Attribute, Status, Value};
use crate::sink::answer::Answer;
use crate::sink::url;

type Attributes = Vec<Attribute>;

/// Who made the spans.
pub fn of_resource() -> Attributes {
    let mut all = Vec::new();
    add(&mut all, "service.name", Some("observer"));
    add(&mut all, "service.version", Some(env!("CARGO_PKG_VERSION")));
    all
}

/// The transport protocol as a span's name has it.
pub const fn transport(record: &ConnectionRecord) -> &'static str {
    match record.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
        Transport::Quic => "QUIC",
    }
}

/// The connection, and what became of it.
pub fn of_connection(record: &ConnectionRecord) -> (Attributes, Status) {
    let mut all = ends(record);
    protocol(&mut all, record);
    if let Some(tls) = &record.tls {
        of_tls(&mut all, tls);
    }
    add(&mut all, "observer.id", Some(record.id));
    add(&mut all, "observer.community_id", Some(record.community_id.to_string()));
    add(&mut all, "observer.conn_state", Some(format!("{:?}", record.conn_state)));
    add(&mut all, "observer.history", record.history.clone());
    for (key, side) in [("observer.client.bytes", Side::Client), ("observer.server.bytes", Side::Server)] {
        add(&mut all, key, record.bytes_of(side));
    }
    for (key, side) in
        [("observer.client.retransmissions", Side::Client), ("observer.server.retransmissions", Side::Server)]
    {
        add(&mut all, key, Some(record.retransmitted_by(side)));
    }
    add(&mut all, "observer.rtt_ns", record.handshake.rtt_ns.map(|rtt| rtt.0));
    if let Some(split) = &record.split {
        add(&mut all, "observer.network_ns", Some(split.network_ns.0));
        add(&mut all, "observer.server_ns", Some(split.server_ns.0));
        add(&mut all, "observer.client_ns", Some(split.client_ns.0));
    }
    add(&mut all, "observer.round_trips", record.round_trips.map(|count| u64::from(count.total)));
    let error = error_of(record);
    add(&mut all, "error.type", error);
    (all, error.map_or_else(Status::default, |error| Status::error(error.to_string())))
}

fn ends(record: &ConnectionRecord) -> Attributes {
    let mut all = Vec::new();
    let name = record.name.as_ref().map(|name| name.name.clone());
    add(&mut all, "network.transport", Some(transport(record).to_ascii_lowercase()));
    add(&mut all, "network.type", Some(if record.server.ip.is_ipv4() { "ipv4" } else { "ipv6" }));
    add(&mut all, "client.address", Some(record.client.ip.to_string()));
    add(&mut all, "client.port", Some(u64::from(record.client.port)));
    add(&mut all, "server.address", Some(name.unwrap_or_else(|| record.server.ip.to_string())));
    add(&mut all, "server.port", Some(u64::from(record.server.port)));
    add(&mut all, "network.peer.address", Some(record.server.ip.to_string()));
    add(&mut all, "network.peer.port", Some(u64::from(record.server.port)));
    all
}

fn protocol(all: &mut Attributes, record: &ConnectionRecord) {
    let version = record.http.as_ref().and_then(|http| http.version.split_once('/')).map(|(_, version)| version);
    let (name, version) = match record.protocol {
        Some(ProtocolName::Http | ProtocolName::Http2) => (Some(HTTP.to_string()), version),
        // What goes on inside is not known, but for what the two have agreed on.
        Some(ProtocolName::Tls) => match record.tls.as_ref().and_then(|tls| tls.alpn.as_deref()) {
            Some("h2") => (Some(HTTP.to_string()), Some("2")),
            Some("http/1.1") => (Some(HTTP.to_string()), Some("1.1")),
            _ => (None, None),
        },
        other => (other.map(|protocol| protocol.words().to_ascii_lowercase()), None),
    };
    add(all, "network.protocol.name", name);
    add(all, "network.protocol.version", version);
}

const HTTP: &str = "http";

fn of_tls(all: &mut Attributes, tls: &TlsRecord) {
    let (name, version) = match tls.version.as_deref().and_then(|version| version.split_once(' ')) {
        Some((name, version)) => (Some(name.to_ascii_lowercase()), Some(version)),
        None => (None, None),
    };
    add(all, "tls.protocol.name", name);
    add(all, "tls.protocol.version", version);
    add(all, "tls.cipher", tls.cipher.as_deref());
    add(all, "tls.curve", tls.group.as_deref());
    add(all, "tls.next_protocol", tls.alpn.as_deref());
    add(all, "tls.established", Some(tls.established));
    add(all, "tls.resumed", tls.resumed);
    add(all, "tls.client.ja3", tls.ja3.as_deref());
    add(all, "tls.server.ja3s", tls.ja3s.as_deref());
    add(all, "tls.client.supported_ciphers", tls.offer.as_ref().map(|offer| &*offer.ciphers));
    if let Some(own) = tls.certificates.first() {
        add(all, "tls.server.subject", Some(own.subject.as_str()));
        add(all, "tls.server.issuer", Some(own.issuer.as_str()));
        add(all, "tls.server.not_before", date_time(own.not_before));
        add(all, "tls.server.not_after", date_time(own.not_after));
    }
}

/// A phase of the connection.
pub fn of_phase(record: &ConnectionRecord, phase: &PhaseRecord) -> (Attributes, Status) {
    let mut all = Vec::new();
    add(&mut all, "observer.measured", Some(phase.measured));
    let mut error = None;
    match phase.phase {
        Phase::Dns => {
            if let Some(dns) = &record.dns {
                add(&mut all, "dns.question.name", Some(dns.lookup.name.as_str()));
                add(&mut all, "dns.answers", Some(dns.lookup.answers.as_slice()));
                add(&mut all, "server.address", Some(dns.server.ip.to_string()));
                add(&mut all, "server.port", Some(u64::from(dns.server.port)));
            }
        }
        Phase::Tls => {
            if let Some(tls) = &record.tls {
                of_tls(&mut all, tls);
                let cut_off = || "cut_off".to_string();
                error = (!tls.established).then(|| alert(tls).map_or_else(cut_off, str::to_string));
            }
        }
        Phase::Quic => error = closed_by(record).map(str::to_string),
        _ => {}
    }
    add(&mut all, "error.type", error.clone());
    (all, error.map_or_else(Status::default, Status::error))
}

/// The methods that conventions know; others are `_OTHER`.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The method of an exchange, if it is one that is known.
fn method(exchange: &Exchange) -> Option<&str> {
    exchange.method.as_deref().filter(|method| METHODS.contains(method))
}

/// The name of an exchange's span: the method, of databases and queues the command.
pub fn name_of_exchange(record: &ConnectionRecord, exchange: &Exchange) -> String {
    let name = match exchange.http_version() {
        Some(_) => method(exchange).unwrap_or("HTTP"),
        None => exchange.method.as_deref().or(system(record).map(|(_, system)| system)).unwrap_or("call"),
    };
    name.to_string()
}

/// One request and its response.
pub fn of_exchange(record: &ConnectionRecord, exchange: &Exchange) -> (Attributes, Status) {
    match exchange.http_version() {
        Some(version) => of_http(record, exchange, version),
        None => of_call(record, exchange),
    }
}

/// What conventions call a kind of system and what they know it by: a database's, or a queue's.
#[derive(Clone, Copy)]
enum System {
    Database,
    Queue,
}

/// The database or queue that a connection spoke with.
fn system(record: &ConnectionRecord) -> Option<(System, &'static str)> {
    record.via.iter().chain(&record.protocol).rev().find_map(|protocol| {
        Some(match protocol {
            ProtocolName::Postgresql => (System::Database, "postgresql"),
            ProtocolName::Mysql => (System::Database, "mysql"),
            ProtocolName::Redis => (System::Database, "redis"),
            ProtocolName::Memcached => (System::Database, "memcached"),
            ProtocolName::Mongodb => (System::Database, "mongodb"),
            ProtocolName::Kafka => (System::Queue, "kafka"),
            ProtocolName::Amqp => (System::Queue, "amqp"),
            ProtocolName::Mqtt => (System::Queue, "mqtt"),
            _ => return None,
        })
    })
}

/// One call of a database or a queue, and its answer.
fn of_call(record: &ConnectionRecord, exchange: &Exchange) -> (Attributes, Status) {
    let mut all = ends(record);
    let command = exchange.method.as_deref();
    let code = exchange.error.as_deref();
    if let Some((kind, system)) = system(record) {
        add(&mut all, "network.protocol.name", Some(system));
        match kind {
            System::Database => {
                add(&mut all, "db.system.name", Some(system));
                add(&mut all, "db.operation.name", command);
                add(&mut all, "db.response.status_code", code);
            }
            System::Queue => {
                add(&mut all, "messaging.system", Some(system));
                add(&mut all, "messaging.operation.name", command);
            }
        }
    }
    let error = match Answer::of(record, exchange) {
        Answer::Error(code) => Some(code),
        Answer::None => Some("no_response"),
        Answer::Good | Answer::Unwanted | Answer::Unseen => None,
    };
    add(&mut all, "error.type", error);
    (all, error.map_or_else(Status::default, |error| Status::error(error.to_string())))
}

/// One request of HTTP and its response.
fn of_http(record: &ConnectionRecord, exchange: &Exchange, version: HttpVersion) -> (Attributes, Status) {
    let mut all = ends(record);
    add(&mut all, "network.protocol.name", Some(HTTP));
    add(&mut all, "network.protocol.version", version.words().split_once('/').map(|(_, number)| number));
    let known = method(exchange);
    if known.is_none() {
        add(&mut all, "http.request.method_original", exchange.method.as_deref());
    }
    add(&mut all, "http.request.method", Some(known.unwrap_or("_OTHER")));
    add(&mut all, "url.full", Some(url::url(record, exchange)));
    add(&mut all, "url.scheme", Some(url::scheme(record, exchange)));
    if let Some(path) = &exchange.path {
        let (path, query) = path.split_once('?').map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
        add(&mut all, "url.path", Some(path));
        add(&mut all, "url.query", query);
    }
    add(&mut all, "http.request.body.size", Some(exchange.request_bytes));
    add(&mut all, "http.response.body.size", exchange.status.map(|_| exchange.response_bytes));
    add(&mut all, "http.response.status_code", exchange.status.map(u64::from));
    let error = match (exchange.status, exchange.complete) {
        (Some(status @ 400..), _) => Some(status.to_string()),
        (Some(_), true) => None,
        // The capture's fault, not the server's.
        (_, false) if exchange.unseen || record.lacks_some_of(Side::Server) && exchange.status.is_some() => None,
        (Some(_), false) => Some("cut_off".to_string()),
        (None, _) => Some("no_response".to_string()),
    };
    add(&mut all, "error.type", error.clone());
    let status = match exchange.status {
        // The code says it all.
        Some(400..) => Status { code: Some(2), message: None },
        _ => error.map_or_else(Status::default, Status::error),
    };
    (all, status)
}

/// What happened at one moment.
pub fn of_incident(entry: &TimelineEntry) -> Attributes {
    let mut all = Vec::new();
    add(&mut all, "observer.from", Some(if entry.from == Side::Client { "client" } else { "server" }));
    add(&mut all, "observer.frame", (entry.frame > 0).then_some(entry.frame));
    add(&mut all, "observer.reason", entry.detail.as_deref());
    all
}

/// How connecting failed, or the connection was cut: by TLS in its words, else in those that conventions use for errors of
/// sockets. An alert says why, where a reset that follows it does not.
fn error_of(record: &ConnectionRecord) -> Option<&str> {
    let of_tls = record.tls.as_deref().and_then(alert);
    of_tls.or_else(|| closed_by(record)).or_else(|| error_of_transport(record))
}

/// The error that a handshake over QUIC was closed with; of one in TLS the alert.
fn closed_by(record: &ConnectionRecord) -> Option<&str> {
    let close = record.quic.as_ref()?.close.as_ref()?;
    (close.code != 0).then_some(close.name.as_str())
}

/// The first fatal alert of TLS.
fn alert(tls: &TlsRecord) -> Option<&str> {
    tls.alerts.iter().find(|alert| alert.fatal).map(|alert| alert.description.as_str())
}

fn error_of_transport(record: &ConnectionRecord) -> Option<&'static str> {
    let unreachable = record.icmp.iter().filter(|icmp| icmp.to == Side::Client).find_map(unreachable);
    match record.conn_state {
        ConnState::REJ => Some("refused"),
        ConnState::S0 => Some(unreachable.unwrap_or("timed_out")),
        ConnState::RSTO | ConnState::RSTR | ConnState::RSTOS0 | ConnState::RSTRH => Some("reset"),
        _ => None,
    }
}

fn unreachable(icmp: &IcmpRecord) -> Option<&'static str> {
    match icmp.name {
        "net unreachable" | "no route to destination" => Some("net_unreachable"),
        "host unreachable" | "address unreachable" => Some("host_unreachable"),
        "port unreachable" => Some("refused"),
        _ => None,
    }
}

fn add<V: Into<Value>>(all: &mut Attributes, key: &'static str, value: Option<V>) {
    all.extend(value.map(|value| Attribute { key, value: value.into() }));
}
