//! `observer trace`: the connections of one process, or of a command that is started here.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use observer::finding::Thresholds;
use observer::record::{CaptureRecord, ConnectionRecord, Object, ProcessRecord};
use observer::tracker::Config;
use tokio::process::{Child, Command};

use super::live::{self, Ended, Observe, Teller};
use super::log;
use super::page::{Color, page};
use super::places::Places;
use super::watch::ENTRIES;
use crate::failure::NotStarted;
use crate::live::News;
use crate::privilege::{self, Needs};
use crate::sink::{self, Detail, Har, Otlp, Page, Perfetto, Sink, Together, connection, found_together, json};
use crate::source::live::LiveSource as _;
use crate::source::rights;

/// Show the connections of a process and its children, or of a command that is started here
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo observer trace -- curl -s https://example.org\n  \
    sudo observer trace 4711\n  \
    sudo observer trace --output json 4711 4712\n  \
    sudo observer trace --output har -- curl -s -o /dev/null http://example.org > page.har\n  \
    sudo observer trace --write seen.pcapng -- curl -s https://example.org\n\n\
    Timelines are printed when the processes have ended, or with Ctrl-C. With a command, the exit status is the command's, \
    or 127 where there is no such command and 126 where it cannot be started; with Ctrl-C it is 130, as of what a signal ends.")]
pub struct Trace {
    /// Process identifiers, or a command with its arguments (after `--`)
    #[arg(required = true, value_name = "PID|COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<String>,

    #[command(flatten)]
    observe: Observe,

    /// What to print
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,

    /// Show passwords and values in the paths of requests (query, fragment, parameters); without, only the values' names
    #[arg(long)]
    show_secrets: bool,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

/// What `observer trace` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Timelines as people read them
    #[default]
    Text,
    /// One object a line (see `observer schema`)
    Json,
    /// Requests and responses as an HTTP Archive, for browsers' network panels
    Har,
    /// Each connection as a trace of OpenTelemetry, a line each, for the collector's otlpjsonfile receiver
    OtlpJson,
    /// A trace with a track for each connection, for ui.perfetto.dev and chrome://tracing
    Perfetto,
}

/// How often it is looked whether the processes are still there.
const LOOK: Duration = Duration::from_millis(50);

/// How long after their end what the kernel still has to say is waited for.
const REST: Duration = Duration::from_millis(100);

impl Trace {
    /// Follows the processes to their end.
    pub fn run(self) -> Result<ExitCode> {
        let pids: Option<BTreeSet<u32>> = self.what.iter().map(|word| word.parse().ok()).collect();
        if let Some(gone) = pids.iter().flatten().find(|pid| !is_alive(**pid)) {
            bail!("there is no process {gone}");
        }
        log::begin(self.observe.verbose)?;
        let mut kernel = self.observe.open().map_err(|error| match rights::obstacle_to_ebpf() {
            Some(why) => anyhow!("trace needs eBPF, and {why}; `observer check` tells what there is"),
            None => error,
        })?;
        live::say_what_is_off(&self.observe, &kernel)?;
        let config = Config { timeline_entries: ENTRIES, show_secrets: self.show_secrets, ..Config::default() };
        let child_pid = Cell::new(None);
        let mut printer = Printer {
            observe: self.observe.clone(),
            output: self.output,
            page: page(self.color),
            traced: pids.clone().unwrap_or_default(),
            child: &child_pid,
            all: Vec::new(),
        };
        let needs = kernel.needs();
        // A runtime is at work only within the loop: there the command is started, with the rights that we were given.
        let until = async {
            let status = match pids {
                Some(pids) => {
                    privilege::lay_down(needs)?;
                    wait_for(&pids).await
                }
                None => self.command(&child_pid, needs).await,
            };
            tokio::time::sleep(REST).await;
            status
        };
        let ended = live::run(&self.observe, &mut kernel, config, &mut printer, until)?;
        Ok(match ended {
            Ended::Awaited(status) => status,
            Ended::Signal(signal) => ExitCode::from(of_signal(signal.as_raw_value())),
        })
    }

    async fn command(&self, pid: &Cell<Option<u32>>, needs: Needs) -> Result<ExitCode> {
        let (program, args) = self.what.split_first().context("there is no command")?;
        let mut child =
            Command::new(program).args(args).spawn().map_err(|cause| NotStarted { program: program.clone(), cause })?;
        pid.set(child.id());
        privilege::lay_down(needs)?;
        let status = wait(&mut child).await?;
        Ok(ExitCode::from(status))
    }
}

/// The exit status that a shell would give.
async fn wait(child: &mut Child) -> Result<u8> {
    use std::os::unix::process::ExitStatusExt as _;
    let status = child.wait().await.context("waiting for the command")?;
    let code = status.code().map(|code| u8::try_from(code).unwrap_or(1));
    Ok(code.or_else(|| status.signal().map(of_signal)).unwrap_or(1))
}

/// The exit status that a shell gives what a signal ended.
fn of_signal(signal: i32) -> u8 {
    const SIGNALLED: i32 = 128;
    u8::try_from(SIGNALLED + signal).unwrap_or(1)
}

async fn wait_for(pids: &BTreeSet<u32>) -> Result<ExitCode> {
    while pids.iter().any(|pid| is_alive(*pid)) {
        tokio::time::sleep(LOOK).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Process identifier of a process's parent: field 4 of /proc/PID/stat.
fn parent_of(pid: u32) -> Option<u32> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold anything.
    line.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

pub fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

struct Printer<'a> {
    observe: Observe,
    output: Output,
    page: Page,
    /// Processes that are followed: those that were named, and whom they started as far as connections show it.
    traced: BTreeSet<u32>,
    /// The command, once it is started.
    child: &'a Cell<Option<u32>>,
    /// Every connection, until it is known whose it was.
    all: Vec<ConnectionRecord>,
}

impl Printer<'_> {
    /// Adds a process whose parent, or parent's parent, and so on, is traced, as far as they were seen to start each other or
    /// still live.
    fn follow_ancestors(&mut self, process: &ProcessRecord) {
        /// No shell starts shells any deeper.
        const DEEPEST: usize = 32;
        let (Some(pid), mut ancestor) = (process.pid, process.parent_pid) else { return };
        if process.ancestors.iter().any(|ancestor| self.traced.contains(ancestor)) {
            self.traced.insert(pid);
            return;
        }
        for _ in 0..DEEPEST {
            match ancestor {
                Some(known) if self.traced.contains(&known) => {
                    self.traced.insert(pid);
                    return;
                }
                Some(above @ 2..) => ancestor = parent_of(above),
                _ => return,
            }
        }
    }

    /// Adds the children of traced processes, until there are no more.
    fn follow_children(&mut self) {
        loop {
            let before = self.traced.len();
            for process in self.all.iter().flat_map(|record| &record.processes) {
                if let (Some(pid), Some(parent)) = (process.pid, process.parent_pid)
                    && self.traced.contains(&parent)
                {
                    self.traced.insert(pid);
                }
            }
            if self.traced.len() == before {
                return;
            }
        }
    }
}

impl Teller for Printer<'_> {
    fn tell(&mut self, news: News<'_>) -> Result<()> {
        if let News::Connection(record) = news
            && self.observe.wants(&record)
            && !record.processes.is_empty()
        {
            self.traced.extend(self.child.get());
            for process in &record.processes {
                self.follow_ancestors(process);
            }
            self.all.push(*record);
        }
        Ok(())
    }

    fn finish(&mut self, capture: &CaptureRecord) -> Result<()> {
        self.follow_children();
        if self.observe.writes_to_standard_output() {
            return Ok(());
        }
        self.all.sort_by_key(|record| (record.first_seen, record.id));
        let mut out = io::stdout().lock();
        let is_traced = |record: &ConnectionRecord| {
            record.processes.iter().any(|process| process.pid.is_some_and(|pid| self.traced.contains(&pid)))
        };
        let mut records = std::mem::take(&mut self.all).into_iter().filter(is_traced).peekable();
        if records.peek().is_none() {
            eprintln!(
                "observer: no connection was seen of it: where a name is not found, there is no route or no port is free, no \
                 packet is sent (`observer watch` shows lookups that fail)"
            );
        }
        let mut together = Together::new(Thresholds::default());
        match self.output {
            Output::Text => {
                let (mut text, mut places) = (String::new(), Places::new(self.observe.netns));
                for record in records {
                    together.connection(&record);
                    let place = places.name(record.netns);
                    connection(&self.page, &mut text, &record, Detail::Brief, place.as_deref());
                    out.write_all(text.as_bytes())?;
                    text.clear();
                }
                found_together(&self.page, &mut text, &together.finish(capture));
                out.write_all(text.as_bytes())?;
            }
            Output::Json => {
                for record in records {
                    together.connection(&record);
                    json::line(&mut out, &Object::Connection(Box::new(record)))?;
                }
                for finding in together.finish(capture) {
                    json::line(&mut out, &Object::Finding(Box::new(finding)))?;
                }
                json::line(&mut out, &Object::Capture(Box::new(capture.clone())))?;
            }
            Output::Har => print(Har::new(None), records, capture, &mut out)?,
            Output::OtlpJson => print(Otlp::new(sink::Printer::ordered(), None), records, capture, &mut out)?,
            Output::Perfetto => print(Perfetto::new(None), records, capture, &mut out)?,
        }
        out.flush().context("writing to standard output")
    }
}

/// Prints what a sink makes of the records.
fn print<S: Sink>(
    mut sink: S,
    mut records: impl Iterator<Item = ConnectionRecord>,
    capture: &CaptureRecord,
    out: &mut dyn io::Write,
) -> Result<()> {
    records.try_for_each(|record| sink.connection(Box::new(record)))?;
    S::finish(vec![sink], capture, out)
}
