//! The tracker as a whole: short exchanges in, records out.

use proptest::prelude::*;

use super::{Config, Effect, Event, Timeouts, Tracker};
use crate::finding::{Context, Thresholds, judge};
use crate::flow;
use crate::input::{Input, PacketInput};
use crate::kernel::{KernelEvent, SocketInput, StrayInput};
use crate::packet::{
    Address, Body, ErrorRef, Flags, FrameId, IcmpError, IpVersion, Layer, Notes, Packet, Segment, Span, Tunnel,
    TunnelKind, Tuple,
};
use crate::record::{ConnectionRecord, EntryKind, RolesFrom, Side, Sides, Source, TcpState};
use crate::sequence::Seq;
use crate::time::{Nanos, Timestamp};

/// Feeds a tracker segments between hosts on 10.0.0.0/24.
struct Wire {
    tracker: Tracker,
    number: u64,
    now: Timestamp,
    layers: Vec<Layer>,
    /// What the tracker said after the last packet.
    first_open: u64,
}

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 443);
const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const SYN_ACK: Flags = SYN.union(ACK);
const FIN_ACK: Flags = Flags::FIN.union(ACK);
const PSH_ACK: Flags = Flags::PSH.union(ACK);

fn between(from: (u8, u16), to: (u8, u16)) -> Tuple {
    let address = |last| Address::v4([10, 0, 0, last]);
    Tuple { src: address(from.0), dst: address(to.0), sport: from.1, dport: to.1, version: IpVersion::V4 }
}

fn number(event: &Event) -> u64 {
    match event {
        Event::Connection(record) | Event::Update(record) => record.id,
        Event::Lookup(record) => record.id,
    }
}

impl Wire {
    fn new(config: Config) -> Self {
        Self {
            tracker: Tracker::new(config),
            number: 0,
            now: Timestamp::from_nanos(1),
            layers: Vec::new(),
            first_open: 0,
        }
    }

    fn pass(&mut self, nanos: Nanos) {
        self.now = self.now.plus(nanos);
    }

    fn packet(&mut self, from: (u8, u16), to: (u8, u16), body: Body, notes: Notes) -> Option<Effect> {
        self.pass_on(from, to, body, None, notes)
    }

    fn error(&mut self, from: (u8, u16), to: (u8, u16), error: &IcmpError) -> Option<Effect> {
        self.pass_on(from, to, Body::Icmp(ErrorRef(0)), Some(error), Notes::empty())
    }

    fn pass_on(
        &mut self,
        from: (u8, u16),
        to: (u8, u16),
        body: Body,
        error: Option<&IcmpError>,
        notes: Notes,
    ) -> Option<Effect> {
        self.pass(Nanos::from_millis(1));
        self.number += 1;
        let tuple = between(from, to);
        let packet = Packet {
            at: self.now,
            number: self.number,
            frame: FrameId { file: 0, number: self.number },
            hash: flow::hash(&tuple, &self.layers, self.tracker.config.seed),
            tuple,
            interface: 0,
            ttl: 64,
            tos: 0,
            // Every packet has an identification of its own, or it would pass for a second copy.
            ip_id: self.number as u16,
            notes,
            layers: None,
            tail: Span::default(),
            missing: 0,
            body,
        };
        let input = PacketInput { packet: &packet, layers: &self.layers, options: &[], payload: &[], error };
        let before = self.tracker.out.len();
        let effect = self.tracker.handle(Input::Packet(&input));
        let given_out = self.tracker.out.iter().skip(before).map(number);
        assert!(
            given_out.min().is_none_or(|first| first >= self.first_open),
            "it was said that only later ones are open"
        );
        self.first_open = self.tracker.first_open().unwrap_or(self.number + 1);
        effect
    }

    fn send(&mut self, from: (u8, u16), to: (u8, u16), flags: Flags, seq: u32, ack: u32, len: u32) -> Effect {
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), flags, window: 1000, urgent: 0, len };
        self.packet(from, to, Body::Tcp(segment), Notes::empty()).expect("a segment has an effect")
    }

    fn open(&mut self, client: (u8, u16), isn: u32) -> Effect {
        self.send(client, SERVER, SYN, isn, 0, 0);
        self.send(SERVER, client, SYN_ACK, 500, isn + 1, 0);
        self.send(client, SERVER, ACK, isn + 1, 501, 0)
    }

    fn close(&mut self, client: (u8, u16), isn: u32) -> Effect {
        self.send(client, SERVER, FIN_ACK, isn + 1, 501, 0);
        self.send(SERVER, client, FIN_ACK, 501, isn + 2, 0);
        self.send(client, SERVER, ACK, isn + 2, 502, 0)
    }

    /// A packet that the kernel says it dropped.
    fn drop(&mut self, from: (u8, u16), to: (u8, u16), flags: Flags) {
        let event = KernelEvent {
            at: self.now,
            kind: EntryKind::Drop,
            states: (TcpState::Unknown, TcpState::Unknown),
            detail: None,
            source: Source::Drop,
        };
        self.tracker.handle(Input::Stray(&StrayInput { tuple: between(from, to), flags, event }));
    }

    fn given_out(&mut self) -> Vec<ConnectionRecord> {
        std::iter::from_fn(|| self.tracker.poll())
            .map(|event| match event {
                Event::Connection(record) | Event::Update(record) => *record,
                Event::Lookup(lookup) => unreachable!("nothing here is a lookup: {lookup:?}"),
            })
            .collect()
    }

    fn finish(mut self) -> Vec<ConnectionRecord> {
        self.tracker.finish();
        self.given_out()
    }

    fn finish_one(self) -> ConnectionRecord {
        let mut records = self.finish();
        assert_eq!(records.len(), 1, "{records:#?}");
        records.pop().expect("there is one")
    }
}

#[test]
fn follows_a_connection_to_its_close() {
    let mut wire = Wire::new(Config::default());
    assert_eq!(wire.open(CLIENT, 100).state, Sides { client: TcpState::Estab, server: TcpState::Estab });
    wire.send(CLIENT, SERVER, PSH_ACK, 101, 501, 200);
    wire.send(SERVER, CLIENT, ACK, 501, 301, 0);
    wire.send(CLIENT, SERVER, FIN_ACK, 301, 501, 0);
    wire.send(SERVER, CLIENT, FIN_ACK, 501, 302, 0);
    let last = wire.send(CLIENT, SERVER, ACK, 302, 502, 0);
    assert_eq!(last.state, Sides { client: TcpState::TimeWait, server: TcpState::Closed });

    let record = wire.finish_one();
    assert_eq!((record.id, record.roles_from), (1, RolesFrom::Syn));
    assert_eq!((record.client.port, record.server.port), (CLIENT.1, SERVER.1));
    assert_eq!(record.packets, Some(Sides { client: 5, server: 3 }));
    assert_eq!(record.bytes, Some(Sides { client: 200, server: 0 }));
    assert_eq!(record.handshake.connect_ns, Some(Nanos::from_millis(2)));
    assert_eq!(record.handshake.rtt_ns, Some(Nanos::from_millis(2)));
    assert_eq!((record.close.first, record.close.time_wait), (Some(Side::Client), Some(Side::Client)));
    assert_eq!(record.flow.expect("every segment was seen").client.max_in_flight, 200);
}

#[test]
fn late_packets_belong_to_the_connection_that_is_over() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT, 100);
    wire.close(CLIENT, 100);
    wire.pass(Nanos::from_secs(3600));
    wire.send(CLIENT, SERVER, ACK, 102, 502, 0);
    assert_eq!(wire.finish_one().packets, Some(Sides { client: 5, server: 2 }));
}

#[test]
fn another_syn_is_another_connection() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT, 100);
    wire.close(CLIENT, 100);
    wire.send(CLIENT, SERVER, SYN, 9000, 0, 0);
    assert_eq!(wire.given_out().len(), 1, "the former connection is given out when its ports are used again");
    let record = wire.finish_one();
    assert_eq!(record.id, 7);
    assert_eq!(record.analysis.expect("every segment was seen").reused_ports, Sides { client: 1, server: 0 });
}

#[test]
fn a_syn_sent_again_for_a_minute_is_one_connection() {
    let mut wire = Wire::new(Config::default());
    for wait in [1, 2, 4, 8, 16, 32] {
        wire.send(CLIENT, SERVER, SYN, 100, 0, 0);
        wire.pass(Nanos::from_secs(wait));
    }
    let record = wire.finish_one();
    assert_eq!(record.handshake.syn_retransmissions, 5);
    assert_eq!(*record.tcp_state, Sides { client: TcpState::SynSent, server: TcpState::Unknown });
}

#[test]
fn the_least_recently_used_is_given_up() {
    let mut wire = Wire::new(Config { max_connections: 3, ..Config::default() });
    for port in 1..=3 {
        wire.open((1, port), 100);
    }
    wire.send((1, 1), SERVER, PSH_ACK, 101, 501, 10);
    wire.open((1, 4), 100);
    wire.send((1, 3), SERVER, PSH_ACK, 101, 501, 10);
    wire.open((1, 5), 100);
    let gone = wire.given_out();
    assert!(gone.iter().all(|record| record.evicted));
    assert_eq!(gone.iter().map(|record| record.client.port).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(wire.tracker.counts().evicted, 2);
    assert_eq!(wire.finish().len(), 3);
}

#[test]
fn a_stream_gives_out_what_is_over_after_a_while() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT, 100);
    wire.close(CLIENT, 100);
    wire.tracker.handle_timeout(wire.now);
    assert!(wire.given_out().is_empty());
    wire.pass(Nanos::from_secs(1));
    wire.tracker.handle_timeout(wire.now);
    assert_eq!(wire.given_out().len(), 1);
    assert_eq!(wire.tracker.open_connections(), 0);
}

#[test]
fn a_reset_outside_the_window_closes_nothing() {
    let mut wire = Wire::new(Config::default());
    wire.open(CLIENT, 100);
    wire.send(CLIENT, SERVER, PSH_ACK, 101, 501, 10);
    wire.send(SERVER, CLIENT, ACK, 501, 111, 0);
    let forged = wire.send(CLIENT, SERVER, Flags::RST, 50, 0, 0);
    assert_eq!(forged.state, Sides { client: TcpState::Estab, server: TcpState::Estab });
    let real = wire.send(CLIENT, SERVER, Flags::RST, 111, 0, 0);
    assert_eq!(real.state, Sides { client: TcpState::Closed, server: TcpState::Closed });
}

#[test]
fn tunnels_keep_connections_apart_and_directions_together() {
    let mut wire = Wire::new(Config::default());
    let tunnel = |src: u8, dst: u8, id| {
        Layer::Tunnel(Tunnel {
            kind: TunnelKind::Vxlan,
            src: Address::v4([192, 0, 2, src]),
            dst: Address::v4([192, 0, 2, dst]),
            version: IpVersion::V4,
            id: Some(id),
            source_port: Some(5000),
        })
    };
    wire.send(CLIENT, SERVER, SYN, 100, 0, 0);
    wire.layers = vec![tunnel(1, 2, 7)];
    wire.send(CLIENT, SERVER, SYN, 100, 0, 0);
    wire.layers = vec![tunnel(2, 1, 8)];
    wire.send(SERVER, CLIENT, SYN_ACK, 500, 101, 0);
    let records = wire.finish();
    assert_eq!(records.len(), 2);
    let tunnelled = records.last().and_then(|record| record.tunnel.clone()).expect("the second is in a tunnel");
    assert_eq!(tunnelled.tunnels.len(), 1);
    assert_eq!(tunnelled.tags.client.tunnel_id, [Some(7)]);
    assert_eq!(tunnelled.tags.server.tunnel_id, [Some(8)]);

    let mut wire = Wire::new(Config { strict_wireshark: true, ..Config::default() });
    wire.send(CLIENT, SERVER, SYN, 100, 0, 0);
    wire.layers = vec![tunnel(1, 2, 7)];
    wire.send(CLIENT, SERVER, SYN, 100, 0, 0);
    assert_eq!(wire.finish().len(), 1);
}

#[test]
fn icmp_errors_find_the_connection_they_quote() {
    let mut wire = Wire::new(Config::default());
    wire.send(CLIENT, SERVER, SYN, 100, 0, 0);
    let error =
        IcmpError { from: Address::v4([10, 0, 0, 9]), kind: 3, code: 13, mtu: None, seq: Seq(100), flags: None };
    assert!(wire.error(CLIENT, SERVER, &error).is_some());
    assert!(wire.error((7, 7), SERVER, &error).is_none());
    let record = wire.finish_one();
    let [icmp] = &record.icmp[..] else { panic!("one error, not {:?}", record.icmp) };
    assert_eq!((icmp.to, icmp.name, icmp.from.to_string().as_str()), (Side::Client, "admin prohibited", "10.0.0.9"));
    assert_eq!(record.packets, Some(Sides { client: 1, server: 0 }));
}

#[test]
fn wrong_checksums_are_believed_or_left_out() {
    for (drop, bytes) in [(false, 10), (true, 0)] {
        let mut wire = Wire::new(Config { drop_bad_checksums: drop, ..Config::default() });
        wire.open(CLIENT, 100);
        let segment = Segment { seq: Seq(101), ack: Seq(501), flags: PSH_ACK, len: 10, ..Segment::default() };
        wire.packet(CLIENT, SERVER, Body::Tcp(segment), Notes::BAD_TCP_CHECKSUM);
        let record = wire.finish_one();
        assert_eq!(record.bad_checksums, Some(Sides { client: 1, server: 0 }));
        assert_eq!(record.bytes.expect("every segment was seen").client, bytes, "dropping: {drop}");
    }
}

#[test]
fn runs_are_folded_and_what_is_remarkable_stays() {
    let mut wire = Wire::new(Config { timeline_entries: 100, ..Config::default() });
    wire.open(CLIENT, 100);
    for part in 0..10 {
        wire.send(CLIENT, SERVER, PSH_ACK, 101 + part * 10, 501, 10);
        wire.send(SERVER, CLIENT, ACK, 501, 111 + part * 10, 0);
    }
    wire.pass(Nanos::from_secs(1));
    wire.send(CLIENT, SERVER, PSH_ACK, 191, 501, 10);
    let timeline = wire.finish_one().timeline.expect("asked for");
    let shape: Vec<_> = timeline.entries.iter().map(|entry| (entry.packets, entry.bytes, entry.acks)).collect();
    assert_eq!(shape, [(1, 0, 0), (1, 0, 0), (1, 0, 0), (10, 100, 10), (1, 10, 0)]);
    assert_eq!(timeline.entries.last().map(|entry| entry.analysis.is_empty()), Some(false));
}

#[test]
fn a_long_timeline_is_cut_in_the_middle() {
    let mut wire = Wire::new(Config { timeline_entries: 6, ..Config::default() });
    for number in 0..100 {
        wire.pass(Nanos::from_secs(1));
        wire.send(CLIENT, SERVER, PSH_ACK, 101 + number, 501, 1);
    }
    let timeline = wire.finish_one().timeline.expect("asked for");
    let frames: Vec<_> = timeline.entries.iter().map(|entry| entry.frame).collect();
    assert_eq!((frames.as_slice(), timeline.cut), (&[1, 2, 3, 98, 99, 100][..], 94));
}

#[test]
fn zeeks_timers_apply_only_where_asked_for() {
    for (timeouts, connections) in [(Timeouts::Never, 1), (Timeouts::Zeek, 2)] {
        let mut wire = Wire::new(Config { timeouts, ..Config::default() });
        wire.open(CLIENT, 100);
        wire.pass(Nanos::from_secs(3600));
        wire.send(CLIENT, SERVER, PSH_ACK, 101, 501, 10);
        assert_eq!(wire.finish().len(), connections, "{timeouts:?}");
    }
}

#[test]
fn a_wrong_checksum_is_believed_noted_or_dropped() {
    let notes = |bad, config: Config| {
        let mut wire = Wire::new(config);
        let segment = |flags, seq, ack, len| {
            Body::Tcp(Segment { seq: Seq(seq), ack: Seq(ack), flags, window: 1000, urgent: 0, len })
        };
        wire.packet(CLIENT, SERVER, segment(SYN, 100, 0, 0), bad);
        wire.packet(CLIENT, SERVER, segment(SYN, 100, 0, 0), Notes::empty());
        wire.packet(SERVER, CLIENT, segment(SYN_ACK, 500, 101, 0), bad);
        let records = wire.finish();
        records
            .into_iter()
            .map(|record| (record.history, record.packets.expect("every segment was seen").server))
            .collect::<Vec<_>>()
    };
    let text = |history: &str, from_server| (Some(history.to_owned()), from_server);
    let drop = Config { drop_bad_checksums: true, ..Config::default() };
    assert_eq!(notes(Notes::BAD_TCP_CHECKSUM, Config::default()), [text("Sh", 1)]);
    assert_eq!(notes(Notes::BAD_TCP_CHECKSUM, drop), [text("CSc", 0)]);
    assert_eq!(notes(Notes::BAD_IP_CHECKSUM, drop), [text("S", 0)], "as though it had not been captured");
    // To Zeek, a SYN after nothing that counts starts a new connection.
    let zeek = Config { timeouts: Timeouts::Zeek, ..drop };
    assert_eq!(notes(Notes::BAD_TCP_CHECKSUM, zeek), [text("C", 0), text("Sc", 0)]);
}

proptest! {
    /// Connections that are put to rest before each packet, and such that never are.
    #[test]
    fn rest_changes_nothing(
        packets in prop::collection::vec(
            (1u8..5, any::<bool>(), 0u16..0x200, 0u32..9, 0u32..9, 0u32..4, 0u8..12, 0u64..3_000_000_000),
            1..80,
        ),
        zeek: bool,
        max_connections in 1usize..5,
    ) {
        let replay = |least_awake| {
            let timeouts = if zeek { Timeouts::Zeek } else { Timeouts::Never };
            let config = Config { least_awake, timeouts, max_connections, timeline_entries: 6, seed: 1, ..Config::default() };
            let mut wire = Wire::new(config);
            let mut effects = Vec::new();
            for &(client, answers, flags, seq, ack, len, kind, pause) in &packets {
                wire.pass(Nanos(pause));
                wire.layers = if kind == 1 { vec![Layer::Vlan(7), Layer::Mpls(8)] } else { Vec::new() };
                let client = (client, 40_000);
                let [from, to] = if answers { [SERVER, client] } else { [client, SERVER] };
                let seq = Seq(if answers { u32::MAX - 1000 } else { 5 }.wrapping_add(seq * 100));
                let ack = Seq(if answers { 5 } else { u32::MAX - 1000_u32 }.wrapping_add(ack * 100));
                let flags = Flags::from_bits_retain(if kind < 6 { 0x10 } else { flags });
                let segment = Segment { seq, ack, flags, window: 1000 * u16::from(kind), urgent: 0, len: len * 100 };
                let error = IcmpError { from: Address::v4([9; 4]), kind: 3, code: 1, mtu: None, seq, flags: None };
                effects.push(match kind {
                    0 => wire.error(from, to, &error),
                    _ => wire.packet(from, to, Body::Tcp(segment), Notes::empty()),
                });
            }
            let mut records = wire.finish();
            let thresholds = Thresholds::default();
            for record in &mut records {
                let context = Context { thresholds: &thresholds, until: record.last_seen, lost: false };
                record.findings = judge(record, &context);
            }
            format!("{effects:?} {records:#?}")
        };
        prop_assert_eq!(replay(0), replay(usize::MAX));
    }
}

#[test]
fn a_connection_at_rest_is_small() {
    let mut wire = Wire::new(Config { least_awake: 0, seed: 1, ..Config::default() });
    for port in 40_000..40_002 {
        let client = (1, port);
        wire.open(client, 100_000_000);
        wire.send(client, SERVER, PSH_ACK, 100_000_001, 501, 6);
        wire.send(SERVER, client, PSH_ACK, 501, 100_000_007, 6);
        wire.send(client, SERVER, ACK, 100_000_007, 507, 0);
    }
    let octets = wire.tracker.table.resting_octets();
    assert!((100..240).contains(&octets), "{octets} octets");
}

#[test]
fn connections_without_a_socket_end_when_they_are_told_to() {
    let mut wire = Wire::new(Config { sampled: true, ..Config::default() });
    let syn = Segment { seq: Seq(1), flags: SYN, window: 1000, ..Segment::default() };
    wire.packet(CLIENT, SERVER, Body::Tcp(syn), Notes::OUTBOUND);
    // An event without a socket is none.
    wire.drop(CLIENT, SERVER, SYN);
    // What is only passed on has no socket here at any time.
    wire.packet((3, 40_000), SERVER, Body::Tcp(syn), Notes::empty());
    wire.tracker.handle(Input::Socketless(Timestamp::from_nanos(1)));
    assert!(wire.tracker.poll().is_none(), "something was seen since");
    wire.tracker.handle(Input::Socketless(wire.now));
    let Some(Event::Connection(record)) = wire.tracker.poll() else { panic!("it is over") };
    assert_eq!(record.client.port, CLIENT.1);
    assert!(wire.tracker.poll().is_none());
    assert_eq!(wire.tracker.open_connections(), 1);
}

#[test]
fn a_late_reset_that_meets_no_socket_makes_no_connection_of_this_host() {
    let mut wire = Wire::new(Config { sampled: true, ..Config::default() });
    wire.open(CLIENT, 100);
    wire.send(SERVER, CLIENT, Flags::RST, 501, 0, 0);
    wire.drop(SERVER, CLIENT, Flags::RST);
    let other = (3, 40_000);
    wire.open(other, 100);
    wire.drop(other, SERVER, PSH_ACK);
    let clients: Vec<_> = wire.finish().iter().map(|record| record.client.port).collect();
    assert_eq!(clients, [other.1], "what is dropped on its way through is worth telling");
}

#[test]
fn an_end_elsewhere_closes_as_the_packets_and_the_socket_here_show() {
    use TcpState::{CloseWait, Closed, Estab, FinWait1, FinWait2, LastAck, TimeWait};
    let mut wire = Wire::new(Config { sampled: true, timeline_entries: 100, ..Config::default() });
    wire.open(CLIENT, 100);
    let mut events = Vec::new();
    let mut change = |wire: &Wire, from, to| {
        let at = wire.now.plus(Nanos(1));
        events.push(KernelEvent {
            at,
            kind: EntryKind::State,
            states: (from, to),
            detail: None,
            source: Source::State,
        });
    };
    change(&wire, Estab, FinWait1);
    wire.send(CLIENT, SERVER, FIN_ACK, 101, 501, 0);
    // Its own FIN is acknowledged by the other end's, of which the kernel tells in two steps.
    wire.send(SERVER, CLIENT, FIN_ACK, 501, 102, 0);
    change(&wire, FinWait1, FinWait2);
    change(&wire, FinWait2, Closed);
    let socket = SocketInput {
        tuple: between(CLIENT, SERVER),
        events,
        looked_at: false,
        gone: true,
        ..SocketInput::client(Closed, wire.now)
    };
    wire.tracker.handle(Input::Socket(&socket));
    let records = wire.finish();
    let entries = &records[0].timeline.as_ref().expect("it was asked for").entries;
    let states: Vec<_> = entries.iter().map(|entry| (entry.state.client, entry.state.server)).collect();
    let closing = states.get(states.len() - 5..).expect("there were more before");
    let expected =
        [(FinWait1, Estab), (FinWait1, CloseWait), (FinWait1, LastAck), (FinWait2, LastAck), (TimeWait, Closed)];
    assert_eq!(closing, expected);
    assert_eq!(*records[0].tcp_state, Sides { client: TimeWait, server: Closed });
}
