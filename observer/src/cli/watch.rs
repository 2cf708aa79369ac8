//! `observer watch`: every TCP connection of the host as it happens.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use observer::packet::Body;
use observer::record::{CaptureRecord, ConnectionRecord, FindingRecord, LookupRecord, Object};
use observer::tracker::Config;
use observer_ebpf::Hook;

use super::judging::Judging;
use super::live::{self, Observe, Teller};
use super::log;
use super::page::Color;
use super::places::Places;
use super::source::{self, From};
use super::status::Status;
use super::trace::is_alive;
use crate::live::News;
use crate::privilege::{self, Needs};
use crate::sink::packets::{Lines, Look, Shown};
use crate::sink::{Detail, Lately, Page, connection, failed_lookup, finding_line, json, one_line, otlp};

/// Show every TCP connection of this host as it happens, from the kernel itself
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo observer watch\n  \
    sudo observer watch --port 443 --timeline\n  \
    sudo observer watch --comm nginx --output json | jq 'select(.conn_state == \"REJ\")'\n  \
    sudo observer watch --output otlp-json >> /var/log/traces.jsonl\n  \
    sudo observer watch --hooks state\n  \
    sudo observer watch --write seen.pcapng\n  \
    sudo observer watch --write - | wireshark -k -i -\n  \
    sudo observer watch -i eth0 --filter 'port 443' --output packets\n\n\
    It ends with Ctrl-C. What this host allows, `observer check` tells.")]
pub struct Watch {
    #[command(flatten)]
    observe: Observe,

    /// What to print
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,

    /// text and json: add each connection's timeline
    #[arg(long)]
    timeline: bool,

    /// How many connections may be open at once in each network namespace; beyond it the least recently used is given up
    #[arg(long, value_name = "N", default_value = "1000000")]
    max_connections: std::num::NonZeroUsize,

    /// Show passwords and values in the paths of requests (query, fragment, parameters); without, only the values' names
    #[arg(long)]
    show_secrets: bool,

    #[command(flatten)]
    judging: Judging,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,

    #[command(flatten)]
    from: From,
}

/// What `observer watch` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A line for each connection when it ends, or turns remarkable, and for each lookup of a name that failed, each with
    /// the time at which it began
    #[default]
    Text,
    /// One object a line (see `observer schema`)
    Json,
    /// Each connection that has ended as a trace of OpenTelemetry, a line each, for the collector's otlpjsonfile receiver
    OtlpJson,
    /// Each segment that is seen, as `observer packets` prints it: of the kernel's filter, the flags and first octets
    Packets,
}

/// Timeline entries of each connection.
pub const ENTRIES: usize = 1_000;

impl Watch {
    /// Observes until it is stopped.
    pub fn run(self) -> Result<ExitCode> {
        if self.from.list_interfaces {
            return source::list_interfaces();
        }
        log::begin(self.observe.verbose)?;
        for pid in self.observe.pid.iter().filter(|pid| !is_alive(**pid)) {
            eprintln!("observer: there is no process {pid} now");
        }
        let mut source = self.from.open(&self.observe)?;
        let has_timeline = self.timeline || self.output == Output::OtlpJson;
        let timeline_entries = if has_timeline { ENTRIES } else { 0 };
        let config = Config {
            timeline_entries,
            max_connections: self.max_connections.get(),
            show_secrets: self.show_secrets,
            thresholds: self.judging.thresholds(),
            ..Config::default()
        };
        let mut teller = Printer {
            observe: self.observe.clone(),
            output: self.output,
            timeline: self.timeline,
            page: super::page::page(self.color),
            places: Places::new(self.observe.netns),
            lines: Lines::new(Look::default()),
            lately: Lately::new(config.thresholds),
            buffer: Vec::new(),
            status: Status::new(self.output == Output::Text),
            silent: self.observe.writes_to_standard_output(),
            needs: source.needs(),
        };
        live::run(&self.observe, source.as_mut(), config, &mut teller, std::future::pending())?;
        Ok(ExitCode::SUCCESS)
    }
}

struct Printer {
    observe: Observe,
    output: Output,
    timeline: bool,
    page: Page,
    places: Places,
    lines: Lines,
    lately: Lately,
    buffer: Vec<u8>,
    status: Status,
    needs: Needs,
    /// Standard output takes the recording.
    silent: bool,
}

impl Printer {
    fn connection(&mut self, record: Box<ConnectionRecord>, last: bool) -> Result<()> {
        if !self.observe.wants(&record) {
            return Ok(());
        }
        if last {
            self.status.count(&record);
            self.lately.connection(&record);
        }
        match self.output {
            _ if self.silent => {}
            Output::Packets => {}
            Output::OtlpJson if last => otlp::line(&mut self.buffer, &record)?,
            Output::OtlpJson => {}
            Output::Text if !last && record.turned.is_empty() => {}
            Output::Text => {
                let (mut text, place) = (String::new(), self.places.name(record.netns));
                if self.timeline && last {
                    connection(&self.page, &mut text, &record, Detail::Brief, place.as_deref());
                } else {
                    one_line(&self.page, &mut text, &record, place.as_deref());
                }
                self.buffer.extend_from_slice(text.as_bytes());
            }
            Output::Json => {
                let object = if last { Object::Connection(record) } else { Object::Update(record) };
                json::line(&mut self.buffer, &object)?;
            }
        }
        Ok(())
    }

    fn lookup(&mut self, record: Box<LookupRecord>) -> Result<()> {
        if self.silent || !self.observe.wants_lookup(&record) {
            return Ok(());
        }
        self.lately.lookup(&record);
        match self.output {
            Output::Text if record.lookup.has_failed() => {
                let (mut text, place) = (String::new(), self.places.name(record.netns));
                failed_lookup(&self.page, &mut text, &record, place.as_deref());
                self.buffer.extend_from_slice(text.as_bytes());
            }
            Output::Text | Output::OtlpJson | Output::Packets => {}
            Output::Json => json::line(&mut self.buffer, &Object::Lookup(record))?,
        }
        Ok(())
    }

    /// What connections show together.
    fn together(&mut self, found: Vec<FindingRecord>) -> Result<()> {
        for record in found {
            match self.output {
                _ if self.silent => {}
                Output::Text => {
                    let mut text = String::new();
                    finding_line(&self.page, &mut text, &record);
                    self.buffer.extend_from_slice(text.as_bytes());
                }
                Output::Json => json::line(&mut self.buffer, &Object::Finding(Box::new(record)))?,
                Output::OtlpJson | Output::Packets => {}
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.status.clear()?;
        let mut out = io::stdout().lock();
        out.write_all(&self.buffer).and_then(|()| out.flush()).context("writing to standard output")?;
        self.buffer.clear();
        self.status.show()
    }
}

/// Octets of finished lines that are written at once.
const FLUSH: usize = 1 << 16;

impl Teller for Printer {
    fn start(&mut self) -> Result<()> {
        privilege::lay_down(self.needs)?;
        eprintln!("observer: watching; Ctrl-C ends it");
        Ok(())
    }

    fn tell(&mut self, news: News<'_>) -> Result<()> {
        match news {
            News::Connection(record) => self.connection(record, true)?,
            News::Update(record) => self.connection(record, false)?,
            News::Lookup(record) => self.lookup(record)?,
            News::Packet(packet, decoded, bytes) => {
                let ports = [packet.tuple.sport, packet.tuple.dport];
                let wanted = self.observe.port.is_empty() || ports.iter().any(|port| self.observe.port.contains(port));
                if self.output == Output::Packets
                    && wanted
                    && !self.silent
                    && let Body::Tcp(segment) = &packet.body
                {
                    let header = decoded.header_of(packet, bytes);
                    let (options, _) = decoded.tail_of(packet, bytes);
                    self.lines.write(&mut self.buffer, Shown { packet, segment, header, options, carried: 0 });
                    self.buffer.push(b'\n');
                }
            }
        }
        if self.buffer.len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    fn pause(&mut self) -> Result<()> {
        self.flush()
    }

    fn status(&mut self, open: usize, lost: Option<u64>) -> Result<()> {
        let found = self.lately.tick();
        self.together(found)?;
        self.flush()?;
        self.status.draw(open, lost)
    }

    fn finish(&mut self, capture: &CaptureRecord) -> Result<()> {
        let found = self.lately.look();
        self.together(found)?;
        if self.output == Output::Json && !self.silent {
            json::line(&mut self.buffer, &Object::Capture(Box::new(capture.clone())))?;
        }
        self.flush()?;
        self.status.clear()?;
        for hook in &capture.hooks {
            let lost: u64 = hook.lost.iter().sum();
            if lost > 0 {
                let processors: Vec<_> = hook.lost.iter().map(u64::to_string).collect();
                let (name, processors) = (hook.name, processors.join(", "));
                // Of this one, sockets as well that there was no place for.
                let options = if name == Hook::State.name() { "--ring and --max-sockets make" } else { "--ring makes" };
                eprintln!(
                    "observer: the hook {name} lost {lost} records (by processor: {processors}); {options} more room"
                );
            }
            if hook.missed > 0 {
                let (name, missed) = (hook.name, hook.missed);
                eprintln!("observer: the kernel left the hook {name} out {missed} times, while it was at work already");
            }
        }
        for interface in &capture.interfaces {
            if let (Some(name), Some(dropped @ 1..)) = (&interface.name, interface.dropped) {
                eprintln!("observer: packets dropped on {name}: {dropped}; --buffer makes room for more");
            }
        }
        Ok(())
    }
}
