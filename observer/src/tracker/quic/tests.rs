//! Connections over QUIC through the tracker: datagrams in, records out.

use crate::flow;
use crate::input::{Input, PacketInput};
use crate::packet::{Address, Body, Datagram, IpVersion, Packet, Tuple};
use crate::protocol::quic::tests::{SERVER_ID, answer, first_packet};
use crate::record::{ConnState, ConnectionRecord, Phase, RolesFrom, Side, Transport};
use crate::time::{Nanos, Timestamp};
use crate::tracker::{Config, Effect, Event, Tracker};

/// Feeds a tracker datagrams between hosts on 10.0.0.0/24.
struct Wire {
    tracker: Tracker,
    number: u64,
    now: Timestamp,
}

const CLIENT: (u8, u16) = (1, 50_000);
const ELSEWHERE: (u8, u16) = (3, 50_001);
const SERVER: (u8, u16) = (2, 443);

impl Wire {
    fn new(config: Config) -> Self {
        Self { tracker: Tracker::new(config), number: 0, now: Timestamp::from_nanos(1) }
    }

    fn send(&mut self, from: (u8, u16), to: (u8, u16), payload: &[u8]) -> Option<Effect> {
        self.now = self.now.plus(Nanos::from_millis(1));
        self.number += 1;
        let [src, dst] = [from.0, to.0].map(|host| Address::v4([10, 0, 0, host]));
        let tuple = Tuple { src, dst, sport: from.1, dport: to.1, version: IpVersion::V4 };
        let packet = Packet {
            hash: flow::hash(&tuple, &[], 0),
            body: Body::Udp(Datagram { len: payload.len() as u32 }),
            ..Packet::placeholder(self.now, self.number, tuple)
        };
        self.tracker.handle(Input::Packet(&PacketInput {
            packet: &packet,
            layers: &[],
            options: &[],
            payload,
            error: None,
        }))
    }

    /// A handshake as far as it can be made without its keys, and one datagram of data of the client.
    fn open(&mut self, client: (u8, u16)) {
        self.send(client, SERVER, &first_packet());
        self.send(SERVER, client, &answer());
        self.send(client, SERVER, &handshake());
        self.send(client, SERVER, &data(1));
    }

    fn given_out(&mut self) -> Vec<ConnectionRecord> {
        std::iter::from_fn(|| self.tracker.poll())
            .map(|event| match event {
                Event::Connection(record) => *record,
                other => unreachable!("no connection was given out: {other:?}"),
            })
            .collect()
    }

    fn finish(mut self) -> Vec<ConnectionRecord> {
        self.tracker.finish();
        self.given_out()
    }
}

/// A Handshake packet of the client.
fn handshake() -> Vec<u8> {
    [&[0xe0, 0, 0, 0, 1, 8][..], &SERVER_ID, &[0, 0x40, 30], &[9; 30]].concat()
}

/// A packet of data to the server, each with octets of its own.
fn data(number: u8) -> Vec<u8> {
    [&[0x40][..], &SERVER_ID, &[number; 30]].concat()
}

#[test]
fn a_connection_is_a_record_like_any_other() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT);
    let [record] = &wire.finish()[..] else { panic!("one connection") };
    assert_eq!((record.transport, record.conn_state), (Transport::Quic, ConnState::SF));
    assert_eq!((record.client.port, record.roles_from), (50_000, RolesFrom::Initial));
    assert_eq!(record.packets.map(|packets| (packets.client, packets.server)), Some((3, 1)));
    assert_eq!(record.bytes.map(|bytes| bytes.client), Some((1200 + handshake().len() + data(1).len()) as u64));
    assert_eq!(record.history.as_deref(), Some("Dd"));
    assert_eq!(record.name.as_ref().map(|name| name.name.as_str()), Some("example.com"));
    let [phase] = &record.phases[..] else { panic!("one phase: {:?}", record.phases) };
    assert_eq!((phase.phase, phase.length_ns), (Phase::Quic, Nanos::from_millis(3)));
    assert!(record.handshake.is_absent() && record.tcp_state.is_absent() && record.flow.is_none());
}

#[test]
fn what_is_not_quic_opens_nothing_and_without_protocols_nothing_does() {
    let mut wire = Wire::new(Config::default());
    assert_eq!(wire.send(CLIENT, SERVER, &data(1)), None);
    assert_eq!(wire.send(CLIENT, SERVER, &[0x80; 1200]), None);
    assert!(wire.finish().is_empty());
    let mut wire = Wire::new(Config { protocols: false, ..Config::default() });
    assert_eq!(wire.send(CLIENT, SERVER, &first_packet()), None);
    assert!(wire.finish().is_empty());
}

#[test]
fn a_client_that_moves_stays_the_same_connection() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT);
    let id = wire.send(ELSEWHERE, SERVER, &data(2)).map(|effect| effect.connection);
    assert_eq!(id, Some(1));
    wire.send(SERVER, ELSEWHERE, &[0x41; 40]);
    wire.send(CLIENT, SERVER, &data(3));
    // To another server's port the same connection ID says nothing.
    assert_eq!(wire.send(ELSEWHERE, (2, 444), &data(4)), None);
    let [record] = &wire.finish()[..] else { panic!("one connection") };
    assert_eq!(record.packets.map(|packets| (packets.client, packets.server)), Some((5, 2)));
    let moves: Vec<_> = record.quic.iter().flat_map(|quic| &quic.moves).map(|to| (to.client.port, to.frame)).collect();
    assert_eq!((record.client.port, moves), (50_000, vec![(50_001, 5)]));
}

#[test]
fn a_connection_ends_once_it_was_silent_for_long() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT);
    wire.now = wire.now.plus(Nanos::from_secs(290));
    assert!(wire.send(CLIENT, SERVER, &data(2)).is_some());
    wire.now = wire.now.plus(Nanos::from_secs(300));
    assert_eq!(wire.send(CLIENT, SERVER, &data(3)), None, "nothing tells whose it is");
    assert_eq!(wire.given_out().len(), 1);
    wire.open(CLIENT);
    let records = wire.finish();
    assert_eq!(records.iter().map(|record| record.id).collect::<Vec<_>>(), [7]);
}

#[test]
fn timeouts_give_out_what_is_silent() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT);
    wire.tracker.handle_timeout(wire.now.plus(Nanos::from_secs(299)));
    assert!(wire.given_out().is_empty());
    wire.tracker.handle_timeout(wire.now.plus(Nanos::from_secs(301)));
    assert_eq!((wire.given_out().len(), wire.tracker.open_connections()), (1, 0));
}

#[test]
fn beyond_the_bound_the_one_that_was_silent_for_longest_is_given_up() {
    let mut wire = Wire::new(Config { max_connections: 2, ..Config::default() });
    for host in [10, 11] {
        wire.open((host, 50_000));
    }
    wire.send((10, 50_000), SERVER, &data(9));
    wire.open((12, 50_000));
    assert_eq!(wire.tracker.open_connections(), 2);
    let given_up: Vec<_> = wire.given_out().iter().map(|record| (record.id, record.evicted)).collect();
    assert_eq!(given_up, [(5, true)]);
    let left: Vec<_> = wire.finish().iter().map(|record| (record.id, record.evicted)).collect();
    assert_eq!(left, [(1, false), (10, false)]);
}

#[test]
fn a_datagram_captured_twice_counts_once() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT);
    assert!(wire.send(CLIENT, SERVER, &data(1)).is_some_and(|effect| effect.duplicate));
    let [record] = &wire.finish()[..] else { panic!("one connection") };
    assert_eq!((record.duplicates, record.packets.map(|packets| packets.client)), (1, Some(3)));
}

#[test]
fn what_is_kept_of_handshakes_stays_within_its_bound() {
    let mut wire = Wire::new(Config { most_held: 0, ..Config::default() });
    let piece = crate::protocol::quic::tests::piece_of_a_hello();
    for port in 1..100 {
        wire.send((1, port), (2, 4433), &piece);
        assert_eq!(wire.tracker.quic.held, 0);
    }
    let records = wire.finish();
    assert!(records.len() == 99 && records.iter().all(|record| record.given_up));
}

#[test]
fn a_connection_over_dtls_is_told() {
    let mut wire = Wire::new(Config::default());
    for (from, datagram) in crate::protocol::tls::dtls::tests::handshake() {
        let (from, to) = if from == Side::Client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        wire.send(from, to, &datagram);
    }
    let records = wire.finish();
    let [record] = &records[..] else { panic!("one connection, not {}", records.len()) };
    assert_eq!((record.transport, record.conn_state), (Transport::Udp, ConnState::SF));
    assert_eq!((record.client.port, record.duplicates, record.malformed), (CLIENT.1, 0, 0));
    assert!(record.quic.is_none());
    let tls = record.tls.as_deref().expect("its hello was read");
    assert_eq!((tls.sni.as_deref(), tls.established), (Some("server.lab"), true));
    let [phase] = &record.phases[..] else { panic!("one phase: {:?}", record.phases) };
    assert_eq!(
        (phase.phase, Some(phase.start), Some(phase.length_ns)),
        (Phase::Tls, tls.client_hello, tls.handshake_ns)
    );
    assert_eq!(record.round_trips, None, "whether there was a request does not show");
}
