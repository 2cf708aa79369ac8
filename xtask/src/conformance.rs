//! `cargo xtask conformance`: observer held against tools that it shares no code with.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, cargo, root, target_dir};
use crate::setup;

/// Hold observer against tshark over captures that it makes itself, and against tcpdump, tshark, Zeek and the ja4 project
/// over the corpus where that is present
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask conformance")]
pub struct Args {}

/// What a score must reach.
#[derive(Clone, Copy, Debug)]
enum Least {
    /// This many percent.
    Percent(f64),
    /// All but so many.
    AllBut(u64),
}

/// What the comparison with the corpus must give.
const REACH: [(&str, Least); 27] = [
    ("packets.timestamp", Least::Percent(100.0)),
    ("packets.flags", Least::Percent(100.0)),
    ("packets.line", Least::Percent(99.5)),
    ("streams.found", Least::Percent(100.0)),
    ("streams.packets", Least::Percent(100.0)),
    ("streams.bytes", Least::Percent(100.0)),
    ("streams.initial_rtt", Least::Percent(99.0)),
    ("streams.retransmission", Least::Percent(95.0)),
    ("streams.fast_retransmission", Least::Percent(90.0)),
    ("streams.spurious_retransmission", Least::Percent(90.0)),
    ("streams.out_of_order", Least::Percent(90.0)),
    ("streams.lost_segment", Least::Percent(90.0)),
    ("streams.ack_lost_segment", Least::Percent(90.0)),
    ("streams.duplicate_ack", Least::Percent(95.0)),
    ("streams.zero_window", Least::Percent(90.0)),
    ("streams.zero_window_probe", Least::Percent(90.0)),
    ("streams.zero_window_probe_ack", Least::Percent(90.0)),
    ("streams.keep_alive", Least::Percent(90.0)),
    ("streams.keep_alive_ack", Least::Percent(90.0)),
    ("streams.window_full", Least::Percent(90.0)),
    ("streams.window_update", Least::Percent(90.0)),
    ("streams.reused_ports", Least::Percent(90.0)),
    ("streams.all", Least::Percent(96.0)),
    ("zeek.conn_state", Least::AllBut(2)),
    ("zeek.history", Least::AllBut(5)),
    ("zeek.all", Least::Percent(0.0)),
    ("robust", Least::Percent(100.0)),
];

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        setup::ensure(setup::TEST)?;
        if let Err(error) = setup::ensure(setup::SERVERS) {
            eprintln!("set-up: {error:#}");
        }
        let observer = process::release_observer()?;
        let corpus = against_corpus(&observer);
        let folder = target_dir().join("conformance");
        let mut command = cargo();
        command.args(["run", "--quiet", "--package", "observer-tests", "--bin", "conformance", "--"]);
        process::run(command.arg(&observer).arg(&folder))?;
        corpus
    }
}

/// Runs the corpus's own comparison and holds its scores against [`REACH`].
fn against_corpus(observer: &Path) -> Result<()> {
    let corpus = env::var_os("OBSERVER_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let script = corpus.join("../conformance/compare.py");
    for (there, what) in [(corpus.is_dir(), "the corpus"), (script.is_file(), "its compare.py")] {
        if !there {
            eprintln!("skipped: conformance with the corpus: {what} is not at {}", corpus.display());
            return Ok(());
        }
    }
    if process::find("python3").is_none() {
        eprintln!("skipped: conformance with the corpus: python3 is not installed");
        return Ok(());
    }
    let mut command = Command::new("python3");
    command.arg(fs::canonicalize(&script)?).arg(observer).arg(&corpus).arg("all").stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {}", process::line(&command)))?;
    let mut missed = Vec::new();
    let mut scores = 0;
    for line in BufReader::new(child.stdout.take().context("no pipe from compare.py")?).lines() {
        let line = line.context("reading what compare.py prints")?;
        println!("{line}");
        if let Some((name, least, matched, total)) = score(&line) {
            scores += 1;
            if !least.is_reached(matched, total) {
                missed.push(format!("{name}: {matched}/{total}, must be {least:?}"));
            }
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "{} ended with {status}", process::line(&command));
    ensure!(scores == REACH.len(), "compare.py printed {scores} scores, not {}", REACH.len());
    ensure!(missed.is_empty(), "not reached: {}", missed.join("; "));
    Ok(())
}

/// Reads `NAME: matched/total (percent)`, for the names that must reach something.
fn score(line: &str) -> Option<(&'static str, Least, u64, u64)> {
    let (found, rest) = line.split_once(": ")?;
    let (name, least) = REACH.into_iter().find(|(name, _)| *name == found)?;
    let (matched, total) = rest.split_once(' ')?.0.split_once('/')?;
    Some((name, least, matched.parse().ok()?, total.parse().ok()?))
}

impl Least {
    fn is_reached(self, matched: u64, total: u64) -> bool {
        match self {
            Self::Percent(percent) => 100.0 * matched as f64 >= percent * total as f64,
            Self::AllBut(few) => matched + few >= total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_and_judged() {
        let (name, least, matched, total) = score("packets.line: 398/400 (99.50%)").expect("a score");
        assert_eq!((name, matched, total), ("packets.line", 398, 400));
        assert!(least.is_reached(matched, total));
        assert!(!least.is_reached(397, 400));
        assert!(Least::AllBut(2).is_reached(98, 100));
        assert!(!Least::AllBut(2).is_reached(97, 100));
        assert!(score("  MISMATCH x: 1/2 (50%)").is_none());
    }
}
