//! Every finding on an exchange that shows it, and on one that almost does.

mod many;
mod sockets;
mod stage;
mod transfer;

use stage::{Stage, http_get, http_ok};

use crate::record::{Confidence, Doubt, Severity, Side};
use crate::time::Nanos;
use Side::{Client, Server};

#[test]
fn a_rst_to_the_syn_is_refused_and_no_timeout() {
    let mut stage = Stage::new();
    stage.syn().after(10).send(Server, "R.", b"");
    let found = stage.finish_after(30_000);
    assert_eq!(names(&found), ["refused"]);
    assert_eq!(found[0].evidence.iter().map(|piece| piece.frame).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert!(found[0].remedy[0].contains("sport = :80"), "{:?}", found[0].remedy);
    let mut stage = Stage::new();
    stage.syn().after(1_000).again(Client, "S", 1, 0);
    assert_eq!(names(&stage.finish_after(3_000)), ["unanswered-syn"]);
}

#[test]
fn a_syn_has_a_second_to_be_answered() {
    let mut stage = Stage::new();
    stage.syn();
    assert_eq!(names(&stage.finish_after(900)), [""; 0], "the input ends too soon");
    let mut stage = Stage::new();
    stage.syn();
    let found = stage.finish_after(1_100);
    assert_eq!(names(&found), ["unanswered-syn"]);
    assert_eq!(found[0].confidence, Confidence::Medium, "it was not sent again");
    let mut stage = Stage::new();
    stage.syn().after(20).send(Client, "R", b"");
    assert_eq!(names(&stage.finish_after(5_000)), [""; 0], "who takes it back did not wait");
}

#[test]
fn a_second_syn_has_its_time_to_be_answered_too() {
    let asked_again = |millis| {
        let mut stage = Stage::new();
        stage.syn().after(1_000).again(Client, "S", 1, 0);
        let found = stage.finish_after(millis);
        assert_eq!((names(&found), found[0].severity), (vec!["unanswered-syn"], Severity::Error));
        (found[0].confidence, found[0].doubts.clone())
    };
    assert_eq!(asked_again(1_400), (Confidence::Medium, vec![Doubt::InputEnds]), "a third would come after 2 s");
    assert_eq!(asked_again(2_100), (Confidence::High, vec![]), "it did not");
    let mut stage = Stage::new();
    stage.syn().after(1_000).again(Client, "S", 1, 0).after(2_000).again(Client, "S", 1, 0);
    assert_eq!(stage.finish_after(500)[0].confidence, Confidence::High, "three are no chance");
}

#[test]
fn what_was_lost_makes_it_less_sure() {
    let mut stage = Stage::new();
    stage.syn().after(1_000).again(Client, "S", 1, 0);
    stage.lost = true;
    let found = stage.finish_after(3_000);
    assert_eq!((found[0].confidence, found[0].doubts.as_slice()), (Confidence::Medium, &[Doubt::Lost][..]));
}

#[test]
fn a_handshake_that_is_not_completed_is_half_open() {
    let mut stage = Stage::new();
    stage.syn().after(10).send(Server, "S.", b"").after(1_000).again(Server, "S.", 1, 0);
    assert_eq!(names(&stage.finish_after(1_000)), ["half-open"]);
    let mut stage = Stage::new();
    stage.syn().after(10).send(Server, "S.", b"").after(10).send(Client, "R", b"");
    assert_eq!(names(&stage.finish_after(5_000)), [""; 0], "a scanner's RST frees the place");
    let mut stage = Stage::new();
    stage.open();
    assert_eq!(names(&stage.finish_after(5_000)), [""; 0], "it was completed");
}

#[test]
fn a_second_for_the_handshake_is_slow() {
    let mut stage = Stage::new();
    stage.syn().after(1_000).again(Client, "S", 1, 0).after(10).send(Server, "S.", b"").after(1).send(Client, ".", b"");
    let found = stage.finish_after(0);
    assert_eq!(names(&found), ["slow-handshake"]);
    assert!(found[0].what.contains("the SYN was sent again once"), "{}", found[0].what);
    let mut stage = Stage::new();
    stage.syn().after(600).send(Server, "S.", b"").after(1).send(Client, ".", b"");
    assert_eq!(names(&stage.finish_after(0)), [""; 0], "a satellite is no fault");
}

#[test]
fn a_syn_ack_after_the_ack_is_a_full_accept_queue() {
    let mut stage = Stage::new();
    stage.open().after(1_000).again(Server, "S.", 1, 0).after(2_000).again(Server, "S.", 1, 0);
    let found = stage.finish_after(0);
    assert_eq!(names(&found), ["accept-queue-overflow"]);
    let mut stage = Stage::new();
    stage.open().after(100).again(Server, "S.", 1, 0);
    assert_eq!(names(&stage.finish_after(0)), [""; 0], "one that crossed the ACK");
}

#[test]
fn a_reset_with_something_owed_is_in_mid_stream() {
    let mut stage = Stage::new();
    stage.open().send(Client, "P.", &http_get("/")).after(10).send(Server, ".", b"").after(5).send(Server, "R.", b"");
    let found = stage.finish_after(0);
    assert_eq!(names(&found), ["reset-mid-stream"]);
    assert_eq!(found[0].severity, Severity::Error);
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10).send(Client, "R.", b"");
    assert_eq!(names(&stage.finish_after(0)), ["abortive-close"], "nothing was owed");
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10).close();
    assert_eq!(names(&stage.finish_after(0)), [""; 0]);
}

#[test]
fn a_reset_after_a_minute_is_after_idle() {
    let mut stage = Stage::new();
    stage.open().exchange(200).after(61_000).send(Client, "P.", &http_get("/")).after(5).send(Server, "R.", b"");
    let found = stage.finish_after(0);
    assert_eq!(names(&found), ["reset-after-idle"]);
    assert!(found[0].what.contains("1 min 1 s"), "{}", found[0].what);
    let mut stage = Stage::new();
    stage.open().exchange(200).after(20_000).send(Client, "P.", &http_get("/")).after(5).send(Server, "R.", b"");
    assert_eq!(names(&stage.finish_after(0)), ["reset-mid-stream"], "20 s is no idle time");
}

#[test]
fn a_request_after_the_servers_fin_is_stale() {
    let mut stage = Stage::new();
    stage.open().exchange(200).after(5_000).send(Server, "F.", b"").after(10).send(Client, ".", b"");
    stage.after(3_000).send(Client, "P.", &http_get("/")).after(5).send(Server, "R", b"");
    assert_eq!(names(&stage.finish_after(0)), ["stale-pooled-connection"]);
    let mut stage = Stage::new();
    stage.open().exchange(200).after(5_000).send(Server, "F.", b"").after(10).send(Client, ".", b"");
    stage.after(3_000).send(Client, "F.", b"").after(5).send(Server, ".", b"");
    assert_eq!(names(&stage.finish_after(0)), [""; 0], "it was closed in time");
}

#[test]
fn a_rst_from_another_distance_is_somebody_elses() {
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10);
    stage.ttl[1] = 59;
    stage.send(Server, "R.", b"");
    assert_eq!(names(&stage.finish_after(0)), ["middlebox-interference", "abortive-close"]);
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10);
    stage.ttl[1] = 255;
    stage.send(Server, "R.", b"");
    assert_eq!(names(&stage.finish_after(0)), ["abortive-close"], "another start, the same distance");
}

#[test]
fn options_that_only_one_capture_point_saw_were_taken_out() {
    let captured = |copy: &[u8]| {
        let mut stage = Stage::new();
        stage.sack().syn();
        stage.elsewhere(copy);
        stage.after(10).send(Server, "S.", b"").after(0).send(Client, ".", b"");
        stage.exchange(200).close();
        stage.finish_after(0)
    };
    // The MSS alone, and what nft leaves where SACK was.
    let found = captured(&[2, 4, 5, 180, 1, 1, 1, 1]);
    assert_eq!(names(&found), ["middlebox-interference"]);
    assert_eq!(found[0].what, "Between two capture points the client's SYN lost SACK.");
    assert_eq!(found[0].confidence, Confidence::High);
    assert_eq!(found[0].evidence[0].frame, Some(2));
    assert_eq!(names(&captured(&[2, 4, 5, 180, 4, 2, 1, 1])), [""; 0], "the same at both");
    assert_eq!(names(&captured(&[2, 4, 5, 100, 4, 2, 1, 1])), [""; 0], "an MSS that is clamped is no option taken out");
    let mut stage = Stage::new();
    stage.sack().syn().after(1_000).again_with(Client, "S", 1, &[2, 4, 5, 180]).after(10);
    stage.send(Server, "S.", b"").after(0).send(Client, ".", b"");
    assert_eq!(names(&stage.finish_after(0)), ["slow-handshake"], "the client itself left it out");
}

#[test]
fn a_server_that_takes_its_time() {
    let answer_after = |millis| {
        let mut stage = Stage::new();
        stage.open().send(Client, "P.", &http_get("/report")).after(10).send(Server, ".", b"").after(millis);
        stage.send(Server, "P.", &http_ok(100)).after(5).send(Client, ".", b"").close();
        stage.finish_after(0)
    };
    let found = answer_after(1_500);
    assert_eq!(names(&found), ["slow-server"]);
    assert!(found[0].what.contains("GET /report"), "{}", found[0].what);
    assert_eq!(names(&answer_after(800)), [""; 0]);
}

#[test]
fn a_client_that_takes_its_time() {
    let pause = |millis| {
        let mut stage = Stage::new();
        let request = http_get("/");
        let (head, rest) = request.split_at(20);
        stage.open().send(Client, "P.", head).after(10).send(Server, ".", b"").after(millis).send(Client, "P.", rest);
        stage.after(10).send(Server, "P.", &http_ok(100)).after(5).send(Client, ".", b"").close();
        stage.finish_after(0)
    };
    assert_eq!(names(&pause(2_000)), ["slow-client"]);
    assert_eq!(names(&pause(500)), [""; 0]);
}

#[test]
fn a_request_behind_a_slow_one() {
    let pipelined = |millis| {
        let mut stage = Stage::new();
        stage.open().send(Client, "P.", &http_get("/slow")).after(1).send(Client, "P.", &http_get("/fast"));
        stage.after(millis).send(Server, "P.", &http_ok(100)).after(1).send(Server, "P.", &http_ok(100));
        stage.after(1).send(Client, ".", b"").close();
        stage.finish_after(0)
    };
    assert_eq!(names(&pipelined(500)), ["head-of-line"]);
    assert_eq!(names(&pipelined(50)), [""; 0]);
}

#[test]
fn a_program_that_does_not_close() {
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10).send(Client, "F.", b"").after(10).send(Server, ".", b"");
    assert_eq!(names(&stage.finish_after(61_000)), ["close-wait"]);
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10).send(Client, "F.", b"").after(10).send(Server, ".", b"");
    assert_eq!(names(&stage.finish_after(30_000)), [""; 0], "it may still have to send");
}

#[test]
fn of_what_was_captured_one_way_nothing_is_said() {
    let mut stage = Stage::new();
    stage.syn().after(20).skip(Server, 1).send(Client, ".", b"").send(Client, "P.", &http_get("/"));
    for _ in 0..4 {
        stage.after(10_000).keep_alive(Client);
    }
    stage.after(10).send(Client, "F.", b"");
    assert_eq!(names(&stage.finish_after(100_000)), [""; 0]);
}

#[test]
fn a_fin_that_nobody_acknowledges() {
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10).send(Client, "F.", b"");
    let found = stage.finish_after(11_000);
    assert_eq!(names(&found), ["stuck-closing"]);
    assert!(found[0].what.contains("FIN-WAIT-1"), "{}", found[0].what);
    let mut stage = Stage::new();
    stage.open().exchange(200).after(10).send(Client, "F.", b"");
    assert_eq!(names(&stage.finish_after(2_000)), [""; 0]);
}

#[test]
fn fins_that_cross_and_are_not_acknowledged() {
    let crossed = || {
        let mut stage = Stage::new();
        stage.open().exchange(200).after(10).send(Client, "F.", b"");
        // The server sends its own before it has seen that.
        stage.less_one(Server, "F.").after(10);
        stage
    };
    let found = crossed().finish_after(11_000);
    assert_eq!(names(&found), ["stuck-closing"]);
    assert!(found[0].what.contains("CLOSING"), "{}", found[0].what);
    assert_eq!(names(&crossed().finish_after(2_000)), [""; 0], "it may still come");
    let mut stage = crossed();
    stage.send(Client, ".", b"").after(1).send(Server, ".", b"");
    assert_eq!(names(&stage.finish_after(60_000)), [""; 0], "both were acknowledged");
}

#[test]
fn the_last_fin_is_not_acknowledged() {
    let closed = || {
        let mut stage = Stage::new();
        stage.open().exchange(200).after(10).send(Client, "F.", b"").after(10).send(Server, ".", b"");
        stage.after(10).send(Server, "F.", b"");
        stage
    };
    let found = closed().finish_after(11_000);
    assert_eq!(names(&found), ["stuck-closing"]);
    assert!(found[0].what.contains("server has been in LAST-ACK"), "{}", found[0].what);
    assert_eq!(names(&closed().finish_after(2_000)), [""; 0], "it may still come");
    let mut stage = closed();
    stage.after(1).send(Client, ".", b"");
    assert_eq!(names(&stage.finish_after(60_000)), [""; 0], "it was acknowledged");
}

#[test]
fn keep_alives_that_nobody_answers() {
    let probes = |count, answered| {
        let mut stage = Stage::new();
        stage.open().exchange(200);
        for _ in 0..count {
            stage.after(1_000).keep_alive(Client);
            if answered {
                stage.after(10).send(Server, ".", b"");
            }
        }
        stage.finish_after(0)
    };
    assert_eq!(names(&probes(4, false)), ["keep-alive-timeout"]);
    assert_eq!(names(&probes(4, true)), [""; 0]);
    assert_eq!(names(&probes(2, false)), [""; 0]);
}

#[test]
fn a_syn_without_ecn_that_gets_through() {
    let mut stage = Stage::new();
    stage.send(Client, "SEW", b"").after(1_000).again(Client, "S", 1, 0).after(10).send(Server, "S.", b"");
    stage.after(1).send(Client, ".", b"");
    assert_eq!(names(&stage.finish_after(0)), ["ecn-broken"]);
    let mut stage = Stage::new();
    stage.send(Client, "SEW", b"").after(10).send(Server, "S.E", b"").after(1).send(Client, ".", b"");
    assert_eq!(names(&stage.finish_after(0)), [""; 0]);
}

#[test]
fn a_syn_with_data_that_does_not_get_through() {
    let mut blocked = Stage::new();
    blocked.send(Client, "S", &[b'x'; 100]).after(1_000).again(Client, "S", 101, 0).after(10);
    blocked.syn_ack_without_data(100).after(1).again(Client, ".", 100, 0);
    assert_eq!(names(&blocked.finish_after(0)), ["tfo-blocked"]);
    let mut answered = Stage::new();
    answered.send(Client, "S", &[b'x'; 100]).after(10).send(Server, "S.", b"").after(1).send(Client, ".", b"");
    assert_eq!(names(&answered.finish_after(0)), [""; 0], "its data was taken");
    let mut refused = Stage::new();
    refused.send(Client, "S", &[b'x'; 100]).after(10).syn_ack_without_data(100);
    refused.after(1).again(Client, "P.", 100, 100).after(10).send(Server, ".", b"");
    assert_eq!(names(&refused.finish_after(0)), [""; 0], "it was answered, though its data was not taken");
    let mut plain = Stage::new();
    plain.syn().after(1_000).again(Client, "S", 1, 0).after(10).send(Server, "S.", b"").after(1).send(Client, ".", b"");
    assert_eq!(names(&plain.finish_after(0)), ["slow-handshake"], "there was none to begin with");
}

#[test]
fn thresholds_move_the_line() {
    let mut stage = Stage::new();
    stage.syn().after(600).send(Server, "S.", b"").after(1).send(Client, ".", b"");
    stage.thresholds.slow_handshake = Nanos::from_millis(500);
    assert_eq!(names(&stage.finish_after(0)), ["slow-handshake"]);
}

/// An attempt that had no answer, judged.
pub fn unanswered() -> crate::record::ConnectionRecord {
    let attempt = || {
        let mut stage = Stage::new();
        stage.syn().after(1_000).again(Client, "S", 1, 0);
        stage
    };
    crate::record::ConnectionRecord { findings: attempt().finish_after(10_000), ..attempt().record() }
}

fn names(found: &[crate::record::Finding]) -> Vec<&'static str> {
    found.iter().map(|finding| finding.name).collect()
}
