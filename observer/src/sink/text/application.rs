//! What a connection was for, as facts above its waterfall.

use observer::record::{
    CallsRecord, ConnectionRecord, DecryptionStop, Exchange, Http2Record, Http2Stall, HttpRecord, Lookup, LookupRecord,
    LookupsRecord, NameSource, ProtocolName, Resumption, RoundTripCount, Side, Split, Spread, SshRecord, TlsDecryption,
    TlsRecord, Transport, Validity, WebSocketRecord,
};

use super::page::{Line, Tone};
use super::{units, words};
use crate::sink::answer::Answer;

/// Exchanges that are shown of a connection that is one of several, and of one that is shown in full.
const EXCHANGES: [usize; 2] = [3, 40];

/// The facts, in the order they are shown.
pub fn facts(record: &ConnectionRecord, full: bool) -> Vec<(&'static str, Line)> {
    let mut facts = Vec::new();
    facts.extend(record.name.as_ref().map(|name| {
        let from = match name.from {
            NameSource::Sni => "SNI",
            NameSource::Host => "Host",
            NameSource::Proxy => "proxy",
            NameSource::Dns => "DNS",
        };
        ("name", Line::new().then(Tone::Strong, name.name.clone()).then(Tone::Dim, format!(" (by {from})")))
    }));
    facts.extend(record.dns.as_ref().map(|dns| ("DNS", lookup(dns))));
    facts.extend(record.lookups.as_ref().map(|lookups| ("lookups", lookups_line(lookups))));
    if let Some(last) = record.protocol.filter(|last| !record.via.is_empty() || !has_fact(*last)) {
        let names: Vec<_> = record.via.iter().chain([&last]).map(|protocol| protocol.words()).collect();
        facts.push(("protocol", Line::new().then(Tone::Plain, names.join(", then "))));
    }
    facts.extend(record.ssh.as_ref().map(|ssh| ("SSH", banners(ssh))));
    facts.extend(record.quic.iter().flat_map(|quic| super::quic::facts(quic, full)));
    facts.extend(record.tls.as_ref().map(|tls| ("TLS", handshake(tls))));
    if let Some(tls) = &record.tls {
        facts.extend(tls.certificates.first().map(|_| ("certificate", certificate(tls))));
        if full {
            let prints = [("JA3", &tls.ja3), ("JA3S", &tls.ja3s), ("JA4", &tls.ja4), ("JA4S", &tls.ja4s)];
            let prints = prints.into_iter().filter_map(|(name, print)| Some(format!("{name} {}", print.as_ref()?)));
            let prints = prints.collect::<Vec<_>>().join(", ");
            if !prints.is_empty() {
                facts.push(("fingerprint", Line::new().then(Tone::Plain, prints)));
            }
        }
    }
    let is_all_seen = record.exchanges.iter().flat_map(|all| &all.entries).all(|exchange| !exchange.unseen);
    facts.extend(record.http.as_ref().map(|http| ("HTTP", http_facts(http, is_all_seen))));
    facts.extend(record.calls.as_ref().map(|calls| ("calls", calls_line(calls))));
    facts.extend(record.http2.as_ref().and_then(|http2| Some(("streams", streams(http2)?))));
    facts.extend(record.websocket.as_ref().map(|socket| ("WebSocket", frames(socket))));
    let exchanges = record.exchanges.as_ref().map_or(&[][..], |exchanges| &exchanges.entries);
    let [brief, all] = EXCHANGES;
    let most = if full { all } else { brief };
    facts.extend(exchanges.iter().take(most).map(|exchange| ("exchange", exchange_line(record, exchange))));
    let cut = record.exchanges.as_ref().map_or(0, |exchanges| exchanges.cut);
    let more = exchanges.len().saturating_sub(most) as u64 + cut;
    if more > 0 {
        facts.push(("", Line::new().then(Tone::Dim, format!("and {} more", units::count(more)))));
    }
    facts.extend(record.split.as_ref().map(|split| ("time", parts(split))));
    facts.extend(
        record
            .round_trips
            .as_ref()
            .map(|count| ("round trips", round_trips(record.transport, record.tls.as_deref(), count))),
    );
    if record.malformed > 0 {
        let malformed = units::number_of(record.malformed, "malformed message");
        facts.push(("malformed", Line::new().then(Tone::Notice, malformed)));
    }
    if record.given_up {
        let words = "what was kept of the protocol was given up to stay within the bound on memory";
        facts.push(("given up", Line::new().then(Tone::Notice, words)));
    }
    facts
}

/// `61.2 ms: network 55.9 ms, server 137 µs, client 5.25 ms (13.6 ms to the server and back, 81 µs to the client)`.
fn parts(split: &Split) -> Line {
    let Split { total_ns, network_ns, client_ns, server_ns, to_client_ns, to_server_ns, capture_point: _ } = *split;
    let [total, network, client, server] = [total_ns, network_ns, client_ns, server_ns].map(units::time);
    let mut line = Line::new().then(Tone::Plain, format!("{total}: network {network}, "));
    line.push(Tone::Server, format!("server {server}"));
    line.push(Tone::Plain, ", ");
    line.push(Tone::Client, format!("client {client}"));
    let (to_server, to_client) = (units::time(to_server_ns), units::time(to_client_ns));
    line.push(Tone::Dim, format!(" (from here to the server and back {to_server}, to the client {to_client})"));
    line
}

/// `4 before the first octet of the response (connect 1, TLS 2, request 1); 3 with TLS 1.3 or resumption, 2 with 0-RTT or
/// QUIC, 1 with QUIC's 0-RTT or an open connection`. What would save nothing is left out, and what the connection has already.
fn round_trips(transport: Transport, tls: Option<&TlsRecord>, count: &RoundTripCount) -> Line {
    let RoundTripCount { connect, prelude, tls: handshake, request, total, with } = *count;
    let said = if prelude > 0 { format!(", prelude {prelude}") } else { String::new() };
    let spent = match (transport, with.tls_1_3) {
        (Transport::Quic, _) => format!("QUIC {handshake}"),
        (_, Some(_)) => format!("connect {connect}{said}, TLS {handshake}"),
        (_, None) => format!("connect {connect}{said}"),
    };
    let spent = format!("{total} before the first octet of the response ({spent}, request {request})");
    let is_quic = transport == Transport::Quic;
    let is_1_3 = is_quic || tls.is_some_and(|tls| tls.version.as_deref() == Some("TLS 1.3"));
    // Over QUIC a full handshake takes no longer.
    let is_resumed = is_quic || tls.is_some_and(|tls| tls.resumed == Some(true));
    let others = [
        (with.tls_1_3.filter(|_| !is_1_3), "TLS 1.3"),
        (with.resumption.filter(|_| !is_resumed), "resumption"),
        (with.early_data, "0-RTT"),
        (Some(with.quic).filter(|_| !is_quic), "QUIC"),
        (Some(with.quic_early_data).filter(|_| !is_quic), "QUIC's 0-RTT"),
        (Some(with.reuse), "an open connection"),
    ];
    let mut line = Line::new().then(Tone::Plain, spent);
    let mut last = total;
    for (trips, how) in others.into_iter().filter_map(|(trips, how)| Some((trips.filter(|trips| *trips < total)?, how)))
    {
        let before = match (trips == last, last == total) {
            (true, _) => " or ".to_string(),
            (false, true) => format!("; {trips} with "),
            (false, false) => format!(", {trips} with "),
        };
        line.push(Tone::Dim, format!("{before}{how}"));
        last = trips;
    }
    line
}

/// Whether a protocol has a fact of its own.
const fn has_fact(protocol: ProtocolName) -> bool {
    matches!(
        protocol,
        ProtocolName::Tls
            | ProtocolName::Quic
            | ProtocolName::Http
            | ProtocolName::Http2
            | ProtocolName::WebSocket
            | ProtocolName::Ssh
    )
}

/// `SSH-2.0-OpenSSH_9.6 to SSH-2.0-OpenSSH_9.2, sntrup761x25519-sha512, ssh-ed25519`.
fn banners(ssh: &SshRecord) -> Line {
    let of = |side| ssh.banners.of(side).as_deref().unwrap_or("(not seen)");
    let mut text = format!("{} to {}", of(Side::Client), of(Side::Server));
    for name in [&ssh.key_exchange, &ssh.host_key, &ssh.cipher.client].into_iter().flatten() {
        text.push_str(&format!(", {name}"));
    }
    Line::new().then(Tone::Plain, text)
}

/// `example.com A by 192.0.2.54: NOERROR after 12 ms, 1.0 s after 192.0.2.53 was first asked, 1 CNAME, asked 2 times`.
fn lookup(record: &LookupRecord) -> Line {
    let Lookup { name, kind, latency_ns, cnames, repeats, .. } = &record.lookup;
    let mut text = format!("{name} {kind} by {}: {}", record.server.ip, record.lookup.outcome());
    if let Some(latency) = latency_ns {
        text.push_str(&format!(" after {}", units::time(*latency)));
    }
    if let Some(repeats) = repeats
        && let Some(waited) = repeats.waited_ns
    {
        text.push_str(&format!(", {} after {} was first asked", units::time(waited), repeats.server));
    }
    if *cnames > 0 {
        text.push_str(&format!(", {}", units::number_of(*cnames, "CNAME")));
    }
    if record.lookup.asked() > 1 {
        text.push_str(&format!(", asked {} times", units::count(record.lookup.asked())));
    }
    Line::new().then(Tone::Plain, text)
}

/// `DNS over TCP`, and whether some of it is missing.
fn lookups_line(lookups: &LookupsRecord) -> Line {
    let mut line = Line::new().then(Tone::Plain, lookups.over.words());
    for side in [Side::Client, Side::Server] {
        if *lookups.gap.of(side) {
            line.push(Tone::Notice, format!("; not all of the {}'s were captured", words::side(side)));
        }
    }
    line
}

/// `TLS 1.3, TLS_AES_128_GCM_SHA256, X25519MLKEM768, h2; handshake 12 ms, 1 round trip`.
fn handshake(tls: &TlsRecord) -> Line {
    let chosen = [&tls.version, &tls.cipher, &tls.group, &tls.alpn].into_iter().flatten().cloned();
    let chosen: Vec<_> = chosen.collect();
    let mut line = match chosen.is_empty() {
        true => Line::new().then(Tone::Notice, "the server's hello was not seen"),
        false => Line::new().then(Tone::Plain, chosen.join(", ")),
    };
    let mut more = |tone, text: String| line.push(tone, format!("; {text}"));
    // What TLS 1.3 chose is hidden; where one was offered, it was that or none.
    if let Some(offered) = tls.offer.as_ref().filter(|offer| tls.alpn.is_none() && !offer.alpn.is_empty()) {
        more(Tone::Plain, format!("offered {}", offered.alpn.join(", ")));
    }
    if let Some(by) = tls.resumed_by {
        let by = match by {
            Resumption::SessionId => "session identifier",
            Resumption::Ticket => "ticket",
            Resumption::Psk => "pre-shared key",
        };
        more(Tone::Plain, format!("resumed by {by}"));
    }
    if tls.retried {
        more(Tone::Notice, "the server asked for another hello".to_string());
    }
    if tls.early_data {
        let (tone, became) = match tls.early_data_accepted {
            Some(true) => (Tone::Plain, ", accepted"),
            Some(false) => (Tone::Notice, ", refused"),
            None => (Tone::Plain, ""),
        };
        more(tone, format!("early data{became}"));
    }
    if tls.client_certificate_requested == Some(true) {
        more(Tone::Plain, "client certificate asked for".to_string());
    }
    if let Some(length) = tls.handshake_ns {
        let trips = tls
            .round_trips
            .map_or(String::new(), |trips| format!(", {}", units::number_of(trips.into(), "round trip")));
        more(Tone::Plain, format!("handshake {}{trips}", units::time(length)));
    }
    if let Some(TlsDecryption { opened, passed, stopped, .. }) = tls.decryption {
        let records = opened.client + opened.server + passed.client + passed.server;
        if records > 0 {
            more(Tone::Plain, format!("{} opened with logged secrets", units::number_of(records, "record")));
        }
        for side in [Side::Client, Side::Server] {
            if let Some(why) = stopped.of(side) {
                let why = match why {
                    DecryptionStop::Gap => "too much is missing from the capture",
                    DecryptionStop::Key => "the logged secrets open none",
                    DecryptionStop::Cipher => "not with this cipher suite",
                };
                more(Tone::Notice, format!("{}'s records not opened to the end: {why}", words::side(side)));
            }
        }
    }
    for alert in tls.alerts.iter().filter(|alert| alert.description != "close_notify") {
        let tone = if alert.fatal { Tone::Bad } else { Tone::Notice };
        more(tone, format!("{} alert: {}", words::side(alert.from), alert.description));
    }
    if tls.alerts_cut > 0 {
        more(Tone::Notice, format!("and {}", units::number_of(tls.alerts_cut, "more alert")));
    }
    for side in [Side::Client, Side::Server] {
        if *tls.close_notify.of(side) == Some(false) {
            more(Tone::Notice, format!("{} closed without close_notify", words::side(side)));
        }
    }
    line
}

/// `CN=example.com by CN=R3, RSA 2048, expired, not for the name that was asked for`.
fn certificate(tls: &TlsRecord) -> Line {
    let Some(own) = tls.certificates.first() else { return Line::new() };
    let mut line = Line::new().then(Tone::Plain, format!("{} by {}, {}", own.subject, own.issuer, own.key));
    match own.validity {
        Validity::Valid => {}
        Validity::Expired => line.push(Tone::Bad, ", expired"),
        Validity::NotYetValid => line.push(Tone::Bad, ", not yet valid"),
    }
    if own.matches_name == Some(false) {
        line.push(Tone::Bad, ", not for the name that was asked for");
    }
    line
}

/// `at most 3 streams open at once, GOAWAY by server (NO_ERROR), 2 RST_STREAM by client (CANCEL)`; nothing where there is
/// nothing to say.
fn streams(http2: &Http2Record) -> Option<Line> {
    let mut line = Line::new();
    let mut add = |tone, text: String| {
        let comma = if line.is_empty() { "" } else { ", " };
        line.push(tone, format!("{comma}{text}"));
    };
    if let Some(most) = http2.most_open.filter(|most| *most > 1) {
        add(Tone::Plain, format!("at most {} open at once", units::count(most)));
    }
    if let Some(grpc) = http2.grpc {
        let tone = if grpc.errors > 0 { Tone::Notice } else { Tone::Plain };
        let (calls, errors) = (units::number_of(grpc.calls, "gRPC call"), units::number_of(grpc.errors, "error"));
        add(tone, format!("{calls}, {errors}"));
    }
    for reset in &http2.resets {
        add(Tone::Notice, format!("{} RST_STREAM by {} ({})", reset.count, words::side(reset.from), reset.code));
    }
    for goaway in &http2.goaways {
        let tone = if goaway.code == "NO_ERROR" { Tone::Plain } else { Tone::Bad };
        add(tone, format!("GOAWAY by {} ({})", words::side(goaway.from), goaway.code));
    }
    for side in [Side::Client, Side::Server] {
        let stalls = http2.stalls.of(side);
        for (stall, of) in [(stalls.connection, "connection"), (stalls.streams, "stream")] {
            if let Some(Http2Stall { count, time_ns, .. }) = stall.filter(|stall| stall.count > 0) {
                let (who, count) = (words::side(side), units::number_of(count, "time"));
                add(Tone::Notice, format!("{who} held up {count} by a {of}'s window, {}", units::time(time_ns)));
            }
        }
    }
    (!line.is_empty()).then_some(line)
}

/// `12 calls, 1 error; first octet after 1.2 ms (median)`.
fn calls_line(calls: &CallsRecord) -> Line {
    let mut line = Line::new().then(Tone::Plain, units::number_of(calls.requests, "call"));
    if calls.errors > 0 {
        line.push(Tone::Notice, format!(", {}", units::number_of(calls.errors, "error")));
    }
    if let Some(spread) = &calls.first_byte_ns {
        line.push(Tone::Plain, format!("; first octet after {} (median)", units::time(spread.median_ns)));
    }
    for side in [Side::Client, Side::Server] {
        if *calls.gap.of(side) {
            line.push(
                Tone::Notice,
                format!("; octets of the {} are missing, what follows is not read", words::side(side)),
            );
        }
    }
    line
}

/// `3 frames by client, 2 by server, closed with 1000 by client`.
fn frames(socket: &WebSocketRecord) -> Line {
    let of = |side| socket.frames.of(side).total();
    let client = units::number_of(of(Side::Client), "frame");
    let mut text = format!("{client} by client, {} by server", units::count(of(Side::Server)));
    for side in [Side::Client, Side::Server] {
        if let Some(code) = socket.close_code.of(side) {
            text.push_str(&format!(", closed with {code} by {}", words::side(side)));
        }
    }
    Line::new().then(Tone::Plain, text)
}

/// Requests and responses in numbers; not all of these were seen where not `is_all_seen`.
fn http_facts(http: &HttpRecord, is_all_seen: bool) -> Line {
    let mut text = format!("{}, {}", http.version, units::number_of(http.requests, "request"));
    if http.responses != http.requests {
        let seen = if is_all_seen { "" } else { " seen" };
        text.push_str(&format!(", {}{seen}", units::number_of(http.responses, "response")));
    }
    if http.errors > 0 {
        text.push_str(&format!(", {}", units::number_of(http.errors, "error")));
    }
    if http.pipelined > 0 {
        text.push_str(&format!(", {} pipelined", units::count(http.pipelined)));
    }
    if let Some(upgrade) = &http.upgrade {
        text.push_str(&format!(", upgraded to {upgrade}"));
    }
    if let Some(spread) = &http.first_byte_ns {
        let [min, max, median] = [spread.min_ns, spread.max_ns, spread.median_ns].map(units::time);
        text.push_str(&match http.responses {
            1 => format!("; first octet after {median}"),
            _ if min == max => format!("; first octet after {median} each{}", most_of(spread, http.responses)),
            _ => format!("; first octet after {min} to {max}, median {median}{}", most_of(spread, http.responses)),
        });
    }
    if let Some(spread) = http.transfer_ns.filter(|_| http.responses > 1) {
        let (median, most) = (units::time(spread.median_ns), units::time(spread.max_ns));
        text.push_str(&format!("; transfer up to {most}, median {median}{}", most_of(&spread, http.responses)));
    }
    Line::new().then(Tone::Plain, text)
}

/// What 95 % stay within; of few that is the longest.
fn most_of(spread: &Spread, times: u64) -> String {
    const FEW: u64 = 20;
    if times < FEW { String::new() } else { format!(", 95\u{a0}% within {}", units::time(spread.p95_ns)) }
}

/// `GET /index.html → 200, 12.3 kB after 41 ms`; of a database or a queue `GET → ok after 1 ms`.
fn exchange_line(record: &ConnectionRecord, exchange: &Exchange) -> Line {
    let method = exchange.method.as_deref().unwrap_or("(request not seen)");
    let target = exchange.path.as_deref().or(exchange.host.as_deref()).unwrap_or_default();
    let mut line = Line::new().then(Tone::Client, format!("{method} {target}").trim_end());
    match (exchange.http_version(), exchange.status) {
        (Some(_), Some(status)) => {
            let tone = if status >= 400 { Tone::Bad } else { Tone::Server };
            line.push(tone, format!(" → {status}"));
            line.push(Tone::Plain, format!(", {}", units::bytes(exchange.response_bytes)));
        }
        (Some(_), None) if exchange.unseen => line.push(Tone::Notice, " → response not seen"),
        (Some(_), None) => line.push(Tone::Notice, " → no response"),
        (None, _) => match Answer::of(record, exchange) {
            Answer::Good => line.push(Tone::Server, " → ok"),
            Answer::Error(code) => line.push(Tone::Bad, format!(" → error {code}")),
            Answer::Unwanted => line.push(Tone::Plain, ", without a response"),
            Answer::None => line.push(Tone::Notice, " → no response"),
            Answer::Unseen => line.push(Tone::Notice, " → no response captured"),
        },
    }
    if let Some(wait) = exchange.first_byte_ns() {
        line.push(Tone::Plain, format!(" after {}", units::time(wait)));
    }
    if exchange.status.is_some() && !exchange.complete {
        let how = match exchange.unseen || record.lacks_some_of(Side::Server) {
            true if record.packets.is_none() => ", not seen to its end",
            true => ", not all of it captured",
            false => ", cut off",
        };
        line.push(Tone::Notice, how);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_has_is_no_alternative() {
        let tls = |version: &str| TlsRecord { version: Some(version.to_string()), ..TlsRecord::default() };
        let of = |transport, version: &str, connect, trips| {
            format!("{:?}", round_trips(transport, Some(&tls(version)), &RoundTripCount::new(connect, 0, Some(trips))))
        };
        let quic = of(Transport::Quic, "TLS 1.3", 0, 2);
        assert!(quic.contains("(QUIC 2, request 1)"), "{quic}");
        assert!(quic.contains("; 1 with 0-RTT or an open connection\""), "{quic}");
        let retried = of(Transport::Tcp, "TLS 1.3", 1, 2);
        assert!(retried.contains("; 3 with resumption, 2 with 0-RTT or QUIC, 1 with QUIC's 0-RTT or"), "{retried}");
        let old = of(Transport::Tcp, "TLS 1.2", 1, 2);
        assert!(old.contains("; 3 with TLS 1.3 or resumption, 2 with 0-RTT or QUIC, 1 with"), "{old}");
    }

    #[test]
    fn early_data_and_alerts_that_are_not_shown() {
        let tls = |early_data_accepted, alerts_cut| TlsRecord {
            early_data: true,
            early_data_accepted,
            alerts_cut,
            ..TlsRecord::default()
        };
        for (tls, words) in [
            (tls(None, 0), "; early data\""),
            (tls(Some(true), 0), "; early data, accepted\""),
            (tls(Some(false), 0), "; early data, refused\""),
            (tls(None, 1), "; and 1\\u{a0}more alert\""),
            (tls(None, 12), "; and 12\\u{a0}more alerts\""),
        ] {
            let line = format!("{:?}", handshake(&tls));
            assert!(line.contains(words), "{line}");
        }
    }
}
