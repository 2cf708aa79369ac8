//! Whom a connection waited for: the network, the client or the server.
//!
//! A conversation is a series of messages, each by one end. Between two of them the one that sends the second is waited
//! for; where the other end sent the first, a round trip between the capture point and the end that answers lies between
//! as well. That holds wherever the capture was taken.

use super::phases::PathRoundTrips;
use crate::record::{
    Application, CapturePoint, Handshake, Prelude, PreludeTurn, ProtocolName, RoundTripCount, Side, Sides, Split,
};
use crate::time::{Nanos, Timestamp};

/// Octets that one end sent in one go.
#[derive(Clone, Copy, Debug)]
struct Message {
    from: Side,
    start: Timestamp,
    end: Timestamp,
}

/// The split of a connection; `None` where no request was seen, or a round trip is not known.
pub(super) fn split(
    application: &Application,
    handshake: &Handshake,
    path: PathRoundTrips,
    capture_point: Option<CapturePoint>,
) -> Option<Split> {
    let (to_client_ns, to_server_ns) = path.to_client.zip(path.to_server)?;
    let mut messages = messages(application, handshake)?;
    messages.sort_by_key(|message| message.start);
    let (first, rest) = messages.split_first()?;
    let mut own = Sides { client: 0, server: 0 };
    let (mut from, mut until) = (first.from, first.end);
    for message in rest {
        if let Some(gap) = message.start.checked_since(until) {
            let round_trip = match message.from {
                same if same == from => Nanos(0),
                Side::Client => to_client_ns,
                Side::Server => to_server_ns,
            };
            *own.of_mut(message.from) += gap.0.saturating_sub(round_trip.0);
        }
        if message.end >= until {
            (from, until) = (message.from, message.end);
        }
    }
    let total = until.since(first.start);
    let Sides { client, server } = own.map(Nanos);
    let network_ns = Nanos(total.0.saturating_sub(client.0).saturating_sub(server.0));
    let (client_ns, server_ns) = (client, server);
    Some(Split { total_ns: total, network_ns, client_ns, server_ns, to_client_ns, to_server_ns, capture_point })
}

/// Handshakes, requests and responses; `None` where there are no requests.
fn messages(application: &Application, handshake: &Handshake) -> Option<Vec<Message>> {
    let prelude = prelude(application)?;
    let mut messages: Vec<_> =
        prelude.map(|turn| Message { from: turn.from, start: turn.start, end: turn.end }).collect();
    let mut add = |from, start: Option<Timestamp>, end: Option<Timestamp>| {
        messages.extend(start.map(|start| Message { from, start, end: end.unwrap_or(start).max(start) }));
    };
    for exchange in &application.exchanges.entries {
        // Whom it waited for is not known where it is not known when a message ended.
        let asked = exchange.response.is_none() || exchange.request.is_none() || exchange.request_end.is_some();
        if exchange.unseen
            || !asked
            || (exchange.complete && exchange.response.is_some() && exchange.response_end.is_none())
        {
            return None;
        }
        add(Side::Client, exchange.request, exchange.request_end);
        add(Side::Server, exchange.response, exchange.response_end);
    }
    if let Some(data) = application.tls.as_ref().and_then(|tls| tls.data) {
        add(Side::Client, Some(data.request), Some(data.request_end));
        add(Side::Server, data.response, data.response_end);
    }
    match handshake.ack {
        Some(_) => add(Side::Client, handshake.syn, handshake.ack),
        None => add(Side::Server, handshake.syn, handshake.syn_ack),
    }
    for flight in application.tls.iter().flat_map(|tls| &tls.flights) {
        add(flight.from, Some(flight.start), Some(flight.end));
    }
    Some(messages)
}

/// When the first request began.
fn first_request(application: &Application) -> Option<Timestamp> {
    let exchanges = application.exchanges.entries.iter().filter_map(|exchange| exchange.request);
    let sealed = application.tls.iter().filter_map(|tls| Some(tls.data?.request));
    exchanges.chain(sealed).min()
}

/// What was said before the first request; `None` where that is not known, or there is no request.
fn prelude(application: &Application) -> Option<impl Iterator<Item = &PreludeTurn>> {
    let Prelude { turns, cut } = &application.prelude;
    let first = first_request(application)?;
    let is_whole = cut.is_none_or(|cut| cut >= first);
    is_whole.then(|| turns.iter().filter(move |turn| turn.start < first))
}

/// The round trips before the first octet of the first response; `None` where the handshake or a request was not seen, and
/// behind what takes round trips that are not known.
pub(super) fn round_trips(application: &Application, handshake: &Handshake) -> Option<RoundTripCount> {
    let has_request =
        !application.exchanges.entries.is_empty() || application.tls.as_ref().is_some_and(|tls| tls.established);
    // What a proxy does after CONNECT is an exchange, and more than a round trip.
    if !has_request || application.via.contains(&ProtocolName::Http) || handshake.syn.is_none() {
        return None;
    }
    let said = match first_request(application) {
        Some(_) => prelude(application)?.filter(|turn| turn.from == Side::Server).count(),
        // TLS without a request: what was said before it is told whole, or not at all.
        None if application.prelude.cut.is_some() => return None,
        None => application.prelude.turns.iter().filter(|turn| turn.from == Side::Server).count(),
    };
    let said = u8::try_from(said).ok()?;
    let connect = u8::from(!handshake.agreed?.fast_open);
    let tls = match &application.tls {
        Some(tls) => Some(tls.round_trips?),
        None => None,
    };
    Some(RoundTripCount::new(connect, said, tls))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Exchange, Exchanges, TlsData, TlsFlight, TlsRecord};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// Two exchanges as they pass a point that is so many milliseconds from the client and from the server, one way: the
    /// client thinks for 7 ms before the first and 30 ms before the second, the server for 50 ms and 20 ms.
    fn seen(client: u64, server: u64) -> Split {
        let (to_client, to_server) = (2 * client, 2 * server);
        let syn = client;
        let ack = syn + to_server + to_client;
        let mut exchanges = Exchanges::default();
        let mut request = ack + 7;
        for wait in [50, 20] {
            let response = request + 1 + to_server + wait;
            exchanges.entries.push(Exchange {
                request: Some(at(request)),
                request_end: Some(at(request + 1)),
                response: Some(at(response)),
                response_end: Some(at(response + 5)),
                ..Exchange::default()
            });
            request = response + 5 + to_client + 30;
        }
        let application = Application { exchanges, ..Application::default() };
        let handshake = Handshake { syn: Some(at(syn)), ack: Some(at(ack)), ..Handshake::default() };
        let path = PathRoundTrips {
            to_client: Some(Nanos::from_millis(to_client)),
            to_server: Some(Nanos::from_millis(to_server)),
        };
        split(&application, &handshake, path, None).expect("all is known")
    }

    #[test]
    fn the_split_is_the_same_wherever_the_capture_was_taken() {
        for (client, server) in [(0, 40), (20, 20), (40, 0), (13, 27)] {
            let split = seen(client, server);
            assert_eq!(split.client_ns, Nanos::from_millis(7 + 30), "{client} {server}");
            assert_eq!(split.server_ns, Nanos::from_millis(50 + 20), "{client} {server}");
            // The handshake; the second request less its answer's way to the client, which is seen only from there; octets.
            let handshake = 80;
            assert_eq!(split.network_ns, Nanos::from_millis(handshake + 2 * 2 * server + 2 * client + 2 * 6));
        }
    }

    /// Near the client, 40 ms from the server, which greets at once; the client thinks for 2 ms, then logs in.
    fn greeted(cut: Option<Timestamp>) -> Application {
        let turn = |from, millis| PreludeTurn { from, start: at(millis), end: at(millis) };
        let login = Exchange {
            request: Some(at(82)),
            request_end: Some(at(82)),
            response: Some(at(125)),
            response_end: Some(at(125)),
            ..Exchange::default()
        };
        // What comes after the first request is the exchanges' own.
        let turns = vec![turn(Side::Server, 80), turn(Side::Client, 82), turn(Side::Server, 5000)];
        Application {
            prelude: Prelude { turns, cut },
            exchanges: Exchanges { entries: vec![login], cut: 0 },
            ..Application::default()
        }
    }

    #[test]
    fn a_greeting_is_not_the_clients_time() {
        let agreed = Some(crate::record::Agreed::default());
        let handshake = Handshake { syn: Some(at(0)), ack: Some(at(40)), agreed, ..Handshake::default() };
        let path = PathRoundTrips { to_client: Some(Nanos(0)), to_server: Some(Nanos::from_millis(40)) };
        let seen = split(&greeted(None), &handshake, path, None).expect("all is known");
        assert_eq!([seen.client_ns, seen.server_ns, seen.total_ns], [2, 3, 125].map(Nanos::from_millis));
        let trips = round_trips(&greeted(None), &handshake).expect("all is known");
        assert_eq!((trips.prelude, trips.total), (1, 3));
        // Too much was said before the first request to be kept.
        let cut = greeted(Some(at(81)));
        assert_eq!(split(&cut, &handshake, path, None), None);
        assert_eq!(round_trips(&cut, &handshake), None);
    }

    #[test]
    fn another_hello_is_not_the_servers_time() {
        let flights =
            [(Side::Client, 40), (Side::Server, 80), (Side::Client, 81), (Side::Server, 121), (Side::Client, 122)];
        let flights = flights.map(|(from, millis)| TlsFlight { from, start: at(millis), end: at(millis) }).to_vec();
        let data =
            TlsData { request: at(122), request_end: at(122), response: Some(at(167)), response_end: Some(at(167)) };
        let tls = TlsRecord { retried: true, flights, data: Some(data), ..TlsRecord::default() };
        let application = Application { tls: Some(Box::new(tls)), ..Application::default() };
        let handshake = Handshake { syn: Some(at(0)), ack: Some(at(40)), ..Handshake::default() };
        let path = PathRoundTrips { to_client: Some(Nanos(0)), to_server: Some(Nanos::from_millis(40)) };
        let seen = split(&application, &handshake, path, None).expect("all is known");
        assert_eq!([seen.client_ns, seen.server_ns, seen.network_ns], [2, 5, 160].map(Nanos::from_millis));
    }

    proptest! {
        #[test]
        fn parts_are_the_whole(times in prop::collection::vec((0u64..1000, 0u64..100, 0u64..100, 0u64..100), 1..20),
                               client in 0u64..50, server in 0u64..50) {
            let entries = times.into_iter().map(|(request, sent, wait, length)| Exchange {
                request: Some(at(request)),
                request_end: Some(at(request + sent)),
                response: Some(at(request + wait)),
                response_end: Some(at(request + wait + length)),
                ..Exchange::default()
            });
            let exchanges = Exchanges { entries: entries.collect(), cut: 0 };
            let application = Application { exchanges, ..Application::default() };
            let path = PathRoundTrips {
                to_client: Some(Nanos::from_millis(client)),
                to_server: Some(Nanos::from_millis(server)),
            };
            let split = split(&application, &Handshake::default(), path, None).expect("requests were seen");
            prop_assert_eq!(split.network_ns.0 + split.client_ns.0 + split.server_ns.0, split.total_ns.0);
        }
    }

    #[test]
    fn round_trips_and_what_they_would_be() {
        let count = RoundTripCount::new(1, 0, Some(2));
        assert_eq!((count.total, count.with.tls_1_3, count.with.early_data), (4, Some(3), Some(2)));
        assert_eq!((count.with.reuse, count.with.quic, count.with.quic_early_data), (1, 2, 1));
        let plain = RoundTripCount::new(1, 0, None);
        assert_eq!((plain.total, plain.with.resumption), (2, None));
        // A greeting, and the answers to EHLO and STARTTLS.
        let starttls = RoundTripCount::new(1, 3, Some(1));
        assert_eq!((starttls.total, starttls.with.early_data, starttls.with.reuse), (6, Some(5), 1));
    }
}
