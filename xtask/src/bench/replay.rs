//! `cargo xtask bench replay`: a large capture file, through observer and through its peers.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::load::Load;
use super::measure::{Usage, measure, median};
use super::{Target, judge, megabytes};
use crate::{process, setup};

/// Read a load file of 2.7 million packets with observer and with its peers, by turns.
#[derive(clap::Args)]
pub struct Args {
    /// How often each runs; slow peers run once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Leave out the peers that take several seconds
    #[arg(long)]
    skip_slow: bool,
    /// How many connections the load file has
    #[arg(long, default_value_t = 124_000)]
    connections: u64,
}

/// A program that is measured.
struct Contender<'a> {
    name: &'static str,
    /// Program and arguments.
    words: Vec<&'a str>,
    /// Takes several seconds.
    slow: bool,
    runs: Vec<Usage>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        let observer = process::release_observer()?;
        let load = Load::get(self.connections)?;
        let eighth = Load::get(self.connections / 8)?;
        println!(
            "{}: {} packets, {} connections, {:.2} GB",
            load.path.display(),
            load.packets,
            load.connections,
            megabytes(load.bytes) / 1000.0
        );
        count_connections(&observer, &load)?;

        let mut contenders = contenders(&observer, &load.path, &eighth.path)?;
        contenders.retain(|contender| !(self.skip_slow && contender.slow));
        for round in 0..self.rounds {
            for contender in contenders.iter_mut().filter(|contender| round == 0 || !contender.slow) {
                let (program, arguments) = contender.words.split_first().context("an empty command")?;
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                contender.runs.push(measure(&mut command)?);
            }
        }
        let results = Results(contenders);
        results.print(&load);
        judge(&results.targets(&load, &eighth))
    }
}

/// Makes sure that what is measured is right: one record a connection. The records are not kept: what this program has in
/// memory when it starts another counts as that one's peak.
fn count_connections(observer: &Path, load: &Load) -> Result<()> {
    let mut child = Command::new(observer)
        .args(["replay", "--output", "json"])
        .arg(&load.path)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting observer")?;
    let output = BufReader::new(child.stdout.take().context("observer has no standard output")?);
    let mut found = 0;
    for line in output.split(b'\n') {
        found += u64::from(line.context("reading observer's output")?.starts_with(b"{\"type\":\"connection\""));
    }
    let status = child.wait().context("waiting for observer")?;
    ensure!(status.success(), "observer failed: {status}");
    ensure!(found == load.connections, "observer found {found} connections of {}", load.connections);
    Ok(())
}

const SUMMARY: &str = "observer summary";
const JSON: &str = "observer json";
const EIGHTH: &str = "observer summary, an eighth";
const ONE_THREAD: &str = "observer summary, one thread";
const ONE_CORE: &str = "observer summary, one core";
const TCP_ONLY: &str = "observer summary, TCP only";
const TCPDUMP: &str = "tcpdump -w /dev/null";
const ARGUS: &str = "argus -w -";
const TCPTRACE: &str = "tcptrace -n";
const TSHARK: &str = "tshark -z conv,tcp";

/// Everything that can be measured here.
fn contenders<'a>(observer: &'a Path, file: &'a Path, eighth: &'a Path) -> Result<Vec<Contender<'a>>> {
    let utf8 = |path: &'a Path| path.to_str().with_context(|| format!("{} is not UTF-8", path.display()));
    let (observer, file, eighth) = (utf8(observer)?, utf8(file)?, utf8(eighth)?);
    let summary = ["replay", "--output", "summary"];
    let commands: [(_, _, &[&[&str]]); 11] = [
        ("cat", false, &[&["cat", file]]),
        (SUMMARY, false, &[&[observer], &summary, &[file]]),
        (TCPDUMP, false, &[&["tcpdump", "-r", file, "-w", "/dev/null"]]),
        (TCP_ONLY, false, &[&[observer], &summary, &["--tcp-only", file]]),
        (JSON, false, &[&[observer, "replay", "--output", "json", file]]),
        (EIGHTH, false, &[&[observer], &summary, &[eighth]]),
        (ONE_THREAD, false, &[&[observer], &summary, &["--threads", "1", file]]),
        (ONE_CORE, false, &[&["taskset", "--cpu-list", "0", observer], &summary, &[file]]),
        (ARGUS, false, &[&["argus", "-r", file, "-w", "-"]]),
        (TCPTRACE, true, &[&["tcptrace", "-n", file]]),
        (TSHARK, true, &[&["tshark", "-r", file, "-q", "-z", "conv,tcp"]]),
    ];
    let mut contenders = Vec::new();
    for (name, slow, words) in commands {
        let words = words.concat();
        if words.first().is_some_and(|program| process::find(program).is_some()) {
            contenders.push(Contender { name, words, slow, runs: Vec::new() });
        } else {
            eprintln!("not installed here: {name}");
        }
    }
    Ok(contenders)
}

struct Results<'a>(Vec<Contender<'a>>);

impl Results<'_> {
    fn runs(&self, name: &str) -> &[Usage] {
        self.0.iter().find(|contender| contender.name == name).map_or(&[], |contender| &contender.runs)
    }

    /// Median time in seconds.
    fn wall(&self, name: &str) -> Option<f64> {
        median(self.runs(name).iter().map(|run| run.wall)).map(|wall| wall.as_secs_f64())
    }

    /// The most memory of all its runs.
    fn peak(&self, name: &str) -> Option<u64> {
        self.runs(name).iter().map(|run| run.peak).max()
    }

    /// How many times as long `slower` takes: the median of the rounds, each of which had both under the same conditions;
    /// where one of them ran once only, that of their medians.
    fn ratio(&self, slower: &str, faster: &str) -> Option<f64> {
        let (slow, fast) = (self.runs(slower), self.runs(faster));
        if slow.len() != fast.len() {
            return Some(self.wall(slower)? / self.wall(faster)?);
        }
        let mut ratios: Vec<_> =
            slow.iter().zip(fast).map(|(slow, fast)| slow.wall.div_duration_f64(fast.wall)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }

    fn print(&self, load: &Load) {
        println!(
            "\n{:<30} {:>5} {:>9} {:>9} {:>9} {:>9} {:>12} {:>9}",
            "", "runs", "median s", "best s", "CPU s", "peak MB", "packets/s", "times"
        );
        let seconds = |value: Option<Duration>| value.unwrap_or_default().as_secs_f64();
        for Contender { name, runs, .. } in &self.0 {
            let wall = median(runs.iter().map(|run| run.wall));
            let packets = if *name == EIGHTH { load.packets / 8 } else { load.packets };
            println!(
                "{name:<30} {:>5} {:>9.2} {:>9.2} {:>9.2} {:>9.0} {:>12.0} {:>9.2}",
                runs.len(),
                seconds(wall),
                seconds(runs.iter().map(|run| run.wall).min()),
                seconds(median(runs.iter().map(|run| run.cpu))),
                megabytes(self.peak(name).unwrap_or_default()),
                packets as f64 / seconds(wall),
                self.ratio(name, SUMMARY).unwrap_or(f64::NAN),
            );
        }
    }

    fn targets(&self, load: &Load, eighth: &Load) -> Vec<Target> {
        let peak = self.peak(SUMMARY);
        let growth = self.ratio(SUMMARY, EIGHTH).map(|ratio| ratio * 8.0 * eighth.packets as f64 / load.packets as f64);
        let memory = peak.zip(self.peak(EIGHTH)).map(|(whole, eighth)| whole as f64 / eighth as f64);
        let one_core = self.ratio(SUMMARY, ONE_CORE).map(|ratio| ratio * 100.0);
        vec![
            Target::at_least("times as fast as tcpdump's bare copy", 1.0, self.ratio(TCPDUMP, SUMMARY), "×"),
            Target::at_least("times as fast as argus", 3.4, self.ratio(ARGUS, SUMMARY), "×"),
            Target::at_least("times as fast as tcptrace", 8.0, self.ratio(TCPTRACE, SUMMARY), "×"),
            Target::at_least("times as fast as tshark", 40.0, self.ratio(TSHARK, SUMMARY), "×"),
            Target::at_most("peak resident memory", 200.0, peak.map(megabytes), " MB"),
            Target::at_most("JSON, in times of the summary", 2.0, self.ratio(JSON, SUMMARY), "×"),
            Target::at_most("all protocols, in times of TCP alone", 2.0, self.ratio(SUMMARY, TCP_ONLY), "×"),
            Target::at_least("speed of one core, of that of all", 60.0, one_core, "%"),
            Target::at_most("time for eight times the packets", 8.5, growth, "×"),
            Target::at_most("memory for eight times the packets", 1.25, memory, "×"),
        ]
    }
}
