//! Gauges over sockets and texts that are made up, with the time given to them.

mod evidence;
mod leaks;

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::finding::{Context, Report, Thresholds};
use crate::packet::IpVersion;
use crate::record::{About, Endpoint, FindingRecord, FirewallRule, FirewallVerdict, Severity};
use crate::socket::{Timer, TimerKind};

const LISTEN: u8 = 10;
const CLOSE_WAIT: u8 = 8;
const TIME_WAIT_STATE: u8 = 6;
const ESTAB: u8 = 1;
const SYN_RECV: u8 = 3;

/// A socket of 10.0.0.1 in some state, from port `sport` to 10.0.0.2 and `dport`; its inode is its cookie.
fn socket(state: u8, cookie: u64, sport: u16, dport: u16) -> Seen {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let timer = Timer { kind: TimerKind::TimeWait, expires: Nanos::from_secs(58), retransmits: 0 };
    Seen::new(Socket {
        family: IpVersion::V4,
        state,
        timer: (state == TIME_WAIT_STATE).then_some(timer),
        local: (ip(1), sport),
        peer: if state == LISTEN { (Ipv4Addr::UNSPECIFIED.into(), 0) } else { (ip(2), dport) },
        interface: 0,
        cookie,
        recv_queue: 0,
        send_queue: 0,
        uid: 0,
        inode: if state == TIME_WAIT_STATE { 0 } else { cookie as u32 },
    })
}

/// A namespace in the making: what was read of it at each second.
#[derive(Default)]
struct Host {
    board: Board,
    texts: Texts,
    processes: Processes,
    flows: Flows,
    rules: Vec<Counted>,
    sockets: Vec<Seen>,
    second: u64,
    readings: Vec<GaugeRecord>,
}

impl Host {
    fn text(&mut self, text: Text, content: &str) {
        self.texts.0.insert(text, content.to_string());
    }

    fn process(&mut self, pid: u32, descriptors: u64, limit: u64, inodes: std::ops::Range<u32>) {
        let process =
            Process { name: "leaky".to_string(), descriptors: Some(descriptors), limit: Some(limit), is_whole: true };
        self.processes.facts.insert(pid, process);
        self.processes.owners.extend(inodes.map(|inode| (inode, pid)));
    }

    /// Reads it so many seconds later.
    fn after(&mut self, seconds: u64) -> &mut Self {
        self.second += seconds;
        let at = Timestamp::from_nanos((1_000 + self.second) * 1_000_000_000);
        let sockets = Some(self.sockets.as_mut_slice());
        let read =
            Read { sockets, texts: &self.texts, processes: &self.processes, flows: &self.flows, rules: &self.rules };
        self.readings = self.board.sweep(at, 7, read);
        self
    }

    fn reading(&self, name: &str) -> &GaugeRecord {
        let names: Vec<_> = self.readings.iter().map(|reading| reading.name).collect();
        self.readings.iter().find(|reading| reading.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
    }

    fn found(&self) -> Vec<FindingRecord> {
        let mut report = Report::default();
        let thresholds = Thresholds::default();
        let until = self.readings.first().map(|reading| reading.at).unwrap_or_default();
        let context = Context { thresholds: &thresholds, until, lost: false };
        report.gauges(crate::finding::Readings(&self.readings), &context);
        report.finish(&context)
    }

    fn names(&self) -> Vec<(&'static str, Severity)> {
        self.found().into_iter().map(|record| (record.name, record.severity)).collect()
    }
}

/// What is told of a host that was watched: its sockets and texts as `changes` left them, second by second.
fn watched(host: &mut Host, seconds: u64, mut changes: impl FnMut(&mut Host, u64)) -> Vec<FindingRecord> {
    let thresholds = Thresholds::default();
    let mut report = Report::default();
    for second in 0..=seconds {
        changes(host, second);
        host.after(u64::from(second > 0));
        let until = host.readings.first().map(|reading| reading.at).unwrap_or_default();
        let context = Context { thresholds: &thresholds, until, lost: false };
        let readings = crate::finding::Readings(&host.readings);
        if second < seconds { report.passing(readings, &context) } else { report.gauges(readings, &context) }
    }
    report.finish(&Context { thresholds: &thresholds, until: Timestamp::default(), lost: false })
}

#[test]
fn states_are_counted_and_grow_old() {
    let mut host = Host { sockets: vec![socket(ESTAB, 1, 1000, 80), socket(ESTAB, 2, 1001, 80)], ..Host::default() };
    host.after(0);
    host.sockets[0].socket.state = CLOSE_WAIT;
    host.after(5);
    let of = |host: &Host, state| {
        let found = host.readings.iter().find(|one| one.name == "sockets" && one.subject.state == Some(state));
        let found = found.expect("each state is told").clone();
        (found.value.0, found.ages.map(|ages| ages.oldest_ns), found.rate.map(|rate| rate.0))
    };
    assert_eq!(of(&host, TcpState::Estab), (1.0, Some(Nanos::from_secs(5)), Some(-0.2)));
    assert_eq!(of(&host, TcpState::CloseWait), (1.0, Some(Nanos(0)), Some(0.2)));
    host.after(3);
    assert_eq!(of(&host, TcpState::CloseWait).1, Some(Nanos::from_secs(3)));
    assert_eq!(of(&host, TcpState::Listen), (0.0, None, Some(0.0)));
    // TIME-WAIT is as old as its timer says, seen before or not.
    host.sockets.push(socket(TIME_WAIT_STATE, 3, 1002, 80));
    host.after(1);
    assert_eq!(of(&host, TcpState::TimeWait).1, Some(Nanos::from_secs(2)));
}

#[test]
fn ports_run_out_for_one_destination() {
    let mut host = Host::default();
    host.text(Text::PortRange, "32768 32967");
    host.text(Text::ReservedPorts, "32768-32867\n");
    host.text(Text::TwReuse, "2\n");
    // 79 of 100 ports.
    host.sockets = (0..79).map(|n| socket(ESTAB, n + 1, 32_868 + n as u16, 80)).collect();
    host.after(0);
    assert_eq!((host.reading("ephemeral_ports").value.0, host.reading("ephemeral_ports").limit), (79.0, Some(100)));
    assert_eq!(host.names(), []);
    // To another destination, the same ports are free.
    host.sockets.push(socket(ESTAB, 999, 32_868, 81));
    host.after(1);
    assert_eq!(host.names(), []);
    host.sockets.push(socket(ESTAB, 1000, 32_950, 80));
    host.after(1);
    assert_eq!(host.names(), [("ephemeral-ports", Severity::Warning)]);
    assert_eq!(host.found()[0].cases[0].about.server.map(|end| end.port), Some(80));
}

#[test]
fn time_wait_uses_up_ports_unless_they_are_used_again() {
    let mut host = Host::default();
    host.text(Text::PortRange, "32768 32867");
    host.text(Text::TwReuse, "2");
    host.text(Text::MaxTwBuckets, "131072");
    host.sockets = (0..99).map(|n| socket(TIME_WAIT_STATE, n + 1, 32_768 + n as u16, 80)).collect();
    host.after(0);
    assert_eq!(host.names(), [("time-wait-exhaustion", Severity::Error)]);
    // All of them ended within ten seconds: TIME-WAIT allows 100 ports a minute.
    let speed = host.reading("connection_rate");
    assert_eq!((speed.value.0, speed.limit), (9.9, Some(2)));
    host.text(Text::TwReuse, "1");
    host.after(1);
    assert_eq!(host.names(), [("time-wait-exhaustion", Severity::Warning)]);
    assert_eq!((host.reading("time_wait").value.0, host.reading("time_wait").limit), (99.0, Some(131_072)));
    // By default they are on loopback, and only there.
    host.text(Text::TwReuse, "2");
    host.after(1);
    assert_eq!(host.names(), [("time-wait-exhaustion", Severity::Error)]);
    let loopback = |text: &str| text.parse::<IpAddr>().expect("an address");
    for ip in ["127.0.0.1", "::ffff:127.0.0.9", "::1"].map(loopback) {
        host.sockets.iter_mut().for_each(|seen| seen.socket.peer.0 = ip);
        host.after(1);
        assert_eq!(host.names(), [("time-wait-exhaustion", Severity::Warning)], "{ip}");
    }
    host.text(Text::TwReuse, "0");
    host.after(1);
    assert_eq!(host.names(), [("time-wait-exhaustion", Severity::Error)]);
}

#[test]
fn conntrack_fills_and_is_full() {
    let mut host = Host::default();
    let stat =
        |drops: u64| format!("entries drop early_drop insert_failed invalid search_restart\n0 {drops:x} 0 0 0 0\n");
    let read = |host: &mut Host, entries: u64, drops: u64| {
        host.text(Text::ConntrackCount, &entries.to_string());
        host.text(Text::ConntrackMax, "1000");
        host.text(Text::ConntrackStat, &stat(drops));
        host.after(10);
        host.names()
    };
    assert_eq!(read(&mut host, 50, 0), []);
    // It grows by five a second, but is nearly empty.
    assert_eq!(read(&mut host, 99, 0), []);
    assert_eq!(read(&mut host, 150, 0), [("conntrack-full", Severity::Warning)]);
    assert_eq!(host.reading("conntrack").time_left_ns.map(|left| left.as_secs_f64().round()), Some(170.0));
    assert_eq!(read(&mut host, 900, 0), [("conntrack-full", Severity::Warning)]);
    assert_eq!(read(&mut host, 900, 17), [("conntrack-full", Severity::Error)]);
    assert_eq!(host.found()[0].cases[0].finding.evidence.len(), 2);
    assert_eq!(read(&mut Host::default(), 1000, 0), [("conntrack-full", Severity::Error)]);
}

#[test]
fn a_full_accept_queue_drops() {
    let mut host = Host { sockets: vec![socket(LISTEN, 1, 80, 0)], ..Host::default() };
    let mut read = |waiting, drops| {
        host.sockets[0].socket.recv_queue = waiting;
        host.sockets[0].socket.send_queue = 5;
        host.sockets[0].drops = Some(drops);
        host.after(1).names()
    };
    assert_eq!(read(5, 0), []);
    assert_eq!(read(6, 0), [("accept-queue-overflow", Severity::Warning)]);
    assert_eq!(read(6, 3), [("accept-queue-overflow", Severity::Error)]);
    // What was dropped long ago is no trouble now.
    assert_eq!(read(0, 3), []);
}

#[test]
fn connections_are_those_of_the_listener_that_they_came_to() {
    let mut host = Host::default();
    let listeners: [(&str, u16); 6] =
        [("10.0.0.1", 80), ("127.0.0.1", 80), ("0.0.0.0", 81), ("10.0.0.1", 81), ("::", 82), ("127.0.0.1", 83)];
    for (cookie, (ip, port)) in (100..).zip(listeners) {
        let mut listener = socket(LISTEN, cookie, port, 0);
        listener.socket.local.0 = ip.parse().expect("an address");
        listener.socket.send_queue = 128;
        host.sockets.push(listener);
    }
    // To 10.0.0.1, each port one more often than the one before; and one that was opened here, from a port that is listened
    // on elsewhere.
    host.sockets.extend((0..10_u16).map(|n| {
        let port = [80, 81, 81, 82, 82, 82, 83, 83, 83, 83][usize::from(n)];
        socket(if port == 83 { ESTAB } else { SYN_RECV }, n.into(), port, 5_000 + n)
    }));
    let mut mapped = socket(SYN_RECV, 50, 82, 6_000);
    mapped.socket.local.0 = "::ffff:10.0.0.1".parse().expect("an address");
    host.sockets.push(mapped);
    host.after(0);
    let of = |name: &str, ip: &str, port: u16| {
        let listener = Endpoint { ip: ip.parse().expect("an address"), port };
        let reading = host.readings.iter().find(|one| one.name == name && one.subject.listener == Some(listener));
        reading.map(|reading| reading.value.0 as u64)
    };
    let backlogs = listeners.map(|(ip, port)| of("syn_backlog", ip, port));
    assert_eq!(backlogs, [1, 0, 0, 2, 4, 0].map(Some));
    assert_eq!((of("sockets_of_listener", "10.0.0.1", 81), of("sockets_of_listener", "0.0.0.0", 81)), (Some(2), None));
    assert_eq!(of("sockets_of_listener", "127.0.0.1", 83), None);
    let led = host.readings.iter().filter(|reading| reading.name == "sockets_of_destination");
    assert_eq!(led.count(), 4, "those of port 83 were opened here");
}

#[test]
fn a_queue_that_was_full_for_a_while_is_told() {
    let queue = |waiting: u32, drops: u32, overflows: u32| {
        let mut host = Host { sockets: vec![socket(LISTEN, 1, 80, 0)], ..Host::default() };
        watched(&mut host, 9, |host, second| {
            let is_in_between = (1..=5).contains(&second);
            host.sockets[0].socket.recv_queue = if is_in_between { waiting } else { 0 };
            host.sockets[0].socket.send_queue = 5;
            host.sockets[0].drops = Some(if second < 3 { 0 } else { drops });
            let overflows = if second < 3 { 0 } else { overflows };
            host.text(
                Text::Netstat,
                &format!("TcpExt: ListenOverflows ListenDrops\nTcpExt: {overflows} {overflows}\n"),
            );
            // Whose it is turns out little by little.
            if second > 2 {
                host.process(42, 5, 1000, 1..2);
            }
        })
    };
    let found = queue(6, 0, 0);
    assert_eq!((found.len(), found[0].name, found[0].count), (1, "accept-queue-overflow", 1));
    let case = &found[0].cases[0];
    assert_eq!((case.finding.severity, case.about.netns), (Severity::Warning, Some(7)));
    assert!(case.finding.remedy.iter().any(|step| step.contains("strace -fp 42 ")), "{:?}", case.finding.remedy);
    assert!(case.finding.what.ends_with("5 may. That was so until 4 s before the end."), "{}", case.finding.what);
    assert_eq!(queue(5, 0, 0), [], "as many as may");
    let dropping = queue(6, 9, 9);
    assert_eq!((dropping.len(), dropping[0].count, dropping[0].severity), (1, 1, Severity::Error));
    // It was full between two sweeps.
    let unseen = queue(5, 9, 9);
    assert_eq!((unseen.len(), unseen[0].severity), (1, Severity::Error));
    assert_eq!(queue(5, 9, 0), [], "what it dropped was something else");
}

#[test]
fn cookies_memory_and_retransmissions_are_told_by_what_grows() {
    let mut host = Host { sockets: vec![socket(LISTEN, 1, 80, 0), socket(SYN_RECV, 2, 80, 5)], ..Host::default() };
    host.text(Text::TcpMem, "10 20 30");
    let read = |host: &mut Host, cookies, pages, again| {
        host.text(Text::Sockstat, &format!("TCP: inuse 3 orphan 0 tw 4 alloc 1 mem {pages}\n"));
        host.text(Text::Netstat, &format!("TcpExt: SyncookiesSent TCPAbortOnMemory\nTcpExt: {cookies} 0\n"));
        host.text(Text::Snmp, &format!("Tcp: OutSegs RetransSegs\nTcp: {} {again}\n", host.second * 100));
        host.after(10).names()
    };
    assert_eq!(read(&mut host, 5, 19, 0), []);
    assert_eq!(read(&mut host, 5, 19, 0), []);
    assert_eq!(read(&mut host, 6, 19, 0), [("syn-cookies", Severity::Warning)]);
    let mut host = Host { texts: host.texts.clone(), ..Host::default() };
    assert_eq!(read(&mut host, 6, 20, 0), [("memory-pressure", Severity::Warning)]);
    assert_eq!(read(&mut host, 6, 31, 0), [("memory-pressure", Severity::Error)]);
    assert_eq!(read(&mut host, 6, 5, 100), [("retransmission-rate", Severity::Warning)]);
    assert!(host.reading("retransmission_percent").value.0 > 3.0);
}

#[test]
fn what_cannot_be_read_gives_no_reading() {
    let (texts, processes, flows) = (Texts::default(), Processes::default(), Flows::default());
    let read = Read { sockets: None, texts: &texts, processes: &processes, flows: &flows, rules: &[] };
    assert_eq!(Board::default().sweep(Timestamp::default(), 1, read), []);
}

#[test]
fn tracked_connections_are_counted_by_state_and_source() {
    use crate::conntrack::tests::message;
    let mut host = Host::default();
    host.text(Text::ConntrackCount, "3\n");
    host.flows.new = Some(40);
    host.after(0);
    assert!(
        host.readings.iter().all(|reading| reading.name != "conntrack_new_flows"),
        "over no time, there is no rate"
    );
    host.flows.new = Some(15);
    let mut tracked = Tracked::default();
    let end = |last, port| ([10, 0, 0, last], port);
    for (protocol, source, status) in [(6, 1, 2), (6, 1, 2), (17, 1, 0), (17, 2, 2)] {
        let (own, other) = (end(source, 40_000), end(9, 53));
        let bytes = message(protocol, [own, other], [other, own], status);
        tracked.add(&crate::conntrack::Entry::parse(&bytes).expect("it is one"));
    }
    host.flows.tracked = Some(tracked);
    host.after(5);
    let of = |name: &str| host.readings.iter().filter(|reading| reading.name == name).collect::<Vec<_>>();
    let rate = of("conntrack_new_flows");
    assert_eq!((rate[0].value.0, rate[0].unit), (11.0, Unit::EntriesPerSecond));
    let states: Vec<_> = of("conntrack_of_state")
        .iter()
        .map(|reading| (reading.subject.tracked.map(|one| (one.protocol, one.state)), reading.value.0))
        .collect();
    let expected =
        [(Some(("tcp", "ESTABLISHED")), 2.0), (Some(("udp", "REPLIED")), 1.0), (Some(("udp", "UNREPLIED")), 1.0)];
    assert_eq!(states, expected);
    let sources: Vec<_> = of("conntrack_of_source").iter().map(|reading| reading.value.0).collect();
    assert_eq!(sources, [3.0, 1.0]);
    // Events that were lost are not none.
    host.flows.new = None;
    host.after(5);
    assert!(host.readings.iter().all(|reading| reading.name != "conntrack_new_flows"));
}

#[test]
fn rules_that_are_met_are_told() {
    let rule = |handle, verdict| {
        let (table, chain) = ("filter".to_string(), "input".to_string());
        FirewallRule { family: "inet", table, chain, handle, verdict }
    };
    let mut host = Host::default();
    let mut rules = |packets: [u64; 3]| {
        let verdicts = [(4, FirewallVerdict::Drop), (5, FirewallVerdict::Reject), (6, FirewallVerdict::Drop)];
        let of = |((handle, verdict), packets)| Counted { rule: rule(handle, verdict), packets };
        host.rules = verdicts.into_iter().zip(packets).map(of).collect();
        host.after(10);
        let met = host.readings.iter().filter(|reading| reading.name.starts_with("firewall_"));
        met.map(|met| (met.name, met.value.0, met.rate.map(|rate| rate.0))).collect::<Vec<_>>()
    };
    assert_eq!(rules([100, 0, 7]), [], "that was before");
    let met = [(FIREWALL_DROPPED, 120.0, Some(2.0)), (FIREWALL_REJECTED, 10.0, Some(1.0))];
    assert_eq!(rules([120, 10, 7]), met);
    assert_eq!(rules([120, 10, 7])[0].2, Some(1.0), "over all that was watched");
}
