//! Connection tracking: its table, its flows, its entries, and the addresses that it translates.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use observer_tests::live::{Netns, Watch, beside};
use observer_tests::skip;
use serde_json::Value;

use super::{Diagnosis, any, diagnosed, loopback};

/// A namespace that tracks connections; `None`, after saying so, where this machine has no such thing.
fn tracking(test: &str) -> Option<Netns> {
    let netns = Netns::new(test)?;
    let rules = "add table ip t; add chain ip t c { type filter hook output priority 0; }; \
                 add rule ip t c ct state established,new accept";
    if let Err(why) = netns.try_run("nft", &[rules]) {
        skip(test, &why);
        return None;
    }
    Some(netns)
}

/// `nf_conntrack_max` is the whole host's: whoever changes it holds this lock, and puts it back whatever happens.
struct ConntrackMax {
    before: String,
    _lock: std::fs::File,
}

const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

impl ConntrackMax {
    fn set(test: &str, max: u32) -> Option<Self> {
        let lock = std::fs::File::create(std::env::temp_dir().join("observer-conntrack.lock")).expect("it can be made");
        // SAFETY: the descriptor is open.
        assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0, "it can be locked");
        let Ok(before) = std::fs::read_to_string(CONNTRACK_MAX) else {
            skip(test, "there is no connection tracking");
            return None;
        };
        let held = Self { before, _lock: lock };
        if let Err(error) = std::fs::write(CONNTRACK_MAX, max.to_string()) {
            skip(test, &format!("setting nf_conntrack_max: {error}"));
            return None;
        }
        Some(held)
    }
}

impl Drop for ConntrackMax {
    fn drop(&mut self) {
        let _ = std::fs::write(CONNTRACK_MAX, self.before.trim());
    }
}

#[test]
fn the_table_of_connection_tracking_fills() {
    let test = "gauge conntrack";
    let Some(netns) = tracking(test) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 150);
    let client = netns.connect(loopback(server.port.into()), "hold", 90);
    let is_tracked = |diagnosis: &Diagnosis| diagnosis.value("conntrack", any) >= Some(90);
    let calm = diagnosed(&netns, &[], "tracked connections", is_tracked);
    assert!(calm.finding("conntrack-full").is_none());
    let entries = calm.value("conntrack", any).expect("it is told") as u32;
    let Some(_held) = ConntrackMax::set(test, entries + 10) else { return };
    let full = diagnosed(&netns, &[], "a full table", |diagnosis| diagnosis.finding("conntrack-full").is_some());
    let reading = full.gauge("conntrack", any).expect("it is told");
    assert_eq!(reading["limit"], entries + 10);
    assert!([10, 20].contains(&full.status));
    assert!(full.value("conntrack_insert_failed", any).is_some());
    let drops = full.gauge("conntrack_drop", any).expect("it is told");
    let parts = drops["by_processor"].as_array().expect("the kernel counts on each processor");
    assert!(
        !parts.is_empty() && parts.iter().map(|part| part.as_u64().expect("a number")).sum::<u64>() == drops["value"]
    );
    drop(client);
}

/// Sends datagrams to so many ports; nobody answers.
fn send_to_ports(netns: &Netns, ports: std::ops::Range<u16>) {
    netns.within(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        for port in ports {
            // What the one before met, a closed port, is told here.
            let send = || socket.send_to(&[0], (Ipv4Addr::LOCALHOST, port));
            send().or_else(|_| send()).expect("it is sent");
        }
    });
}

#[test]
fn entries_are_read_only_where_they_are_asked_for() {
    let Some(netns) = tracking("entries of conntrack") else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 7);
    let _client = netns.connect(loopback(server.port.into()), "hold", 7);
    send_to_ports(&netns, 1..31);
    let calm = Diagnosis::of(&netns, &[]);
    assert_eq!((calm.value("conntrack", any), calm.value("conntrack_of_state", any)), (Some(37), None));
    let asked = Diagnosis::of(&netns, &["--conntrack"]);
    let of = |protocol: &'static str, state: &'static str| {
        asked.value("conntrack_of_state", move |gauge| {
            gauge["subject"]["tracked"] == serde_json::json!({ "protocol": protocol, "state": state })
        })
    };
    assert_eq!((of("tcp", "ESTABLISHED"), of("udp", "UNREPLIED")), (Some(7), Some(30)), "{:#?}", asked.objects);
    assert_eq!(asked.value("conntrack_of_source", |gauge| gauge["subject"]["source"] == "127.0.0.1"), Some(37));
}

#[test]
fn new_flows_are_told_as_a_rate() {
    let Some(netns) = tracking("new flows") else { return };
    let send = || {
        send_to_ports(&netns, 1..101);
        // More than can be told would be told as nothing.
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let grows = |diagnosis: &Diagnosis| {
        diagnosis.gauge("conntrack_new_flows", any).is_some_and(|gauge| gauge["value"].as_f64() >= Some(100.0))
    };
    let diagnosis = beside(send, || diagnosed(&netns, &[], "a hundred new flows a second", grows));
    assert_eq!(diagnosis.gauge("conntrack_new_flows", any).expect("it is told")["unit"], "entries_per_second");
    // Nothing begins any more.
    let rate = |diagnosis: &Diagnosis| diagnosis.value("conntrack_new_flows", any);
    assert_eq!(rate(&Diagnosis::of(&netns, &[])), Some(0));
}

/// A rule by which 127.9.9.9:80 leads to a port of this namespace.
fn lead_to(netns: &Netns, test: &str, port: u16) -> bool {
    let rules = format!(
        "add table ip n; add chain ip n o {{ type nat hook output priority -100; }}; \
         add rule ip n o ip daddr 127.9.9.9 tcp dport 80 redirect to :{port}"
    );
    netns.try_run("nft", &[&rules]).inspect_err(|why| skip(test, why)).is_ok()
}

#[test]
fn a_connection_knows_how_its_addresses_are_translated() {
    let test = "translated addresses";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 3);
    let port = server.port;
    if !lead_to(&netns, test, port) {
        return;
    }
    let called = ([127, 9, 9, 9], 80).into();
    // One from before there is an observer, which its entry tells of, and one that an event does.
    let before = netns.connect(called, "hold", 1);
    let inode = netns.inode().to_string();
    let Some(watch) = Watch::start(test, &["--netns", &inode]) else { return };
    netns.connect(called, "hold", 1).end();
    netns.connect(loopback(port.into()), "hold", 1).end();
    before.end();
    server.end();
    for side in [("127.9.9.9", 80), ("127.0.0.1", port)] {
        let is_to = |record: &Value| {
            record["server"]["ip"] == side.0 && record["server"]["port"] == side.1 && !record["nat"].is_null()
        };
        let record = watch.connection("the connection that is translated", is_to);
        let nat = &record["nat"];
        assert_eq!(
            (&nat["netns"], &nat["original"]["source"]),
            (&netns.inode().into(), &record["client"]),
            "{record:#}"
        );
        let ends = (&nat["original"]["destination"], &nat["reply"]["source"]);
        let end = |ip: &str, port: u16| serde_json::json!({ "ip": ip, "port": port });
        assert_eq!(ends, (&end("127.9.9.9", 80), &end("127.0.0.1", port)));
    }
    let is_plain = |record: &Value| record["server"]["port"] == port && record["nat"].is_null();
    watch.connection("the one that is not", is_plain);
    let objects = watch.finish();
    let translated = objects.iter().filter(|object| object["type"] == "connection" && !object["nat"].is_null());
    // Two connections, each seen from both its sides.
    assert_eq!(translated.count(), 4);
}

#[test]
fn what_is_tracked_is_told_in_the_text() {
    let Some(netns) = tracking("conntrack in the text") else { return };
    send_to_ports(&netns, 1..21);
    let output = super::doctor(&netns, &["--source", "sock_diag", "--for", "500ms", "--conntrack"]);
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    let line = text.lines().find(|line| line.starts_with("tracked")).unwrap_or_else(|| panic!("no line: {text}"));
    assert!(line.contains("udp\u{a0}UNREPLIED\u{a0}20") || line.contains("udp UNREPLIED 20"), "{line}");
}
