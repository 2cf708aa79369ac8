//! Findings over what the kernel does, with the rules of a real firewall: each where it must be, and where it almost is.

use std::process::Command;
use std::time::{Duration, Instant};

use observer_tests::live::{Actor, DEADLINE, Netns, gives, hooks};
use observer_tests::run::{objects, observer};
use observer_tests::skip;
use serde_json::Value;

use super::{between, findings, stage, to_port, v4};

/// A table of the firewall with these rules for what comes in; `false`, after saying so, where there is none.
fn firewall(test: &str, netns: &Netns, rules: &[String]) -> bool {
    let table = "add table inet t; add chain inet t c { type filter hook input priority 0; }";
    let lines = rules.iter().map(|rule| format!("; add rule inet t c {rule}"));
    let made = netns.try_run("nft", &[&lines.fold(table.to_string(), |all, line| all + &line)]);
    made.inspect_err(|why| skip(test, why)).is_ok()
}

#[test]
fn refused_and_unanswered_are_two_things() {
    let test = "attempts that fail";
    let Some((netns, watch)) = stage(test, &["--threshold", "unanswered_after=1s"]) else { return };
    let rules = ["tcp dport 82 reject with tcp reset", "tcp dport 83 drop"].map(str::to_string);
    if !firewall(test, &netns, &rules) {
        return;
    }
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    let served = server.port;
    netns.connect(v4(served), "send", 1).end();
    // Nothing of that connection is left open, however slow the machine.
    drop(server);
    netns.connect(v4(81), "fail", 1).end();
    netns.connect(v4(82), "fail", 1).end();
    let silent = netns.connect(v4(83), "fail", 1);
    observer_tests::live::until("the SYN is sent again", || netns.syns_sent_again() > 0);
    drop(silent);
    for (port, expected) in [(81, "refused"), (82, "refused"), (83, "unanswered-syn")] {
        let record = watch.connection(expected, to_port(port));
        assert_eq!(findings(&record), [expected], "{record:#}");
        let evidence = record["findings"][0]["evidence"].as_array().expect("something shows it");
        assert!(evidence.iter().all(|piece| piece["frame"].is_null()), "there is no file to look in: {evidence:?}");
    }
    let well = watch.connection("the one that went well", to_port(served));
    assert_eq!(findings(&well), [""; 0], "{well:#}");
}

#[test]
fn what_many_attempts_show_together_is_told() {
    let test = "attempts at many ports";
    // Fewer are a near miss.
    for (ports, is_scan) in [(81..84, false), (81..91, true)] {
        let Some((netns, watch)) = stage(test, &["--threshold", "port_scan_targets=10"]) else { return };
        for port in ports {
            netns.connect(v4(port), "fail", 1).end();
        }
        let told = watch.finish();
        let scans = told.iter().filter(|object| object["type"] == "finding" && object["name"] == "port-scan");
        assert_eq!(scans.count(), usize::from(is_scan), "{told:#?}");
    }
}

#[test]
fn what_the_connections_of_a_command_show_together_is_told() {
    let test = "a command that tries many ports";
    let Some((netns, watch)) = stage(test, &[]) else { return };
    drop(watch);
    let inode = netns.inode().to_string();
    let observer = observer().expect("there is an observer").to_str().expect("it is UTF-8");
    let actor = Actor::path();
    // Fewer are a near miss.
    for (last, scans) in [(90, 0), (100, 1)] {
        // What they say and what observer says are kept apart.
        let tries = format!("for port in $(seq 81 {last}); do {actor} connect 127.0.0.1:$port fail 1; done >&2 <&-");
        let trace = |output| ["trace", "--netns", &inode, "--output", output, "--", "sh", "-c", &tries];
        let told = netns.output(observer, &trace("json"));
        let findings = objects(&told, "finding").expect("it is JSON");
        let found: Vec<_> = findings.iter().filter(|finding| finding["name"] == "port-scan").collect();
        assert_eq!(found.len(), scans, "{told}");
        let told = netns.output(observer, &trace("text"));
        assert_eq!(told.contains("Together"), scans > 0, "{told}");
    }
}

#[test]
fn a_close_with_data_unread_and_one_without_lingering_are_told_apart() {
    if !gives("reset_sent.reason") {
        return skip("abortive closes", "this kernel gives no reason for resets");
    }
    let causes = [("leave_unread", "with data unread"), ("reset", "with SO_LINGER 0")];
    for (deed, why) in causes {
        let Some((record, ..)) = between("an abortive close", "answer", deed) else { return };
        assert_eq!(
            (record["conn_state"].as_str(), findings(&record)),
            (Some("RSTO"), vec!["abortive-close"]),
            "{record:#}"
        );
        let what = record["findings"][0]["what"].as_str().unwrap_or_default();
        assert!(what.contains(why), "{what}");
    }
    let Some((record, ..)) = between("an orderly close", "answer", "send") else { return };
    assert_eq!((record["conn_state"].as_str(), findings(&record)), (Some("SF"), vec![]), "{record:#}");
}

#[test]
fn a_fin_that_nobody_acknowledges_is_no_loss_of_segments() {
    let test = "a FIN in vain";
    let Some((netns, watch)) = stage(test, &["--threshold", "stuck_closing=1s", "--interval", "0.5"]) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let client = netns.connect(v4(server.port), "hold", 1);
    watch.update("the connection", |record| to_port(server.port)(record) && record["conn_state"] == "S1");
    if !firewall(test, &netns, &[format!("tcp dport {} drop", server.port)]) {
        return;
    }
    client.end();
    let is_lost = |record: &Value| record["kernel"]["client"]["info"]["lost"].as_u64() >= Some(3);
    watch.update("a FIN that is sent again", |record| to_port(server.port)(record) && is_lost(record));
    let objects = watch.finish();
    let record = objects.iter().rfind(|object| object["type"] == "connection" && to_port(server.port)(object));
    let record = record.expect("it is told in the end");
    // It is the firewall here that takes them, and it says so.
    assert_eq!(findings(record), ["dropped-by-host", "stuck-closing"], "{record:#}");
    drop(server);
}

#[test]
fn what_this_host_drops_is_no_fault_of_the_peer() {
    let test = "an answer that the firewall drops";
    let Some((netns, watch)) = stage(test, &["--interval", "0.5"]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    let answers = format!("tcp sport {} tcp flags & (syn | psh) == psh drop", server.port);
    if !firewall(test, &netns, &[answers]) {
        return;
    }
    let _client = netns.connect(v4(server.port), "send", 1);
    // The socket may have counted a loss before the drop is told.
    let is_it = |record: &Value| to_port(server.port)(record) && findings(record) == ["dropped-by-host"];
    let record = watch.update("an answer that is dropped", is_it);
    let what = record["findings"][0]["what"].as_str().unwrap_or_default();
    assert!(what.contains("firewall dropped") && what.contains("of the server"), "{what}");
}

#[test]
fn what_is_dropped_on_arrival_is_drawn_where_it_arrives() {
    let test = "a drop in the ladder";
    let (Some(netns), Some(elsewhere)) = (Netns::new(test), Netns::new(test)) else { return };
    if hooks(test).is_none() {
        return;
    }
    netns.link(&elsewhere, "wire", "10.83.0.1/24", "10.83.0.2/24");
    let server = elsewhere.serve("10.83.0.2:0", "echo", 1);
    let answers = format!("tcp sport {} tcp flags & (syn | psh) == psh drop", server.port);
    if !firewall(test, &netns, &[answers]) {
        return;
    }
    // Who starts it is gone by the time that its connection is told: it is followed all the same.
    let waits = format!("timeout 1 {} connect 10.83.0.2:{} send 1 >&2; true", Actor::path(), server.port);
    let observer = observer().expect("there is an observer").to_str().expect("it is UTF-8");
    let told = netns.output(observer, &["trace", "--netns", &netns.inode().to_string(), "--", "sh", "-c", &waits]);
    let drops: Vec<_> = told.lines().filter(|line| line.contains("of the server") && line.contains('●')).collect();
    assert!(!drops.is_empty(), "{told}");
    assert!(drops.iter().all(|line| line.find('●') < line.find('│')), "it is the client's host that drops: {told}");
}

#[test]
fn full_segments_that_vanish_elsewhere_are_a_black_hole() {
    let test = "a black hole";
    let Some((netns, watch)) = stage(test, &["--interval", "0.5"]) else { return };
    let Some(elsewhere) = Netns::new(test) else { return };
    netns.link(&elsewhere, "hole", "10.82.0.1/24", "10.82.0.2/24");
    let server = netns.serve("10.82.0.1:0", "http", 1);
    // The handshake and the request pass, and the start of the answer does not.
    if !firewall(test, &elsewhere, &[format!("tcp sport {} meta length gt 1300 drop", server.port)]) {
        return;
    }
    let _client = elsewhere.connect(([10, 82, 0, 1], server.port).into(), "get", 1);
    // Before Linux 5.15 the counters are read while the socket goes on, and may not fit together at once.
    let is_it = |record: &Value| to_port(server.port)(record) && findings(record) == ["mtu-black-hole"];
    watch.update("a black hole", is_it);
}

#[test]
fn a_table_on_the_way_forgets_an_idle_connection() {
    let test = "a reset after an idle time";
    // Only who sees every packet knows that there was none.
    let args = ["--source", "pcap", "--threshold", "reset_after_idle=1s"];
    let Some((netns, watch)) = stage(test, &args) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let rules = [
        "ct state established accept".to_string(),
        format!("tcp dport {} ct state new tcp flags syn accept", server.port),
        format!("tcp dport {} reject with tcp reset", server.port),
    ];
    if !firewall(test, &netns, &rules) {
        return;
    }
    // What is not known is no connection, and what is known is so for a second.
    for setting in ["tcp_loose=0", "tcp_timeout_established=1"] {
        if let Err(why) = netns.try_run("sysctl", &["-qw", &format!("net.netfilter.nf_conntrack_{setting}")]) {
            return skip(test, &why);
        }
    }
    netns.connect(v4(server.port), "return", 1).end();
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!(findings(&record), ["reset-after-idle"], "{record:#}");
}

#[test]
fn segments_that_are_sent_again_show_in_the_rate_of_the_host() {
    let test = "a high retransmission rate";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 10_000);
    let rule = format!("tcp dport {} meta length > 1000 numgen random mod 100 < 10 drop", server.port);
    if !firewall(test, &netns, &[rule]) {
        return;
    }
    netns.ip(&["link", "set", "lo", "mtu", "1500"]);
    // Segments are to be lost one by one.
    netns.run("ethtool", &["-K", "lo", "tso", "off", "gso", "off"]);
    let _client = netns.connect(v4(server.port), "bulk", 10_000);
    let inode = netns.inode().to_string();
    let started = Instant::now();
    loop {
        let mut command = Command::new(observer().expect("there is an observer"));
        command.args(["doctor", "--netns", &inode, "--output", "json", "--source", "sock_diag", "--for", "1500ms"]);
        let output = command.output().expect("observer runs");
        let text = String::from_utf8(output.stdout).expect("JSON is text");
        let found = objects(&text, "finding").expect("each line is an object");
        if found.iter().any(|finding| finding["name"] == "retransmission-rate") {
            return;
        }
        assert!(started.elapsed() < DEADLINE + Duration::from_secs(5), "never so: {text}");
    }
}
