//! Questions and answers, packet by packet.

use super::*;
use crate::packet::{Address, IpVersion};

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 53);

fn packet(number: u64, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Packet {
    let (src, dst) = (Address::v4(from.0), Address::v4(to.0));
    let tuple = Tuple { src, dst, sport: from.1, dport: to.1, version: IpVersion::V4 };
    Packet::placeholder(Timestamp::from_nanos(number * 1_000_000), number, tuple)
}

fn query() -> Vec<u8> {
    b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x03lab\x00\x00\x01\x00\x01".to_vec()
}

/// An answer with these flags besides its being one, and without records.
fn answer(flags: u8) -> Vec<u8> {
    let mut answer = query();
    answer[2] = 0x81 | flags;
    answer
}

fn records(lookups: &mut Lookups) -> Vec<LookupRecord> {
    let record = |event| match event {
        Event::Lookup(record) => *record,
        other => unreachable!("only lookups are made here: {other:?}"),
    };
    lookups.drain().map(record).collect()
}

#[test]
fn a_lookup_over_tcp_comes_after_the_one_that_was_cut() {
    const TRUNCATED: u8 = 2;
    let mut lookups = Lookups::new(&Config::default());
    lookups.datagram(&packet(1, CLIENT, SERVER), &query());
    lookups.datagram(&packet(2, SERVER, CLIENT), &answer(TRUNCATED));
    let cut = records(&mut lookups);
    assert!(cut.first().is_some_and(|cut| cut.id == 1 && cut.lookup.truncated), "{cut:?}");
    let mut over_tcp = |name: u8, client: [u8; 4], seconds: u64| {
        let from = (client, 50_000);
        let [mut asks, mut tells] = [query(), answer(0)];
        (asks[13], tells[13]) = (name, name);
        let parsed = |octets: &[u8]| Message::parse(octets).expect("it is a message");
        // Of the segment that brings the answer, the question may be known only now.
        for (number, message) in [(seconds * 1000, asks), (seconds * 1000 + 5, tells)] {
            let packet = packet(number, from, SERVER);
            lookups.over_tcp(&packet, 0, Heard { messages: vec![parsed(&message)], client: 0, opened: false });
        }
        let all = records(&mut lookups);
        let [record] = &all[..] else { panic!("one lookup, not {all:?}") };
        assert_eq!((record.transport, record.client.port), (Transport::Tcp, 50_000));
        assert_eq!(record.lookup.latency_ns, Some(Nanos::from_millis(5)));
        record.lookup.repeats.as_ref().map(|repeats| (repeats.after, repeats.waited_ns))
    };
    assert_eq!(over_tcp(b'b', CLIENT.0, 1), None, "another name");
    assert_eq!(over_tcp(b'a', [10, 0, 0, 9], 1), None, "another client");
    let waited = Some(Nanos::from_millis(1_004));
    assert_eq!(over_tcp(b'A', CLIENT.0, 1), Some((1, waited)), "from another port, and written otherwise");
    assert_eq!(over_tcp(b'a', CLIENT.0, 2), None, "it is settled");
}

#[test]
fn an_answer_that_contradicts_itself_is_counted() {
    let mut lookups = Lookups::new(&Config::default());
    lookups.datagram(&packet(1, CLIENT, SERVER), &query());
    let mut looped = answer(0);
    looped.splice(12..14, [0xc0, 12]);
    lookups.datagram(&packet(2, SERVER, CLIENT), &looped);
    lookups.datagram(&packet(3, SERVER, CLIENT), &looped);
    lookups.datagram(&packet(4, SERVER, CLIENT), &answer(0));
    let all = records(&mut lookups);
    let [lookup] = &all[..] else { panic!("one lookup, not {all:?}") };
    assert_eq!((lookup.lookup.malformed, lookup.lookup.code.as_deref()), (2, Some("NOERROR")));
    // One that nobody asked for, and a query.
    lookups.datagram(&packet(5, SERVER, CLIENT), &looped);
    looped[2] = 1;
    lookups.datagram(&packet(6, CLIENT, SERVER), &looped);
    assert_eq!(lookups.malformed(), 2);
}

/// The query with another identifier.
fn query_as(id: u8) -> Vec<u8> {
    let mut query = query();
    query[1] = id;
    query
}

#[test]
fn who_waits_in_vain_asks_again_from_another_port_and_of_another_server() {
    const SECOND: u64 = 1_000;
    let other = ([10, 0, 0, 3], 53);
    let from_port = |port| (CLIENT.0, port);
    let mut lookups = Lookups::new(&Config::default());
    lookups.datagram(&packet(SECOND, from_port(40_000), SERVER), &query_as(7));
    lookups.datagram(&packet(2 * SECOND, from_port(40_001), other), &query_as(8));
    lookups.datagram(&packet(4 * SECOND, from_port(40_001), other), &query_as(8));
    let mut answer = answer(0);
    answer[1] = 8;
    lookups.datagram(&packet(4 * SECOND + 1, other, from_port(40_001)), &answer);
    let answered = records(&mut lookups);
    let [second] = &answered[..] else { panic!("one is answered, not {answered:?}") };
    let lookup = &second.lookup;
    assert_eq!((lookup.queries, lookup.asked()), (2, 3));
    assert_eq!(lookup.latency_ns, Some(Nanos::from_millis(2 * SECOND + 1)), "of its own first query");
    assert_eq!(lookup.waited(), Some(Nanos::from_millis(3 * SECOND + 1)), "of the first of all");
    let repeats = lookup.repeats.as_deref().expect("it repeats another");
    assert_eq!((repeats.after, repeats.server), (SECOND, [10, 0, 0, 2].into()));
    // What is asked once it is answered is a new question.
    lookups.datagram(&packet(5 * SECOND, from_port(40_002), SERVER), &query_as(9));
    lookups.finish();
    let rest = records(&mut lookups);
    assert!(rest.iter().all(|record| record.lookup.repeats.is_none() && record.lookup.code.is_none()), "{rest:?}");
    assert_eq!(rest.len(), 2);
}

#[test]
fn an_answer_is_waited_for_from_the_last_query_on() {
    let mut lookups = Lookups::new(&Config::default());
    for at in [1, 6_000, 11_000] {
        lookups.datagram(&packet(at, CLIENT, SERVER), &query());
    }
    lookups.datagram(&packet(12_000, SERVER, CLIENT), &answer(0));
    let all = records(&mut lookups);
    let [lookup] = &all[..] else { panic!("one lookup, not {all:?}") };
    assert_eq!((lookup.lookup.queries, lookup.lookup.latency_ns), (3, Some(Nanos::from_millis(11_999))));
    lookups.datagram(&packet(20_000, CLIENT, SERVER), &query());
    lookups.handle_timeout(packet(30_001, CLIENT, SERVER).at);
    assert_eq!(records(&mut lookups).len(), 1, "given up");
    lookups.datagram(&packet(30_002, CLIENT, SERVER), &query());
    lookups.finish();
    assert_eq!(records(&mut lookups)[0].lookup.repeats, None, "asked long after");
}

#[test]
fn an_answer_about_another_name_settles_nothing() {
    let mut lookups = Lookups::new(&Config::default());
    lookups.datagram(&packet(1, CLIENT, SERVER), &query());
    let mut other = answer(0);
    other[13] = b'b';
    lookups.datagram(&packet(2, SERVER, CLIENT), &other);
    lookups.datagram(&packet(3, SERVER, CLIENT), &answer(0));
    let codes: Vec<_> = records(&mut lookups).iter().map(|record| record.lookup.queries).collect();
    assert_eq!(codes, [0, 1]);
}

#[test]
fn a_flood_of_questions_stays_in_bounds() {
    let mut lookups = Lookups::new(&Config::default());
    for number in 0..100_000 {
        let port = 1024 + (number % 50_000) as u16;
        let mut at = packet(number, (CLIENT.0, port), SERVER);
        at.at = Timestamp::from_nanos(number);
        lookups.datagram(&at, &query());
        assert!(lookups.open.len() <= MOST_OPEN && lookups.order.len() <= 2 * MOST_OPEN + 1);
    }
    // The same again and again, at the same time, answered or not.
    for number in 0..50_000 {
        let at = Timestamp::from_nanos(100_000 + number % 2);
        lookups.datagram(&Packet { at, ..packet(number, CLIENT, SERVER) }, &query());
        if number % 3 == 0 {
            lookups.datagram(&Packet { at, ..packet(number, SERVER, CLIENT) }, &answer(0));
        }
        assert!(lookups.order.len() <= 2 * MOST_OPEN + 1);
    }
}

#[test]
fn live_every_address_of_this_host_is_one_client() {
    let mut lookups = Lookups::new(&Config { sampled: true, ..Config::default() });
    lookups.datagram(&packet(1, CLIENT, SERVER), &query());
    let mut address = answer(0);
    address[7] = 1;
    address.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x09");
    lookups.datagram(&packet(2, SERVER, CLIENT), &address);
    let to = ([10, 0, 0, 9], 80);
    let syn = Segment { flags: crate::packet::Flags::SYN, ..Segment::default() };
    let name = |from: [u8; 4], notes| {
        let packet = Packet { notes, ..packet(3, (from, 41_000), to) };
        lookups.of(&packet, &syn).map(|known| known.lookup.name.clone())
    };
    let known = Some("a.lab".to_string());
    assert_eq!(name(CLIENT.0, Notes::empty()), known, "whoever sent it");
    assert_eq!(name([192, 168, 0, 1], Notes::OUTBOUND), known, "from another address of this host");
    assert_eq!(name([192, 168, 0, 1], Notes::empty()), None, "from elsewhere");
}

/// An answer that repeats no question: the address 10.0.0.9 of `a.lab`.
fn announcement() -> Vec<u8> {
    b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x01a\x03lab\0\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\0\0\x09".to_vec()
}

const GROUP: ([u8; 4], u16) = ([224, 0, 0, 251], 5353);

#[test]
fn a_multicast_answer_is_for_whoever_asked() {
    let [one, other, third] = [1, 2, 3].map(|last| ([10, 0, 0, last], 5353));
    let responder = ([10, 0, 0, 9], 5353);
    let mut query = query_as(0);
    query[2] = 0;
    let mut of_another_name = query.clone();
    of_another_name[13] = b'b';
    let mut lookups = Lookups::new(&Config::default());
    lookups.datagram(&packet(1, one, GROUP), &query);
    lookups.datagram(&packet(2, one, GROUP), &of_another_name);
    lookups.datagram(&packet(3, other, GROUP), &query);
    lookups.datagram(&packet(4, other, GROUP), &query);
    assert_eq!(records(&mut lookups), [], "each waits, under the same identifier");
    lookups.datagram(&packet(5, responder, GROUP), &announcement());
    let all = records(&mut lookups);
    let told = |record: &LookupRecord| (record.client.ip, record.lookup.queries, record.lookup.latency_ns);
    let after = |millis| Some(Nanos::from_millis(millis));
    let client = |last| std::net::IpAddr::from([10, 0, 0, last]);
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), [(client(1), 1, after(4)), (client(2), 2, after(2))]);
    assert!(all.iter().all(|record| record.server.ip == client(9) && record.lookup.service == DnsService::Mdns));
    let syn = Segment { flags: crate::packet::Flags::SYN, ..Segment::default() };
    let knows = |from| lookups.of(&packet(6, from, ([10, 0, 0, 9], 631)), &syn).is_some();
    assert_eq!([one, other, third].map(knows), [true, true, false]);
    // Said once more, it answers nobody.
    lookups.datagram(&packet(7, responder, GROUP), &announcement());
    assert_eq!(records(&mut lookups), []);
    // An answer to one alone.
    lookups.datagram(&packet(8, one, GROUP), &query);
    lookups.datagram(&packet(9, third, GROUP), &query);
    lookups.datagram(&packet(10, responder, third), &announcement());
    let all = records(&mut lookups);
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), [(client(3), 1, after(1))]);
    lookups.finish();
    let rest = records(&mut lookups);
    assert_eq!(rest.iter().filter(|record| record.lookup.code.is_none()).count(), 2, "{rest:?}");
}

#[test]
fn a_link_local_answer_comes_from_whoever_has_the_name() {
    let group = ([224, 0, 0, 252], 5355);
    let mut lookups = Lookups::new(&Config::default());
    lookups.datagram(&packet(1, CLIENT, group), &query());
    lookups.datagram(&packet(2, ([10, 0, 0, 9], 5355), CLIENT), &answer(0));
    let all = records(&mut lookups);
    let [lookup] = &all[..] else { panic!("one lookup, not {all:?}") };
    assert_eq!((lookup.lookup.service, lookup.lookup.queries), (DnsService::Llmnr, 1));
    assert_eq!(lookup.lookup.latency_ns, Some(Nanos::from_millis(1)));
}

#[test]
fn a_flood_of_multicast_questions_stays_in_bounds() {
    let mut lookups = Lookups::new(&Config::default());
    let mut query = query_as(0);
    for number in 0..50_000_u64 {
        let [.., a, b] = number.to_be_bytes();
        query[13] = b'a' + a % 16;
        let at = Packet { at: Timestamp::from_nanos(number), ..packet(number, ([10, 0, a, b], 5353), GROUP) };
        lookups.datagram(&at, &query);
    }
    assert!(lookups.open.len() <= MOST_OPEN);
    lookups.datagram(&packet(50_000, ([10, 0, 0, 9], 5353), GROUP), &announcement());
    lookups.finish();
    assert_eq!(records(&mut lookups).len(), 50_000, "each is told once");
}
