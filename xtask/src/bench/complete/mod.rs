//! `cargo xtask bench complete`: what `observer watch` tells, held against what there was.
//!
//! Short connections as fast as this machine makes them, over the loopback interface of a network namespace that is made
//! for the purpose: most by one process, some by processes that live for one each, some to a server that forks for each.

pub mod swarm;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::live::stage::Stage;
use super::memory::resident_at_most;
use super::{Target, judge, megabytes};
use crate::{process, setup};

/// Hold `observer watch` against what many short connections were.
#[derive(clap::Args)]
pub struct Args {
    /// How many connections; a tenth of them by processes that live for one, a tenth to a server that forks for each
    #[arg(long, default_value_t = 200_000)]
    connections: u32,
}

/// A connection from a port of this host to an address, of these processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub from: u16,
    pub to: SocketAddrV4,
    pub client: u32,
    pub server: u32,
}

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        let observer = process::release_observer()?;
        let stage = Stage::new()?;
        let mut command = stage.command(&observer);
        command.args(["watch", "--source", "ebpf", "--netns", "own", "--output", "json"]);
        let mut watch = Watch::start(command)?;
        let (mut truth, started) = (Vec::new(), Instant::now());
        let few = self.connections / 10;
        for (kind, count) in [("plain", self.connections - 2 * few), ("processes", few), ("forks", few)] {
            let began = Instant::now();
            truth.extend(swarm::connect(&stage, kind, count)?);
            println!("{count:>7} {kind}: {:.0} a second", f64::from(count) / began.elapsed().as_secs_f64());
        }
        watch.wait_for(truth.len())?;
        let peak = resident_at_most(watch.child.id())?;
        let told = watch.stop()?;
        println!("{} connections were told of in {:.0} s", told.connections.len(), started.elapsed().as_secs_f64());
        let Verdict { once, right } = compare(&truth, &told.connections);
        let percent = |part: usize| Some(part as f64 * 100.0 / truth.len() as f64);
        judge(&[
            Target::at_least("connections told of once", 100.0, percent(once), " %"),
            Target::at_least("of the right processes at both ends", 99.9, percent(right), " %"),
            Target::at_most("told of, and never there", 0.0, Some((told.connections.len() - once) as f64), ""),
            Target::at_most("records lost", 0.0, told.lost.map(|lost| lost as f64), ""),
            Target::at_most("peak resident memory", 150.0, Some(megabytes(peak)), " MB"),
        ])
    }
}

struct Verdict {
    /// Connections that were told of as often as they were there.
    once: usize,
    /// Those of them whose processes are the right ones.
    right: usize,
}

/// Ports may have been used again, so what is there and what is told are counted by both ends.
fn compare(truth: &[Connection], told: &[Connection]) -> Verdict {
    let ends = |connection: &Connection| Connection { client: 0, server: 0, ..*connection };
    let mut by_ends: HashMap<_, usize> = HashMap::new();
    let mut whole: HashMap<_, usize> = HashMap::new();
    for connection in told {
        *by_ends.entry(ends(connection)).or_default() += 1;
        *whole.entry(*connection).or_default() += 1;
    }
    let take = |counts: &mut HashMap<Connection, usize>, connection| match counts.get_mut(&connection) {
        Some(left @ 1..) => {
            *left -= 1;
            true
        }
        _ => false,
    };
    let once = truth.iter().filter(|connection| take(&mut by_ends, ends(connection))).count();
    let right = truth.iter().filter(|connection| take(&mut whole, **connection)).count();
    Verdict { once, right }
}

/// What the observer said.
struct Told {
    connections: Vec<Connection>,
    lost: Option<u64>,
}

/// `observer watch` at work, its JSON read as it comes.
struct Watch {
    child: Child,
    reader: Option<JoinHandle<Result<Told>>>,
    count: Arc<AtomicUsize>,
}

#[derive(Deserialize)]
struct Object {
    r#type: String,
    client: Option<End>,
    server: Option<End>,
    #[serde(default)]
    processes: Vec<Process>,
    dropped: Option<u64>,
}

#[derive(Deserialize)]
struct End {
    ip: String,
    port: u16,
}

#[derive(Deserialize)]
struct Process {
    side: Option<String>,
    pid: Option<u32>,
}

impl Watch {
    fn start(mut command: std::process::Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let errors = child.stderr.take().context("no standard error")?;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let reader = Some(std::thread::spawn(move || read(out, &counted)));
        let watch = Self { child, reader, count };
        let mut lines = BufReader::new(errors).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("observer: watching"));
        ensure!(ready, "it does not observe");
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Ok(watch)
    }

    /// Waits until so many connections were told of, or nothing comes any more.
    fn wait_for(&self, wanted: usize) -> Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        while last < wanted && since.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.count.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        ensure!(last > 0, "no connection was told of");
        Ok(())
    }

    fn stop(&mut self) -> Result<Told> {
        process::interrupt(&self.child);
        let reader = self.reader.take().context("it was stopped before")?;
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Does nothing where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(out: ChildStdout, count: &AtomicUsize) -> Result<Told> {
    let mut told = Told { connections: Vec::new(), lost: None };
    let (mut out, mut line) = (BufReader::with_capacity(1 << 20, out), Vec::new());
    while out.read_until(b'\n', &mut line)? > 0 {
        let object: Object = serde_json::from_slice(&line).context("reading what observer says")?;
        match (object.r#type.as_str(), object.client, object.server) {
            ("connection", Some(client), Some(server)) => {
                let pid = |side| {
                    let of_side = object.processes.iter().find(|process| process.side.as_deref() == Some(side));
                    of_side.and_then(|process| process.pid).unwrap_or(0)
                };
                let to = SocketAddrV4::new(server.ip.parse().context("reading an address")?, server.port);
                let (client, from) = (pid("client"), client.port);
                told.connections.push(Connection { from, to, client, server: pid("server") });
                count.fetch_add(1, Ordering::Relaxed);
            }
            ("capture", ..) => told.lost = object.dropped,
            _ => {}
        }
        line.clear();
    }
    Ok(told)
}
