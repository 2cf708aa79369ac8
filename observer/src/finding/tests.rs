//! Every finding on an exchange that shows it, and on one that almost does.

mod many;
mod sockets;
mod stage;

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
fn loss_says_on_which_side_of_the_capture() {
    let seen_twice = |lost: usize| {
        let mut stage = Stage::new();
        stage.open();
        for round in 0..50 {
            stage.after(1).send(Client, ".", &[b'x'; 1000]);
            if round < lost {
                stage.after(250).again(Client, ".", 1000, 1000);
            }
            stage.after(10).send(Server, ".", b"");
        }
        stage.finish_after(0)
    };
    let found = seen_twice(5);
    let loss = found.iter().find(|finding| finding.name == "packet-loss").expect("five were lost");
    assert!(loss.what.contains("between the capture and the server"), "{}", loss.what);
    assert!(!names(&seen_twice(2)).contains(&"packet-loss"), "two may be");
    let mut stage = Stage::new();
    stage.open();
    for round in 0..30 {
        if round % 10 == 0 {
            stage.skip(Client, 1000);
        }
        stage
            .after(1)
            .send(Client, ".", &[b'x'; 1000])
            .after(10)
            .send_ack(Server, if round % 10 == 0 { 2000 } else { 0 });
        if round % 10 == 0 {
            stage.after(250).again(Client, ".", 2000, 1000).after(10).send(Server, ".", b"");
        }
    }
    let found = stage.finish_after(0);
    let loss = found.iter().find(|finding| finding.name == "packet-loss").expect("three were lost");
    assert!(loss.what.contains("between the client and the capture"), "{}", loss.what);
}

#[test]
fn large_segments_without_an_answer_are_a_black_hole() {
    let hang = |len: usize| {
        let mut stage = Stage::new();
        stage.open().send(Client, "P.", &http_get("/")).after(10).send(Server, ".", &vec![b'x'; len]);
        for wait in [250, 500, 1_000, 2_000] {
            stage.after(wait).again(Server, ".", len as u32, len as u32);
        }
        stage.finish_after(0)
    };
    let found = hang(1460);
    assert!(names(&found).contains(&"mtu-black-hole"), "{:?}", names(&found));
    assert!(!names(&found).contains(&"packet-loss"), "that is a part of it");
    assert_eq!(found[0].confidence, Confidence::Medium, "the client may have gone");
    assert!(!names(&hang(300)).contains(&"mtu-black-hole"), "small ones fit anywhere");
    let mut stage = Stage::new();
    stage
        .open()
        .send(Client, "P.", &http_get("/"))
        .after(10)
        .send(Server, ".", &[b'x'; 1460])
        .after(10)
        .send(Client, ".", b"");
    stage.after(10).send(Server, ".", &[b'x'; 1460]);
    for wait in [250, 500, 1_000, 2_000] {
        stage.after(wait).again(Server, ".", 1460, 1460);
    }
    assert!(!names(&stage.finish_after(0)).contains(&"mtu-black-hole"), "as large a one has passed");
}

#[test]
fn a_black_hole_tells_df_and_the_mss_that_passes() {
    let hang = |whole: bool, passes: usize, len: usize| {
        let mut stage = Stage::new();
        stage.whole = whole;
        stage.open().send(Client, "P.", &http_get("/")).after(10).send(Server, ".", &vec![b'x'; passes]);
        stage.after(10).send(Client, ".", b"").after(10).send(Server, ".", &vec![b'x'; len]);
        for wait in [250, 500, 1_000, 2_000] {
            stage.after(wait).again(Server, ".", len as u32, len as u32).after(1).send_ack(Client, len as u32);
        }
        stage.finish_after(0).into_iter().find(|finding| finding.name == "mtu-black-hole").expect("it hangs")
    };
    let clamps_to = |finding: &crate::record::Finding, mss: u32| {
        finding.remedy.iter().any(|step| step.contains(&format!("advmss {mss}`")))
    };
    let found = hang(true, 1_350, 1_460);
    assert!(found.what.contains("up to 1350 octets pass (DF set, MSS 1460)"), "{}", found.what);
    assert!(clamps_to(&found, 1_350), "{:?}", found.remedy);
    assert_eq!(found.confidence, Confidence::High);
    let found = hang(true, 300, 1_460);
    assert!(clamps_to(&found, 1_240), "what every path carries: {:?}", found.remedy);
    let found = hang(true, 300, 1_200);
    assert!(clamps_to(&found, 536), "not as much as did not pass: {:?}", found.remedy);
    let found = hang(false, 300, 1_460);
    assert!(found.what.contains("DF not set"), "{}", found.what);
    assert_eq!(found.confidence, Confidence::Medium, "any router may cut it");
}

#[test]
fn a_closed_window_is_a_receiver_that_does_not_read() {
    let closed_for = |millis| {
        let mut stage = Stage::new();
        stage.open().send(Client, "P.", &[b'x'; 1000]).after(1);
        stage.window[1] = 0;
        stage.send(Server, ".", b"").after(millis);
        stage.window[1] = 500;
        stage.send(Server, ".", b"");
        stage.finish_after(0)
    };
    assert_eq!(names(&closed_for(300)), ["zero-window"]);
    assert_eq!(closed_for(300)[0].severity, Severity::Warning);
    assert_eq!(closed_for(12_000)[0].severity, Severity::Error);
    assert_eq!(names(&closed_for(100)), [""; 0]);
    let mut stage = Stage::new();
    stage.open().send(Client, "P.", &[b'x'; 1000]).after(1);
    stage.window[1] = 0;
    stage.send(Server, ".", b"").after(5_000).send(Server, ".", b"");
    assert!(names(&stage.finish_after(0)).contains(&"zero-window"), "it is closed to the end");
}

#[test]
fn small_writes_that_wait_for_delayed_acks() {
    let chatter = |rounds, delay| {
        let mut stage = Stage::new();
        stage.open();
        for _ in 0..rounds {
            stage.after(5).send(Client, "P.", &[b'x'; 100]).after(delay).send(Server, ".", b"");
            stage.after(0).send(Client, "P.", &[b'y'; 100]).after(2).send(Server, "P.", &[b'z'; 50]);
            stage.after(1).send(Client, ".", b"");
        }
        stage.finish_after(0)
    };
    let found = chatter(4, 42);
    assert_eq!(names(&found), ["nagle-delayed-ack"]);
    assert_eq!(names(&chatter(2, 42)), [""; 0], "twice may be");
    assert_eq!(names(&chatter(4, 3)), [""; 0], "those ACKs come at once");
}

#[test]
fn a_round_trip_that_grows_with_the_load_is_bufferbloat() {
    let transfer = |grown: u64| {
        let mut stage = Stage::new();
        stage.open();
        stage.after(1).send(Client, ".", &[b'x'; 1460]).after(10).send(Server, ".", b"");
        for _ in 0..10 {
            for _ in 0..30 {
                stage.after(0).send(Client, ".", &[b'x'; 1460]);
            }
            // The first of them is timed; its ACK leaves most in flight.
            stage.after(grown).send_ack(Server, 29 * 1460).after(1).send(Server, ".", b"");
        }
        stage.finish_after(0)
    };
    assert_eq!(names(&transfer(250)), ["bufferbloat"]);
    assert_eq!(names(&transfer(60)), [""; 0], "50 ms more are not much");
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
fn marks_that_the_receiver_keeps_to_itself() {
    let marked = |echoed| {
        let mut stage = Stage::new();
        stage.send(Client, "SEW", b"").after(10).send(Server, "S.E", b"").after(1).send(Client, ".", b"");
        stage.tos[0] = 3;
        stage.send(Client, "P.", &[b'x'; 500]).after(5).send(Server, if echoed { ".E" } else { "." }, b"");
        stage.finish_after(0)
    };
    assert_eq!(names(&marked(false)), ["ecn-broken"]);
    assert_eq!(names(&marked(true)), [""; 0]);
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
fn segments_out_of_order() {
    let swapped = |times: usize| {
        let mut stage = Stage::new();
        stage.open();
        for round in 0..20 {
            if round < times {
                stage.skip(Client, 1000);
                stage.after(1).send(Client, ".", &[b'x'; 1000]).after(1).overtaken(Client, 1000);
            } else {
                stage.after(1).send(Client, ".", &[b'x'; 1000]);
            }
            stage.after(5).send(Server, ".", b"");
        }
        stage.finish_after(0)
    };
    let found = swapped(4);
    assert_eq!(names(&found), ["reordering"]);
    assert_eq!(found[0].doubts, [Doubt::CapturePoint]);
    assert_eq!(names(&swapped(2)), [""; 0]);
}

#[test]
fn needless_repetitions() {
    let needless = |times: usize| {
        let mut stage = Stage::new();
        stage.open();
        for round in 0..20 {
            stage.after(1).send(Client, ".", &[b'x'; 1000]).after(10).send(Server, ".", b"");
            if round < times {
                stage.after(10).again(Client, ".", 1000, 1000).after(10).send(Server, ".", b"");
            }
        }
        stage.finish_after(0)
    };
    assert_eq!(names(&needless(4)), ["spurious-retransmission"]);
    assert_eq!(names(&needless(2)), [""; 0]);
}

#[test]
fn a_window_that_is_always_full() {
    let transfer = |rounds: usize, millis| {
        let mut stage = Stage::new();
        stage.window[1] = 14_600;
        stage.syn().after(millis).send(Server, "S.", b"").after(0).send(Client, ".", b"");
        for _ in 0..rounds {
            for _ in 0..10 {
                stage.after(0).send(Client, ".", &[b'x'; 1460]);
            }
            stage.after(millis).send(Server, ".", b"");
        }
        stage.finish_after(0)
    };
    assert_eq!(names(&transfer(20, 40)), ["window-limited"]);
    assert_eq!(names(&transfer(3, 40)), [""; 0], "43 kB are too little to tell");
    assert_eq!(names(&transfer(20, 1)), [""; 0], "over a short way it is the program");
}

#[test]
fn a_long_transfer_that_leaves_the_window_empty() {
    let transfer = |in_flight: usize| {
        let mut stage = Stage::new();
        stage.window[1] = 60_000;
        stage.syn().after(40).send(Server, "S.", b"").after(0).send(Client, ".", b"");
        for _ in 0..(1_200_000 / (1460 * in_flight)) {
            for _ in 0..in_flight {
                stage.after(0).send(Client, ".", &[b'x'; 1460]);
            }
            stage.after(40).send(Server, ".", b"");
        }
        stage.finish_after(0)
    };
    let found = transfer(10);
    assert_eq!(names(&found), ["sender-limited"]);
    assert!(found[0].what.contains("send buffer"), "{}", found[0].what);
    assert_eq!(names(&transfer(30)), [""; 0], "it used most of the window");
}

#[test]
fn a_tail_that_only_a_probe_saves() {
    let mut stage = Stage::new();
    stage.sack().open();
    for _ in 0..5 {
        stage.after(1).send(Client, ".", &[b'x'; 1000]).after(20).send(Server, ".", b"");
    }
    stage.after(1).send(Client, ".", &[b'x'; 1000]).after(45).again(Client, ".", 1000, 1000);
    stage.after(20).send(Server, ".", b"");
    assert_eq!(names(&stage.finish_after(0)), ["tail-loss"]);
    let mut stage = Stage::new();
    stage.sack().open().exchange(200).after(1).send(Client, "F.", b"").after(45).again(Client, "F.", 1, 0);
    stage.after(20).send(Server, "F.", b"").after(1).send(Client, ".", b"");
    assert_eq!(names(&stage.finish_after(0)), [""; 0], "a FIN alone keeps nobody waiting");
    let mut stage = Stage::new();
    stage.sack().open();
    for _ in 0..6 {
        stage.after(1).send(Client, ".", &[b'x'; 1000]).after(20).send(Server, ".", b"");
    }
    assert_eq!(names(&stage.finish_after(0)), [""; 0]);
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
