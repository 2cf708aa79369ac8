//! Ends in namespaces of their own, as containers and other hosts have: nothing of the one is told of by the other's kernel.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use observer_tests::live::{Actor, Netns, Watch, until};
use observer_tests::skip;
use serde_json::Value;

use super::to_port;

const CLIENT: &str = "10.0.0.1";
const SERVER: [u8; 4] = [10, 0, 0, 2];

/// A namespace of a client and one of a server, joined by a wire.
fn two(test: &str) -> Option<(Netns, Netns)> {
    let (client, server) = (Netns::new(test)?, Netns::new(test)?);
    client.link(&server, "wire", &format!("{CLIENT}/24"), "10.0.0.2/24");
    Some((client, server))
}

/// An observer of one of them.
fn watch(test: &str, netns: &Netns) -> Option<Watch> {
    Watch::start(test, &["--netns", &netns.inode().to_string(), "--threshold", "unanswered_after=1s"])
}

fn serve(netns: &Netns, deed: &str) -> Actor {
    netns.serve("10.0.0.2:0", deed, 1)
}

fn at(port: u16) -> SocketAddr {
    (SERVER, port).into()
}

fn findings(record: &Value) -> Vec<&str> {
    record["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["name"].as_str()).collect()
}

#[test]
fn a_client_that_says_nothing_for_long_is_no_slow_handshake() {
    let test = "a client that waits";
    let Some((one, two)) = two(test) else { return };
    let Some(watch) = watch(test, &two) else { return };
    let server = serve(&two, "echo");
    one.connect(at(server.port), "late", 1).end();
    let record = watch.connection("the connection", to_port(server.port));
    let took = record["handshake"]["connect_ns"].as_u64().expect("the ACK was seen");
    assert!(took < 500_000_000, "{took} ns until the handshake was complete");
    assert_eq!(findings(&record), [""; 0], "{record:#}");
}

#[test]
fn what_a_firewall_rejects_is_told_from_what_it_drops() {
    let test = "a firewall elsewhere";
    let Some((one, two)) = two(test) else { return };
    let rules = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
                 add rule inet t c tcp dport 82 reject with tcp reset; add rule inet t c tcp dport 83 reject; \
                 add rule inet t c tcp dport 84 reject with icmpx admin-prohibited; add rule inet t c tcp dport 85 drop";
    if let Err(why) = two.try_run("nft", &[rules]) {
        return skip(test, why.trim());
    }
    let (Some(by_client), Some(by_server)) = (watch(test, &one), watch(test, &two)) else { return };
    for port in 81..=84 {
        one.connect(at(port), "fail", 1).end();
    }
    let silent = one.connect(at(85), "fail", 1);
    until("the SYN is sent again", || one.syns_sent_again() > 0);
    drop(silent);
    for (port, expected) in
        [(81, "refused"), (82, "refused"), (83, "rejected-by-icmp"), (84, "rejected-by-icmp"), (85, "unanswered-syn")]
    {
        let record = by_client.connection(expected, to_port(port));
        assert_eq!(findings(&record), [expected], "seen by the client: {record:#}");
    }
    let objects = by_server.finish();
    for (port, expected) in
        [(81, "refused"), (83, "rejected-by-icmp"), (84, "rejected-by-icmp"), (85, "unanswered-syn")]
    {
        let record = objects.iter().find(|object| object["type"] == "connection" && to_port(port)(object));
        let record = record.unwrap_or_else(|| panic!("no attempt to {port}: {objects:#?}"));
        assert_eq!(findings(record), [expected], "seen by the server: {record:#}");
    }
    // The reset of a rule is seen by its receiver alone: it is not said that nothing was sent.
    let record = objects.iter().find(|object| object["type"] == "connection" && to_port(82)(object));
    for finding in record.and_then(|record| record["findings"].as_array()).into_iter().flatten() {
        let what = finding["what"].as_str().unwrap_or_default();
        assert!(finding["severity"] == "warning" && what.contains("dropped or rejected"), "{finding:#}");
    }
}

#[test]
fn a_flood_is_seen_whole_whatever_the_kernel_does_with_it() {
    const TIMES: u32 = 200;
    let test = "a SYN flood from elsewhere";
    for cookies in [0, 1] {
        let Some((one, two)) = two(test) else { return };
        // A machine that answers would refuse with a RST what it never asked for.
        let rules = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
                     add rule inet t c ip saddr 10.0.0.2 drop";
        if let Err(why) = one.try_run("nft", &[rules]) {
            return skip(test, why.trim());
        }
        two.run("sysctl", &["-qw", &format!("net.ipv4.tcp_syncookies={cookies}")]);
        let server = serve(&two, "never");
        // It is full before anybody watches.
        one.connect(at(server.port), "flood", TIMES).end();
        let Some(watch) = watch(test, &two) else { return };
        one.connect(at(server.port), "flood", TIMES).end();
        let objects = watch.finish();
        let records = objects.iter().filter(|object| object["type"] == "connection" && to_port(server.port)(object));
        let ports: BTreeSet<_> = records.filter_map(|record| record["client"]["port"].as_u64()).collect();
        assert_eq!(ports.len(), TIMES as usize, "tcp_syncookies={cookies}: {:#?}", objects.last());
    }
}
