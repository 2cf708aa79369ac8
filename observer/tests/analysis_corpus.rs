//! The segment analysis against tshark's results on captures that this project did not make.
//!
//! Reads each capture of the corpus through the library, from bytes to records, and holds the analysis names and the
//! initial round trip of every connection against `expected/tshark_streams`, as tshark 4.0.17 gave them.
//! Where there is no corpus, the test is skipped, loudly.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;

use observer::decode::Checksums;
use observer::tracker::Config;
use serde_json::Value;

mod corpus;

/// Of the directions in which either side counts a name, and of the round trips, so many in a hundred have to agree.
const REACH: usize = 99;

#[test]
fn connections_of_the_corpus_are_called_what_tshark_calls_them() {
    let Some(corpus) = corpus::corpus() else {
        eprintln!("SKIPPED: no corpus beside the checkout, the segment analysis is not held against its captures");
        return;
    };
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for entry in std::fs::read_dir(corpus.join("expected/tshark_streams")).expect("the corpus has tshark's results") {
        let expected = entry.expect("a folder can be listed").path();
        let name = expected.file_stem().expect("a file has a name").to_owned();
        if name.to_string_lossy().ends_with(".gz") {
            continue;
        }
        let lines = std::fs::read_to_string(&expected).expect("tshark's results can be read");
        compare(&corpus.join(&name), &lines, &mut scores);
    }
    let failures: Vec<&String> =
        scores.iter().filter(|(_, score)| score.agreed * 100 < score.all * REACH).map(|(name, _)| name).collect();
    for (name, score) in &scores {
        println!("{name}: {}/{}", score.agreed, score.all);
        score.mismatches.iter().take(10).for_each(|mismatch| println!("    {mismatch}"));
    }
    assert!(failures.is_empty(), "too far from tshark: {failures:?}");
}

#[derive(Default)]
struct Score {
    agreed: usize,
    all: usize,
    mismatches: Vec<String>,
}

impl Score {
    fn add(&mut self, agrees: bool, mismatch: impl FnOnce() -> String) {
        self.all += 1;
        if agrees {
            self.agreed += 1;
        } else {
            self.mismatches.push(mismatch());
        }
    }
}

type Ends = [(String, u64); 2];

fn compare(capture: &Path, expected: &str, scores: &mut BTreeMap<String, Score>) {
    let mut ours: HashMap<Ends, VecDeque<Value>> = HashMap::new();
    let wireshark = Config { strict_wireshark: true, ..Config::default() };
    for record in corpus::replay(capture, Checksums::Ignore, wireshark).0 {
        let row = serde_json::to_value(record).expect("a record is JSON");
        let mut ends = [end_of(&row["client"]), end_of(&row["server"])];
        ends.sort();
        ours.entry(ends).or_default().push_back(row);
    }
    for line in expected.lines() {
        let want: Value = serde_json::from_str(line).expect("each line is an object");
        let wanted_ends = [0, 1].map(|i| {
            let end = &want["ends"][i];
            (end[0].as_str().expect("an address").to_lowercase(), end[1].as_u64().expect("a port"))
        });
        let mut ends = wanted_ends.clone();
        ends.sort();
        let queue = ours.entry(ends).or_default();
        if want["skip"] == true {
            queue.clear();
            continue;
        }
        let label = format!("{} stream {}", capture.display(), want["stream"]);
        if let Some(row) = queue.pop_front() {
            compare_one(&row, &want, &wanted_ends, &label, scores);
        }
    }
}

fn compare_one(row: &Value, want: &Value, ends: &Ends, label: &str, scores: &mut BTreeMap<String, Score>) {
    let sides = if end_of(&row["client"]) == ends[0] { ["client", "server"] } else { ["server", "client"] };
    let names = row["analysis"].as_object().expect("the analysis is an object").keys();
    for name in names {
        for (i, side) in sides.into_iter().enumerate() {
            let got = row["analysis"][name][side].as_u64().unwrap_or(0);
            let wanted = want["analysis"][name][i].as_u64().unwrap_or(0);
            if got + wanted > 0 {
                let score = scores.entry(name.clone()).or_default();
                score.add(got == wanted, || format!("{label}, {side}: ours {got}, tshark {wanted}"));
            }
        }
    }
    if let Some(seconds) = want["initial_rtt"].as_f64().filter(|&seconds| seconds != 0.0) {
        let got = row["handshake"]["rtt_ns"].as_f64();
        let agrees = got.is_some_and(|nanos| (nanos - seconds * 1e9).abs() <= 1500.0);
        let score = scores.entry("initial_rtt".to_owned()).or_default();
        score.add(agrees, || format!("{label}: ours {got:?} ns, tshark {seconds} s"));
    }
}

fn end_of(endpoint: &Value) -> (String, u64) {
    (endpoint["ip"].as_str().unwrap_or_default().to_lowercase(), endpoint["port"].as_u64().unwrap_or_default())
}
