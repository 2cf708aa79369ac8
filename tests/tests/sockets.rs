//! `observer sockets` against `ss`, over real sockets in a network namespace of the test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use observer_tests::live::{Actor, Netns, until};
use observer_tests::run::observer;
use observer_tests::skip;
use serde_json::Value;

/// Words of the lines of a table, the lines in no order; without the state, which `ss` leaves out where there is one only.
fn lines(text: &str) -> Vec<Vec<String>> {
    let is_state = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_uppercase());
    let words =
        |line: &str| line.split_ascii_whitespace().skip_while(is_state).take(4).map(str::to_string).collect::<Vec<_>>();
    let mut lines: Vec<_> = text.lines().map(words).collect();
    lines.sort();
    lines
}

fn sockets(netns: &Netns, args: &[&str]) -> String {
    let path = observer().expect("there is an observer").to_string_lossy().into_owned();
    netns.output(&path, &[&["sockets"], args].concat())
}

fn json(netns: &Netns, args: &[&str]) -> Vec<Value> {
    let text = sockets(netns, &[&["--output", "json"], args].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
}

/// A namespace in which `ss` and observer have something to show: its servers and clients hold `pairs` connections, each
/// of which has both its ends here.
fn stage(test: &str, pairs: u32) -> Option<(Netns, Vec<Actor>)> {
    let netns = Netns::new(test)?;
    if netns.try_run("ss", &["-V"]).is_err() {
        skip(test, "there is no ss");
        return None;
    }
    let mut actors = Vec::new();
    // Fewer file descriptors than a process may have, and fewer ports than one destination has.
    let mut left = pairs;
    while left > 0 {
        let times = left.min(2500);
        let server = netns.serve("127.0.0.1:0", "hold", times);
        let address = SocketAddr::from(([127, 0, 0, 1], server.port));
        actors.push(netns.connect(address, "hold", times));
        actors.push(server);
        left -= times;
    }
    let expected = format!("estab {}", 2 * pairs);
    until("every connection stands", || netns.output("ss", &["-s"]).contains(&expected));
    Some((netns, actors))
}

#[test]
fn twenty_thousand_sockets_are_those_of_ss() {
    let Some((netns, actors)) = stage("20,000 sockets", 10_000) else { return };
    let (own, theirs) = (sockets(&netns, &["-tan"]), netns.output("ss", &["-tan"]));
    assert!(lines(&theirs).len() > 20_000);
    assert!(lines(&own) == lines(&theirs), "the tables differ");
    let states = |text: &str| text.lines().filter(|line| line.starts_with("ESTAB ")).count();
    assert_eq!((states(&own), states(&theirs)), (20_000, 20_000));
    let summary = sockets(&netns, &["-s"]);
    assert!(!summary.contains("by state"), "{summary}");
    let summary = sockets(&netns, &["-sa"]);
    let theirs = netns.output("ss", &["-s"]);
    let of = |text: &str, begin: &str| {
        let line = text
            .lines()
            .find(|line| line.split_ascii_whitespace().next() == Some(begin))
            .unwrap_or_else(|| panic!("no {begin}: {text}"));
        line.split_ascii_whitespace().map(str::to_string).collect::<Vec<_>>()
    };
    for begin in ["TCP", "UDP", "RAW", "FRAG", "INET"] {
        assert_eq!(of(&summary, begin), of(&theirs, begin));
    }
    // What the kernel allocates it counts for the whole host, where other tests are at work.
    assert!(summary.contains("(estab 20000,"), "{summary}");
    assert_eq!(of(&summary, "ESTAB")[1], "20000");
    // One of the servers, by its process.
    let port = actors.iter().find(|actor| actor.port != 0).expect("there is a server").port;
    let pid = actors.iter().find(|actor| actor.port == port).expect("there is a server").pid;
    let listener = json(&netns, &["-l", &format!("sport = :{port}")]);
    assert_eq!(listener.len(), 1, "{listener:?}");
    let holders = listener[0]["processes"].as_array().expect("they are seen");
    assert!(holders.iter().any(|holder| holder["pid"] == pid && holder["name"] == "actor"), "{holders:?}");
}

#[test]
fn filters_choose_what_ss_would() {
    let Some((netns, mut actors)) = stage("filters", 20) else { return };
    // A listener on both families, a CLOSE-WAIT that nobody closes, a TIME-WAIT.
    let server = netns.serve("[::]:0", "hold", 1);
    let client = netns.connect(SocketAddr::from(([127, 0, 0, 1], server.port)), "leave", 1);
    client.end();
    actors.push(server);
    let server = netns.serve("127.0.0.1:0", "close", 1);
    netns.connect(SocketAddr::from(([127, 0, 0, 1], server.port)), "await_reset", 1).end();
    // The kernel chose every other port.
    let _chosen = netns.within(|| std::net::TcpListener::bind("127.0.0.1:7777").expect("the port is free"));
    let bound: Vec<_> =
        json(&netns, &["-a", "not", "autobound"]).iter().map(|one| one["local"]["port"].clone()).collect();
    assert_eq!(bound, [7777]);
    until("there is a CLOSE-WAIT", || netns.output("ss", &["-Htan", "state", "close-wait"]).lines().count() == 1);
    let port = actors[1].port.to_string();
    let (sport, dport) = (format!("sport = :{port}"), format!("dport = :{port}"));
    let either = format!("( {sport} or {dport} )");
    let filters: [&[&str]; 16] = [
        &["-tan"],
        &["-tn"],
        &["-ltn"],
        &["-tan4"],
        &["-tan6"],
        &["-tn", "state", "established"],
        &["-tan", "state", "close-wait"],
        &["-tan", "exclude", "established"],
        &["-tan", "state", "connected", &sport],
        &["-tan", &either],
        &["-tan", "not", &sport],
        &["-tan", "dst", "127.0.0.0/8", "and", &dport],
        &["-tan", "src", &format!("127.0.0.1:{port}")],
        &["-tan", "sport", ">", ":1023", "and", "dport", "<=", ":65535"],
        &["-tan", "autobound"],
        &["-tan", "not", "autobound"],
    ];
    for args in filters {
        // In TIME-WAIT the clock runs: what goes between the two looks is looked for again.
        let args = [&["-H"], args].concat();
        let mut seen = (Vec::new(), Vec::new());
        until(&format!("{args:?} gives the same"), || {
            seen = (lines(&sockets(&netns, &args)), lines(&netns.output("ss", &args)));
            seen.0 == seen.1
        });
    }
}

#[test]
fn interfaces_marks_and_control_groups_choose_too() {
    let Some((netns, _actors)) = stage("filters by interface, mark and cgroup", 2) else { return };
    // A listener that is bound to an interface, and one with a mark.
    let (bound, marked) = netns.within(|| {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let (bound, marked) = (listen(), listen());
        set(&bound, libc::SO_BINDTODEVICE, b"lo\0");
        set(&marked, libc::SO_MARK, &0x2a_u32.to_ne_bytes());
        (bound, marked)
    });
    let ports = |filter: &[&str]| {
        let objects = json(&netns, &[&["-l"], filter].concat());
        objects.iter().map(|object| object["local"]["port"].as_u64().expect("a port")).collect::<Vec<_>>()
    };
    let port = |listener: &std::net::TcpListener| u64::from(listener.local_addr().expect("it has one").port());
    assert_eq!(ports(&["dev", "lo"]), [port(&bound)]);
    assert_eq!(ports(&["dev", "=", "1"]), [port(&bound)]);
    assert_eq!(ports(&["fwmark", "=", "0x2a"]), [port(&marked)]);
    assert_eq!(ports(&["fwmark", "0x2/0x3"]), [port(&marked)]);
    assert_eq!(ports(&["not", "(", "dev", "lo", "or", "fwmark", "=", "42", ")"]).len(), 1);
    let filters: [&[&str]; 3] = [&["dev", "lo"], &["dev", "!=", "lo"], &["fwmark", "=", "0x2a"]];
    for filter in filters {
        let args = [&["-Hltn"], filter].concat();
        assert_eq!(lines(&sockets(&netns, &args)), lines(&netns.output("ss", &args)), "{filter:?}");
    }
    assert!(sockets(&netns, &["-lne"]).contains("fwmark:0x2a"));
    // All of them are of the cgroup that this test is in.
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return skip("filters by cgroup", "there is no cgroup v2");
    };
    // From outside: ip(8) hides the tree of cgroups.
    let listeners = |filter: &[&str]| {
        let mut command = Command::new(observer().expect("there is an observer"));
        command.args(["sockets", "-Hln", "--netns", &netns.inode().to_string()]).args(filter);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    assert_eq!((listeners(&["cgroup", own]), listeners(&["cgroup", "!=", own])), (3, 0));
}

fn set(listener: &std::net::TcpListener, option: libc::c_int, value: &[u8]) {
    let fd = std::os::fd::AsRawFd::as_raw_fd(listener);
    // SAFETY: the value outlives the call, which reads as much of it as is said.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value.as_ptr().cast(), value.len() as u32) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn numbers_are_those_of_ss() {
    let Some((netns, _actors)) = stage("numbers of connections", 1) else { return };
    let words = |text: &str| {
        let names = |line: &str| {
            let words =
                line.split_ascii_whitespace().map(|word| word.split(':').next().unwrap_or_default().to_string());
            words.filter(|word| word.starts_with(|letter: char| letter.is_ascii_lowercase())).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = text.lines().filter(|line| line.starts_with('\t')).map(names).collect();
        all.sort();
        all
    };
    let (own, theirs) = (sockets(&netns, &["-Htni"]), netns.output("ss", &["-Htni"]));
    // Rates are told in other words, and `ss` of another age knows fewer fields.
    let has_bbr = |text: &str| words(text).iter().any(|line| line.iter().any(|word| word == "bbr"));
    assert_eq!(words(&own).len(), 2, "{own}");
    assert_eq!(
        (has_bbr(&own), own.contains("bbr:(bw:")),
        (has_bbr(&theirs), theirs.contains("bbr:(bw:")),
        "{own}{theirs}"
    );
}

#[test]
fn every_field_of_json_is_told() {
    let Some((netns, actors)) = stage("JSON", 1) else { return };
    let objects = json(&netns, &["-a"]);
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for object in &objects {
        *states.entry(object["state"].as_str().expect("it has one")).or_default() += 1;
    }
    assert_eq!(states, BTreeMap::from([("ESTAB", 2), ("LISTEN", 1)]));
    let port = actors[1].port;
    let client = objects.iter().find(|object| object["peer"]["port"] == port).expect("it is there");
    assert_eq!((&client["type"], &client["netns"]), (&Value::from("socket"), &Value::from(netns.inode())));
    assert_eq!((&client["peer"]["ip"], &client["recv_queue"]), (&Value::from("127.0.0.1"), &Value::from(0)));
    assert_eq!((&client["accept_queue"], &client["uid"]), (&Value::Null, &Value::from(0)));
    assert!(client["info"]["cwnd"].as_u64() > Some(0) && client["memory"]["sndbuf"].as_u64() > Some(0), "{client:#}");
    assert!(client["congestion"].is_string() && client["inode"].as_u64() > Some(0), "{client:#}");
    let listener = objects.iter().find(|object| object["state"] == "LISTEN").expect("it is there");
    assert_eq!((&listener["peer"], &listener["backlog"]), (&Value::Null, &Value::from(4096)));
    // By name, and from outside.
    let path = observer().expect("there is an observer");
    let other = Command::new(path).args(["sockets", "-an", "--netns", &netns.inode().to_string()]).output();
    let text = String::from_utf8(other.expect("it runs").stdout).expect("it is text");
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn without_root_sockets_are_shown_and_what_is_not_is_said() {
    let Some((_netns, actors)) = stage("sockets without root", 1) else { return };
    let Some(output) = actors[0].without_root("sockets without root", &["sockets", "-tanp"]) else { return };
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(said.contains("not seen: the processes of 3 sockets"), "{said}");
}
