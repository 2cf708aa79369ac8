//! Where a connection's time went: what it was used for first, phase by phase.

use crate::record::{
    Application, Close, Exchange, Handshake, Phase, PhaseRecord, QuicRecord, Rtt, RttStats, TlsRecord,
};
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

/// The phases up to the end of the first exchange, and the close. Where not all was seen (`is_whole`), a handshake whose end
/// is missing may have had one.
pub(super) fn phases(
    application: &Application,
    handshake: &Handshake,
    path: Option<Nanos>,
    close: &Close,
    (last_seen, is_whole): (Timestamp, bool),
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
    let closes = [close.fin.client, close.fin.server, close.rst.client, close.rst.server];
    let closed = closes.into_iter().flatten().min();
    if let Some(tls) = &application.tls
        && let Some((end, measured)) = tls_end(tls, closed.filter(|_| is_whole))
    {
        add(Phase::Tls, tls.client_hello, Some(end), measured);
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
    add(Phase::Close, closed, Some(last_seen), "first FIN or RST to the last packet");
    phases
}

/// The phases of a connection that speaks QUIC or DTLS: its lookup and its handshake. What comes after that is encrypted, the
/// close included.
pub(super) fn over_udp(application: &Application) -> Vec<PhaseRecord> {
    let handshake = match (&application.quic, &application.tls) {
        (Some(quic), _) => quic_handshake(quic),
        (None, Some(tls)) => tls.client_hello.zip(tls_end(tls, None)).and_then(|(start, (end, measured))| {
            Some(PhaseRecord { phase: Phase::Tls, start, length_ns: end.checked_since(start)?, measured })
        }),
        (None, None) => None,
    };
    let begun = match (&application.quic, &application.tls) {
        (Some(quic), _) => quic.initial.client,
        (None, tls) => tls.as_ref().and_then(|tls| tls.client_hello),
    };
    lookup(application, begun).into_iter().chain(handshake).collect()
}

/// QUIC's handshake, TLS in it.
fn quic_handshake(quic: &QuicRecord) -> Option<PhaseRecord> {
    let start = quic.initial.client?;
    let (length_ns, measured) = match (quic.handshake_ns, &quic.close) {
        (Some(length), _) => (length, "first Initial packet of the client to its first 1-RTT packet"),
        (None, Some(close)) => {
            let measured = "first Initial packet of the client to the CONNECTION_CLOSE: the handshake failed";
            (close.at.checked_since(start)?, measured)
        }
        (None, None) => return None,
    };
    Some(PhaseRecord { phase: Phase::Quic, start, length_ns, measured })
}

/// Where a TLS handshake ended, and by what; `closed` is when the connection was.
fn tls_end(tls: &TlsRecord, closed: Option<Timestamp>) -> Option<(Timestamp, &'static str)> {
    if let Some((client, server)) = tls.finished.client.zip(tls.finished.server) {
        return Some((client.max(server), "ClientHello to the later Finished"));
    }
    let alert = tls.alerts.iter().find(|alert| alert.fatal);
    let alerted = alert.map(|alert| (alert.at, "ClientHello to a fatal alert: the handshake failed"));
    alerted.or_else(|| Some((closed?, "ClientHello to the first FIN or RST: the handshake was not finished")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{QuicClose, Side, Sides, TlsAlert};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// The TLS phase of a handshake that began at 10 ms and did not end, in a connection that was closed at 60 ms.
    fn failed(alerts: Vec<TlsAlert>, is_whole: bool) -> Option<(Nanos, &'static str)> {
        let finished = Sides { client: Some(at(30)), server: None };
        let tls = TlsRecord { client_hello: Some(at(10)), finished, alerts, ..TlsRecord::default() };
        let application = Application { tls: Some(Box::new(tls)), ..Application::default() };
        let fin = Sides { client: Some(at(60)), server: Some(at(61)) };
        let close = Close { fin, ..Close::default() };
        let phases = phases(&application, &Handshake::default(), None, &close, (at(70), is_whole));
        let tls = phases.iter().find(|phase| phase.phase == Phase::Tls);
        tls.map(|phase| (phase.length_ns, phase.measured))
    }

    #[test]
    fn a_handshake_that_fails_has_its_phase() {
        let alert = |fatal, millis| TlsAlert { at: at(millis), from: Side::Server, fatal, description: String::new() };
        let to_alert = "ClientHello to a fatal alert: the handshake failed";
        let to_close = "ClientHello to the first FIN or RST: the handshake was not finished";
        let after = |millis, measured| Some((Nanos::from_millis(millis), measured));
        for is_whole in [true, false] {
            assert_eq!(failed(vec![alert(false, 15), alert(true, 20), alert(true, 25)], is_whole), after(10, to_alert));
        }
        assert_eq!(failed(vec![alert(false, 15)], true), after(50, to_close));
        assert_eq!(failed(Vec::new(), false), None, "its end may be among what is missing");
    }

    #[test]
    fn a_handshake_over_quic_that_fails_has_its_phase() {
        let close = QuicClose {
            at: at(30),
            from: Side::Server,
            code: 0x128,
            name: String::new(),
            frame_type: None,
            reason: String::new(),
        };
        let initial = Sides { client: Some(at(10)), server: Some(at(29)) };
        let quic = QuicRecord { initial, close: Some(close), ..QuicRecord::default() };
        let application = Application { quic: Some(Box::new(quic)), ..Application::default() };
        let [phase] = &over_udp(&application)[..] else { panic!("one phase") };
        assert_eq!((phase.phase, phase.start, phase.length_ns), (Phase::Quic, at(10), Nanos::from_millis(20)));
        assert!(phase.measured.ends_with("the handshake failed"));
    }
}
