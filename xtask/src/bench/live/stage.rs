//! Where the traffic runs, and who observes it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process;

/// A network namespace whose loopback interface sends what a wire would: 1500 octets at a time. Gone when dropped.
pub struct Stage {
    name: String,
}

impl Stage {
    pub fn new() -> Result<Self> {
        let stage = Self { name: format!("observer-bench-{}", std::process::id()) };
        ip(&["netns", "add", &stage.name])?;
        let lo = ["-n", &stage.name, "link", "set", "lo"];
        ip(&[&lo[..], &["mtu", "1500", "gso_max_size", "1500", "gso_max_segs", "1", "up"]].concat())?;
        Ok(stage)
    }

    /// Runs traffic for a while and gives its rate.
    pub fn traffic(&self, kind: &str, length: Duration) -> Result<f64> {
        let own = std::env::current_exe().context("looking for this program")?;
        let output = self
            .command(&own)
            .args(["bench", "traffic", kind, &length.as_millis().to_string()])
            .output()
            .context("starting the traffic")?;
        ensure!(output.status.success(), "the traffic: {}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8_lossy(&output.stdout).trim().parse().context("reading the rate of the traffic")
    }

    /// A command that will run in the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("running ip")?;
    ensure!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Another program that observes connections.
pub struct Peer {
    pub name: &'static str,
    /// Whether it has to be where the traffic is; others see the whole kernel, by tracefs.
    is_inside: bool,
    /// The names it goes by, with its arguments.
    words: &'static [&'static [&'static str]],
}

pub const PEERS: [Peer; 4] = [
    Peer {
        name: "tcpdump -w /dev/null",
        is_inside: true,
        words: &[&["tcpdump", "-i", "lo", "-w", "/dev/null", "tcp"]],
    },
    Peer { name: "tcplife", is_inside: false, words: &[&["tcplife"], &["bpf-tcplife"], &["tcplife-bpfcc"]] },
    Peer { name: "tcpstates", is_inside: false, words: &[&["tcpstates"], &["bpf-tcpstates"], &["tcpstates-bpfcc"]] },
    Peer {
        name: "bpftrace, a line a state",
        is_inside: false,
        words: &[&[
            "bpftrace",
            "-e",
            "tracepoint:sock:inet_sock_set_state { printf(\"%d %d\\n\", args->oldstate, args->newstate); }",
        ]],
    },
];

/// A command that sees tracefs, whether or not this system has mounted it.
fn with_tracefs(program: &str) -> Command {
    // Where it is mounted already, that is an error and no harm.
    const MOUNTING: &str = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MOUNTING, program]);
    command
}

/// How an observer is started.
pub struct Observer {
    command: Command,
    /// What it says on standard error once it observes.
    ready: Option<&'static str>,
}

/// An observer at work.
pub struct Running {
    child: Child,
}

impl Observer {
    /// `observer watch`, its lines to nobody.
    pub fn watch(observer: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(observer);
        command.args(["watch", "--source", "ebpf"]).args(words);
        Self { command, ready: Some("observer: watching") }
    }

    /// Someone who looks on without seeing: what the measurement itself shows.
    pub fn nobody() -> Self {
        let mut command = Command::new("sleep");
        command.arg("infinity");
        Self { command, ready: None }
    }

    /// A peer, where it is installed.
    pub fn peer(stage: &Stage, peer: &Peer) -> Option<Self> {
        let is_there = |words: &&&[&str]| {
            words
                .first()
                .is_some_and(|name| Command::new("which").arg(name).output().is_ok_and(|out| out.status.success()))
        };
        let Some((name, args)) = peer.words.iter().find(is_there).and_then(|words| words.split_first()) else {
            println!("not installed: {}", peer.name);
            return None;
        };
        let mut command = if peer.is_inside { stage.command(name) } else { with_tracefs(name) };
        command.args(args);
        Some(Self { command, ready: None })
    }

    pub fn start(&mut self) -> Result<Running> {
        let Self { command, ready } = self;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let Some(ready) = ready else {
            let mut child = command.stderr(Stdio::piped()).spawn()?;
            let said = BufReader::new(child.stderr.take().context("no standard error")?).lines();
            let last = std::thread::spawn(move || said.map_while(Result::ok).last());
            let mut running = Running { child };
            // Peers do not say when they have begun.
            std::thread::sleep(Duration::from_secs(2));
            if let Some(status) = running.child.try_wait()? {
                let last = last.join().ok().flatten().unwrap_or_default();
                bail!("it ended with {status}: {last}");
            }
            return Ok(running);
        };
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        let running = Running { child };
        let mut said = Vec::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.starts_with(*ready) {
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(running);
            }
            said.push(line);
        }
        bail!("it does not observe: {}", said.join("; "))
    }
}

impl Running {
    /// Identifier of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as Ctrl-C would.
    pub fn stop(mut self) -> Result<()> {
        self.interrupt();
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(started.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn interrupt(&self) {
        process::interrupt(&self.child);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Does nothing where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
