//! Names that connections get from lookups, by whatever way these were made, and in whichever shard the connections are.

#[path = "names/wire.rs"]
mod wire;

use wire::{A, AAAA, ACK, FIN_ACK, PSH_ACK, Wire, address, answer, at, behind_length, host, query};

/// Connections to an address that was looked up: enough for every shard to have some.
const PORTS: std::ops::Range<u16> = 41_000..41_032;

/// Opens a connection to port 80 of `last` from each of many ports.
fn connect(wire: &mut Wire, last: u8) {
    for port in PORTS {
        wire.open(at(&format!("192.0.2.1:{port}")), (host(last), 80).into());
    }
}

/// The names of the connections to port 80.
fn names(wire: &Wire) -> Vec<String> {
    let (connections, _) = wire.records();
    let to_80 = connections.iter().filter(|record| record["server"]["port"] == 80);
    to_80.map(|record| record["name"]["name"].as_str().unwrap_or("-").to_string()).collect()
}

#[test]
fn lookups_over_tcp_name_connections_of_every_shard() {
    let (client, server) = (at("192.0.2.1:40000"), at("192.0.2.53:53"));
    let query = query(7, "www.lab", A);
    let records: Vec<_> = (9..99).map(|last| address("www.lab", host(last))).collect();
    let answer = behind_length(&answer(&query, &records));
    let asked = behind_length(&query);
    let end = 1 + asked.len() as u32;
    let (first, rest) = answer.split_at(1400);
    let behind = 1001 + first.len() as u32;
    let mut ways = Vec::new();
    for overtakes in [false, true] {
        let mut wire = Wire::default();
        wire.open(client, server);
        // The length may have a segment of its own.
        let (length, message) = asked.split_at(if overtakes { 2 } else { 0 });
        for (seq, payload) in [(1, length), (1 + length.len() as u32, message)] {
            wire.segment(client, server, PSH_ACK, (seq, 1001), payload);
        }
        let mut parts = [(1001, first), (behind, rest)];
        if overtakes {
            parts.reverse();
        }
        for (seq, payload) in parts {
            wire.segment(server, client, ACK, (seq, end), payload);
        }
        // The last address that is kept.
        connect(&mut wire, 40);
        wire.segment(client, server, FIN_ACK, (end, behind + rest.len() as u32), &[]);
        ways.push(wire);
    }
    for wire in ways {
        let names = names(&wire);
        assert_eq!(names.len(), PORTS.len());
        assert!(names.iter().all(|name| name == "www.lab"), "{names:?}");
        let (_, lookups) = wire.records();
        let [lookup] = &lookups[..] else { panic!("one lookup, not {lookups:?}") };
        assert_eq!(
            (&lookup["transport"], &lookup["code"], &lookup["queries"]),
            (&"tcp".into(), &"NOERROR".into(), &1.into())
        );
        let of = |threads: &str| wire.replayed(&["--output", "json", "--threads", threads]);
        let strip = |text: String| {
            text.lines().filter(|line| !line.contains("\"capture\"")).map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(strip(of("1")), strip(of("3")));
    }
}

#[test]
fn a_connection_that_is_about_to_end_names_others_already() {
    let (client, server) = (at("192.0.2.1:40000"), at("192.0.2.53:53"));
    let asked = query(7, "www.lab", A);
    let answered = behind_length(&answer(&asked, &[address("www.lab", host(9))]));
    let asked = behind_length(&asked);
    let mut wire = Wire::default();
    wire.open(client, server);
    wire.segment(client, server, PSH_ACK, (1, 1001), &asked);
    connect(&mut wire, 9);
    wire.segment(server, client, PSH_ACK, (1001, 1 + asked.len() as u32), &answered);
    let later = at("192.0.2.1:42000");
    wire.open(later, (host(9), 80).into());
    let names = names(&wire);
    assert_eq!(names.iter().filter(|name| *name == "www.lab").count(), 1, "who came before the answer did not know it");
}

#[test]
fn the_phase_of_a_lookup_begins_with_the_first_query_of_all() {
    let [first, second] = ["192.0.2.53:53", "192.0.2.54:53"].map(at);
    let mut wire = Wire::default();
    wire.datagram(at("192.0.2.1:40000"), first, &query(7, "www.lab", A));
    wire.now += 999;
    let again = query(8, "www.lab", A);
    wire.datagram(at("192.0.2.1:40001"), second, &again);
    wire.datagram(second, at("192.0.2.1:40001"), &answer(&again, &[address("www.lab", host(9))]));
    wire.open(at("192.0.2.1:41000"), (host(9), 80).into());
    let (connections, lookups) = wire.records();
    let phase = &connections[0]["phases"][0];
    assert_eq!((&phase["phase"], &phase["length_ns"]), (&"dns".into(), &1_001_000_000.into()));
    assert_eq!(lookups.len(), 2, "each question is one: {lookups:?}");
    assert_eq!(connections[0]["dns"]["repeats"]["queries"], 2);
}

#[test]
fn an_address_of_ipv6_may_be_asked_for_over_ipv4() {
    let server = at("192.0.2.53:53");
    let (client, there) = (at("[2001:db8::1]:41000"), at("[2001:db8::9]:80"));
    let ask = |wire: &mut Wire, client: &str| {
        let asked = query(7, "www.lab", AAAA);
        wire.datagram(at(client), server, &asked);
        wire.datagram(server, at(client), &answer(&asked, &[address("www.lab", there.ip())]));
    };
    let mut wire = Wire::default();
    ask(&mut wire, "192.0.2.1:40000");
    wire.open(client, there);
    assert_eq!(names(&wire), ["www.lab"]);
    ask(&mut wire, "192.0.2.2:40000");
    wire.open(at("[2001:db8::1]:41001"), there);
    assert_eq!(names(&wire), ["www.lab", "-"], "it may be either's");
    wire.now += 61_000;
    ask(&mut wire, "192.0.2.1:40001");
    wire.open(at("[2001:db8::1]:41002"), there);
    assert_eq!(names(&wire), ["www.lab", "-", "www.lab"], "the other's answer has run out");
    // Of the same family, it is another client.
    let mut wire = Wire::default();
    let asked = query(7, "www.lab", A);
    wire.datagram(at("192.0.2.1:40000"), server, &asked);
    wire.datagram(server, at("192.0.2.1:40000"), &answer(&asked, &[address("www.lab", host(9))]));
    wire.open(at("192.0.2.2:41000"), (host(9), 80).into());
    assert_eq!(names(&wire), ["-"]);
}

#[test]
fn the_text_tells_lookups_that_no_connection_used() {
    let (client, server) = (at("192.0.2.1:40000"), at("192.0.2.53:53"));
    let mut wire = Wire::default();
    let mut ask = |id, name: &str, code: Option<u8>| {
        let asked = query(id, name, A);
        wire.datagram(client, server, &asked);
        wire.now += 20;
        if let Some(code) = code {
            let mut answered = answer(&asked, &[]);
            answered[3] |= code;
            wire.datagram(server, client, &answered);
        }
    };
    ask(1, "known.lab", Some(0));
    ask(2, "broken.lab", Some(2));
    ask(3, "broken.lab", Some(2));
    ask(4, "silent.lab", None);
    let text = wire.replayed(&[]);
    let block: Vec<_> =
        text.lines().skip_while(|line| !line.starts_with("Lookups")).take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        block[..3],
        ["Lookups  4, 3 failed", "  failed      2 SERVFAIL: broken.lab A", "  failed      1 no answer: silent.lab A",],
        "{text}"
    );
    assert_eq!(block[3..].len(), 3, "the slowest: {text}");
    assert!(block[3].starts_with("  slowest     21 ms for "), "{text}");
}

#[test]
fn messages_that_contradict_themselves_are_counted_once() {
    let mut wire = Wire::default();
    for port in PORTS {
        let mut looped = query(7, "a.lab", A);
        looped.splice(12..14, [0xc0, 12]);
        wire.datagram(at(&format!("192.0.2.1:{port}")), at("192.0.2.53:53"), &looped);
    }
    let capture = wire.replayed(&["--output", "json"]);
    assert!(capture.contains(&format!("\"malformed_lookups\":{}", PORTS.len())), "{capture}");
    let text = wire.replayed(&[]);
    assert!(text.contains(&format!("{} malformed messages of DNS", PORTS.len())), "{text}");
}
