//! What holding observer against other tools takes: values compared and counted, tshark's fields, Zeek's logs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends of a connection in text, the lower one first.
pub type Ends = [(String, u16); 2];

/// Values compared, by their name.
#[derive(Default)]
pub struct Tally {
    counts: HashMap<&'static str, (u64, u64)>,
    differences: Vec<String>,
}

impl Tally {
    pub fn compare(&mut self, place: &str, name: &'static str, ours: &str, theirs: &str) {
        self.note(place, name, ours == theirs, || format!("ours {ours:?}, theirs {theirs:?}"));
    }

    pub fn note(&mut self, place: &str, name: &'static str, same: bool, difference: impl FnOnce() -> String) {
        let (all, right) = self.counts.entry(name).or_default();
        *all += 1;
        *right += u64::from(same);
        if !same {
            self.differences.push(format!("{place}: {name}: {}", difference()));
        }
    }

    /// Every value agrees in 98 of 100 cases, and there were at least `least` in all.
    pub fn judge(self, least: u64) {
        let mut names: Vec<_> = self.counts.iter().collect();
        names.sort();
        names.iter().for_each(|(name, (all, right))| println!("{name}: {right} of {all}"));
        self.differences.iter().for_each(|difference| println!("    {difference}"));
        let total: u64 = self.counts.values().map(|(all, _)| all).sum();
        assert!(total >= least, "only {total} values have been compared");
        for (name, (all, right)) in names {
            // One that differs of a few is none of a hundred.
            assert!(right * 100 >= all * 98 || all - right <= 1, "{name}: {right} of {all}: {:#?}", self.differences);
        }
    }
}

pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}: protocols are not held against other tools");
}

pub fn captures(corpus: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(corpus).expect("the corpus is a folder").map(|entry| entry.expect("listed").path());
    let is_capture = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        path.is_file() && !["md", "tsv", "gz"].contains(&extension)
    };
    let mut files: Vec<_> = files.filter(is_capture).collect();
    files.sort();
    files
}

pub fn sorted(one: (String, u16), other: (String, u16)) -> Ends {
    let mut ends = [one, other];
    ends.sort();
    ends
}

/// The fields of the packets that `filter` lets through; several values of one field are apart by `;`.
pub fn tshark(capture: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=;"]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.output().expect("tshark runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

pub fn has_tshark() -> bool {
    Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The innermost ends in the first six of a packet's fields.
pub fn ends(row: &[String]) -> Option<Ends> {
    const EACH: usize = 3;
    let end = |fields: &[String]| {
        let [v4, v6, port] = fields else { return None };
        let address = if v6.is_empty() { v4 } else { v6 };
        Some((address.rsplit(';').next()?.to_owned(), port.rsplit(';').next()?.parse().ok()?))
    };
    Some(sorted(end(row.get(..EACH)?)?, end(row.get(EACH..2 * EACH)?)?))
}

/// The rows of every log of this kind, with their capture.
pub fn zeek_rows(corpus: &Path, kind: &str) -> Vec<(PathBuf, HashMap<String, String>)> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(corpus.join("expected/zeek")).expect("the corpus has Zeek's results") {
        let logs = entry.expect("a folder can be listed").path();
        let capture = corpus.join(logs.file_name().expect("a folder has a name"));
        for log in std::fs::read_dir(&logs).expect("a folder can be listed") {
            let log = log.expect("a folder can be listed").path();
            if !log.to_string_lossy().ends_with(kind) {
                continue;
            }
            let text = std::fs::read_to_string(&log).expect("a log is text");
            let names = text.lines().find_map(|line| line.strip_prefix("#fields\t")).unwrap_or_default();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            rows.extend(lines.map(|line| {
                let values = line.split('\t').map(str::to_owned);
                (capture.clone(), names.split('\t').map(str::to_owned).zip(values).collect())
            }));
        }
    }
    rows
}
