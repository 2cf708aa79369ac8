//! `observer replay`: from capture files to connections.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use clap::error::ErrorKind;
use observer::decode;
use observer::keylog::KeyLog;
use observer::record::CaptureRecord;
use observer::tracker::{self, Config};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::cut::{self, Cut};
use super::judging::Judging;
use super::packets;
use super::page::{Color, page};
use super::progress::Bar;
use crate::keyring;
use crate::recorded;
use crate::run::{self, run};
use crate::sink::packets::Look;
use crate::sink::{Detail, Har, Json, Order, Otlp, Outlet, Perfetto, Printer, Sink, Summary, Text, Together, View};
use crate::source::{self, Source};

/// Reconstruct every TCP connection in captures
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    observer replay capture.pcapng\n  \
    observer replay --filter 'tcp port 443 and host 10.0.0.1' monday.pcap.zst tuesday.pcap.zst\n  \
    observer replay capture.pcapng --sort retransmissions --top 5\n  \
    observer replay capture.pcapng --connection 17\n  \
    observer replay --keylog keys.log https.pcapng\n  \
    observer replay capture.pcapng --connection 17 --write one.pcapng\n  \
    observer replay capture.pcapng --output json | jq 'select(.conn_state == \"REJ\") | .server'\n  \
    observer replay capture.pcapng --output har > exchanges.har\n  \
    observer replay capture.pcapng --output otlp-json > traces.jsonl\n  \
    observer replay capture.pcapng --output perfetto > trace.json\n  \
    tcpdump -i any -w - tcp | observer replay -")]
pub struct Replay {
    /// Capture files (pcap, pcapng, snoop; gzip, zstd, lz4), read together in time order; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// What to print
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,

    /// Read only the frames that match, in libpcap's filter language
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,

    /// At the end of a file wait for more, and print each connection as it ends
    #[arg(long)]
    follow: bool,

    /// Show only this connection, in full
    #[arg(long, value_name = "ID")]
    connection: Option<u64>,

    /// Write the packets of the connection to a pcapng file instead of showing it; `-` is standard output
    #[arg(long, value_name = "FILE", requires = "connection")]
    write: Option<PathBuf>,

    /// text: which connections come first
    #[arg(long, value_enum, value_name = "KEY")]
    sort: Option<Order>,

    /// text: how many connections to show; of more than 20 they are listed below the summary
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// text: show every connection in full, however many
    #[arg(long, conflicts_with = "top")]
    all: bool,

    /// json: add each connection's timeline, of up to 1,000 entries
    #[arg(long)]
    timeline: bool,

    /// What to do with wrong IP and TCP checksums
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    checksums: Checksums,

    /// Whose rules the segment analysis follows
    #[arg(long, value_enum, default_value_t, value_name = "WHOSE")]
    analysis: AnalysisRules,

    /// Whose timers end connections
    #[arg(long, value_enum, default_value_t, value_name = "WHOSE")]
    timeouts: Timeouts,

    /// Leave out what connections were for: TCP alone
    #[arg(long)]
    tcp_only: bool,

    /// Show passwords and values in the paths of requests (query, fragment, parameters); without, only the values' names
    #[arg(long, conflicts_with = "tcp_only")]
    show_secrets: bool,

    #[command(flatten)]
    judging: Judging,

    /// Secrets of TLS sessions in NSS's key log format, as programs write them by SSLKEYLOGFILE: what is inside is
    /// told like what is in the clear. Those that a pcapng file brings itself are used as well
    #[arg(long, value_name = "FILE", conflicts_with = "tcp_only")]
    keylog: Option<PathBuf>,

    /// What it holds: it may be a pipe, and the captures are read twice.
    #[arg(skip)]
    keys: KeyLog,

    /// How many connections may be open at once; beyond it the least recently used is given up
    #[arg(long, value_name = "N", default_value = "1000000")]
    max_connections: NonZeroUsize,

    /// How many threads share the work [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Timelines as people read them; of more than 20 connections a summary and the most remarkable ones
    #[default]
    Text,
    /// One object a line (see `observer schema`)
    Json,
    /// The summary only, without what many connections show together
    Summary,
    /// Each segment as `observer packets --state` prints it
    Packets,
    /// Requests and responses as an HTTP Archive, for browsers' network panels
    Har,
    /// Each connection as a trace of OpenTelemetry, a line each, for the collector's otlpjsonfile receiver
    OtlpJson,
    /// A trace with a track for each connection, for ui.perfetto.dev and chrome://tracing
    Perfetto,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Checksums {
    /// Do not compute them
    Ignore,
    /// Count the wrong ones and believe the segments: offloading makes wrong ones at the sender
    #[default]
    Count,
    /// Note a wrong one in the history and ignore the segment, as Zeek does
    Drop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum AnalysisRules {
    /// Wireshark's, corrected where offloading and duplicated packets make them misfire
    #[default]
    Observer,
    /// Wireshark's to the letter
    Wireshark,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Timeouts {
    /// None: a connection ends by its own close, by reuse of its ports, or with the input
    #[default]
    Never,
    /// Zeek's: attempt, SYN and close delay 5 s, inactivity 5 min
    Zeek,
}

/// Up to so many connections are shown in full.
const FEW: u64 = 20;
/// Lines of a list of connections.
const LISTED: usize = 10;
/// Timeline entries of each of few connections, and of each where JSON is to have them.
const ENTRIES_OF_FEW: usize = 1_000;
/// Timeline entries of each of many connections that are drawn in full, of which the ladder shows fewer.
const ENTRIES_OF_MANY: usize = 100;
/// Timeline entries of the one connection that is asked for.
const ENTRIES_OF_ONE: usize = 100_000;

impl Replay {
    /// Reads the files and prints what is asked for.
    pub fn run(mut self) -> Result<ExitCode> {
        self.check_usage();
        if let Some(path) = &self.keylog {
            self.keys = keyring::read(path)?;
        }
        if let (Some(path), Some(id)) = (&self.write, self.connection) {
            return self.cut(id, path);
        }
        let capture = match self.output {
            Output::Text => self.text()?,
            Output::Json => self.json()?,
            Output::Summary => self.print(self.tracker(0), || self.summary(self.top.unwrap_or(0), None))?,
            Output::Packets => return self.packets(),
            Output::Har => self.print(self.tracker(0), || Har::new(self.connection))?,
            Output::OtlpJson => {
                let printer = self.printers();
                self.print(self.tracker(self.entries()), || Otlp::new(printer(), self.connection))?
            }
            Output::Perfetto => self.print(self.tracker(self.entries()), || Perfetto::new(self.connection))?,
        };
        Ok(super::status_of(&capture.files))
    }

    /// Ends the process with status 2 where options do not go together.
    fn check_usage(&self) {
        let wrong = |message: &str| super::refuse("replay", ErrorKind::ArgumentConflict, message);
        let (text, json) = (self.output == Output::Text, self.output == Output::Json);
        let listed = text || self.output == Output::Summary;
        if self.all && !text {
            wrong("--all goes with --output text");
        }
        if (self.sort.is_some() || self.top.is_some()) && !listed {
            wrong("--sort and --top go with --output text and summary");
        }
        if self.timeline && !json {
            wrong("--timeline goes with --output json; text always shows it");
        }
        if self.connection.is_some() && matches!(self.output, Output::Summary | Output::Packets) {
            wrong("--connection does not go with --output summary and packets");
        }
        if self.write.is_some() && self.follow {
            wrong("--write ends with the files: it does not go with --follow");
        }
    }

    fn text(&self) -> Result<CaptureRecord> {
        let view = View {
            page: page(self.color),
            detail: if self.connection.is_some() { Detail::Full } else { Detail::Brief },
            order: self.sort.unwrap_or_default(),
            top: self.top.unwrap_or(usize::MAX),
            connection: self.connection,
        };
        let in_order = self.sort.is_some() || self.top.is_some();
        if self.connection.is_some() {
            return self.print(self.tracker(ENTRIES_OF_ONE), || {
                Text::new(self.printer(), view, self.show_one(), self.together())
            });
        }
        if self.all || (self.is_stream() && !in_order) {
            let printer = || if self.all { Printer::ordered() } else { self.printer() };
            return self
                .print(self.tracker(ENTRIES_OF_MANY), || Text::new(printer(), view, self.show_one(), self.together()));
        }
        // How many connections there are shows in the end only, and the timelines of many would take much memory: files
        // that turn out to hold few are read a second time.
        let (sinks, capture) =
            self.read(self.tracker(0), || self.summary(self.top.unwrap_or(LISTED), Some(self.together())))?;
        if capture.connections <= FEW && !self.is_stream() {
            return self.print(self.tracker(ENTRIES_OF_FEW), || {
                Text::new(Printer::ordered(), view, self.show_one(), self.together())
            });
        }
        finish(sinks, capture)
    }

    fn json(&self) -> Result<CaptureRecord> {
        let entries = if self.timeline { self.entries() } else { 0 };
        let printer = self.printers();
        self.print(self.tracker(entries), || Json::new(printer(), self.connection, self.together()))
    }

    /// What looks at many connections together.
    fn together(&self) -> Together {
        Together::new(self.judging.thresholds())
    }

    /// Timeline entries of each connection for programs.
    fn entries(&self) -> usize {
        if self.connection.is_some() { ENTRIES_OF_ONE } else { ENTRIES_OF_FEW }
    }

    fn packets(&self) -> Result<ExitCode> {
        let mut source = self.open()?;
        // The kernel's filter passes on a part of the packets.
        let tracker = Config { sampled: source.is_recording()?, ..self.tracker(0) };
        packets::print(source.as_mut(), Look::default(), Some(tracker), self.checksums(), None)?;
        Ok(super::status_of(&source.files()))
    }

    /// Writes the packets of one connection to a file.
    fn cut(&self, id: u64, path: &Path) -> Result<ExitCode> {
        cut::check_target(path, &self.files)?;
        let mut source = self.open()?;
        if source.is_recording()? {
            bail!(
                "{} is a recording of observer, of which --write cuts nothing out: use a display filter of Wireshark",
                self.names()
            );
        }
        let progress = Bar::new(source.progress());
        let result = cut::cut(source.as_mut(), self.tracker(0), self.checksums(), id, path);
        drop(progress);
        let Cut { frames, fragmented } = result?;
        let status = super::status_of(&source.files());
        if frames == 0 {
            bail!("no connection {id} in {}: nothing was written", self.names());
        }
        if fragmented > 0 {
            eprintln!("observer: of {fragmented} segments in IP fragments only the last fragments were written");
        }
        if path.as_os_str() != "-" {
            let path = path.display();
            writeln!(io::stdout(), "{frames} frames of connection {id} written to {path}")
                .context("writing to standard output")?;
        }
        Ok(status)
    }

    fn names(&self) -> String {
        self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    fn summary(&self, listed: usize, together: Option<Together>) -> Summary {
        Summary::new(page(self.color), listed, self.sort, self.show_one(), together)
    }

    /// Reads everything and prints what the sinks make of it.
    fn print<S: Sink>(&self, tracker: Config, make_sink: impl FnMut() -> S) -> Result<CaptureRecord> {
        let (sinks, capture) = self.read(tracker, make_sink)?;
        finish(sinks, capture)
    }

    fn read<S: Sink>(&self, tracker: Config, mut make_sink: impl FnMut() -> S) -> Result<(Vec<S>, CaptureRecord)> {
        let mut source = self.open()?;
        let streaming = self.is_stream();
        let options = run::Options {
            tracker,
            checksums: self.checksums(),
            threads: self.threads(),
            streaming,
            keys: self.keys.clone(),
        };
        let progress = (!self.prints_meanwhile()).then(|| Bar::new(source.progress()));
        let result = if source.is_recording()? {
            recorded::run(source.as_mut(), options.tracker, options.keys, make_sink())
        } else {
            run(source.as_mut(), &options, make_sink)
        };
        drop(progress);
        let (sinks, capture) = result?;
        if let Some(id) = self.connection
            && !sinks.iter().any(Sink::has_printed)
        {
            super::status_of(&capture.files);
            let (seen, names) = (capture.connections, self.names());
            bail!("no connection {id} among the {seen} in {names}: an id is the number of its first frame");
        }
        Ok((sinks, capture))
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        let stop = Arc::new(AtomicBool::new(false));
        if self.is_stream() {
            // The first signal ends the reading, so that what is open is still printed; a second one ends the process.
            for signal in [SIGINT, SIGTERM] {
                register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
                register(signal, Arc::clone(&stop))?;
            }
        }
        let options = source::Options { filter: self.filter.clone(), follow: self.follow, stop };
        Ok(super::open(&self.files, options))
    }

    fn checksums(&self) -> decode::Checksums {
        match self.checksums {
            Checksums::Ignore => decode::Checksums::Ignore,
            Checksums::Count | Checksums::Drop => decode::Checksums::Count,
        }
    }

    fn tracker(&self, timeline_entries: usize) -> Config {
        Config {
            max_connections: self.max_connections.get(),
            timeline_entries,
            timeline_of: self.connection,
            strict_wireshark: self.analysis == AnalysisRules::Wireshark,
            protocols: !self.tcp_only,
            show_secrets: self.show_secrets,
            thresholds: self.judging.thresholds(),
            checks_checksums: self.checksums != Checksums::Ignore,
            drop_bad_checksums: self.checksums == Checksums::Drop,
            timeouts: match self.timeouts {
                Timeouts::Never => tracker::Timeouts::Never,
                Timeouts::Zeek => tracker::Timeouts::Zeek,
            },
            ..Config::default()
        }
    }

    /// Whether the input comes bit by bit and can be read only once.
    fn is_stream(&self) -> bool {
        let is_pipe = |path: &PathBuf| {
            path.as_os_str() == "-" || path.metadata().is_ok_and(|file| !file.is_file() && !file.is_dir())
        };
        self.follow || self.files.iter().any(is_pipe)
    }

    /// Whether what is printed while the files are read shows how far that is.
    fn prints_meanwhile(&self) -> bool {
        matches!(self.output, Output::Json | Output::OtlpJson) && io::stdout().is_terminal()
    }

    fn threads(&self) -> usize {
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok());
        threads.map_or(1, NonZeroUsize::get)
    }

    fn printer(&self) -> Printer {
        if self.is_stream() { Printer::streaming(Box::new(io::stdout())) } else { Printer::ordered() }
    }

    /// Makes printers that print while the files are read: in the order of first frames, or as connections end.
    fn printers(&self) -> impl Fn() -> Printer {
        let outlet = Outlet::new(Box::new(io::stdout()));
        let in_turn = move || Printer::in_turn(outlet.slot(), self.threads());
        move || if self.is_stream() { self.printer() } else { in_turn() }
    }

    /// The command that shows one connection of this input, without its `id`; there is none for what can be read once.
    fn show_one(&self) -> Option<String> {
        if self.is_stream() {
            return None;
        }
        let mut words = vec!["observer".to_string(), "replay".to_string()];
        words.extend(self.files.iter().map(|file| quoted(&file.to_string_lossy())));
        if let Some(filter) = &self.filter {
            words.extend(["--filter".to_string(), quoted(filter)]);
        }
        if self.analysis == AnalysisRules::Wireshark {
            words.push("--analysis wireshark".to_string());
        }
        if self.timeouts == Timeouts::Zeek {
            words.push("--timeouts zeek".to_string());
        }
        if self.checksums == Checksums::Drop {
            words.push("--checksums drop".to_string());
        }
        if let Some(keylog) = &self.keylog {
            words.extend(["--keylog".to_string(), quoted(&keylog.to_string_lossy())]);
        }
        words.push("--connection".to_string());
        Some(words.join(" "))
    }
}

fn finish<S: Sink>(sinks: Vec<S>, capture: CaptureRecord) -> Result<CaptureRecord> {
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    S::finish(sinks, &capture, &mut out)?;
    out.flush().context("writing to standard output")?;
    Ok(capture)
}

/// A word of a command line, quoted where a shell would read it otherwise.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:,+=@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
