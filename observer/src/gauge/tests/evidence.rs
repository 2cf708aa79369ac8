//! What gauges show beside findings about connections.

use super::*;

#[test]
fn drops_beside_a_syn_without_an_answer_are_its_evidence() {
    let evidence = |drops: [u64; 2]| {
        let mut host = Host::default();
        for count in drops {
            host.text(Text::Netstat, &format!("TcpExt: ListenDrops ListenOverflows\nTcpExt: {count} 7\n"));
            host.after(5);
        }
        let thresholds = Thresholds::default();
        let context = Context { thresholds: &thresholds, until: Timestamp::default(), lost: false };
        let mut report = Report::default();
        report.connection(&crate::finding::tests::unanswered());
        report.gauges(crate::finding::Readings(&host.readings), &context);
        let found = report.finish(&context);
        assert_eq!(found.iter().map(|record| record.name).collect::<Vec<_>>(), ["unanswered-syn"]);
        let evidence = &found[0].cases[0].finding.evidence;
        evidence
            .iter()
            .filter(|piece| piece.what.starts_with("listen"))
            .map(|piece| piece.what.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(evidence([5, 20]), ["listen_drops: 20 times, +3/s (netns 7)"]);
    assert_eq!(evidence([20, 20]), [""; 0], "those were before");
}

#[test]
fn a_full_queue_stands_before_the_attempts_that_it_leaves_unanswered() {
    let mut host = Host { sockets: vec![socket(LISTEN, 1, 80, 0)], ..Host::default() };
    host.sockets[0].socket.recv_queue = 6;
    host.sockets[0].socket.send_queue = 5;
    host.sockets[0].drops = Some(0);
    host.after(0);
    host.sockets[0].drops = Some(9);
    host.after(1);
    let full = host.found();
    assert_eq!((full[0].name, full[0].severity), ("accept-queue-overflow", Severity::Error));
    let mut attempt = full[0].cases[0].clone();
    attempt.about = About { connection: Some(1), ..About::default() };
    attempt.finding.name = "unanswered-syn";
    let thresholds = Thresholds::default();
    let context = Context { thresholds: &thresholds, until: Timestamp::default(), lost: false };
    let mut report = Report::default();
    report.add(attempt);
    report.gauges(crate::finding::Readings(&host.readings), &context);
    let names: Vec<_> = report.finish(&context).into_iter().map(|record| record.name).collect();
    assert_eq!(names, ["accept-queue-overflow", "unanswered-syn"]);
}

#[test]
fn what_another_namespace_counts_is_no_evidence_of_what_stays_on_a_host() {
    let mut host = Host { sockets: vec![socket(LISTEN, 1, 80, 0)], ..Host::default() };
    host.sockets[0].socket.recv_queue = 6;
    host.sockets[0].socket.send_queue = 5;
    host.sockets[0].drops = Some(9);
    let (table, chain) = ("filter".to_string(), "input".to_string());
    let rule = FirewallRule { family: "inet", table, chain, handle: 4, verdict: FirewallVerdict::Drop };
    for second in 0..2 {
        host.rules = vec![Counted { rule: rule.clone(), packets: second }];
        host.after(second);
    }
    let counter = host.readings.iter().find(|reading| reading.name == FIREWALL_DROPPED).expect("it was met");
    let netns = counter.netns.expect("it is a namespace's");
    let case = host.found()[0].cases[0].clone();
    let thresholds = Thresholds::default();
    let context = Context { thresholds: &thresholds, until: Timestamp::default(), lost: false };
    let is_evidence = |client: [u8; 4], server: [u8; 4], netns| {
        let end = |ip: [u8; 4], port| Some(Endpoint { ip: ip.into(), port });
        let mut attempt = case.clone();
        let (client, server) = (end(client, 40_000), end(server, 80));
        attempt.about = About { connection: Some(1), client, server, netns, ..About::default() };
        attempt.finding.name = "unanswered-syn";
        let mut report = Report::default();
        report.add(attempt);
        report.gauges(crate::finding::Readings(&host.readings), &context);
        let records = report.finish(&context);
        let unanswered = records.iter().find(|record| record.name == "unanswered-syn").expect("it was added");
        unanswered.cases[0].finding.evidence.iter().any(|evidence| evidence.what.contains(FIREWALL_DROPPED))
    };
    let local = [127, 0, 0, 1];
    assert!(is_evidence(local, local, Some(netns)));
    assert!(!is_evidence(local, local, Some(netns + 1)));
    assert!(!is_evidence([10, 0, 0, 1], [10, 0, 0, 1], Some(netns + 1)));
    assert!(is_evidence([10, 0, 0, 1], [10, 0, 0, 2], Some(netns + 1)), "another namespace may be on the way");
    assert!(is_evidence(local, local, None), "nobody knows which");
}
