//! `conformance OBSERVER FOLDER`: holds what observer says of protocols against tshark, Zeek and the ja4 project over the
//! corpus, against tshark over traffic of real servers, and its segment analysis against tshark over storms that observer's lab makes in FOLDER, until every name of
//! that has enough connections that show it. `cargo xtask conformance` runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use observer_tests::protocols::Tally;
use observer_tests::protocols::made::Made;
use observer_tests::tshark::{self, NAMES, Stream};
use observer_tests::{protocols, run, skip};

/// How many connections must show each name.
const SHOWN: u64 = 20;
/// What part of the directions in which either tool counts one must have the same count, in percent.
const LEAST: f64 = 95.0;
/// Storms that are made in any case, and at most.
const STORMS: std::ops::RangeInclusive<u64> = 4..=16;
const CONNECTIONS: u64 = 300;

fn main() -> Result<ExitCode> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [observer, folder] = arguments.as_slice() else { bail!("usage: conformance OBSERVER FOLDER") };
    let same = [protocols(observer)?, servers(observer)?, analysis(observer, folder)?];
    Ok(if same == [true; 3] { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints how far other tools say the same of protocols; whether that is far enough.
fn protocols(observer: &Path) -> Result<bool> {
    let Some(corpus) = protocols::corpus() else {
        skip("conformance of protocols", "there is no corpus beside the checkout");
        return Ok(true);
    };
    let tally = protocols::compare(observer, &corpus)?;
    println!("what connections are for, over the corpus");
    Ok(print(&tally))
}

/// The same of tshark over traffic of real servers and clients.
fn servers(observer: &Path) -> Result<bool> {
    if tshark::version().is_none() {
        skip("conformance of real servers", "tshark is not installed");
        return Ok(true);
    }
    let Some(made) = Made::make(observer)? else { return Ok(true) };
    let tally = protocols::compare_made(observer, &made)?;
    println!("what connections are for, of real servers and clients");
    Ok(print(&tally))
}

/// Prints what was compared; whether enough of it is the same.
fn print(tally: &Tally) -> bool {
    print!("{}", tally.table());
    let missed = tally.missed();
    missed.iter().for_each(|missed| println!("below {}%: {missed}", protocols::LEAST));
    missed.is_empty()
}

/// Prints how far tshark says the same of segments; whether that is far enough.
fn analysis(observer: &Path, folder: &Path) -> Result<bool> {
    let Some(version) = tshark::version() else {
        skip("conformance with tshark", "tshark is not installed");
        return Ok(true);
    };
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut scores = Scores::default();
    for seed in 1..=*STORMS.end() {
        if seed > *STORMS.start() && scores.names.iter().all(|name| name.shown >= SHOWN) {
            break;
        }
        let capture = folder.join(format!("storm-{seed}.pcapng"));
        if let Err(trouble) = storm(observer, seed, &capture) {
            skip("conformance with tshark", &format!("{trouble:#}"));
            return Ok(true);
        }
        scores.add(observer, &capture)?;
    }
    println!("observer against {version}, by direction, over {} connections of its own lab", scores.all.total);
    Ok(scores.print())
}

fn storm(observer: &Path, seed: u64, capture: &Path) -> Result<()> {
    let mut command = Command::new(observer);
    let (seed, connections) = (seed.to_string(), CONNECTIONS.to_string());
    command.args(["lab", "storm", "--seed", &seed, "--connections", &connections, "--write"]).arg(capture);
    run::success(&mut command).map(drop)
}

/// How often both tools said the same.
#[derive(Default)]
struct Score {
    matched: u64,
    total: u64,
    /// Connections in which tshark counts at least one.
    shown: u64,
}

#[derive(Default)]
struct Scores {
    names: [Score; NAMES.len()],
    packets: Score,
    bytes: Score,
    all: Score,
}

impl Score {
    fn add(&mut self, matched: bool) {
        self.total += 1;
        self.matched += u64::from(matched);
    }

    fn percent(&self) -> f64 {
        if self.total == 0 { 100.0 } else { 100.0 * self.matched as f64 / self.total as f64 }
    }

    fn line(&self, name: &str) -> String {
        format!("{name:24} {:>12} ({:6.2}%)", format!("{}/{}", self.matched, self.total), self.percent())
    }
}

impl Scores {
    fn add(&mut self, observer: &Path, capture: &Path) -> Result<()> {
        let theirs = tshark::streams(capture)?;
        let lines = run::replay(observer, capture, &["--analysis", "wireshark"])?;
        let ours = run::objects(&lines, "connection")?.iter().map(Stream::of_record).collect::<Result<_>>()?;
        let (pairs, alone) = tshark::pair(theirs, ours);
        for stream in alone {
            println!("{}: a connection that tshark does not have: {:?}", capture.display(), stream.ends);
            self.all.add(false);
        }
        for (theirs, ours) in pairs {
            let Some(ours) = ours else {
                println!("{}: a connection that observer does not have: {:?}", capture.display(), theirs.ends);
                self.all.add(false);
                continue;
            };
            for difference in theirs.differences(&ours) {
                println!("{}: {difference}", capture.display());
            }
            self.all.add(theirs.differences(&ours).is_empty());
            self.packets.add(theirs.packets == ours.packets);
            self.bytes.add(theirs.bytes == ours.bytes);
            for ((score, theirs), ours) in self.names.iter_mut().zip(theirs.analysis).zip(ours.analysis) {
                score.shown += u64::from(theirs != [0, 0]);
                for (theirs, ours) in theirs.into_iter().zip(ours).filter(|pair| *pair != (0, 0)) {
                    score.add(theirs == ours);
                }
            }
        }
        Ok(())
    }

    /// Prints all scores; whether they are good enough.
    fn print(&self) -> bool {
        let mut good = true;
        for (name, score) in [("packets", &self.packets), ("bytes", &self.bytes), ("all", &self.all)] {
            println!("{}", score.line(name));
        }
        good &= self.packets.percent() >= LEAST && self.bytes.percent() >= LEAST;
        for (name, score) in NAMES.iter().zip(&self.names) {
            let trouble = if score.percent() < LEAST {
                format!("  below {LEAST}%")
            } else if score.shown < SHOWN {
                format!("  fewer than {SHOWN}")
            } else {
                String::new()
            };
            good &= trouble.is_empty();
            println!("{}  in {:4} connections{trouble}", score.line(name), score.shown);
        }
        good
    }
}
