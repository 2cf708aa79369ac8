//! Connections that fail, and why.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use observer_tests::live::{events, gives, has_tracepoint, owners, until};

use crate::{between, stage, to_port, v4};

#[test]
fn a_refused_connection_says_why() {
    let Some((netns, watch)) = stage("a refused connection", &[]) else { return };
    for (called, receive) in [(v4(1), "tcp_v4_rcv"), ((Ipv6Addr::LOCALHOST, 2).into(), "tcp_v6_rcv")] {
        let client = netns.connect(called, "fail", 1);
        let record = watch.connection("the attempt", to_port(called.port()));
        assert_eq!(record["conn_state"], "REJ", "{called}");
        let events = events(&record);
        let has = |kind: &str, detail: &str| events.iter().any(|event| event.0 == kind && event.2.starts_with(detail));
        // Kernels that give no reason say nothing of a reset without a socket.
        assert_eq!(has("reset_sent", "NO_SOCKET"), gives("reset_sent.reason"), "{events:?}");
        let drop = if gives("drop.reason") { format!("NO_SOCKET @ {receive}") } else { receive.to_string() };
        assert!(has("drop", &drop), "{events:?}");
        assert!(has("reset_received", ""), "{events:?}");
        assert!(has("error", "ECONNREFUSED"), "{events:?}");
        assert_eq!(record["kernel"]["client"]["error"], "ECONNREFUSED");
        assert_eq!(owners(&record, "client"), [(client.pid, "connect".into())]);
        let refused =
            record["findings"].as_array().is_some_and(|found| found.iter().any(|one| one["name"] == "refused"));
        assert!(refused, "{record:#}");
    }
}

#[test]
fn what_the_firewall_rejects_with_a_reset_is_refused() {
    let Some((netns, watch)) = stage("a rejection", &[]) else { return };
    netns.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
    netns.run("nft", &["add rule inet t c tcp dport 81 reject with tcp reset"]);
    // The RST passes no cgroup: who takes it shows it.
    netns.connect(v4(81), "fail", 1).end();
    let record = watch.connection("the attempt", to_port(81));
    assert_eq!(record["conn_state"], "REJ", "{record:#}");
    assert_eq!(record["findings"][0]["name"], "refused", "{record:#}");
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
        // Who aborts is not told of it.
        assert!(record["kernel"]["server"]["error"].is_null(), "{deed}: {record:#}");
        assert!(!events.iter().any(|event| event.0 == "error" && event.1 == "server"), "{deed}: {events:?}");
    }
}

#[test]
fn an_unanswered_syn_is_sent_again_and_dropped_by_the_firewall() {
    let Some((netns, watch)) = stage("an unanswered SYN", &[]) else { return };
    netns.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
    netns.run("nft", &["add rule inet t c tcp dport 81 drop"]);
    let client = netns.connect(v4(81), "fail", 1);
    // It would go on for minutes; what was seen by then is told when the observer ends.
    until("the SYN is sent again", || netns.syns_sent_again() > 0);
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
fn a_full_accept_queue_leaves_syns_unanswered() {
    let Some((netns, watch)) = stage("a full accept queue", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "never", 1);
    // A backlog of 1 holds two.
    let _queued = [(); 2].map(|()| netns.connect(v4(server.port), "hold", 1));
    let late = netns.connect(v4(server.port), "fail", 1);
    until("the SYN is sent again", || netns.syns_sent_again() > 0);
    let pid = late.pid;
    drop(late);
    let record = watch.connection("the attempt", |record| owners(record, "client") == [(pid, "connect".into())]);
    assert_eq!(record["conn_state"], "S0");
    assert!(record["handshake"]["syn_retransmissions"].as_u64() >= Some(1));
    assert!(events(&record).iter().any(|event| event.0 == "retransmit"));
}

#[test]
fn what_is_never_acknowledged_times_out() {
    // Linux has this tracepoint since 5.19.
    let has_congestion = has_tracepoint("tcp_cong_state_set");
    let args: &[&str] = if has_congestion { &["--hooks", "+congestion"] } else { &[] };
    let Some((netns, watch)) = stage("a timeout", args) else { return };
    netns.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    // The handshake passes: what is dropped has payload.
    let rule = format!("add rule inet t c tcp dport {} meta length > 56 tcp flags & psh == psh drop", server.port);
    netns.run("nft", &[&rule]);
    let client = netns.connect(v4(server.port), "time_out", 1);
    client.end();
    let port = server.port;
    server.end();
    let record = watch.connection("the connection", to_port(port));
    assert_eq!(record["kernel"]["client"]["error"], "ETIMEDOUT");
    let events = events(&record);
    let at = |kind: &str, detail: &str| {
        let found = |event: &(String, String, String)| event.0 == kind && event.1 == "client" && event.2 == detail;
        events.iter().position(found).unwrap_or_else(|| panic!("no {kind} {detail}: {events:?}"))
    };
    assert!(at("retransmit", "") < at("state", "CLOSED"));
    if has_congestion {
        assert!(at("congestion", "Loss") < at("state", "CLOSED"));
    }
    at("error", "ETIMEDOUT");
}

#[test]
fn a_syn_flood_is_half_open_connections() {
    const TIMES: u32 = 100;
    let Some((netns, watch)) = stage("a SYN flood", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "never", 1);
    netns.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
    // A machine that answers would refuse with a RST what it never asked for.
    netns.run("nft", &[&format!("add rule inet t c tcp sport {} drop", server.port)]);
    netns.run("sysctl", &["-qw", "net.ipv4.tcp_syncookies=0"]);
    netns.connect(v4(server.port), "flood", TIMES).end();
    // The kernel sends each SYN-ACK again after a second.
    let half_open = netns.output("ss", &["-Htn", "state", "syn-recv"]).lines().count() as u64;
    assert!(half_open > 0, "a backlog of 1 has room for few, not for none");
    until("the SYN-ACKs are sent again", || netns.syns_sent_again() >= half_open);
    let objects = watch.finish();
    let records: Vec<_> = objects.iter().filter(|o| o["type"] == "connection" && to_port(server.port)(o)).collect();
    let ports: BTreeSet<_> = records.iter().filter_map(|record| record["client"]["port"].as_u64()).collect();
    assert_eq!((records.len(), ports.len()), (TIMES as usize, TIMES as usize), "each once");
    let answered: Vec<_> = records.iter().filter(|record| !record["handshake"]["syn_ack"].is_null()).collect();
    // A backlog of 1 has room for few; the others' SYNs are dropped without a word.
    assert!(!answered.is_empty());
    for record in answered {
        let events = events(record);
        assert!(events.iter().any(|event| event.0 == "syn_ack_retransmit" && event.1 == "server"), "{events:?}");
        assert!(owners(record, "client").is_empty(), "no process is at the other end");
    }
}
