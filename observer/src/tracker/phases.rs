//! Where a connection's time went: what it was used for first, phase by phase.

use crate::record::{Application, Close, Exchange, Handshake, Phase, PhaseRecord, Rtt, RttStats};
use crate::time::{Nanos, Timestamp};

/// How soon after an answer a connection waited for it.
const FRESH: Nanos = Nanos::from_millis(500);

/// The shortest round trips that were measured between the capture point and each end.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathRoundTrips {
    pub(super) to_client: Option<Nanos>,
    pub(super) to_server: Option<Nanos>,
}

impl PathRoundTrips {
    /// Those of a handshake count for nothing where its segment was sent again, as the answer may be to another one.
    pub(super) fn of(handshake: &Handshake, rtt: &Rtt) -> Self {
        let least = |of_handshake: Option<Nanos>, by_ack: Option<RttStats>, by_timestamps: Option<RttStats>| {
            let by_data = [by_ack, by_timestamps].into_iter().flatten().map(|stats| stats.min_ns);
            by_data.chain(of_handshake).min()
        };
        let of_server = handshake.server_rtt_ns.filter(|_| handshake.syn_retransmissions == 0);
        let of_client = handshake.client_rtt_ns.filter(|_| handshake.syn_ack_retransmissions == 0);
        Self {
            to_client: least(of_client, rtt.by_ack.server, rtt.by_timestamps.server),
            to_server: least(of_server, rtt.by_ack.client, rtt.by_timestamps.client),
        }
    }
}

/// The phases up to the end of the first exchange, and the close.
pub(super) fn phases(
    application: &Application,
    handshake: &Handshake,
    path: Option<Nanos>,
    close: &Close,
    last_seen: Timestamp,
) -> Vec<PhaseRecord> {
    let mut phases = Vec::new();
    phases.extend(lookup(application, handshake.syn));
    let mut add = |phase, start: Option<Timestamp>, end: Option<Timestamp>, measured| {
        if let Some((start, length_ns)) =
            start.zip(end).and_then(|(start, end)| Some((start, end.checked_since(start)?)))
        {
            phases.push(PhaseRecord { phase, start, length_ns, measured });
        }
    };
    add(Phase::Connect, handshake.syn, handshake.ack.or(handshake.syn_ack), "SYN to the ACK of the SYN-ACK");
    if let Some(tls) = &application.tls {
        let end = tls.finished.client.zip(tls.finished.server).map(|(client, server)| client.max(server));
        add(Phase::Tls, tls.client_hello, end, "ClientHello to the later Finished");
    }
    if let Some(used) = first_use(application) {
        let known = path.is_some();
        let path = path.unwrap_or_default();
        add(Phase::Request, used.request, used.request_end, "first to last octet of the first request");
        let begun = used.request_end.map(|end| end.plus(Nanos(path.0 / 2)));
        let wait = used.response.zip(used.request_end).and_then(|(response, end)| response.checked_since(end));
        let answered = begun.zip(wait).map(|(begun, wait)| begun.plus(Nanos(wait.0.saturating_sub(path.0))));
        let measured = if known {
            "end of the first request to the first octet of its response, less the round trip to the server"
        } else {
            "end of the first request to the first octet of its response, the way there and back included"
        };
        add(Phase::Server, begun, answered, measured);
        add(Phase::Transfer, used.response, used.response_end, "first to last octet of the first response");
    }
    let closes = [close.fin.client, close.fin.server, close.rst.client, close.rst.server];
    add(Phase::Close, closes.into_iter().flatten().min(), Some(last_seen), "first FIN or RST to the last packet");
    phases
}

/// The phases of a connection that speaks QUIC, as far as encryption lets them be seen.
pub(super) fn of_quic(application: &Application) -> Vec<PhaseRecord> {
    let Some(quic) = &application.quic else { return Vec::new() };
    let mut phases = Vec::new();
    let begun = quic.initial.client;
    phases.extend(lookup(application, begun));
    if let Some((start, length_ns)) = begun.zip(quic.handshake_ns) {
        let measured = "first Initial packet of the client to its first 1-RTT packet";
        phases.push(PhaseRecord { phase: Phase::Quic, start, length_ns, measured });
    }
    phases
}

/// The lookup that a connection waited for, which began at `begun`: from the first query of all.
fn lookup(application: &Application, begun: Option<Timestamp>) -> Option<PhaseRecord> {
    let lookup = &application.dns.as_ref()?.lookup;
    let (start, length_ns) = (lookup.since(), lookup.waited()?);
    // An answer that was at hand for long cost this connection nothing.
    let is_fresh = begun.is_some_and(|begun| begun.since(start.plus(length_ns)) < FRESH);
    let measured = match lookup.repeats {
        None => "the query to its answer",
        Some(_) => "the first query of several to the answer",
    };
    is_fresh.then_some(PhaseRecord { phase: Phase::Dns, start, length_ns, measured })
}

/// When the first request and its response began and ended.
struct FirstUse {
    request: Option<Timestamp>,
    request_end: Option<Timestamp>,
    response: Option<Timestamp>,
    response_end: Option<Timestamp>,
}

/// The first exchange, in the clear, opened, or as far as TLS shows one.
fn first_use(application: &Application) -> Option<FirstUse> {
    let of = |exchange: &Exchange| {
        let Exchange { request, request_end, response, response_end, .. } = *exchange;
        FirstUse { request, request_end, response, response_end }
    };
    let entries = &application.exchanges.entries;
    // What comes before the hello was asked of a proxy.
    let hello = application.tls.as_ref().and_then(|tls| tls.client_hello);
    if let Some(opened) = hello.and_then(|hello| entries.iter().find(|exchange| exchange.request >= Some(hello))) {
        return Some(of(opened));
    }
    if let Some(data) = application.tls.as_ref().and_then(|tls| tls.data) {
        let (request, request_end) = (Some(data.request), Some(data.request_end));
        return Some(FirstUse { request, request_end, response: data.response, response_end: data.response_end });
    }
    entries.first().map(of)
}
