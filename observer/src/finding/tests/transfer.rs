//! How data flows: lost, late, held back, repeated.

use super::*;

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
