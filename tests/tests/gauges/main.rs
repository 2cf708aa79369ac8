//! Each gauge and the finding over it, for real: sockets in a network namespace of the test's own, `observer doctor` beside
//! them.

mod closing;
mod conntrack;
mod firewall;
mod leaks;
mod listeners;
mod namespaces;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use observer_tests::live::{DEADLINE, Netns, beside, limit_descriptors, until};
use observer_tests::run::observer;
use observer_tests::skip;
use serde_json::Value;

/// What `observer doctor` says of a namespace: the objects, and the exit status.
struct Diagnosis {
    objects: Vec<Value>,
    status: i32,
}

fn command(netns: &Netns, args: &[&str]) -> Command {
    let mut command = Command::new(observer().expect("there is an observer"));
    command.args(["doctor", "--netns", &netns.inode().to_string()]).args(args);
    command
}

fn doctor(netns: &Netns, args: &[&str]) -> Output {
    command(netns, args).output().expect("observer runs")
}

impl Diagnosis {
    /// Watches shortly, by the tables of sockets: what gauges show does not depend on it.
    fn of(netns: &Netns, args: &[&str]) -> Self {
        let how_long: &[&str] = if args.contains(&"--for") { &[] } else { &["--for", "1500ms"] };
        let args = [&["--output", "json", "--source", "sock_diag"], how_long, args].concat();
        Self::told(doctor(netns, &args))
    }

    /// What it has said to its end.
    fn told(output: Output) -> Self {
        let status = output.status.code().expect("no signal ended it");
        assert!([0, 10, 20].contains(&status), "{status}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("JSON is text");
        let objects = text.lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect();
        Self { objects, status }
    }

    fn gauge(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Option<&Value> {
        self.objects.iter().find(|object| object["type"] == "gauge" && object["name"] == name && wanted(object))
    }

    fn value(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Option<u64> {
        self.gauge(name, wanted)?["value"].as_u64()
    }

    fn finding(&self, name: &str) -> Option<&Value> {
        self.objects.iter().find(|object| object["type"] == "finding" && object["name"] == name)
    }
}

/// Doctor, once it has opened what there is, or has given up: then it has laid its rights down, or is gone.
fn begun(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    until("it has begun", || {
        child.try_wait().expect("it can be waited for").is_some()
            || std::fs::read_to_string(&status).is_ok_and(|text| text.contains("NoNewPrivs:\t1"))
    });
    child
}

/// How often a process has waited for something.
fn waits(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("it is still there")
}

/// Diagnoses until something holds of what is said.
fn diagnosed(netns: &Netns, args: &[&str], what: &str, holds: impl Fn(&Diagnosis) -> bool) -> Diagnosis {
    let started = Instant::now();
    loop {
        let diagnosis = Diagnosis::of(netns, args);
        if holds(&diagnosis) {
            return diagnosis;
        }
        assert!(started.elapsed() < DEADLINE, "never {what}: {:#?}", diagnosis.objects);
    }
}

fn loopback(port: u32) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")))
}

/// How many connections the namespace's only listener has not accepted yet.
fn waiting_for_accept(netns: &Netns) -> Option<u32> {
    netns.output("ss", &["-Hltn"]).split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Any reading.
fn any(_: &Value) -> bool {
    true
}

fn is_of_state(state: &'static str) -> impl Fn(&Value) -> bool {
    move |gauge| gauge["subject"]["state"] == state
}

#[test]
fn sockets_are_counted_by_state_process_listener_and_destination() {
    let Some(netns) = Netns::new("gauges of sockets") else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 30);
    let client = netns.connect(loopback(server.port.into()), "hold", 30);
    let is_there = |diagnosis: &Diagnosis| diagnosis.value("sockets", is_of_state("ESTAB")) == Some(60);
    let diagnosis = diagnosed(&netns, &[], "60 sockets", is_there);
    let is_of = |pid: u32| move |gauge: &Value| gauge["subject"]["process"]["pid"] == pid;
    // The listener is one of the server's.
    assert_eq!(diagnosis.value("sockets_of_process", is_of(server.pid)), Some(31));
    assert_eq!(diagnosis.value("sockets_of_process", is_of(client.pid)), Some(30));
    assert_eq!(diagnosis.value("sockets_of_listener", any), Some(30));
    assert_eq!(diagnosis.value("sockets_of_destination", any), Some(30));
    let ports = diagnosis.gauge("ephemeral_ports", any).expect("they are counted");
    assert_eq!((&ports["value"], &ports["limit"]), (&Value::from(30), &Value::from(28_232)));
    assert_eq!(ports["netns"], netns.inode());
    let descriptors = diagnosis.gauge("descriptors", is_of(client.pid)).expect("they are counted");
    let own = std::fs::read_dir(format!("/proc/{}/fd", client.pid)).expect("it lives").count() as u64;
    assert_eq!(descriptors["value"], own);
    assert_eq!(diagnosis.status, 0, "{:#?}", diagnosis.objects);
}

#[test]
fn a_close_wait_is_counted_for_its_process_and_grows_old() {
    let Some(netns) = Netns::new("gauge close_wait") else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 12);
    netns.connect(loopback(server.port.into()), "leave", 12).end();
    let of_server = |gauge: &Value| gauge["subject"]["process"]["pid"] == server.pid;
    // They came to it before observer was there: their silence tells their age.
    let is_old = |diagnosis: &Diagnosis| {
        diagnosis.gauge("close_wait", of_server).is_some_and(|gauge| gauge["ages"]["over_1s"] == 12)
    };
    let diagnosis = diagnosed(&netns, &[], "12 in CLOSE-WAIT for longer than a second", is_old);
    assert_eq!(diagnosis.value("close_wait", of_server), Some(12));
    // A minute is for the library's tests; a near miss all the same.
    assert!(diagnosis.finding("close-wait-leak").is_none());
}

#[test]
fn time_wait_uses_up_ports() {
    let Some(netns) = Netns::new("gauge time_wait") else { return };
    netns.run("sysctl", &["-qw", "net.ipv4.ip_local_port_range=40000 40099", "net.ipv4.tcp_tw_reuse=0"]);
    let server = netns.serve("127.0.0.1:0", "hold", 200);
    let few = netns.connect(loopback(server.port.into()), "hold", 50);
    let is_half = |diagnosis: &Diagnosis| diagnosis.value("ephemeral_ports", any) == Some(50);
    let near = diagnosed(&netns, &[], "half of the ports taken", is_half);
    assert!(near.finding("ephemeral-ports").is_none() && near.finding("time-wait-exhaustion").is_none());
    let more = netns.connect(loopback(server.port.into()), "hold", 40);
    let full = diagnosed(&netns, &[], "ports run out", |diagnosis| diagnosis.finding("ephemeral-ports").is_some());
    assert_eq!((full.value("ephemeral_ports", any), full.status), (Some(90), 10), "{:#?}", full.objects);
    assert!(full.finding("time-wait-exhaustion").is_none());
    // The clients close first: their ports stay behind.
    few.end();
    more.end();
    let is_waiting = |diagnosis: &Diagnosis| diagnosis.value("ephemeral_ports", any) == Some(90);
    until("all are accepted", || waiting_for_accept(&netns) == Some(0));
    drop(server);
    let waiting = diagnosed(&netns, &[], "TIME-WAIT", |diagnosis| {
        is_waiting(diagnosis) && diagnosis.finding("time-wait-exhaustion").is_some()
    });
    assert_eq!(waiting.value("time_wait", any), Some(90));
    assert!(waiting.finding("ephemeral-ports").is_none(), "{:#?}", waiting.objects);
    let reading = waiting.gauge("sockets", is_of_state("TIME-WAIT")).expect("it is told");
    assert!(reading["ages"]["oldest_ns"].as_u64() > Some(0), "{reading}");
}

#[test]
fn on_loopback_ports_in_time_wait_are_taken_again() {
    let Some(netns) = Netns::new("tcp_tw_reuse") else { return };
    netns.run("sysctl", &["-qw", "net.ipv4.ip_local_port_range=40000 40099", "net.ipv4.tcp_tw_reuse=2"]);
    netns.ip(&["address", "add", "10.77.0.1/32", "dev", "lo"]);
    let worst_to = |ip: [u8; 4]| {
        let port = 80;
        let server = netns.serve(&format!("{}:{port}", Ipv4Addr::from(ip)), "hold", 200);
        netns.connect((ip, port).into(), "hold", 100).end();
        let is_to = |case: &Value| case["about"]["server"]["ip"] == Ipv4Addr::from(ip).to_string();
        let case_of = |diagnosis: &Diagnosis| {
            let cases = diagnosis.finding("time-wait-exhaustion")?["cases"].as_array()?.clone();
            cases.into_iter().find(is_to)
        };
        // The server closes in its turn: of what it has not accepted the kernel resets, and TIME-WAIT ends.
        until("all are accepted", || waiting_for_accept(&netns) == Some(0));
        drop(server);
        let found = diagnosed(&netns, &[], "TIME-WAIT", |diagnosis| case_of(diagnosis).is_some());
        let is_of = |gauge: &Value| gauge["subject"]["destination"]["ip"] == Ipv4Addr::from(ip).to_string();
        assert_eq!(found.value("ephemeral_ports", is_of), Some(100));
        case_of(&found).expect("it was told")["finding"]["severity"].clone()
    };
    assert_eq!(worst_to([127, 0, 0, 1]), "warning", "connect(2) takes them again after a second");
    assert_eq!(worst_to([10, 77, 0, 1]), "error");
}

#[test]
fn a_listener_that_does_not_accept_overflows() {
    let Some(netns) = Netns::new("gauge accept_queue") else { return };
    // Its backlog is 1: two fit in.
    let server = netns.serve("127.0.0.1:0", "never", 0);
    let of_server = |gauge: &Value| gauge["subject"]["listener"]["port"] == server.port;
    let calm = Diagnosis::of(&netns, &[]);
    assert_eq!((calm.value("accept_queue", of_server), calm.status), (Some(0), 0));
    let _two = netns.connect(loopback(server.port.into()), "hold", 2);
    let full = diagnosed(&netns, &[], "a full queue", |diagnosis| diagnosis.finding("accept-queue-overflow").is_some());
    assert_eq!(full.value("accept_queue", of_server), Some(2));
    assert_eq!(full.gauge("accept_queue", of_server).expect("it is told")["subject"]["process"]["pid"], server.pid);
    // Whoever comes now is dropped, again and again.
    let _third = netns.connect(loopback(server.port.into()), "fail", 3);
    let dropping = diagnosed(&netns, &["--for", "3s"], "drops", |diagnosis| {
        let finding = diagnosis.finding("accept-queue-overflow");
        finding.is_some_and(|finding| finding["severity"] == "error") && diagnosis.status == 20
    });
    assert!(dropping.value("listener_drops", of_server) > Some(0));
    assert!(dropping.value("listen_overflows", any) > Some(0));
}

#[test]
fn a_queue_that_is_full_for_a_while_only_is_told() {
    let Some(netns) = Netns::new("a full queue for a while") else { return };
    let diagnosed_while = |waiting: u32| {
        let server = netns.serve("127.0.0.1:0", "never", 0);
        let _clients = netns.connect(loopback(server.port.into()), "hold", waiting);
        until("all wait to be accepted", || waiting_for_accept(&netns) == Some(waiting));
        let args = ["--output", "json", "--source", "sock_diag", "--for", "4s"];
        let doctor = begun(&mut command(&netns, &args));
        // It looks first, and then its loop goes round and waits again and again. Then the listener goes with all of them.
        let begin = waits(&doctor);
        until("it has looked", || waits(&doctor) >= begin + 10);
        server.end();
        Diagnosis::told(doctor.wait_with_output().expect("it ends"))
    };
    let full = diagnosed_while(2);
    assert!(full.gauge("accept_queue", any).is_none(), "it is gone: {:#?}", full.objects);
    let finding = full.finding("accept-queue-overflow").unwrap_or_else(|| panic!("not told: {:#?}", full.objects));
    let what = finding["cases"][0]["finding"]["what"].to_string();
    assert!(what.contains("That was so until ") && full.status == 10, "{}: {:#?}", full.status, full.objects);
    assert_eq!((&finding["count"], &finding["cases"][0]["about"]["netns"]), (&1.into(), &netns.inode().into()));
    assert!(diagnosed_while(1).finding("accept-queue-overflow").is_none(), "one may wait");
}

#[test]
fn cookies_are_told_when_they_are_sent() {
    let Some(netns) = Netns::new("gauge syn_cookies") else { return };
    netns.run("sysctl", &["-qw", "net.ipv4.tcp_syncookies=2"]);
    let server = netns.serve("127.0.0.1:0", "echo", 4000);
    assert!(Diagnosis::of(&netns, &[]).finding("syn-cookies").is_none());
    // With 2 every SYN is answered with one.
    let connect = || netns.connect(loopback(server.port.into()), "send", 1).end();
    let are_told = |diagnosis: &Diagnosis| diagnosis.finding("syn-cookies").is_some();
    let found = beside(connect, || diagnosed(&netns, &[], "cookies", are_told));
    assert!(found.value("syn_cookies_sent", any) > Some(0));
    assert_eq!(found.status, 10);
}

#[test]
fn descriptors_run_out() {
    let Some(netns) = Netns::new("gauge descriptors") else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 100);
    let client = netns.connect(loopback(server.port.into()), "hold", 95);
    let of_client = |gauge: &Value| gauge["subject"]["process"]["pid"] == client.pid;
    let is_there = |diagnosis: &Diagnosis| diagnosis.value("descriptors", of_client) >= Some(95);
    let calm = diagnosed(&netns, &[], "95 sockets", is_there);
    assert!(calm.finding("descriptors-exhausted").is_none());
    limit_descriptors(client.pid, 100);
    let found = diagnosed(&netns, &[], "an end of descriptors", |one| one.finding("descriptors-exhausted").is_some());
    assert_eq!(found.gauge("descriptors", of_client).expect("it is told")["limit"], 100);
}

#[test]
fn what_the_stack_counts_is_told_as_rates() {
    let Some(netns) = Netns::new("gauges of the stack") else { return };
    // Nobody listens: each attempt is reset.
    let fail = || netns.connect(loopback(9), "fail", 5).end();
    let grow = |diagnosis: &Diagnosis| {
        ["resets_sent", "segments_sent", "connections_failed"]
            .iter()
            .all(|name| diagnosis.gauge(name, any).is_some_and(|gauge| gauge["rate"].as_f64() > Some(0.0)))
    };
    beside(fail, || diagnosed(&netns, &[], "resets", grow));
    let calm = Diagnosis::of(&netns, &[]);
    assert!(calm.finding("retransmission-rate").is_none());
    let memory = calm.gauge("tcp_memory", any).expect("it is told");
    assert_eq!((&memory["netns"], memory["limit"].as_u64() > Some(0)), (&Value::Null, true));
}

#[test]
fn text_reads_well_in_80_columns() {
    let Some(netns) = Netns::new("doctor's text") else { return };
    let server = netns.serve("127.0.0.1:0", "never", 0);
    let _two = netns.connect(loopback(server.port.into()), "hold", 2);
    let listens = || netns.output("ss", &["-Hltn"]).split_ascii_whitespace().nth(1).map(str::to_string);
    until("both wait to be accepted", || listens().as_deref() == Some("2"));
    let output = doctor(&netns, &["--source", "sock_diag", "--for", "1s"]);
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    assert_eq!(output.status.code(), Some(10), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for part in ["accept-queue-overflow", "what to do", "accept queue", "time wait", "ESTAB", "1 kind of warning"] {
        assert!(text.contains(part), "{part} is not told of:\n{text}");
    }
}

/// `tcp_mem` is the whole host's: whoever changes it puts it back whatever happens. nextest runs this test alone
/// (.config/nextest.toml), since all that is diagnosed meanwhile is told of the pressure.
struct TcpMem(String);

impl TcpMem {
    const PATH: &'static str = "/proc/sys/net/ipv4/tcp_mem";

    /// Has pressure begin at `mark` pages. The last mark, from which on segments are dropped, stays where it was.
    fn set(test: &str, mark: u32) -> Option<Self> {
        let before = std::fs::read_to_string(Self::PATH).expect("there is TCP");
        let most = before.split_whitespace().nth(2).expect("it has three marks");
        match std::fs::write(Self::PATH, format!("{mark} {mark} {most}")) {
            Ok(()) => Some(Self(before)),
            Err(error) => {
                skip(test, &format!("setting tcp_mem: {error}"));
                None
            }
        }
    }
}

impl Drop for TcpMem {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::PATH, self.0.trim());
    }
}

#[test]
fn memory_is_short() {
    let test = "gauge memory";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    // Nobody reads what they send.
    let client = netns.connect(loopback(server.port.into()), "pour", 1);
    let is_used = |diagnosis: &Diagnosis| diagnosis.value("tcp_memory", any) >= Some(200);
    let calm = diagnosed(&netns, &[], "200 pages in use", is_used);
    assert!(calm.finding("memory-pressure").is_none(), "{:#?}", calm.objects);
    let Some(_held) = TcpMem::set(test, 100) else { return };
    let short = diagnosed(&netns, &[], "pressure", |diagnosis| diagnosis.finding("memory-pressure").is_some());
    let finding = short.finding("memory-pressure").expect("it was told");
    assert_eq!((&finding["severity"], short.status), (&Value::from("warning"), 10), "{finding}");
    drop(client);
}

#[test]
fn without_root_the_rest_is_shown() {
    let test = "doctor without root";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let Some(output) = server.without_root(test, &["doctor", "--netns", "own", "--for", "500ms"]) else { return };
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}{said}");
    assert!(text.contains("not seen  descriptors and sockets of"), "{text}");
    assert!(text.contains("LISTEN") && text.contains("time wait"), "{text}");
}
