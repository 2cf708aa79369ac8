//! What QUIC shows of itself, as facts above a connection's waterfall.

use observer::record::{ConnState, ConnectionRecord, QuicPackets, QuicRecord, RttStats, Side, TransportParameter};

use super::page::{Line, Tone};
use super::{units, words};

/// How a connection went, in words.
pub fn outcome(record: &ConnectionRecord, quic: &QuicRecord) -> (&'static str, Tone) {
    let is_answered = record.conn_state == ConnState::SF;
    match &quic.close {
        Some(close) if close.from == Side::Server => ("refused", Tone::Bad),
        Some(_) => ("given up by the client", Tone::Notice),
        None if is_answered && quic.one_rtt.client.is_some() => ("established", Tone::Good),
        None if is_answered => ("handshake not finished", Tone::Notice),
        None => words::outcome(record.conn_state),
    }
}

/// The facts, in the order they are shown.
pub fn facts(quic: &QuicRecord, full: bool) -> Vec<(&'static str, Line)> {
    let mut facts = vec![("QUIC", course(quic))];
    facts.extend(quic.spin.as_ref().map(|spin| ("spin RTT", plain(round_trips(&spin.rtt)))));
    for to in &quic.moves {
        let ends = format!("{} →\u{a0}{}", units::end(to.client), units::end(to.server));
        facts.push(("moved", Line::new().then(Tone::Notice, format!("to {ends} at {}", to.at))));
    }
    if full {
        let packets = [Side::Client, Side::Server].map(|side| {
            let QuicPackets { initial, zero_rtt, handshake, one_rtt } = *quic.packets.of(side);
            let kinds = [(initial, "Initial"), (zero_rtt, "0-RTT"), (handshake, "Handshake"), (one_rtt, "1-RTT")];
            let kinds = kinds.iter().filter(|kind| kind.0 > 0);
            let kinds: Vec<_> = kinds.map(|(count, name)| format!("{} {name}", units::count(*count))).collect();
            format!("{} {}", words::side(side), if kinds.is_empty() { "none".to_string() } else { kinds.join(", ") })
        });
        facts.push(("packets", plain(packets.join("; "))));
        let ids = [("original", &quic.original_dcid), ("client", &quic.scid.client), ("server", &quic.scid.server)];
        let shown = |id: &str| if id.is_empty() { "(empty)".to_string() } else { id.to_string() };
        let ids: Vec<_> = ids.iter().filter_map(|(name, id)| Some(format!("{name} {}", shown(id.as_ref()?)))).collect();
        if !ids.is_empty() {
            facts.push(("IDs", plain(ids.join(", "))));
        }
        if !quic.transport_parameters.is_empty() {
            let parameters: Vec<_> = quic.transport_parameters.iter().map(parameter).collect();
            facts.push(("parameters", plain(parameters.join(", "))));
        }
    }
    facts
}

/// `v1; Retry; 0-RTT in 3 packets; handshake 12 ms, 1 round trip`.
fn course(quic: &QuicRecord) -> Line {
    let version = quic.version.as_deref().unwrap_or("of an unknown version");
    let mut line = plain(version);
    let mut more = |tone, text: String| line.push(tone, format!("; {text}"));
    if let Some(first) = quic.first_version.as_deref().filter(|first| *first != version) {
        more(Tone::Plain, format!("the client began with {first}"));
    }
    if let Some(versions) = &quic.version_negotiation {
        more(Tone::Notice, format!("the server refused the version, it speaks {}", versions.join(", ")));
    }
    match &quic.retry {
        Some(retry) if retry.genuine == Some(false) => more(Tone::Bad, "a forged Retry".to_string()),
        Some(_) => more(Tone::Plain, "Retry".to_string()),
        None => {}
    }
    let early = quic.packets.client.zero_rtt;
    if early > 0 {
        more(Tone::Plain, format!("0-RTT in {}", units::number_of(early, "packet")));
    }
    if let Some(length) = quic.handshake_ns {
        let trips = |trips: u8| format!(", {}", units::number_of(trips.into(), "round trip"));
        let trips = quic.round_trips.map_or(String::new(), trips);
        more(Tone::Plain, format!("handshake {}{trips}", units::time(length)));
    }
    if let Some(close) = &quic.close {
        let reason = if close.reason.is_empty() { String::new() } else { format!(" ({})", close.reason) };
        let by = words::side(close.from);
        more(Tone::Bad, format!("closed by the {by} in the handshake: {}{reason}", close.name));
    }
    if quic.undecrypted > 0 {
        let packets = units::number_of(quic.undecrypted, "Initial packet");
        more(Tone::Notice, format!("{packets} could not be decrypted"));
    }
    line
}

fn parameter(parameter: &TransportParameter) -> String {
    let TransportParameter { name, value, octets } = parameter;
    let value = value.map(|value| value.to_string()).or_else(|| octets.clone());
    value.map_or_else(|| name.clone(), |value| format!("{name} {value}"))
}

fn round_trips(stats: &RttStats) -> String {
    let (min, median, p99) = (units::time(stats.min_ns), units::time(stats.median_ns), units::time(stats.p99_ns));
    format!("min {min}, median {median}, p99 {p99} of\u{a0}{}", units::count(stats.samples))
}

fn plain(text: impl AsRef<str> + Into<String>) -> Line {
    Line::new().then(Tone::Plain, text)
}
