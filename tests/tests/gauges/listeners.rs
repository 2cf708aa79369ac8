//! Listeners whose handshakes are not completed.

use observer_tests::live::{Netns, beside};
use serde_json::{Value, json};

use super::{any, diagnosed, doctor};

#[test]
fn a_flood_is_that_of_the_listener_that_it_came_to() {
    let Some(netns) = Netns::new("a flood at one of two listeners") else { return };
    netns.run("sysctl", &["-qw", "net.ipv4.tcp_max_syn_backlog=64", "net.core.somaxconn=64"]);
    let port = 8_000;
    let _flooded = netns.serve(&format!("127.0.0.2:{port}"), "hold", 1);
    let _quiet = netns.serve(&format!("127.0.0.1:{port}"), "hold", 1);
    // Who seems to ask would take its SYN back.
    let rules = "add table ip t; add chain ip t c { type filter hook output priority 0; }; \
                 add rule ip t c tcp flags & (syn | ack) == (syn | ack) drop";
    netns.run("nft", &[rules]);
    let is_at =
        |ip: &'static str| move |gauge: &Value| gauge["subject"]["listener"] == json!({ "ip": ip, "port": port });
    let flood = || {
        netns.connect(([127, 0, 0, 2], port).into(), "flood", 300).end();
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let found = beside(flood, || {
        diagnosed(&netns, &[], "cookies", |diagnosis| {
            diagnosis.finding("syn-cookies").is_some() && diagnosis.value("syn_backlog", is_at("127.0.0.2")) >= Some(64)
        })
    });
    assert_eq!(found.value("syn_backlog", is_at("127.0.0.1")), Some(0), "{:#?}", found.objects);
    assert!(found.value("syn_cookies_sent", any) > Some(0));
    let what = found.finding("syn-cookies").expect("it was told")["cases"][0]["finding"]["what"].to_string();
    assert!(what.contains("backlog of 127.0.0.2:8000 is full"), "{what}");
}

#[test]
fn of_a_flood_it_is_said_whether_cookies_take_over() {
    let Some(netns) = Netns::new("cookies in a flood") else { return };
    let server = netns.serve("127.0.0.1:0", "never", 0);
    // Who seems to ask would take its SYN back.
    let rules = "add table ip t; add chain ip t c { type filter hook output priority 0; }; \
                 add rule ip t c tcp flags & (syn | ack) == (syn | ack) drop";
    netns.run("nft", &[rules]);
    let flood = || {
        netns.connect(([127, 0, 0, 1], server.port).into(), "flood", 300).end();
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let told = |setting: u8| {
        netns.run("sysctl", &["-qw", &format!("net.ipv4.tcp_syncookies={setting}")]);
        let output = beside(flood, || doctor(&netns, &["--source", "pcap", "--for", "3s", "--output", "json"]));
        let text = String::from_utf8(output.stdout).expect("JSON is text");
        let said = String::from_utf8_lossy(&output.stderr);
        let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
        let flood = objects.into_iter().find(|object| object["name"] == "syn-flood");
        let flood = flood.unwrap_or_else(|| panic!("no flood: {text}{said}"));
        let finding = &flood["cases"][0]["finding"];
        (finding["what"].as_str().unwrap_or_default().to_string(), finding["remedy"].to_string())
    };
    let (what, remedy) = told(1);
    assert!(what.contains("Its kernel answers with SYN cookies (+"), "{what}");
    assert!(!remedy.contains("tcp_syncookies=1"), "they are on: {remedy}");
    let (what, remedy) = told(0);
    assert!(what.contains("SYN cookies are off") && remedy.contains("tcp_syncookies=1"), "{what} {remedy}");
}
