//! `cargo xtask test`: everything that must hold, each check with a heading and its time, all of them counted at the end.

mod checks;
pub mod tally;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{process, setup};
use checks::{CHECKS, KERNELS};
use tally::Tally;

/// Test everything: format, lints, docs, the library on its own, all tests, dependencies, fuzz targets.
///
/// Installs first what is missing for it.
#[derive(clap::Args)]
pub struct Args {
    /// Only the checks of these names
    #[arg(value_parser = checks::names())]
    checks: Vec<String>,
    /// Run the live tests on other kernels as well (see `cargo xtask vm`)
    #[arg(long)]
    kernels: bool,
}

/// One thing that must hold.
struct Check {
    /// What it is called on the command line.
    name: &'static str,
    /// What it says, as a heading.
    what: &'static str,
    /// Counts what it tested; an error is one failure.
    run: fn() -> Result<Tally>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        // What one run on a fresh clone took, with room to spare.
        setup::warn_of_little_room(&process::target_dir(), 15)?;
        setup::ensure(setup::BUILD)?;
        setup::ensure(setup::LINT)?;
        let mut report = Report::default();
        for (needs, what) in [(setup::TEST, "tools"), (setup::SERVERS, "servers")] {
            if let Err(error) = setup::ensure(needs) {
                eprintln!("set-up: {error:#}");
                report.total.skip(format!("set-up: some {what} that tests use could not be installed: see above"));
            }
        }
        let is_named = |check: &&Check| self.checks.iter().any(|name| name == check.name);
        let named = CHECKS.iter().filter(|check| self.checks.is_empty() || is_named(check));
        for check in named.chain([&KERNELS].into_iter().filter(|check| self.kernels || is_named(check))) {
            report.run(check);
        }
        report.print();
        if report.total.failed > 0 {
            // The counts are the last line: the error adds none.
            std::process::exit(1);
        }
        Ok(())
    }
}

/// What came of the checks so far.
#[derive(Default)]
struct Report {
    total: Tally,
    lines: Vec<String>,
}

impl Report {
    fn run(&mut self, check: &Check) {
        heading(&format!("{}: {}", check.name, check.what));
        let start = Instant::now();
        let outcome = (check.run)();
        let time = start.elapsed();
        let tally = outcome.unwrap_or_else(|error| {
            eprintln!("{}: {error:#}", check.name);
            Tally { failed: 1, ..Tally::default() }
        });
        let line = result_line(check.name, &tally, time);
        eprintln!("{line}");
        self.lines.push(line);
        self.total.add(tally);
    }

    fn print(&self) {
        heading("summary");
        for line in &self.lines {
            println!("{line}");
        }
        if !self.total.skips.is_empty() {
            println!("\nSKIPPED, so not known to hold:");
            for skip in &self.total.skips {
                println!("  {skip}");
            }
            println!();
        }
        println!("{}", self.total);
    }
}

fn result_line(name: &str, tally: &Tally, time: Duration) -> String {
    let word = match tally {
        Tally { failed: 1.., .. } => "FAILED",
        Tally { passed: 0, skipped: 1.., .. } => "SKIPPED",
        _ => "ok",
    };
    format!("{word:>8}  {name:<10} {:7.1} s  {tally}", time.as_secs_f64())
}

fn heading(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\n\x1b[1m== {text}\x1b[0m");
    } else {
        eprintln!("\n== {text}");
    }
}

/// For a check of which one can only say that it holds.
fn holds(result: Result<()>) -> Result<Tally> {
    result.map(|()| Tally { passed: 1, ..Tally::default() })
}

/// For a check that cannot run here.
fn skipped(name: &str, why: &str) -> Tally {
    eprintln!("SKIPPED: {why}");
    let mut tally = Tally::default();
    tally.skip(format!("{name}: {why}"));
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_shows_and_counts() {
        let mut report = Report::default();
        report.run(&Check { name: "a", what: "passes", run: || holds(Ok(())) });
        report.run(&Check { name: "b", what: "fails", run: || anyhow::bail!("broken") });
        report.run(&Check { name: "c", what: "cannot run", run: || Ok(skipped("c", "no tool")) });
        assert_eq!(report.total.to_string(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(report.total.skips, ["c: no tool"]);
        let words = report.lines.iter().filter_map(|line| line.split_whitespace().next()).collect::<Vec<_>>();
        assert_eq!(words, ["ok", "FAILED", "SKIPPED"]);
    }
}
