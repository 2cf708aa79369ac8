//! `cargo xtask bench gauges`: what it costs to read gauges where there is much to read, and the tables of sockets beside
//! `ss`.

mod crowd;
mod tracked;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

pub use self::crowd::Args as Crowd;
use super::live::stage::Stage;
use super::measure::{measure, median};
use super::{Target, judge};
use crate::{process, setup};

/// Measure the gauges of `observer doctor` and the tables of `observer sockets` over many sockets, and over many tracked
/// connections.
#[derive(clap::Args)]
pub struct Args {
    /// How many sockets
    #[arg(long, default_value_t = 20_000)]
    sockets: u32,
    /// How many entries of connection tracking
    #[arg(long, default_value_t = 100_000)]
    entries: u32,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// For how long gauges are read each time, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// For how long they are read once more, with the search for whose the sockets are counted in
    #[arg(long, default_value_t = 60)]
    long: u64,
}

/// What is run by turns, and what it took each time.
struct Turn {
    what: &'static str,
    command: Command,
    took: Vec<Duration>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        let observer = process::release_observer()?;
        let mut targets = self.of_sockets(&observer)?;
        targets.extend(self.of_entries(&observer)?);
        judge(&targets)
    }

    fn of_sockets(&self, observer: &Path) -> Result<Vec<Target>> {
        let stage = Stage::new()?;
        let _crowd = crowd::gather(&stage, self.sockets / 2)?;
        let turn = |what, program: &Path, args: &[&str]| {
            let mut command = stage.command(program);
            command.args(args).stdout(Stdio::null());
            Turn { what, command, took: Vec::new() }
        };
        let (ss, args) = (Path::new("ss"), ["sockets", "-tan"]);
        let mut turns = [
            turn("observer sockets -tan", observer, &args),
            turn("ss -tan", ss, &args[1..]),
            turn("observer sockets -s", observer, &["sockets", "-s"]),
            turn("ss -s", ss, &["-s"]),
        ];
        let mut sweeps = Vec::new();
        for _ in 0..self.rounds {
            for turn in &mut turns {
                turn.took.push(measure(&mut turn.command)?.cpu);
            }
            sweeps.push(self.sweep(&stage, observer, self.seconds)?);
        }
        let long = self.sweep(&stage, observer, self.long)?;
        println!("{} sockets in one network namespace:", self.sockets);
        let middles = turns.map(|turn| {
            let middle = median(turn.took).unwrap_or_default();
            println!("{:>9.2} ms of CPU  {}", milliseconds(middle), turn.what);
            milliseconds(middle)
        });
        let [table, table_of_ss, summary, summary_of_ss] = middles;
        let share_of = |total: Duration, seconds: u64| 100.0 * total.as_secs_f64() / seconds as f64;
        let share = median(sweeps.iter().map(Sweeps::total)).map(|total| share_of(total, self.seconds));
        let whole = share_of(long.total() + long.looking, self.long);
        let looking = median(sweeps.iter().map(|sweep| sweep.looking)).map(milliseconds);
        println!("{:>9.2} ms of CPU  whose the sockets are, for the first time", looking.unwrap_or(f64::NAN));
        let sweep = median(sweeps.iter().map(|sweep| sweep.each)).map(milliseconds);
        Ok(vec![
            Target::at_most("a sweep of the gauges", 30.0, sweep, " ms"),
            Target::at_most("all sweeps of a run, of a processor", 0.5, share, " %"),
            Target::at_most("all of a longer one, and whose they are", 0.5, Some(whole), " %"),
            Target::at_most("observer sockets -tan, in those of ss", 1.0, Some(table / table_of_ss), ""),
            Target::at_most("observer sockets -s, in those of ss", 1.0, Some(summary / summary_of_ss), ""),
        ])
    }

    fn of_entries(&self, observer: &Path) -> Result<Vec<Target>> {
        const WHAT: &str = "a sweep with so many tracked connections";
        let stage = Stage::new()?;
        let Some(_tracked) = tracked::fill(&stage, self.entries)? else {
            return Ok(vec![Target::at_most(WHAT, 100.0, None, " ms")]);
        };
        let mut sweeps = Vec::new();
        for _ in 0..self.rounds {
            sweeps.push(self.sweep(&stage, observer, self.seconds)?.each);
        }
        println!("{} entries of connection tracking:", self.entries);
        let middle = median(sweeps).map(milliseconds);
        println!("{:>9.2} ms of CPU  a sweep of the gauges", middle.unwrap_or(f64::NAN));
        Ok(vec![Target::at_most(WHAT, 100.0, middle, " ms")])
    }

    /// What `observer doctor` says of its own effort: how often gauges were read, and the time of each.
    fn sweep(&self, stage: &Stage, observer: &Path, seconds: u64) -> Result<Sweeps> {
        let mut command = stage.command(observer);
        command.args(["doctor", "--netns", "own", "--source", "sock_diag", "--color", "never"]);
        command.args(["--for", &format!("{seconds}s")]);
        let output = command.output().context("running observer doctor")?;
        ensure!(
            matches!(output.status.code(), Some(0 | 10 | 20)),
            "observer doctor: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout);
        Sweeps::parse(&text).with_context(|| format!("observer doctor does not tell of its effort: {text}"))
    }
}

struct Sweeps {
    count: u32,
    each: Duration,
    /// For whose the sockets are.
    looking: Duration,
}

impl Sweeps {
    /// `gauges read 3 times, 18.2 ms each, 54.4 ms for whose the sockets are`, wherever the lines break.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split_whitespace().map(|word| word.trim_end_matches(',')).collect();
        let at = words.windows(2).position(|two| two == ["gauges", "read"])?;
        let [count, _, number, unit, "each", rest @ ..] = words.get(at + 2..)? else { return None };
        let looking = match rest {
            [number, unit, "for", "whose", ..] => time(number, unit)?,
            _ => Duration::ZERO,
        };
        Some(Self { count: count.parse().ok()?, each: time(number, unit)?, looking })
    }

    fn total(&self) -> Duration {
        self.each * self.count
    }
}

fn time(number: &str, unit: &str) -> Option<Duration> {
    let unit = match unit {
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effort_is_read_from_the_text() {
        let text = "this host: no connections seen in 10 s; gauges read\n3 times, 18.5 ms each\n\nsockets  ESTAB 5";
        let sweeps = Sweeps::parse(text).expect("it is told");
        assert_eq!((sweeps.count, sweeps.each, sweeps.total().as_micros()), (3, Duration::from_micros(18_500), 55_500));
        let more = "gauges read 3 times, 24.1 ms each,\n54.4 ms for whose the sockets are";
        let sweeps = Sweeps::parse(more).expect("it is told");
        assert_eq!((sweeps.each, sweeps.looking), (Duration::from_micros(24_100), Duration::from_micros(54_400)));
        assert!(Sweeps::parse("gauges read 3 times").is_none());
    }
}
