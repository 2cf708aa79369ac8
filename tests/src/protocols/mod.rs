//! What connections are for, as other tools say it of the corpus, and how far observer says the same.

mod connections;
mod ja4;
pub mod made;
mod tshark;
mod zeek;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What part of the values of one name must agree, in percent.
pub const LEAST: u64 = 98;

/// Differences whose reason is known and stands in `docs/conformance.md`: capture, tool, name, and why in short.
const KNOWN: [(&str, &str, &str, &str); 2] = [
    ("zeek__no_crlf", "Zeek", "HTTP request body", "Zeek counts a CRLF behind the body (RFC 9112, section 2.2)"),
    ("arkime__arkime_synthetic", "tshark", "DNS question", "it is no DNS"),
];

/// The folder of captures that this project did not make; `None` where there is none with other tools' results in it.
pub fn corpus() -> Option<PathBuf> {
    let path = env::var_os("OBSERVER_CORPUS").map_or_else(|| super::root().join("../shared/corpus"), PathBuf::from);
    path.join("expected").is_dir().then_some(path)
}

/// Holds observer against every tool.
///
/// # Errors
/// When a program cannot be run, or results cannot be read.
pub fn compare(observer: &Path, corpus: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    let corpus = Corpus { observer, folder: corpus };
    if super::tshark::version().is_some() {
        for capture in corpus.captures()? {
            tshark::compare(&corpus, &capture, &mut tally)
                .with_context(|| format!("comparing {}", capture.display()))?;
        }
    } else {
        super::skip("protocols against tshark", "tshark is not installed");
    }
    ja4::compare(&corpus, &mut tally)?;
    zeek::compare(&corpus, &mut tally)?;
    Ok(tally)
}

/// Holds observer against tshark over traffic that is made on the spot.
///
/// # Errors
/// When a program cannot be run.
pub fn compare_made(observer: &Path, made: &made::Made) -> Result<Tally> {
    let mut tally = Tally::default();
    connections::compare(observer, made, &mut tally)?;
    Ok(tally)
}

/// Values compared, by tool and name.
#[derive(Default)]
pub struct Tally {
    scores: BTreeMap<(&'static str, &'static str), Score>,
}

/// How often both said the same, and where they did not.
#[derive(Default)]
struct Score {
    all: u64,
    same: u64,
    /// Differences that are [`KNOWN`].
    known: u64,
    differences: Vec<String>,
}

impl Tally {
    fn compare(&mut self, place: &str, name: (&'static str, &'static str), ours: &str, theirs: &str) {
        self.note(place, name, ours == theirs, || format!("observer {ours:?}, {} {theirs:?}", name.0));
    }

    fn note(
        &mut self,
        place: &str,
        name: (&'static str, &'static str),
        same: bool,
        difference: impl FnOnce() -> String,
    ) {
        let score = self.scores.entry(name).or_default();
        score.all += 1;
        score.same += u64::from(same);
        if !same {
            let is_it = |(capture, ..): &&(&str, &str, &str, &str)| place.split(' ').next() == Some(*capture);
            let known = KNOWN.iter().filter(is_it).find(|(_, tool, of, _)| (*tool, *of) == name);
            score.known += u64::from(known.is_some());
            let why = known.map_or(String::new(), |(.., why)| format!(" ({why})"));
            score.differences.push(format!("{place}: {}{why}", difference()));
        }
    }

    /// How many values have been compared.
    pub fn total(&self) -> u64 {
        self.scores.values().map(|score| score.all).sum()
    }

    /// The names of which too few values agree, besides those that differ for a known reason. One that differs of a few is
    /// none of a hundred.
    pub fn missed(&self) -> Vec<String> {
        let is_missed = |score: &Score| {
            let differ = score.all - score.same - score.known;
            differ * 100 > score.all * (100 - LEAST) && differ > 1
        };
        let missed = self.scores.iter().filter(|(_, score)| is_missed(score));
        missed.map(|((tool, name), score)| format!("{tool}, {name}: {} of {}", score.same, score.all)).collect()
    }

    /// A line for each name, and one for each difference below it.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for ((tool, name), Score { all, same, differences, .. }) in &self.scores {
            let percent = 100.0 * *same as f64 / (*all).max(1) as f64;
            table.push_str(&format!("{tool:8} {name:20} {:>12} ({percent:6.2}%)\n", format!("{same}/{all}")));
            differences.iter().for_each(|difference| table.push_str(&format!("    {difference}\n")));
        }
        table
    }
}

/// Both ends of a connection, the lower one first.
type Ends = [(String, u16); 2];

fn sorted(one: (String, u16), other: (String, u16)) -> Ends {
    let mut ends = [one, other];
    ends.sort();
    ends
}

struct Corpus<'a> {
    observer: &'a Path,
    folder: &'a Path,
}

/// What observer says of one capture.
#[derive(Default)]
struct Records {
    /// TCP connections, by their ends.
    connections: HashMap<Ends, Vec<Value>>,
    /// The same of those over QUIC.
    quic: HashMap<Ends, Vec<Value>>,
    lookups: Vec<Value>,
}

impl Corpus<'_> {
    fn captures(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder).with_context(|| format!("listing {}", self.folder.display()))? {
            let path = entry?.path();
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
            if path.is_file() && !["md", "tsv", "gz"].contains(&end) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Replays a capture, as far as it can be read.
    fn replay(&self, capture: &Path, switches: &[&str]) -> Result<Records> {
        let mut command = Command::new(self.observer);
        command
            .args(["replay", "--output", "json", "--show-secrets"])
            .args(switches)
            .arg(capture)
            .stderr(Stdio::null());
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        let mut records = Records::default();
        for line in String::from_utf8(output.stdout)?.lines() {
            let record: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            match text(&record, "/type").as_str() {
                "lookup" => records.lookups.push(record),
                "connection" => {
                    let ends = sorted(end(&record, "client"), end(&record, "server"));
                    let is_quic = record["transport"] == "quic";
                    let all = if is_quic { &mut records.quic } else { &mut records.connections };
                    all.entry(ends).or_default().push(record);
                }
                _ => {}
            }
        }
        Ok(records)
    }

    /// The files of a tool's results, each with the capture they belong to.
    fn results(&self, tool: &str) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut all = Vec::new();
        let folder = self.folder.join("expected").join(tool);
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry?;
            for file in fs::read_dir(entry.path())? {
                all.push((self.folder.join(entry.file_name()), file?.path()));
            }
        }
        all.sort();
        Ok(all)
    }
}

impl Records {
    /// The connection between these ends that speaks TLS.
    fn tls(&self, ends: &Ends) -> Option<&Value> {
        self.connections.get(ends)?.iter().map(|record| &record["tls"]).find(|tls| tls.is_object())
    }

    /// The exchanges of all connections between these ends.
    fn exchanges(&self, ends: &Ends) -> Vec<&Value> {
        let records = self.connections.get(ends).into_iter().flatten();
        records.filter_map(|record| record["exchanges"]["entries"].as_array()).flatten().collect()
    }
}

fn end(record: &Value, side: &str) -> (String, u16) {
    let port = record[side]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    (text(record, &format!("/{side}/ip")), port.unwrap_or_default())
}

/// What stands at a place of a record as text; empty for nothing.
fn text(record: &Value, place: &str) -> String {
    match record.pointer(place) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A list of texts, with `;` between.
fn list(record: &Value, place: &str) -> String {
    let values = record.pointer(place).and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).collect::<Vec<_>>().join(";")
}

/// The name of a capture and what is looked at in it.
fn place(capture: &Path, what: &impl std::fmt::Debug) -> String {
    format!("{} {what:?}", super::stem(capture))
}
