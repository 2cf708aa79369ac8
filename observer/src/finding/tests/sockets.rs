//! What the sockets of this host show of a connection of which not every packet is seen.

use super::super::{Context, Report, Thresholds, judge};
use super::stage::{Stage, http_get, http_ok};
use crate::input::Input;
use crate::kernel::{KernelEvent, SocketInput};
use crate::record::Side::{Client, Server};
use crate::record::{
    Confidence, ConnState, ConnectionRecord, DropRecord, EntryKind, Finding, KernelSocket, Severity, Source, TcpInfo,
    TcpState,
};
use crate::time::{Nanos, Timestamp};
use crate::tracker::{Config, Event, Tracker};

const START: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

/// The client's socket of a connection that was there before.
fn socket(state: TcpState, info: TcpInfo) -> SocketInput {
    SocketInput { existed: true, info: Some(info), ..SocketInput::client(state, START) }
}

fn event(kind: EntryKind, from: TcpState, to: TcpState) -> KernelEvent {
    let source = if kind == EntryKind::State { Source::State } else { Source::Retransmit };
    KernelEvent { at: START, kind, states: (from, to), detail: None, source }
}

fn record(input: &SocketInput) -> ConnectionRecord {
    let mut tracker = Tracker::new(Config { sampled: true, ..Config::default() });
    tracker.handle(Input::Socket(input));
    tracker.finish();
    match tracker.poll() {
        Some(Event::Connection(record)) => *record,
        other => panic!("one connection, not {other:?}"),
    }
}

/// What is found when it was watched for so many seconds.
fn found(record: &ConnectionRecord, seconds: u64) -> Vec<Finding> {
    let until = START.plus(Nanos::from_secs(seconds));
    judge(record, &Context { thresholds: &Thresholds::default(), until, lost: false })
}

fn names(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(|finding| finding.name).collect()
}

/// A socket that sent so many segments with payload, of which its kernel took some for lost.
fn lossy(lost: u32, sent: u32, bytes_again: u64) -> TcpInfo {
    TcpInfo {
        lost: Some(lost),
        data_segs_out: Some(sent),
        bytes_retrans: Some(bytes_again),
        bytes_sent: Some(u64::from(sent) * 1000),
        ..TcpInfo::default()
    }
}

#[test]
fn what_its_socket_took_for_lost_is_packet_loss() {
    let estab = |info| names(&found(&record(&socket(TcpState::Estab, info)), 10));
    let loss = found(&record(&socket(TcpState::Estab, lossy(5, 100, 5000))), 10);
    assert_eq!(names(&loss), ["packet-loss"]);
    assert!(loss[0].what.contains("5 of its 100 segments for lost"), "{}", loss[0].what);
    assert_eq!(estab(lossy(2, 100, 2000)), [""; 0], "two may be");
    assert_eq!(estab(lossy(5, 1000, 5000)), [""; 0], "one in two hundred may be");
    assert_eq!(estab(lossy(5, 0, 0)), [""; 0], "it has sent no payload");
    assert_eq!(estab(lossy(5, 100, 0)), [""; 0], "what it sent again had no payload");
}

#[test]
fn what_had_arrived_or_was_only_late_is_no_loss() {
    let needless = TcpInfo { total_retrans: Some(30), dsack_dups: Some(29), ..lossy(45, 1000, 30_000) };
    let found_of = |info| found(&record(&socket(TcpState::Estab, info)), 10);
    let spurious = found_of(needless);
    assert_eq!(names(&spurious), ["spurious-retransmission"]);
    assert!(
        spurious[0].what.contains("29 of its 1,000 segments again (2.9 %) that had arrived"),
        "{}",
        spurious[0].what
    );
    let both = found_of(TcpInfo { dsack_dups: Some(15), ..needless });
    assert_eq!(names(&both), ["packet-loss", "spurious-retransmission"]);
    assert!(both[0].what.contains("15 of its 1,000 segments for lost"), "{}", both[0].what);
    let late = TcpInfo { total_retrans: Some(2), dsack_dups: Some(0), ..lossy(45, 1000, 2000) };
    assert_eq!(names(&found_of(late)), [""; 0], "what was acknowledged without being sent again was not lost");
    let doubled = TcpInfo { total_retrans: Some(0), dsack_dups: Some(40), ..lossy(0, 1000, 0) };
    assert_eq!(names(&found_of(doubled)), [""; 0], "the network doubled them");
}

#[test]
fn a_fin_that_is_sent_again_is_no_loss_of_segments() {
    for state in [TcpState::FinWait1, TcpState::Closing, TcpState::LastAck] {
        let found = found(&record(&socket(state, lossy(6, 8, 2000))), 1);
        assert!(!names(&found).contains(&"packet-loss"), "{state:?}: the other end is gone");
    }
    let after = found(&record(&socket(TcpState::FinWait2, lossy(6, 8, 2000))), 1);
    assert_eq!(names(&after), ["packet-loss"], "the other end has acknowledged all");
}

#[test]
fn syns_that_are_sent_again_are_no_loss_of_segments() {
    let mut connected = record(&socket(TcpState::Estab, lossy(6, 100, 2000)));
    assert_eq!(names(&found(&connected, 10)), ["packet-loss"]);
    connected.handshake.syn_retransmissions = 4;
    assert_eq!(names(&found(&connected, 10)), [""; 0], "two of them had payload");
}

/// A socket whose full segments are sent again and again.
fn hanging() -> TcpInfo {
    TcpInfo {
        mss: Some(1448),
        total_retrans: Some(4),
        bytes_retrans: Some(4 * 1448),
        bytes_acked: Some(300),
        snd_wnd: Some(64_000),
        ..TcpInfo::default()
    }
}

#[test]
fn full_segments_that_are_never_acknowledged_are_a_black_hole() {
    let found_of = |info| found(&record(&socket(TcpState::Estab, info)), 10);
    let hole = found_of(hanging());
    assert_eq!(names(&hole), ["mtu-black-hole"]);
    assert!(hole[0].what.contains("of 1.45 kB were sent again 4 times"), "{}", hole[0].what);
    assert_eq!(hole[0].confidence, Confidence::Medium, "the other end may be gone");
    let mut heard = record(&socket(TcpState::Estab, hanging()));
    let there = |bytes_again| {
        let info = TcpInfo { bytes_retrans: Some(bytes_again), ..TcpInfo::default() };
        record(&socket(TcpState::Estab, info)).kernel.and_then(|kernel| kernel.client.clone())
    };
    heard.kernel.as_mut().expect("a socket was seen").server = there(0);
    let hole = found(&heard, 10);
    assert_eq!((names(&hole), hole[0].confidence), (vec!["mtu-black-hole"], Confidence::High));
    heard.kernel.as_mut().expect("a socket was seen").server = there(100);
    assert_eq!(names(&found(&heard, 10)), [""; 0], "nothing passes");
    let near = [
        (TcpInfo { total_retrans: Some(2), bytes_retrans: Some(2 * 1448), ..hanging() }, "twice may be"),
        (TcpInfo { bytes_retrans: Some(4 * 300), ..hanging() }, "small ones"),
        (TcpInfo { bytes_acked: Some(20_000), ..hanging() }, "as large a one may have passed"),
        (TcpInfo { snd_wnd: Some(0), ..hanging() }, "the window is closed"),
        (TcpInfo { bytes_retrans: Some(0), ..hanging() }, "nothing but SYNs and FINs"),
    ];
    for (info, why) in near {
        assert_eq!(names(&found_of(info)), [""; 0], "{why}");
    }
}

/// The client's connection, of which this host dropped so many of the server's packets for that reason.
fn dropped(reason: &str, count: u64) -> ConnectionRecord {
    let mut record = record(&socket(TcpState::Estab, TcpInfo::default()));
    let drop = DropRecord { from: Server, reason: Some(reason.to_string()), count, first: START, last: START };
    record.drops.push(drop);
    record
}

#[test]
fn what_tcp_itself_drops_is_no_drop_by_the_host() {
    let found_of = |reason, count| found(&dropped(reason, count), 10);
    for (reason, who) in [
        ("NETFILTER_DROP", "This host's firewall dropped 3 packets of the server"),
        ("QDISC_DROP", "no room"),
        ("TCP_MD5FAILURE", "MD5 signatures dropped"),
    ] {
        let found = found_of(reason, 3);
        assert_eq!(names(&found), ["dropped-by-host"]);
        assert!(found[0].what.contains(who), "{}", found[0].what);
        assert_eq!(names(&found_of(reason, 2)), [""; 0], "two may be");
    }
    assert_eq!(found_of("NETFILTER_DROP", 3)[0].severity, Severity::Error);
    assert_eq!(found_of("TCP_CSUM", 3)[0].severity, Severity::Warning);
    for reason in ["TCP_OLD_DATA", "TCP_ZEROWINDOW", "NO_SOCKET", "TCP_INVALID_SEQUENCE"] {
        assert_eq!(names(&found_of(reason, 9)), [""; 0], "{reason}");
    }
    let mut in_order = dropped("NETFILTER_DROP", 3);
    in_order.conn_state = ConnState::SF;
    assert_eq!(found(&in_order, 10)[0].severity, Severity::Warning);
    let mut syns = dropped("NETFILTER_DROP", 3);
    syns.drops[0].from = Client;
    syns.kernel.as_mut().and_then(|kernel| kernel.client.as_mut()).expect("it has a socket").state = TcpState::SynSent;
    assert!(!names(&found(&syns, 10)).contains(&"dropped-by-host"), "that is unanswered-syn");
}

#[test]
fn a_window_that_is_still_closed_when_asked_was_closed_in_between() {
    let closed = |acks: &[(u64, u32)]| {
        let mut stage = Stage::sampled();
        stage.open().send(Client, "P.", &[b'x'; 1000]);
        stage.window[1] = 0;
        for (millis, ack) in acks {
            stage.after(*millis).send_ack(Server, *ack);
        }
        stage.finish_after(5_000)
    };
    let found = closed(&[(1, 0), (200, 0), (400, 0)]);
    assert_eq!(names(&found), ["zero-window"]);
    assert!(found[0].what.contains("at least 600 ms"), "{}", found[0].what);
    assert_eq!(names(&closed(&[(1, 0), (900, 500)])), [""; 0], "it has taken something in between");
    assert_eq!(names(&closed(&[(1, 0)])), [""; 0], "it may have opened at once");
}

#[test]
fn what_was_not_seen_of_an_exchange_is_not_made_up() {
    let body = 30_000;
    let mut stage = Stage::sampled();
    stage.open().send(Client, "P.", &http_get("/one")).after(5).send(Server, ".", &http_ok(body)[..1000]);
    stage.skip(Server, http_ok(body).len() as u32 - 1000).after(9);
    stage.send(Client, "P.", &http_get("/two")).after(2_000).skip(Server, 500).send(Client, "F.", b"");
    let record = stage.record();
    let http = record.http.as_deref().expect("it is HTTP");
    assert_eq!((http.requests, http.responses, http.pipelined), (2, 1, 0));
    let exchanges = record.exchanges.as_deref().map(|all| &all.entries).expect("there are two");
    let [one, two] = &exchanges[..] else { panic!("two, not {exchanges:?}") };
    assert_eq!((one.complete, one.unseen, one.response_bytes), (true, false, body as u64), "the next was asked for");
    assert_eq!(one.response_end, None, "nobody saw when");
    assert_eq!((two.complete, two.unseen, two.status), (false, true, None));
    assert_eq!(record.split, None, "whom it waited for is not known");
    // Of an upload it is not known when its end was sent, and so not for how long the server thought.
    let mut stage = Stage::sampled();
    let head = b"POST /up HTTP/1.1\r\nHost: here\r\nContent-Length: 20000\r\n\r\n";
    stage.open().send(Client, "P.", head).skip(Client, 20_000).after(2_000).send(Server, "P.", &http_ok(2));
    let record = stage.record();
    let exchange = &record.exchanges.as_deref().expect("there is one").entries[0];
    assert_eq!((exchange.request_end, exchange.request_bytes, exchange.complete), (None, 20_000, true));
    assert_eq!(record.split, None);
}

#[test]
fn a_connection_between_two_namespaces_counts_once() {
    let seen_in = |netns| {
        let mut record = dropped("NETFILTER_DROP", 3);
        record.netns = Some(netns);
        record.findings = found(&record, 10);
        record
    };
    let count = |records: &[ConnectionRecord]| {
        let mut report = Report::default();
        records.iter().for_each(|record| report.connection(record));
        let context = Context { thresholds: &Thresholds::default(), until: START, lost: false };
        report.finish(&context).iter().map(|found| (found.name, found.count)).collect::<Vec<_>>()
    };
    assert_eq!(count(&[seen_in(1), seen_in(2)]), [("dropped-by-host", 1)]);
    assert_eq!(count(&[seen_in(1), seen_in(1)]), [("dropped-by-host", 2)], "ports are used again");
    let mut later = seen_in(2);
    later.first_seen = START.plus(Nanos::from_secs(9));
    assert_eq!(count(&[seen_in(1), later]), [("dropped-by-host", 2)]);
}

#[test]
fn data_of_which_nothing_ever_arrives_is_lost_though_the_client_gives_up() {
    let lost = |acked| {
        let info = TcpInfo { total_retrans: Some(6), bytes_acked: Some(acked), ..lossy(6, 7, 468) };
        names(&found(&record(&socket(TcpState::FinWait1, info)), 1))
    };
    assert!(lost(1).contains(&"packet-loss"));
    assert!(!lost(79).contains(&"packet-loss"), "its FIN alone is not acknowledged");
}

#[test]
fn who_drops_a_syn_or_its_answer_is_told_by_where_it_is_seen() {
    let attempt = |from, here: bool, segments| {
        let info = TcpInfo { segs_out: Some(segments), ..TcpInfo::default() };
        let mut seen = record(&SocketInput { existed: false, ..socket(TcpState::SynSent, info) });
        if !here {
            seen.kernel = None;
        }
        let drop = DropRecord { from, reason: Some("NETFILTER_DROP".to_string()), count: 3, first: START, last: START };
        seen.drops.push(drop);
        seen.handshake.syn = Some(START);
        found(&seen, 10)
    };
    let own = attempt(Client, true, 3);
    assert_eq!(names(&own), ["unanswered-syn"]);
    assert!(own[0].what.contains("did not answer 3 SYNs"), "{}", own[0].what);
    let answered = attempt(Server, true, 3);
    assert!(answered[0].what.contains("firewall dropped the answers (NETFILTER_DROP)"), "{}", answered[0].what);
    assert_eq!(names(&attempt(Client, false, 1)), [""; 0], "a client that does not ask again was rejected");
}

/// A client whose kernel sent a RST for that reason, after a request of 100 octets and so many of its answer.
fn reset_for(reason: &str, answer: u64, acked: u64) -> ConnectionRecord {
    let info = TcpInfo {
        bytes_sent: Some(100),
        bytes_retrans: Some(0),
        bytes_acked: Some(acked),
        bytes_received: Some(answer),
        ..TcpInfo::default()
    };
    let reset = KernelEvent {
        detail: Some(reason.to_string()),
        ..event(EntryKind::ResetSent, TcpState::Estab, TcpState::Estab)
    };
    record(&SocketInput { gone: true, events: vec![reset], ..socket(TcpState::Closed, info) })
}

#[test]
fn a_close_with_data_unread_and_one_without_lingering_are_told_apart() {
    for (reason, why) in [("TCP_ABORT_ON_CLOSE", "with data unread"), ("TCP_STATE", "with SO_LINGER 0")] {
        let found = found(&reset_for(reason, 500, 101), 10);
        assert_eq!(names(&found), ["abortive-close"], "{reason}");
        assert!(found[0].what.contains(why) && found[0].what.contains(reason), "{}", found[0].what);
    }
    let none = |reason, answer, acked| names(&found(&reset_for(reason, answer, acked), 10));
    assert_eq!(none("TCP_TIMEOUT", 500, 101), [""; 0], "no program closed it");
    assert_eq!(none("TCP_ABORT_ON_CLOSE", 0, 101), [""; 0], "a request without its answer is no end");
    assert_eq!(none("TCP_STATE", 500, 51), [""; 0], "half of the request was on its way");
}

/// A client's socket in that state, whose FIN was seen as it left, and which the other end has or has not closed.
fn closing(state: TcpState) -> ConnectionRecord {
    let mut record = record(&SocketInput { existed: false, ..socket(state, TcpInfo::default()) });
    record.close.fin.client = Some(START);
    record
}

#[test]
fn a_socket_that_waits_for_the_others_fin() {
    let waits = found(&closing(TcpState::FinWait2), 61);
    assert_eq!(names(&waits), ["stuck-closing"]);
    assert!(waits[0].what.contains("FIN-WAIT-2 for 1 min 1 s"), "{}", waits[0].what);
    assert_eq!(names(&found(&closing(TcpState::FinWait2), 30)), [""; 0], "the other end may still have to send");
    let mut both = closing(TcpState::FinWait2);
    let there = both.kernel.as_ref().and_then(|kernel| kernel.client.clone()).expect("it has a socket");
    both.kernel.as_mut().expect("as above").server = Some(KernelSocket { state: TcpState::CloseWait, ..there });
    assert!(!names(&found(&both, 61)).contains(&"stuck-closing"), "that is the other end's: close-wait");
}

#[test]
fn a_socket_that_waits_for_the_ack_of_its_fin() {
    for state in [TcpState::FinWait1, TcpState::Closing, TcpState::LastAck] {
        let stuck = found(&closing(state), 11);
        assert_eq!(names(&stuck), ["stuck-closing"]);
        assert!(stuck[0].what.contains(state.name()), "{}", stuck[0].what);
        assert_eq!(names(&found(&closing(state), 2)), [""; 0], "{state:?}: it may still come");
    }
}

#[test]
fn a_reset_after_a_fin_is_not_in_mid_stream() {
    // The server's program was told of a RST.
    let found = |stage: Stage| {
        let mut kernel = record(&socket(TcpState::Closed, TcpInfo::default())).kernel.expect("a socket was seen");
        kernel.server = kernel.client.take().map(|socket| KernelSocket { error: Some("EPIPE".into()), ..socket });
        let seen = stage.record();
        names(&found(&ConnectionRecord { packets: None, conn_state: ConnState::RSTO, kernel: Some(kernel), ..seen }, 1))
    };
    let mut stage = Stage::new();
    stage.open().send(Client, "P.", b"bye").send(Client, "R.", b"");
    assert_eq!(found(stage), ["reset-mid-stream"]);
    let mut stage = Stage::new();
    stage.open().send(Client, "P.", b"bye").send(Client, "F.", b"").send(Server, "P.", b"wait").send(Client, "R", b"");
    assert_eq!(found(stage), [""; 0], "it had closed before");
}
