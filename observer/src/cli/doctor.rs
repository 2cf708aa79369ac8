//! `observer doctor`: what is wrong, by severity, with what shows it and what to do.

mod live;

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use observer::decode::Checksums;
use observer::keylog::KeyLog;
use observer::record::{CaptureRecord, FindingRecord, Object, Severity};
use observer::tracker::Config;

use super::format::Format;
use super::judging::Judging;
use super::page::{Color, page};
use super::progress::Bar;
use crate::sink::{Diagnosis, findings, json};
use crate::{recorded, run, source};

/// Say what is wrong, how sure that is, what shows it and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo observer doctor\n  \
    sudo observer doctor --for 1min --netns own\n  \
    observer doctor capture.pcapng\n  \
    observer doctor monday.pcap.zst --filter 'host 10.0.0.1'\n  \
    observer doctor capture.pcapng --threshold slow_server=200ms\n  \
    observer doctor capture.pcapng --output json | jq 'select(.severity == \"error\") | .name'\n\n\
    Without a file it watches this host: its connections as `observer watch` does, and its gauges (sockets by state, ports, \
    connection tracking, queues, descriptors, memory).\n\
    The exit status is 0 where all is well, 10 where there are warnings, 20 where there are errors, 1 where it could not \
    look (a file that could not be read to its end, or a host that shows nothing), 2 for wrong usage.")]
pub struct Doctor {
    /// Capture files (pcap, pcapng, snoop; gzip, zstd, lz4), read together in time order; `-` is standard input [default:
    /// this host, now]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    host: live::Host,

    /// What to print
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    /// Read only the frames that match, in libpcap's filter language
    #[arg(long, value_name = "EXPRESSION", requires = "files")]
    filter: Option<String>,

    #[command(flatten)]
    judging: Judging,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

/// Exit status where there are warnings.
const WARNINGS: u8 = 10;
/// Exit status where there are errors.
const ERRORS: u8 = 20;

impl Doctor {
    /// Looks, and tells.
    pub fn run(self) -> Result<ExitCode> {
        if self.files.is_empty() {
            let diagnosis = self.host.watch(self.judging.thresholds())?;
            self.host.print(self.output, &page(self.color), &diagnosis)?;
            return Ok(status_of(&diagnosis.found));
        }
        let (found, capture) = self.files()?;
        self.print(&found, &capture)?;
        let read = super::status_of(&capture.files);
        Ok(if read == ExitCode::SUCCESS { status_of(&found) } else { read })
    }

    /// What captures show.
    fn files(&self) -> Result<(Vec<FindingRecord>, CaptureRecord)> {
        let options =
            source::Options { filter: self.filter.clone(), follow: false, stop: Arc::new(AtomicBool::new(false)) };
        let mut source = super::open(&self.files, options);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let tracker = Config { thresholds: self.judging.thresholds(), ..Config::default() };
        let options =
            run::Options { tracker, checksums: Checksums::Count, threads, streaming: false, keys: KeyLog::default() };
        let progress = Bar::new(source.progress());
        let make_sink = || Diagnosis::new(tracker.thresholds);
        let result = if source.is_recording()? {
            recorded::run(source.as_mut(), tracker, options.keys, make_sink())
        } else {
            run::run(source.as_mut(), &options, make_sink)
        };
        drop(progress);
        let (sinks, capture) = result?;
        Ok((Diagnosis::findings(sinks, &capture), capture))
    }

    fn print(&self, found: &[FindingRecord], capture: &CaptureRecord) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.output {
            Format::Text => {
                let mut text = String::new();
                findings(&page(self.color), &mut text, found, capture);
                out.write_all(text.as_bytes())?;
            }
            Format::Json => {
                for record in found {
                    json::line(&mut out, &Object::Finding(Box::new(record.clone())))?;
                }
            }
        }
        out.flush().context("writing to standard output")
    }
}

/// The exit status that says how bad it is.
fn status_of(found: &[FindingRecord]) -> ExitCode {
    match found.iter().map(|record| record.severity).max() {
        Some(Severity::Error) => ExitCode::from(ERRORS),
        Some(Severity::Warning) => ExitCode::from(WARNINGS),
        Some(Severity::Info) | None => ExitCode::SUCCESS,
    }
}
