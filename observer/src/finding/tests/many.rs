//! What shows in many connections and lookups, and what records say besides packets.

use std::net::IpAddr;

use super::super::{Context, Readings, Report, Thresholds, judge};
use super::stage::{Stage, http_get};
use crate::record::{
    Certificate, ConnectionRecord, DnsService, Endpoint, FindingRecord, GaugeRecord, IcmpRecord, Lookup, LookupRecord,
    Repeats, Severity, Side, Subject, TlsAlert, TlsRecord, Transport, Unit, Validity, Value,
};
use crate::time::{Nanos, Timestamp};

const START: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

fn millis(millis: u64) -> Timestamp {
    START.plus(Nanos::from_millis(millis))
}

fn host(last: u64) -> IpAddr {
    IpAddr::from([10, 0, (last >> 8) as u8, last as u8])
}

fn names(found: &[FindingRecord]) -> Vec<&'static str> {
    found.iter().map(|record| record.name).collect()
}

/// What two shards find, to which connections and lookups are dealt in turn.
fn report(records: Vec<ConnectionRecord>, lookups: Vec<LookupRecord>, until: Timestamp) -> Vec<FindingRecord> {
    let mut shards = [Report::default(), Report::default()];
    for (number, record) in records.iter().enumerate() {
        shards[number % 2].connection(record);
    }
    for (number, record) in lookups.iter().enumerate() {
        shards[number % 2].lookup(record);
    }
    let [mut one, other] = shards;
    one.merge(other);
    one.finish(&Context { thresholds: &Thresholds::default(), until, lost: false })
}

/// An attempt without an answer.
fn attempt(number: u64, at: Timestamp, client: IpAddr, server: Endpoint) -> ConnectionRecord {
    let mut stage = Stage::new();
    stage.syn();
    moved(stage.record(), number, at, client, server)
}

/// A whole exchange.
fn exchange(number: u64, at: Timestamp, client: IpAddr, server: Endpoint) -> ConnectionRecord {
    let mut stage = Stage::new();
    stage.open().exchange(200).close();
    moved(stage.record(), number, at, client, server)
}

fn moved(record: ConnectionRecord, id: u64, at: Timestamp, client: IpAddr, server: Endpoint) -> ConnectionRecord {
    let mut record = ConnectionRecord { id, first_seen: at, server, ..record };
    record.client.ip = client;
    record.handshake.syn = Some(at);
    record
}

#[test]
fn attempts_that_are_left_open_are_a_flood() {
    let server = Endpoint { ip: host(2), port: 80 };
    let flood = |count: u64| {
        (0..count).map(|number| attempt(number, millis(number * 5), host(1000 + number), server)).collect()
    };
    let found = report(flood(400), Vec::new(), millis(60_000));
    assert_eq!(names(&found), ["syn-flood"]);
    assert!(found[0].cases[0].finding.what.contains("400 SYNs in 2 s"), "{}", found[0].cases[0].finding.what);
    assert_eq!(names(&report(flood(40), Vec::new(), millis(60_000))), [""; 0], "forty are few");
    let mut busy: Vec<ConnectionRecord> = flood(100);
    busy.extend((0..100).map(|number| exchange(1000 + number, millis(number * 5), host(500 + number), server)));
    assert_eq!(names(&report(busy, Vec::new(), millis(60_000))), [""; 0], "half of them are answered");
}

#[test]
fn of_a_flood_at_this_host_it_is_said_whether_cookies_take_over() {
    let flooded = Endpoint { ip: host(2), port: 80 };
    let reading = |name, subject: Subject, value: f64, rate| GaugeRecord {
        at: millis(2_000),
        name,
        netns: Some(7),
        subject,
        value: Value(value),
        limit: None,
        unit: Unit::Events,
        rate: Some(Value(rate)),
        time_left_ns: None,
        ages: None,
        by_processor: None,
        source: "/proc",
    };
    let told = |listener: Endpoint, setting: f64, rate: f64| {
        let readings = [
            reading("syn_backlog", Subject { listener: Some(listener), ..Subject::default() }, 128.0, 0.0),
            reading("tcp_syncookies", Subject::default(), setting, 0.0),
            reading("syn_cookies_sent", Subject::default(), 671.0, rate),
        ];
        let thresholds = Thresholds::default();
        let context = Context { thresholds: &thresholds, until: millis(60_000), lost: false };
        let mut report = Report::default();
        (0..400)
            .for_each(|number| report.connection(&attempt(number, millis(number * 5), host(1000 + number), flooded)));
        report.gauges(Readings(&readings), &context);
        let found = report.finish(&context);
        let flood = found.iter().find(|record| record.name == "syn-flood").expect("it is one");
        let finding = &flood.cases[0].finding;
        let is_advised = finding.remedy.iter().any(|step| step.contains("tcp_syncookies=1"));
        (finding.what.clone(), is_advised, finding.evidence.len())
    };
    let (what, is_advised, evidence) = told(flooded, 1.0, 67.0);
    assert!(what.ends_with("Its kernel answers with SYN cookies (+67/s).") && !is_advised, "{what}");
    assert_eq!(evidence, 4);
    let any_address = Endpoint { ip: std::net::Ipv4Addr::UNSPECIFIED.into(), port: 80 };
    let (what, is_advised, _) = told(any_address, 0.0, 0.0);
    assert!(what.ends_with("SYN cookies are off (tcp_syncookies = 0).") && is_advised, "{what}");
    let (what, is_advised, _) = told(flooded, 1.0, 0.0);
    assert!(what.ends_with("No SYN cookie was needed so far.") && !is_advised, "{what}");
    // A flood at another host that passes by here: nothing is known of its kernel.
    let (what, is_advised, evidence) = told(Endpoint { ip: host(3), port: 80 }, 1.0, 67.0);
    assert!(!what.contains("cookie") && is_advised && evidence == 1, "{what}");
}

#[test]
fn options_that_one_namespace_saw_and_another_did_not() {
    let server = Endpoint { ip: host(2), port: 80 };
    let seen = |netns: u32, at: Timestamp, sack: bool| {
        let mut record = exchange(netns.into(), at, host(1), server);
        record.netns = Some(netns);
        record.handshake.offered.client.as_mut().expect("its SYN was seen").sack = sack;
        record
    };
    let found = |other: ConnectionRecord| report(vec![seen(1, millis(0), true), other], Vec::new(), millis(60_000));
    let stripped = found(seen(2, millis(1), false));
    assert_eq!(names(&stripped), ["middlebox-interference"]);
    let what = &stripped[0].cases[0].finding.what;
    assert_eq!(what, "Between network namespaces 1 and 2 the client's SYN lost SACK.");
    assert_eq!(names(&found(seen(2, millis(1), true))), [""; 0], "the same in both");
    assert_eq!(names(&found(seen(2, millis(5_000), false))), [""; 0], "the same ports, at another time");
    assert_eq!(names(&found(seen(1, millis(1), false))), [""; 0], "one after the other in one namespace");
    let mut again = seen(2, millis(1), false);
    again.handshake.syn_retransmissions = 1;
    assert_eq!(names(&found(again)), [""; 0], "a SYN that is sent again may leave it out");
}

#[test]
fn many_ports_in_vain_are_a_scan() {
    let tried = |ports: u16, used: u16| {
        let at = |port: u16| millis(u64::from(port) * 10);
        let failed = (1..=ports).map(|port| attempt(port.into(), at(port), host(1), Endpoint { ip: host(2), port }));
        let well = (1..=used).map(|port| {
            let server = Endpoint { ip: host(3), port };
            exchange(u64::from(port) + 1000, at(port), host(1), server)
        });
        names(&report(failed.chain(well).collect(), Vec::new(), millis(60_000)))
    };
    assert_eq!(tried(20, 0), ["port-scan"]);
    assert_eq!(tried(10, 0), [""; 0]);
    assert_eq!(tried(20, 20), [""; 0], "half of it was good for something");
}

#[test]
fn senders_that_time_out_together_are_an_incast() {
    let lose = |number: u64, at: Timestamp| {
        let mut stage = Stage::new();
        stage.open().after(1).send(Side::Client, ".", &[b'x'; 1000]).after(250).again(Side::Client, ".", 1000, 1000);
        let server = Endpoint { ip: host(2), port: 80 };
        let mut record = moved(stage.record(), number, at, host(100 + number), server);
        record.notable.iter_mut().for_each(|notable| notable.first = at);
        record
    };
    let together = (0..10).map(|number| lose(number, millis(number))).collect();
    assert!(names(&report(together, Vec::new(), millis(60_000))).contains(&"incast"));
    let apart = (0..10).map(|number| lose(number, millis(number * 1000))).collect();
    assert!(!names(&report(apart, Vec::new(), millis(60_000))).contains(&"incast"));
}

#[test]
fn a_connection_for_each_request_is_churn() {
    let server = Endpoint { ip: host(2), port: 80 };
    let churn = |count: u64, apart: u64| {
        let records = (0..count).map(|number| exchange(number, millis(number * apart), host(1), server)).collect();
        names(&report(records, Vec::new(), millis(600_000)))
    };
    assert_eq!(churn(30, 50), ["connection-churn"]);
    assert_eq!(churn(10, 50), [""; 0]);
    assert_eq!(churn(30, 5_000), [""; 0], "one in five seconds is no churn");
    assert_eq!(churn(30, 0), [""; 0], "none of them could have used another's connection");
    assert_eq!(churn(400, 1), ["connection-churn"], "a few at a time, again and again");
}

#[test]
fn handshakes_that_are_all_full() {
    let server = Endpoint { ip: host(2), port: 443 };
    let handshakes = |resumed: &[bool]| {
        let one = |(number, resumed): (usize, &bool)| {
            let mut record = exchange(number as u64, millis(number as u64 * 10_000), host(1), server);
            record.tls =
                Some(Box::new(TlsRecord { established: true, resumed: Some(*resumed), ..TlsRecord::default() }));
            record
        };
        names(&report(resumed.iter().enumerate().map(one).collect(), Vec::new(), millis(600_000)))
    };
    assert_eq!(handshakes(&[false; 6]), ["no-resumption"]);
    assert_eq!(handshakes(&[false, false, false, false, false, true]), [""; 0]);
    assert_eq!(handshakes(&[false; 3]), [""; 0]);
}

fn lookup(number: u64, at: Timestamp, name: &str, code: Option<&str>, latency: u64) -> LookupRecord {
    LookupRecord {
        id: number,
        client: Endpoint { ip: host(1), port: 40_000 },
        server: Endpoint { ip: host(53), port: 53 },
        transport: Transport::Udp,
        netns: None,
        lookup: Lookup {
            at,
            service: DnsService::Dns,
            name: name.to_string(),
            kind: "A".to_string(),
            code: code.map(str::to_string),
            latency_ns: code.map(|_| Nanos::from_millis(latency)),
            queries: 1,
            ..Lookup::default()
        },
    }
}

#[test]
fn names_that_nobody_knows() {
    let found = |lookups, records| report(records, lookups, millis(60_000));
    let asked = |code| vec![lookup(1, millis(0), "db.lab", code, 5)];
    let silent = found(asked(None), Vec::new());
    assert_eq!(names(&silent), ["dns-failure", "name-or-network"]);
    assert_eq!(silent[0].severity, Severity::Error);
    assert_eq!(found(asked(Some("SERVFAIL")), Vec::new())[0].severity, Severity::Error);
    assert_eq!(found(asked(Some("NXDOMAIN")), Vec::new())[0].severity, Severity::Info);
    assert_eq!(names(&found(asked(Some("NOERROR")), Vec::new())), [""; 0]);
    let mut second = asked(Some("SERVFAIL"));
    second.push(lookup(2, millis(20), "db.lab", Some("NOERROR"), 5));
    assert_eq!(names(&found(second, Vec::new())), [""; 0], "the second resolver knew");
    let searched = |other: &str| {
        let mut lookups = asked(Some("NXDOMAIN"));
        lookups.push(lookup(2, millis(20), other, Some("NOERROR"), 5));
        names(&found(lookups, Vec::new()))
    };
    assert_eq!(searched("db"), [""; 0], "a domain of the search list was added in vain");
    assert_eq!(searched("db.lab.office.lab"), [""; 0], "or helped");
    assert_eq!(searched("db.labyrinth"), ["dns-failure", "name-or-network"], "that is another name");
    let tried = vec![exchange(9, millis(2_000), host(1), Endpoint { ip: host(2), port: 80 })];
    assert_eq!(names(&found(asked(None), tried)), ["dns-failure"], "it went on by another way");
    let mut multicast = asked(None);
    multicast[0].lookup.service = DnsService::Mdns;
    assert_eq!(names(&found(multicast, Vec::new())), [""; 0], "there, silence is an answer");
    let soon = report(Vec::new(), asked(None), millis(1_000));
    assert_eq!(names(&soon), [""; 0], "the answer may still come");
}

#[test]
fn a_resolver_that_takes_its_time() {
    let answered =
        |latency| report(Vec::new(), vec![lookup(1, millis(0), "db.lab", Some("NOERROR"), latency)], millis(60_000));
    assert_eq!(names(&answered(700)), ["slow-dns"]);
    assert_eq!(names(&answered(300)), [""; 0]);
    // The second one answers at once, but was asked a second after the first.
    let mut second = lookup(2, millis(1_000), "db.lab", Some("NOERROR"), 1);
    let repeats = Repeats {
        after: 1,
        since: millis(0),
        server: host(54),
        queries: 2,
        waited_ns: Some(Nanos::from_millis(1_001)),
    };
    second.lookup.repeats = Some(Box::new(repeats));
    let found = report(Vec::new(), vec![lookup(1, millis(0), "db.lab", None, 0), second], millis(60_000));
    assert_eq!(names(&found), ["slow-dns"]);
    let what = &found[0].cases[0].finding.what;
    assert!(what.contains("10.0.0.54 did not answer in time, and 10.0.0.53 did"), "{what}");
}

#[test]
fn names_from_the_wire_stay_out_of_commands() {
    let remedy = |name: &str| {
        let found = report(Vec::new(), vec![lookup(1, millis(0), name, Some("NOERROR"), 700)], millis(60_000));
        found[0].cases[0].finding.remedy[0].clone()
    };
    assert!(remedy("db.lab").contains("dig @10.0.0.53 db.lab"), "{}", remedy("db.lab"));
    for hostile in ["x;reboot", "$(reboot)", "`reboot`", "-f", "a|b", "a\nb"] {
        assert!(remedy(hostile).contains("dig @10.0.0.53 NAME"), "{}", remedy(hostile));
    }
}

/// What is found of a connection in which TLS was spoken so.
fn over_tls(tls: TlsRecord) -> Vec<&'static str> {
    let mut record = exchange(1, millis(0), host(1), Endpoint { ip: host(2), port: 443 });
    record.tls = Some(Box::new(tls));
    let thresholds = Thresholds::default();
    let context = Context { thresholds: &thresholds, until: record.last_seen, lost: false };
    judge(&record, &context).iter().map(|finding| finding.name).collect()
}

#[test]
fn certificates_that_are_no_good() {
    let with = |validity, matches_name| {
        let certificate = Certificate { validity, matches_name, not_after: 1_600_000_000, ..Certificate::default() };
        over_tls(TlsRecord { certificates: vec![certificate], ..TlsRecord::default() })
    };
    assert_eq!(with(Validity::Expired, Some(true)), ["certificate-expired"]);
    assert_eq!(with(Validity::NotYetValid, None), ["certificate-not-yet-valid"]);
    assert_eq!(with(Validity::Valid, Some(false)), ["certificate-other-name"]);
    assert_eq!(with(Validity::Valid, Some(true)), [""; 0]);
    assert_eq!(with(Validity::Valid, None), [""; 0]);
}

#[test]
fn tls_that_fails_or_should_not_be_spoken() {
    let alert = |fatal, description: &str| {
        let alert = TlsAlert { at: millis(5), from: Side::Server, fatal, description: description.to_string() };
        over_tls(TlsRecord { alerts: vec![alert], ..TlsRecord::default() })
    };
    assert_eq!(alert(true, "handshake_failure"), ["tls-alert"]);
    assert_eq!(alert(false, "close_notify"), [""; 0]);
    let chosen = |version: &str, cipher: &str| {
        let (version, cipher) = (Some(version.to_string()), Some(cipher.to_string()));
        over_tls(TlsRecord { version, cipher, ..TlsRecord::default() })
    };
    assert_eq!(chosen("TLS 1.0", "TLS_RSA_WITH_AES_128_CBC_SHA"), ["outdated-tls"]);
    assert_eq!(chosen("TLS 1.2", "TLS_RSA_WITH_RC4_128_SHA"), ["outdated-tls"]);
    assert_eq!(chosen("TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), [""; 0]);
    assert_eq!(chosen("TLS 1.3", "TLS_AES_128_GCM_SHA256"), [""; 0]);
}

#[test]
fn an_icmp_error_ends_an_attempt() {
    let said = |icmp_type, icmp_code, mtu, open: bool, by_client: bool| {
        let mut stage = Stage::new();
        if open {
            stage.open().send(Side::Client, "P.", &http_get("/"));
        } else {
            stage.syn();
        }
        let mut record = stage.record();
        let (at, from) = (record.last_seen, if by_client { record.client.ip } else { host(254) });
        record.icmp.push(IcmpRecord {
            at,
            frame: 9,
            from,
            to: Side::Client,
            icmp_type,
            icmp_code,
            name: "an error",
            mtu,
        });
        let thresholds = Thresholds::default();
        let context = Context { thresholds: &thresholds, until: at.plus(Nanos::from_secs(30)), lost: false };
        judge(&record, &context)
    };
    let quoted = |icmp_type, icmp_code, mtu, open: bool| {
        said(icmp_type, icmp_code, mtu, open, false).iter().map(|finding| finding.name).collect::<Vec<_>>()
    };
    let whose = |icmp_code, by_client| said(3, icmp_code, None, false, by_client).remove(0).what;
    assert!(whose(1, false).contains("(on the way) answered the SYN"), "{}", whose(1, false));
    assert!(whose(13, true).contains("(the client itself) answered the SYN"), "{}", whose(13, true));
    assert!(whose(1, true).starts_with("Nobody on the client's own network answers"), "{}", whose(1, true));
    assert_eq!(quoted(3, 13, None, false), ["rejected-by-icmp"]);
    assert_eq!(quoted(3, 4, Some(1400), false), [""; 0], "that is the MTU");
    assert_eq!(quoted(3, 13, None, true), [""; 0], "it was open already");
}
