//! `cargo xtask bench`: observer as a whole program, against its targets and its peers.

mod complete;
mod flood;
mod frame;
mod gauges;
mod live;
mod load;
mod measure;
mod memory;
mod replay;

use std::fmt;

use anyhow::{Result, ensure};

/// Measure observer as a whole program.
///
/// The parts of it are measured by `cargo bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    Replay(replay::Args),
    Live(live::Args),
    Traffic(live::traffic::Args),
    Complete(complete::Args),
    Swarm(complete::swarm::Args),
    Flood(flood::Args),
    Memory(memory::Args),
    Gauges(gauges::Args),
    Crowd(gauges::Crowd),
}

impl Args {
    pub fn run(self) -> Result<()> {
        match self.bench {
            Bench::Replay(args) => args.run(),
            Bench::Live(args) => args.run(),
            Bench::Traffic(args) => args.run(),
            Bench::Complete(args) => args.run(),
            Bench::Swarm(args) => args.run(),
            Bench::Flood(args) => args.run(),
            Bench::Memory(args) => args.run(),
            Bench::Gauges(args) => args.run(),
            Bench::Crowd(args) => args.run(),
        }
    }
}

/// Something to reach, and whether it was.
struct Target {
    what: &'static str,
    /// `None` where it could not be measured here.
    reached: Option<bool>,
    measured: String,
}

impl Target {
    /// `measured` must not be above `limit`; both in `unit`.
    fn at_most(what: &'static str, limit: f64, measured: Option<f64>, unit: &str) -> Self {
        Self::new(what, measured, |value| value <= limit, format!("at most {limit}{unit}"), unit)
    }

    /// `measured` must not be below `limit`; both in `unit`.
    fn at_least(what: &'static str, limit: f64, measured: Option<f64>, unit: &str) -> Self {
        Self::new(what, measured, |value| value >= limit, format!("at least {limit}{unit}"), unit)
    }

    fn new(what: &'static str, value: Option<f64>, good: impl Fn(f64) -> bool, limit: String, unit: &str) -> Self {
        let text = value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}{unit}"));
        Self { what, reached: value.map(good), measured: format!("{text} ({limit})") }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.reached {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "unknown",
        };
        write!(f, "{word:>8}  {:<58} {}", self.what, self.measured)
    }
}

/// Prints the verdicts; a target that was missed is an error.
fn judge(targets: &[Target]) -> Result<()> {
    println!();
    for target in targets {
        println!("{target}");
    }
    let missed = targets.iter().filter(|target| target.reached == Some(false)).count();
    ensure!(missed == 0, "{missed} of {} targets missed", targets.len());
    Ok(())
}

/// Bytes as millions of bytes, as the targets count them.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
