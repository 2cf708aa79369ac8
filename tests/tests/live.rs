//! The kernel observed: real sockets in namespaces of their own, and what `observer watch` says of them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use observer_tests::live::{Actor, Capture, Netns, Watch, events, gives, hooks, is_emulated, lacks, owners, tolerance};
use serde_json::Value;

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn to_port(port: u16) -> impl Fn(&Value) -> bool {
    move |record| record["server"]["port"] == port
}

/// A namespace and an observer of it alone.
fn stage(test: &str, args: &[&str]) -> Option<(Netns, Watch)> {
    let netns = Netns::new(test)?;
    let inode = netns.inode().to_string();
    let watch = Watch::start(test, &[&["--netns", &inode], args].concat())?;
    Some((netns, watch))
}

/// What a connection from one actor to another looks like.
fn between(test: &str, serve: &str, connect: &str) -> Option<(Value, Actor, Actor)> {
    let (netns, watch) = stage(test, &[])?;
    let server = netns.serve("127.0.0.1:0", serve, 1);
    let client = netns.connect(v4(server.port), connect, 1);
    let record = watch.connection("the connection", to_port(server.port));
    let objects = watch.finish();
    let records = objects.iter().filter(|object| object["type"] == "connection" && to_port(server.port)(object));
    let records: Vec<_> = records.collect();
    assert_eq!(records.len(), 1, "exactly once: {records:#?}");
    Some((record, server, client))
}

#[test]
fn a_hook_that_this_kernel_cannot_give_is_off_by_name() {
    let Some(hooks) = hooks("hooks") else { return };
    // `cargo xtask vm` makes its table of this.
    println!("hooks: {}", Value::from(hooks.clone()));
    for hook in &hooks {
        assert_eq!(hook["why"].is_null(), hook["attached"] == true, "{hook}");
    }
    let lacks = lacks(&hooks);
    // Where it is known which kernel this is.
    if let Ok(known) = std::env::var("OBSERVER_LACKS") {
        let mut known: Vec<_> = known.split(',').filter(|lack| !lack.is_empty()).map(str::to_string).collect();
        known.sort();
        assert_eq!(lacks, known, "{hooks:#?}");
    }
}

fn kinds(record: &Value, side: &str) -> Vec<String> {
    let events = events(record).into_iter();
    events
        .filter(|(_, from, _)| from == side)
        .map(|(kind, _, detail)| format!("{kind} {detail}").trim().to_string())
        .collect()
}

#[test]
fn a_connection_is_told_with_states_packets_and_owners() {
    let Some((record, server, client)) = between("a connection", "echo", "send") else { return };
    assert_eq!(record["conn_state"], "SF");
    let established = "state ESTAB";
    assert_eq!(
        kinds(&record, "client"),
        ["state SYN-SENT", established, "state FIN-WAIT-1", "state FIN-WAIT-2", "state TIME-WAIT"]
    );
    assert_eq!(
        kinds(&record, "server"),
        ["state SYN-RECV", established, "state CLOSE-WAIT", "state LAST-ACK", "state CLOSED"]
    );
    assert_eq!(owners(&record, "client"), [(client.pid, "connect".into())]);
    assert_eq!(owners(&record, "server"), [(server.pid, "accept".into())]);
    assert_eq!(record["close"]["first"], "client");
    assert_eq!(record["history"], Value::Null, "not every segment is seen");
    let info = &record["kernel"]["client"]["info"];
    assert_eq!((info["bytes_sent"].as_u64(), info["total_retrans"].as_u64()), (Some(5), Some(0)));
    assert_eq!(record["lost"], 0);
    let connect = record["handshake"]["connect_ns"].as_i64().expect("the handshake was seen");
    let kernel = record["kernel"]["client"]["connect_ns"].as_i64().expect("the kernel saw it too");
    assert!(near(connect, kernel), "packets say {connect} ns, the socket {kernel} ns");
}

#[test]
fn a_server_that_forks_has_accepted_and_its_child_has_closed() {
    let Some((record, server, _client)) = between("a server that forks", "fork", "send") else { return };
    let owners = owners(&record, "server");
    assert_eq!(owners.first(), Some(&(server.pid, "accept".to_string())));
    assert!(matches!(owners.get(1), Some((pid, how)) if *pid != server.pid && how == "close"), "{owners:?}");
}

#[test]
fn an_inherited_socket_is_closed_by_who_has_it_last() {
    let Some((netns, watch)) = stage("an inherited socket", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    let client = netns.connect(v4(server.port), "bequeath", 1);
    let pid = client.pid;
    let _child = client.outlive();
    let record = watch.connection("the connection", to_port(server.port));
    let owners = owners(&record, "client");
    assert_eq!(owners.first(), Some(&(pid, "connect".to_string())));
    assert!(matches!(owners.get(1), Some((child, how)) if *child != pid && how == "close"), "{owners:?}");
}

#[test]
fn sockets_that_were_there_before_are_taken_over() {
    let test = "sockets that were there before";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let client = netns.connect(v4(server.port), "hold", 1);
    // Both have it open once the server's port is known and the client's handshake is over: the observer may start in
    // the middle of it, and then sees the rest.
    let inode = netns.inode().to_string();
    let Some(watch) = Watch::start(test, &["--netns", &inode]) else { return };
    let (port, pids) = (server.port, [client.pid, server.pid]);
    client.end();
    server.end();
    let record = watch.connection("the connection", to_port(port));
    assert_eq!(owners(&record, "client").first().map(|owner| owner.0), Some(pids[0]));
    assert_eq!(owners(&record, "server").first().map(|owner| owner.0), Some(pids[1]));
}

#[test]
fn a_refused_connection_says_why() {
    let Some((netns, watch)) = stage("a refused connection", &[]) else { return };
    let client = netns.connect(v4(1), "fail", 1);
    let record = watch.connection("the attempt", to_port(1));
    assert_eq!(record["conn_state"], "REJ");
    let events = events(&record);
    let has = |kind: &str, detail: &str| events.iter().any(|event| event.0 == kind && event.2.starts_with(detail));
    // Kernels that give no reason say nothing of a reset without a socket.
    assert_eq!(has("reset_sent", "NO_SOCKET"), gives("reset_sent.reason"), "{events:?}");
    assert!(has("drop", if gives("drop.reason") { "NO_SOCKET @ tcp_v4_rcv" } else { "tcp_v4_rcv" }), "{events:?}");
    assert!(has("reset_received", ""), "{events:?}");
    assert!(has("error", "ECONNREFUSED"), "{events:?}");
    assert_eq!(record["kernel"]["client"]["error"], "ECONNREFUSED");
    assert_eq!(owners(&record, "client"), [(client.pid, "connect".into())]);
}

#[test]
fn a_reset_says_why_it_was_sent() {
    let causes = [("reset", "await_reset", "TCP_STATE"), ("unread", "expect_reset", "TCP_ABORT_ON_CLOSE")];
    for (deed, client, reason) in causes {
        let Some((record, ..)) = between("a reset", deed, client) else { return };
        assert_eq!(record["conn_state"], "RSTR", "{deed}");
        let events = events(&record);
        let reason = if gives("reset_sent.reason") { reason } else { "" };
        let is_it =
            |event: &(String, String, String)| event.0 == "reset_sent" && event.1 == "server" && event.2 == reason;
        assert!(events.iter().any(is_it), "{deed}: {events:?}");
    }
}

#[test]
fn an_unanswered_syn_is_sent_again_and_dropped_by_the_firewall() {
    let Some((netns, watch)) = stage("an unanswered SYN", &[]) else { return };
    netns.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
    netns.run("nft", &["add rule inet t c tcp dport 81 drop"]);
    let client = netns.connect(v4(81), "fail", 1);
    // It would go on for minutes; what was seen by then is told when the observer ends.
    let seen = Instant::now();
    while seen.elapsed() < Duration::from_millis(1500) {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(client);
    let record = watch.connection("the attempt", to_port(81));
    assert_eq!(record["conn_state"], "S0");
    let events = events(&record);
    assert!(events.iter().any(|event| event.0 == "retransmit"), "{events:?}");
    let drop = if gives("drop.reason") { "NETFILTER_DROP @ nf" } else { "nf_hook_slow" };
    assert!(events.iter().any(|event| event.0 == "drop" && event.2.starts_with(drop)), "{events:?}");
    assert!(record["handshake"]["syn_retransmissions"].as_u64() >= Some(1));
}

#[test]
fn ipv6_is_seen_as_well() {
    let Some((netns, watch)) = stage("IPv6", &[]) else { return };
    let server = netns.serve("[::1]:0", "echo", 1);
    let client = netns.connect((Ipv6Addr::LOCALHOST, server.port).into(), "send", 1);
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!((&record["client"]["ip"], &record["conn_state"]), (&Value::from("::1"), &Value::from("SF")));
    assert_eq!(owners(&record, "client"), [(client.pid, "connect".into())]);
    assert_eq!(owners(&record, "server"), [(server.pid, "accept".into())]);
    assert!(record["handshake"]["rtt_ns"].is_u64());
}

#[test]
fn namespaces_are_told_apart_and_new_ones_followed() {
    let test = "namespaces";
    let (Some(one), Some(two)) = (Netns::new(test), Netns::new(test)) else { return };
    let Some(watch) = Watch::start(test, &[]) else { return };
    let later = Netns::new(test).expect("as the others");
    for netns in [&one, &two, &later] {
        // The same addresses and ports in each.
        let server = netns.serve("127.0.0.1:7777", "echo", 1);
        let client = netns.connect(v4(7777), "send", 1);
        let inode = netns.inode();
        let record = watch.connection("the connection", |record| record["netns"] == inode && to_port(7777)(record));
        assert_eq!(owners(&record, "client"), [(client.pid, "connect".into())]);
        assert_eq!(owners(&record, "server"), [(server.pid, "accept".into())]);
        assert_eq!(record["conn_state"], "SF");
    }
}

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
    let socket = &record["kernel"]["client"];
    let total = socket["info"]["total_retrans"].as_u64().expect("the kernel counts");
    assert!(total > 0, "3 % of the packets were lost");
    assert_eq!(socket["retransmit_events"].as_u64(), Some(total), "each was seen");
    let replayed = capture.replay().into_iter().find(|record| to_port(server.port)(record)).expect("tcpdump saw it");
    let causes = replayed["retransmissions"]["client"].as_object().expect("they are counted");
    assert_eq!(causes.values().filter_map(Value::as_u64).sum::<u64>(), total, "as many on the wire: {causes:?}");
    agree(&record, &replayed);
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
    let replayed = capture.replay();
    for (port, live) in ports.iter().zip(&live) {
        let replayed = replayed.iter().find(|record| to_port(*port)(record)).expect("tcpdump saw it");
        agree(live, replayed);
    }
}

#[test]
fn a_full_accept_queue_leaves_syns_unanswered() {
    let Some((netns, watch)) = stage("a full accept queue", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "never", 1);
    // A backlog of 1 holds two.
    let _queued = [(); 2].map(|()| netns.connect(v4(server.port), "hold", 1));
    let late = netns.connect(v4(server.port), "fail", 1);
    let waited = Instant::now();
    while waited.elapsed() < Duration::from_millis(1200) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = late.pid;
    drop(late);
    let record = watch.connection("the attempt", |record| owners(record, "client") == [(pid, "connect".into())]);
    assert_eq!(record["conn_state"], "S0");
    assert!(record["handshake"]["syn_retransmissions"].as_u64() >= Some(1));
    assert!(events(&record).iter().any(|event| event.0 == "retransmit"));
}

/// Whether two measures of a handshake, in nanoseconds, are the same.
fn near(one: i64, other: i64) -> bool {
    u128::from(one.abs_diff(other)) < tolerance().as_nanos()
}

/// Holds what was seen live against the same seen by tcpdump.
fn agree(live: &Value, replayed: &Value) {
    assert_eq!(live["conn_state"], replayed["conn_state"], "{live:#}");
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
    let lost: u64 =
        hooks.iter().flat_map(|hook| hook["lost"].as_array().into_iter().flatten()).filter_map(Value::as_u64).sum();
    assert_eq!(capture["dropped"].as_u64(), Some(lost));
    let told = objects.iter().filter(|object| object["type"] == "connection" && to_port(port)(object));
    let (touched, whole): (Vec<_>, Vec<_>) = told.partition(|record| record["lost"].as_u64() > Some(0));
    assert!(whole.len() + touched.len() <= times as usize);
    assert!(lost > 0 || whole.len() == times as usize, "nothing lost, and {} of {times} told", whole.len());
    if lost > 0 {
        assert!(!touched.is_empty(), "{lost} records were lost, and no connection says so");
    }
}
