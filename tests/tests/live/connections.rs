//! Connections from their beginning to their end, and whose they are.

use std::net::Ipv6Addr;

use observer_tests::live::{Actor, Cgroup, Netns, Watch, is_emulated, owners, until};
use observer_tests::run::{objects, observer};
use serde_json::Value;

use crate::{between, kinds, near, stage, to_port, v4};

#[test]
fn a_connection_is_told_with_states_packets_and_owners() {
    let Some((record, server, client)) = between("a connection", "echo", "send") else { return };
    assert_eq!(record["conn_state"], "SF");
    let established = "state ESTAB";
    // What a busy machine sends again, and drops, is no part of this.
    let states = |side| kinds(&record, side).into_iter().filter(|kind| kind.starts_with("state ")).collect::<Vec<_>>();
    assert_eq!(
        states("client"),
        ["state SYN-SENT", established, "state FIN-WAIT-1", "state FIN-WAIT-2", "state TIME-WAIT"],
        "{}",
        record["timeline"]
    );
    assert_eq!(states("server"), ["state SYN-RECV", established, "state CLOSE-WAIT", "state LAST-ACK", "state CLOSED"]);
    assert_eq!(owners(&record, "client"), [(client.pid, "connect".into())]);
    assert_eq!(owners(&record, "server"), [(server.pid, "accept".into())]);
    assert_eq!(record["close"]["first"], "client");
    assert_eq!(record["history"], Value::Null, "not every segment is seen");
    let info = &record["kernel"]["client"]["info"];
    assert_eq!((info["bytes_sent"].as_u64(), info["total_retrans"].as_u64()), (Some(5), Some(0)));
    let connect = record["handshake"]["connect_ns"].as_i64().expect("the handshake was seen");
    let kernel = record["kernel"]["client"]["connect_ns"].as_i64().expect("the kernel saw it too");
    assert!(near(connect, kernel), "packets say {connect} ns, the socket {kernel} ns");
}

#[test]
fn a_server_that_does_not_ask_for_its_peer_is_known_all_the_same() {
    let Some((record, server, _)) = between("a blind server", "blind", "send") else { return };
    // Where the end of accept(2) cannot be seen, by what else it does.
    let owners = owners(&record, "server");
    let [(pid, how)] = owners.as_slice() else { panic!("one process: {owners:?}") };
    assert_eq!(*pid, server.pid);
    assert!(["accept", "close", "listen", "listener"].contains(&how.as_str()), "{how}");
}

#[test]
fn a_server_that_forks_has_accepted_and_its_child_has_closed() {
    let Some((record, server, _client)) = between("a server that forks", "fork", "send") else { return };
    let owners = owners(&record, "server");
    assert_eq!(owners.first(), Some(&(server.pid, "accept".to_string())));
    assert!(matches!(owners.get(1), Some((pid, how)) if *pid != server.pid && how == "close"), "{record}");
}

#[test]
fn who_accepts_is_seen_with_other_mounts_too() {
    let Some((netns, watch)) = stage("other mounts", &[]) else { return };
    drop(watch);
    let server = netns.serve("127.0.0.1:0", "fork", 1);
    let client = format!("{} connect 127.0.0.1:{} send 1 >&2 <&-", Actor::path(), server.port);
    let observer = observer().expect("there is an observer").to_str().expect("it is UTF-8");
    // `ip netns exec` mounts a /sys without cgroups.
    let inode = netns.inode().to_string();
    let told = netns.output(observer, &["trace", "--netns", &inode, "--output", "json", "--", "sh", "-c", &client]);
    let records = objects(&told, "connection").expect("it is JSON");
    assert_eq!(owners(&records[0], "server")[0], (server.pid, "accept".into()), "{told}");
}

#[test]
fn sockets_whose_seat_is_taken_are_followed_too() {
    const CONNECTIONS: u32 = 50;
    // Eight seats: most of the hundred sockets that are there at once have none.
    let Some((netns, watch)) = stage("more sockets than seats", &["--max-sockets", "256"]) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", CONNECTIONS);
    let client = netns.connect(v4(server.port), "hold", CONNECTIONS);
    let (pid, port) = (client.pid, server.port);
    client.end();
    drop(server);
    let is_one = |object: &&Value| object["type"] == "connection" && to_port(port)(object);
    until("every connection", || watch.objects().iter().filter(is_one).count() >= CONNECTIONS as usize);
    let objects = watch.finish();
    let records = objects.iter().filter(is_one).collect::<Vec<_>>();
    assert_eq!(records.len(), CONNECTIONS as usize, "exactly once each");
    for record in records {
        assert_eq!(owners(record, "client"), [(pid, "connect".into())]);
        let states = kinds(record, "client").into_iter().filter(|kind| kind.starts_with("state ")).collect::<Vec<_>>();
        assert_eq!(states[..3], ["state SYN-SENT", "state ESTAB", "state FIN-WAIT-1"], "{record}");
        assert!(record["kernel"]["server"]["info"].is_object(), "both sockets have told of themselves: {record}");
    }
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
fn what_a_connection_was_for_is_found_in_its_first_octets() {
    let Some((record, ..)) = between("HTTP", "http", "get") else { return };
    assert_eq!((&record["protocol"], &record["name"]["name"]), (&Value::from("http"), &Value::from("example.org")));
    let exchange = &record["exchanges"]["entries"][0];
    assert_eq!((exchange["method"].as_str(), exchange["status"].as_u64()), (Some("GET"), Some(200)));
    assert_eq!((exchange["response_bytes"].as_u64(), exchange["complete"].as_bool()), (Some(300_000), Some(true)));
    assert!(!record.to_string().contains("secret"), "{record}");
}

#[test]
fn many_connections_do_not_push_out_one_that_has_said_nothing_yet() {
    let test = "a busy host";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "http", 1);
    let (inode, pid) = (netns.inode().to_string(), server.pid.to_string());
    let Some(watch) = Watch::start(test, &["--netns", &inode, "--pid", &pid]) else { return };
    let client = netns.connect(v4(server.port), "wait_and_get", 1);
    let times = if is_emulated() { 2_000 } else { 20_000 };
    let others = netns.serve("127.0.0.1:0", "close", times);
    netns.connect(v4(others.port), "expect_reset", times).end();
    client.end();
    let record = watch.connection("the connection", to_port(server.port));
    let exchange = &record["exchanges"]["entries"][0];
    assert_eq!((exchange["method"].as_str(), exchange["status"].as_u64()), (Some("GET"), Some(200)), "{record:#}");
}

#[test]
fn values_in_paths_are_told_where_that_is_asked_for() {
    let Some((netns, watch)) = stage("values in paths", &["--show-secrets"]) else { return };
    let server = netns.serve("127.0.0.1:0", "http", 1);
    netns.connect(v4(server.port), "get", 1).end();
    let record = watch.connection("the connection", to_port(server.port));
    let path = record["exchanges"]["entries"][0]["path"].as_str();
    assert!(path.is_some_and(|path| path.contains("secret")), "{record}");
}

#[test]
fn the_programs_in_the_kernel_say_what_they_do() {
    let Some((netns, watch)) = stage("the programs' log", &["-vv"]) else { return };
    netns.connect(v4(1), "fail", 1).end();
    watch.complains(": state 7 to 2");
    watch.complains(": state 2 to 7");
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
    // What other tests do at the same time is left out.
    let Some(watch) = Watch::start(test, &["--port", "7777"]) else { return };
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
fn a_container_is_known_by_its_cgroup() {
    let test = "a container";
    let id = format!("{:064x}", std::process::id());
    let Some(cgroup) = Cgroup::new(test, &format!("docker-{id}.scope")) else { return };
    let Some((netns, watch)) = stage(test, &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    let client = netns.connect_from(cgroup.path(), v4(server.port), "send");
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!(owners(&record, "client"), [(client.pid, "connect".into())]);
    let processes = record["processes"].as_array().expect("there are some");
    let of = |side: &str| processes.iter().find(|process| process["side"] == side).expect("both are known");
    assert_eq!(of("client")["container_id"], id.as_str());
    assert_eq!(of("client")["container"], format!("docker/{}", &id[..12]));
    assert_eq!(of("server")["container_id"], Value::Null);
}

#[test]
fn time_wait_is_the_kernels() {
    let Some((netns, watch)) = stage("TIME-WAIT", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    netns.connect(v4(server.port), "send", 1).end();
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!(record["tcp_state"], serde_json::json!({ "client": "TIME-WAIT", "server": "CLOSED" }));
    let table = netns.output("ss", &["-tanH", "state", "time-wait"]);
    let (client, server) = (&record["client"]["port"], server.port);
    let has_port = |line: &str, port: &str| line.split_whitespace().any(|word| word.ends_with(&format!(":{port}")));
    let is_it = |line: &str| has_port(line, &client.to_string()) && has_port(line, &server.to_string());
    let now = std::time::SystemTime::now();
    assert!(table.lines().any(is_it), "the kernel's table at {now:?}: {table}, and what was told: {record:#}");
}

#[test]
fn subflows_of_mptcp_are_connections() {
    let test = "MPTCP";
    if socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, Some(socket2::Protocol::MPTCP)).is_err() {
        return observer_tests::skip(test, "this kernel has no MPTCP");
    }
    let Some((record, server, client)) = between(test, "mptcp echo", "mptcp send") else { return };
    assert_eq!(record["conn_state"], "SF");
    assert_eq!(record["handshake"]["agreed"]["mptcp"], true);
    assert_eq!(owners(&record, "client").first(), Some(&(client.pid, "connect".to_string())));
    assert_eq!(owners(&record, "server").first().map(|owner| owner.0), Some(server.pid), "{}", record["processes"]);
}

#[test]
fn what_only_passes_through_is_not_the_hosts() {
    let test = "connections that are forwarded";
    let Some(client) = Netns::new(test) else { return };
    let (Some(router), Some(server)) = (Netns::new(test), Netns::new(test)) else { return };
    client.link(&router, "left", "10.3.1.2/24", "10.3.1.1/24");
    router.link(&server, "right", "10.3.2.1/24", "10.3.2.2/24");
    client.ip(&["route", "add", "default", "via", "10.3.1.1"]);
    router.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    router.run("nft", &["add table ip t; add chain ip t c { type nat hook postrouting priority 100; }"]);
    router.run("nft", &["add rule ip t c oifname right masquerade"]);
    let inode = router.inode().to_string();
    let Some(watch) = Watch::start(test, &["--netns", &inode]) else { return };
    let far = server.serve("10.3.2.2:0", "echo", 1);
    client.connect(([10, 3, 2, 2], far.port).into(), "send", 1).end();
    let near = router.serve("10.3.1.1:0", "echo", 1);
    client.connect(([10, 3, 1, 1], near.port).into(), "send", 1).end();
    watch.connection("one with the host itself", to_port(near.port));
    let objects = watch.finish();
    let told: Vec<_> = objects.iter().filter(|object| object["type"] == "connection").collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    let capture = objects.iter().find(|object| object["type"] == "capture").expect("it is the last");
    assert_eq!(capture["forwarded"], 2, "with its addresses translated, it looks like two");
}
