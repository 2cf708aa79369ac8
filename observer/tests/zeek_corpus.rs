//! `conn_state` and `history` against Zeek's own results on captures that this project did not make.
//!
//! Reads each capture of the corpus that has one of Zeek's `conn.log`s through the library, from bytes to records, with
//! Zeek's timers and with checksums as Zeek was run (`-C` ignores them). Where there is no corpus, the test is skipped,
//! loudly. What differs, and why, is listed in `docs/conformance.md`.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use observer::decode::Checksums;
use observer::tracker::{Config, Timeouts};

mod corpus;

/// How many connections may have another `conn_state`, and how many another `history`.
const ALLOWED: [usize; 2] = [2, 5];

#[test]
fn connections_of_the_corpus_went_as_zeek_says() {
    let Some(corpus) = corpus::corpus() else {
        eprintln!("SKIPPED: no corpus beside the checkout, conn_state and history are not held against Zeek's");
        return;
    };
    let runs = runs(&corpus);
    let mut captures: Vec<PathBuf> = std::fs::read_dir(corpus.join("expected/zeek"))
        .expect("the corpus has Zeek's results")
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    captures.sort();
    let (mut all, mut differences) = (0, [Vec::new(), Vec::new()]);
    for logs in captures {
        let Some((log, rows)) = fullest_log(&logs) else { continue };
        let name = logs.file_name().expect("a folder has a name");
        let log = log.strip_prefix(&corpus).expect("it lies in the corpus").to_string_lossy().into_owned();
        let drops = !runs.get(&log).is_some_and(|command| format!("{command} ").contains(" -C "));
        let mut ours = replay(&corpus.join(name), drops);
        for row in rows {
            all += 1;
            let got = ours.get_mut(&row.ends).and_then(VecDeque::pop_front).unwrap_or_default();
            for (differences, (got, want)) in
                differences.iter_mut().zip([(&got.0, &row.conn_state), (&got.1, &row.history)])
            {
                if got != want {
                    differences.push(format!("{} {:?}: ours {got}, Zeek {want}", name.display(), row.ends));
                }
            }
        }
    }
    println!("{all} connections");
    for ((name, differences), allowed) in ["conn_state", "history"].into_iter().zip(&differences).zip(ALLOWED) {
        println!("{name} differs: {}", differences.len());
        differences.iter().for_each(|difference| println!("    {difference}"));
        assert!(differences.len() <= allowed, "{name}: {differences:#?}");
    }
    assert!(all > 50, "only {all} connections have been compared");
}

/// How Zeek was run for each log.
fn runs(corpus: &Path) -> HashMap<String, String> {
    let map = std::fs::read_to_string(corpus.join("expected/MAP.tsv")).expect("the corpus has a map of its results");
    map.lines()
        .filter_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [_, _, log, command, ..] => Some((log.to_owned(), command.to_owned())),
            _ => None,
        })
        .collect()
}

type Ends = [(String, u16); 2];

struct Row {
    ends: Ends,
    conn_state: String,
    history: String,
}

/// The log with the most TCP connections of those that Zeek's tests made from one capture.
fn fullest_log(logs: &Path) -> Option<(PathBuf, Vec<Row>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(logs)
        .expect("a folder can be listed")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.to_string_lossy().ends_with("conn.log"))
        .collect();
    paths.sort();
    let mut fullest: Option<(PathBuf, Vec<Row>)> = None;
    for path in paths {
        let rows = rows(&std::fs::read_to_string(&path).expect("a log is text"));
        if rows.len() > fullest.as_ref().map_or(0, |(_, rows)| rows.len()) {
            fullest = Some((path, rows));
        }
    }
    fullest
}

fn rows(log: &str) -> Vec<Row> {
    let names = log.lines().find_map(|line| line.strip_prefix("#fields\t"));
    let names: Vec<&str> = names.unwrap_or_default().split('\t').collect();
    let rows = log.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let row: HashMap<&str, &str> = names.iter().copied().zip(line.split('\t')).collect();
        let end = |address, port| Some((row.get(address)?.to_lowercase(), row.get(port)?.parse().ok()?));
        let mut ends = [end("id.orig_h", "id.orig_p")?, end("id.resp_h", "id.resp_p")?];
        ends.sort();
        let text = |name| row.get(name).map(|text| (*text).to_owned());
        (row.get("proto") == Some(&"tcp")).then_some(())?;
        Some(Row { ends, conn_state: text("conn_state")?, history: text("history")? })
    });
    rows.collect()
}

/// `conn_state` and `history` of every connection of a capture, by its ends, the first one first.
fn replay(capture: &Path, drops: bool) -> HashMap<Ends, VecDeque<(String, String)>> {
    let checksums = if drops { Checksums::Count } else { Checksums::Ignore };
    let zeek = Config { timeouts: Timeouts::Zeek, drop_bad_checksums: drops, ..Config::default() };
    let mut ours: HashMap<Ends, VecDeque<_>> = HashMap::new();
    for record in corpus::replay(capture, checksums, zeek).0 {
        let mut ends = [record.client, record.server].map(|end| (end.ip.to_string(), end.port));
        ends.sort();
        ours.entry(ends)
            .or_default()
            .push_back((format!("{:?}", record.conn_state), record.history.unwrap_or_default()));
    }
    ours
}
