//! Processes that do not close what the other end has closed.

use std::time::Duration;

use observer_tests::live::{Netns, beside, limit_descriptors, until};
use serde_json::Value;

use super::{Diagnosis, diagnosed, doctor, loopback};

#[test]
fn a_leak_on_its_way_to_emfile_is_told() {
    let Some(netns) = Netns::new("a growing leak") else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 100_000);
    let of_server = |gauge: &Value| gauge["subject"]["process"]["pid"] == server.pid;
    let leak = || {
        netns.connect(loopback(server.port.into()), "leave", 4).end();
        std::thread::sleep(Duration::from_millis(400));
    };
    limit_descriptors(server.pid, 2_000);
    let found = beside(leak, || {
        let has_many = |diagnosis: &Diagnosis| {
            diagnosis.gauge("close_wait", of_server).is_some_and(|gauge| gauge["ages"]["over_1s"].as_u64() >= Some(20))
        };
        // Two thousand are not gone within a second.
        let patient = ["--for", "3s", "--threshold", "descriptors_run_out_within=1s"];
        let calm = diagnosed(&netns, &patient, "20 in CLOSE-WAIT", has_many);
        assert!(calm.finding("close-wait-leak").is_none(), "{:#?}", calm.objects);
        let is_told = |diagnosis: &Diagnosis| diagnosis.finding("close-wait-leak").is_some();
        diagnosed(&netns, &["--for", "3s"], "a leak", is_told)
    });
    let what = found.finding("close-wait-leak").expect("it was told")["cases"][0]["finding"]["what"].to_string();
    assert!(what.contains(&format!("[{}]", server.pid)) && what.contains(", EMFILE in "), "{what}");
    assert_eq!(found.status, 10);
}

#[test]
fn a_few_that_are_old_are_told_though_they_are_no_leak() {
    let Some(netns) = Netns::new("a few in CLOSE-WAIT") else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 5);
    netns.connect(loopback(server.port.into()), "leave", 5).end();
    let of_server = |gauge: &Value| gauge["subject"]["process"]["pid"] == server.pid;
    // They came to it before observer was there: their silence tells their age.
    let is_old = |diagnosis: &Diagnosis| {
        diagnosis.gauge("close_wait", of_server).is_some_and(|gauge| gauge["ages"]["over_1s"] == 5)
    };
    let calm = diagnosed(&netns, &[], "5 in CLOSE-WAIT for longer than a second", is_old);
    assert!(calm.finding("close-wait").is_none(), "a minute is not over: {:#?}", calm.objects);
    let args = ["--threshold", "close_wait=1s", "--for", "500ms"];
    let found = diagnosed(&netns, &args, "an old one", |diagnosis| diagnosis.finding("close-wait").is_some());
    let case = &found.finding("close-wait").expect("it was told")["cases"][0]["finding"];
    assert!(case["what"].as_str().is_some_and(|what| what.contains("has not closed 5 sockets")), "{case:#}");
    assert!(case["remedy"].to_string().contains(&format!("/proc/{}/fd", server.pid)), "{case:#}");
    assert!(found.finding("close-wait-leak").is_none());
    assert_eq!(found.status, 10);
}

#[test]
fn what_waits_to_be_closed_and_what_waits_after_it_is_told_in_the_text() {
    let Some(netns) = Netns::new("CLOSE-WAIT in the text") else { return };
    netns.run("sysctl", &["-qw", "net.ipv4.tcp_tw_reuse=1"]);
    let text = || {
        let output = doctor(&netns, &["--source", "sock_diag", "--for", "3s"]);
        let text = String::from_utf8(output.stdout).expect("it is UTF-8");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text
    };
    let line = |text: &str, name: &str| {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(lines.len(), 1, "{name}:\n{text}");
        lines[0].to_string()
    };
    let calm = text();
    assert!(!calm.contains("close wait ") && !calm.contains("time wait to "), "{calm}");
    let server = netns.serve("127.0.0.1:0", "hold", 100_000);
    limit_descriptors(server.pid, 2_000);
    let leak = || {
        netns.connect(loopback(server.port.into()), "leave", 4).end();
        std::thread::sleep(Duration::from_millis(400));
    };
    let leaking = line(&beside(leak, text), "close wait ");
    assert!(leaking.contains(&format!(" actor[{}] +", server.pid)) && leaking.contains(" > 1 s"), "{leaking}");
    assert!(leaking.contains(", EMFILE in "), "{leaking}");
    // Clients that close first leave their ports behind.
    let echo = netns.serve("127.0.0.1:0", "echo", 3);
    netns.connect(loopback(echo.port.into()), "send", 3).end();
    let waits = || netns.output("ss", &["-Htn", "state", "time-wait"]).lines().count();
    until("three are in TIME-WAIT", || waits() == 3);
    let left = line(&text(), "time wait to ");
    assert!(left.ends_with(&format!(" 3 → 127.0.0.1:{} · tcp_tw_reuse 1", echo.port)), "{left}");
}
