//! The project's own captures: what is found in them is what their descriptions say and what tshark says.
//! `cargo xtask captures` makes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use observer_tests::expect::Page;
use observer_tests::{capture_files, captures, run, skip, stem, tshark};

/// README's first command replays this one; the others are those that the project promises.
const PROMISED: [&str; 15] = [
    "handshake",
    "http",
    "https",
    "https-tls12",
    "refused",
    "unanswered-syn",
    "retransmission",
    "reordering",
    "zero-window",
    "half-close",
    "reset",
    "mtu-black-hole",
    "time-wait",
    "ipv6",
    "vlan",
];

#[test]
fn every_scenario_has_its_capture() {
    let names: Vec<String> = capture_files().iter().map(|path| stem(path)).collect();
    let list = run::success(Command::new(observer()).args(["lab", "list"])).expect("the lab names its scenarios");
    let list = String::from_utf8(list.stdout).expect("names are ASCII");
    let mut scenarios: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    scenarios.sort_unstable();
    assert_eq!(names, scenarios, "captures, and scenarios (cargo xtask captures makes one from the other)");
    for promised in PROMISED {
        assert!(names.iter().any(|name| name == promised), "captures/{promised}.pcapng is missing");
    }
}

#[test]
fn records_are_the_golden_ones() {
    let mut failures = Vec::new();
    for capture in capture_files() {
        let name = stem(&capture);
        let golden = fs::read_to_string(capture.with_extension("json")).expect("every capture has a golden record");
        // From inside the folder: the record holds the file's name as it was given.
        let mut command = Command::new(observer());
        command.current_dir(captures()).args(["replay", "--output", "json", "--timeline"]);
        let output = run::success(command.arg(format!("{name}.pcapng"))).expect("the capture is replayed");
        let ours = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let difference = ours.lines().zip(golden.lines()).enumerate().find(|(_, (ours, golden))| ours != golden);
        if let Some((number, (ours, golden))) = difference {
            let at = ours.bytes().zip(golden.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(60);
            let part = |line: &str| line.chars().skip(at).take(160).collect::<String>();
            failures.push(format!(
                "{name} line {}:\n    ours   …{}\n    golden …{}",
                number + 1,
                part(ours),
                part(golden)
            ));
        } else if ours != golden {
            failures.push(format!("{name}: {} bytes, golden {}", ours.len(), golden.len()));
        }
    }
    assert!(
        failures.is_empty(),
        "records changed; if they are right now, write them with `cargo xtask captures --records`:\n{}",
        failures.join("\n")
    );
}

#[test]
fn captures_hold_what_their_descriptions_say() {
    let mut failures = Vec::new();
    for capture in capture_files() {
        let page = Page::read(&capture.with_extension("toml")).expect("every capture has a description");
        let records = page.connections(observer(), &capture).expect("the capture is replayed");
        failures.extend(page.failures(&records).iter().map(|failure| format!("{}: {failure}", page.name)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn captures_show_the_findings_they_are_made_for_and_no_others() {
    let mut failures = Vec::new();
    for capture in capture_files() {
        let page = Page::read(&capture.with_extension("toml")).expect("every capture has a description");
        let found = page.found(observer(), &capture).expect("observer judges the capture");
        if found != page.findings {
            failures.push(format!("{}: {found:?}, not {:?}", page.name, page.findings));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// `ordinary.toml` says how it was made. Each line was judged: would a person say so, and is it an error to them?
/// `OBSERVER_BLESS=1` writes the list anew.
#[test]
fn ordinary_traffic_raises_no_false_alarm() {
    let capture = captures().join("ordinary.pcapng.zst");
    let output = Command::new(observer()).args(["doctor", "--output", "json"]).arg(&capture).output();
    let lines = String::from_utf8(output.expect("observer runs").stdout).expect("JSON is UTF-8");
    let mut found = Vec::new();
    for record in run::objects(&lines, "finding").expect("observer prints JSON lines") {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
        for case in record["cases"].as_array().into_iter().flatten() {
            let finding = &case["finding"];
            let [severity, name, sure, what] =
                ["severity", "name", "confidence", "what"].map(|key| text(&finding[key]));
            found.push(format!("{severity} {name}, {sure}: {what}\n"));
        }
        found.push(format!("{} {} in all: {}\n", text(&record["severity"]), text(&record["name"]), record["count"]));
    }
    let (found, golden) = (found.concat(), captures().join("ordinary.txt"));
    if std::env::var_os("OBSERVER_BLESS").is_some() {
        fs::write(&golden, &found).expect("the list is written");
    }
    let known = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(found, known, "what is found in {} (left), and what was judged (right)", capture.display());
}

#[test]
fn tshark_counts_the_same() {
    let Some(version) = tshark::version() else {
        return skip("captures against tshark", "tshark is not installed");
    };
    let mut failures = Vec::new();
    for capture in capture_files() {
        let theirs = tshark::streams(&capture).expect("tshark reads the capture");
        // Streams of TCP are compared.
        let mut records = connections(&capture, &["--analysis", "wireshark"]);
        records.retain(|record| record["transport"] == "tcp");
        let ours = records.iter().map(|record| tshark::Stream::of_record(record).expect("a whole record")).collect();
        let (pairs, alone) = tshark::pair(theirs, ours);
        let mut differ = |what: String| failures.push(format!("{}: {what}", stem(&capture)));
        for (theirs, ours) in &pairs {
            match ours {
                Some(ours) => theirs.differences(ours).into_iter().for_each(&mut differ),
                None => differ(format!("observer has no connection {:?}", theirs.ends)),
            }
        }
        alone.iter().for_each(|ours| differ(format!("tshark has no stream {:?}", ours.ends)));
    }
    assert!(failures.is_empty(), "against {version}:\n{}", failures.join("\n"));
}

fn connections(capture: &Path, switches: &[&str]) -> Vec<serde_json::Value> {
    let lines = run::replay(observer(), capture, switches).expect("the capture is replayed");
    run::objects(&lines, "connection").expect("observer prints JSON lines")
}

fn observer() -> &'static Path {
    run::observer().expect("observer builds")
}
