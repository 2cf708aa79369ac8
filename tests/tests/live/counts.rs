//! What is counted, held against others who count: the sockets themselves, and tcpdump.

use observer_tests::live::{Capture, Netns, Watch, is_emulated};
use serde_json::Value;

use crate::{near, stage, to_port, v4};

#[test]
fn retransmissions_are_those_the_sockets_count() {
    let test = "retransmissions";
    let (Some(one), Some(two)) = (Netns::new(test), Netns::new(test)) else { return };
    one.link(&two, "wire", "10.0.0.1/24", "10.0.0.2/24");
    for netns in [&one, &two] {
        netns.ip(&["link", "set", "wire", "gso_max_size", "1500", "gso_max_segs", "1"]);
        netns.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
        netns.run("nft", &["add rule inet t c iifname wire numgen random mod 100 < 3 drop"]);
    }
    let inode = one.inode();
    let Some(watch) = Watch::start(test, &["--netns", &inode.to_string()]) else { return };
    let Some(capture) = Capture::start(test, &one, "wire") else { return };
    let server = two.serve("10.0.0.2:0", "echo", 1);
    let _client = one.connect(([10, 0, 0, 2], server.port).into(), "bulk", 1);
    let record = watch.connection("the connection", to_port(server.port));
    let total = sent_again(&record);
    let replayed = capture.replay(|records| are_told(std::slice::from_ref(&record), records));
    let replayed = replayed.iter().find(|record| to_port(server.port)(record)).expect("tcpdump saw it");
    let causes = replayed["retransmissions"]["client"].as_object().expect("they are counted");
    assert_eq!(causes.values().filter_map(Value::as_u64).sum::<u64>(), total, "as many on the wire: {causes:?}");
    agree(&record, replayed);
}

/// How many segments the client sent again, of which each must have been seen: some packets were dropped.
fn sent_again(record: &Value) -> u64 {
    let socket = &record["kernel"]["client"];
    let total = socket["info"]["total_retrans"].as_u64().expect("the kernel counts");
    assert!(total > 0, "packets were lost");
    assert_eq!(socket["retransmit_events"].as_u64(), Some(total), "each was seen: {record:#}");
    total
}

#[test]
fn segments_that_are_sent_again_as_one_packet_are_as_many() {
    let test = "large retransmissions";
    let (Some(one), Some(two)) = (Netns::new(test), Netns::new(test)) else { return };
    one.link(&two, "wire", "10.0.0.1/24", "10.0.0.2/24");
    two.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
    two.run("nft", &["add rule inet t c iifname wire tcp flags & syn == 0 numgen random mod 100 < 10 drop"]);
    let Some(watch) = Watch::start(test, &["--netns", &one.inode().to_string()]) else { return };
    let server = two.serve("10.0.0.2:0", "echo", 1);
    let _client = one.connect(([10, 0, 0, 2], server.port).into(), "bulk", 1);
    let record = watch.connection("the connection", to_port(server.port));
    sent_again(&record);
    let timeline = record["timeline"]["entries"].as_array().expect("it is told");
    let again: Vec<_> =
        timeline.iter().filter(|entry| entry["kind"] == "retransmit").map(|entry| &entry["at"]).collect();
    assert!(again.windows(2).any(|two| two[0] == two[1]), "several went out at once: {again:?}");
}

#[test]
fn a_capture_of_the_same_traffic_tells_the_same() {
    let test = "a capture of the same traffic";
    let Some((netns, watch)) = stage(test, &[]) else { return };
    let Some(capture) = Capture::start(test, &netns, "lo") else { return };
    let deeds = [("echo", "send"), ("reset", "await_reset"), ("unread", "expect_reset"), ("close", "await_reset")];
    let servers: Vec<_> = deeds.map(|(serve, _)| netns.serve("127.0.0.1:0", serve, 1)).into();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).chain([1]).collect();
    for (server, (_, connect)) in servers.iter().zip(deeds) {
        netns.connect(v4(server.port), connect, 1).end();
    }
    netns.connect(v4(1), "fail", 1).end();
    let live: Vec<_> = ports.iter().map(|port| watch.connection("each connection", to_port(*port))).collect();
    let replayed = capture.replay(|records| are_told(&live, records));
    for (port, live) in ports.iter().zip(&live) {
        let replayed = replayed.iter().find(|record| to_port(*port)(record)).expect("tcpdump saw it");
        agree(live, replayed);
    }
}

/// Whether tcpdump has seen as much of each connection as ends it.
fn are_told(live: &[Value], replayed: &[Value]) -> bool {
    live.iter().all(|live| {
        let is_same = |record: &Value| record["client"] == live["client"] && record["conn_state"] == live["conn_state"];
        replayed.iter().any(is_same)
    })
}

/// Holds what was seen live against the same seen by tcpdump.
fn agree(live: &Value, replayed: &Value) {
    assert_eq!(live["conn_state"], replayed["conn_state"], "{}", replayed["history"]);
    let connect = |record: &Value| record["handshake"]["connect_ns"].as_i64();
    match (connect(live), connect(replayed)) {
        (Some(live), Some(replayed)) => {
            assert!(near(live, replayed), "the handshake took {live} ns live and {replayed} ns captured");
        }
        (live, replayed) => assert_eq!(live, replayed),
    }
    for name in ["syn_retransmissions", "syn_ack_retransmissions"] {
        assert_eq!(live["handshake"][name], replayed["handshake"][name], "{name}");
    }
}

#[test]
fn what_is_lost_is_counted() {
    let Some((netns, watch)) = stage("lost records", &["--ring", "64"]) else { return };
    let times = if is_emulated() { 2_000 } else { 20_000 };
    let server = netns.serve("127.0.0.1:0", "close", times);
    let client = netns.connect(v4(server.port), "expect_reset", times);
    client.end();
    let port = server.port;
    server.end();
    let objects = watch.finish();
    let capture = objects.iter().find(|object| object["type"] == "capture").expect("it is the last");
    let hooks = capture["hooks"].as_array().expect("they are listed");
    // A lost command line is of no connection.
    let of_theirs = hooks.iter().filter(|hook| hook["name"] != "exec");
    let of_each = of_theirs.flat_map(|hook| hook["lost"].as_array().into_iter().flatten().chain([&hook["missed"]]));
    let lost: u64 = of_each.filter_map(Value::as_u64).sum();
    assert_eq!(capture["dropped"].as_u64(), Some(lost));
    let told = objects.iter().filter(|object| object["type"] == "connection" && to_port(port)(object));
    let (touched, whole): (Vec<_>, Vec<_>) = told.partition(|record| record["lost"].as_u64() > Some(0));
    assert!(whole.len() + touched.len() <= times as usize);
    assert!(lost > 0 || whole.len() == times as usize, "nothing lost, and {} of {times} told", whole.len());
    if lost > 0 {
        assert!(!touched.is_empty(), "{lost} records were lost, and no connection says so");
    }
}

#[test]
fn connections_end_though_their_end_is_lost() {
    let Some((netns, watch)) = stage("lost ends", &["--ring", "4", "--interval", "0.5"]) else { return };
    let times = if is_emulated() { 300 } else { 3_000 };
    let server = netns.serve("127.0.0.1:0", "close", times);
    netns.connect(v4(server.port), "expect_reset", times).end();
    let last = netns.serve("127.0.0.1:0", "hold", 1);
    let client = netns.connect(v4(last.port), "hold", 1);
    // The living are counted twice, at looks that are a second apart.
    watch.updates("a connection that stays", to_port(last.port), 10);
    let is_theirs = |object: &&Value| object["type"] == "connection" && to_port(server.port)(object);
    let told = watch.objects().iter().filter(is_theirs).count();
    let objects = watch.finish();
    assert!(objects.last().is_some_and(|capture| capture["dropped"].as_u64() > Some(0)), "4 KiB are enough for all");
    let open: Vec<_> = objects.iter().filter(is_theirs).skip(told).collect();
    assert!(open.is_empty(), "{} of {} were still open: {open:?}", open.len(), told + open.len());
    drop((client, last));
}

#[test]
fn what_netem_loses_is_sent_again() {
    let test = "netem";
    let (Some(one), Some(two)) = (Netns::new(test), Netns::new(test)) else { return };
    one.link(&two, "wire", "10.0.0.1/24", "10.0.0.2/24");
    one.ip(&["link", "set", "wire", "gso_max_size", "1500", "gso_max_segs", "1"]);
    if let Err(why) =
        one.try_run("tc", &["qdisc", "add", "dev", "wire", "root", "netem", "delay", "20ms", "loss", "3%"])
    {
        return observer_tests::skip(test, why.trim());
    }
    let Some(watch) = Watch::start(test, &["--netns", &one.inode().to_string()]) else { return };
    let server = two.serve("10.0.0.2:0", "echo", 1);
    let _client = one.connect(([10, 0, 0, 2], server.port).into(), "bulk", 1);
    let record = watch.connection("the connection", to_port(server.port));
    sent_again(&record);
    let socket = &record["kernel"]["client"];
    assert!(socket["connect_ns"].as_u64() >= Some(20_000_000), "the SYN was under way for 20 ms");
    assert!(socket["info"]["minrtt"].as_u64() >= Some(20_000));
}
