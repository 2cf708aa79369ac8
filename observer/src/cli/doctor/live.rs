//! The live half: this host's connections and gauges, watched for a while.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use observer::finding::Thresholds;
use observer::record::{CaptureRecord, FindingRecord, GaugeRecord, Object};
use observer::tracker::Config;

use super::super::format::Format;
use super::super::live::{self, Netns, Observe, Teller, netns};
use super::super::log;
use super::super::source::{Choice, From};
use crate::live::News;
use crate::privilege::{self, Needs};
use crate::sink::{Diagnosis, Page, Sink as _, doctor, json};
use crate::source::gauges::{self, Effort, Gauges};
use crate::source::namespace;

/// How this host is watched.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "This host")]
pub struct Host {
    /// How long to watch: 10s, 500ms, 2min
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = time, conflicts_with = "files")]
    how_long: Duration,

    /// Network namespaces: `all`, `own`, or one by its name (as `ip netns` lists them) or its inode
    #[arg(long, value_name = "WHICH", default_value = "all", value_parser = netns, conflicts_with = "files")]
    netns: Netns,

    /// Where connections are seen
    #[arg(long, value_enum, default_value_t, value_name = "SOURCE", conflicts_with = "files")]
    source: Choice,

    /// Also read every entry of connection tracking, for how many there are by state and by source: of 100,000 entries that
    /// takes a tenth of a second or two each time
    #[arg(long, conflicts_with = "files")]
    conntrack: bool,
}

/// What was found.
pub struct Found {
    /// What is wrong, the worst first.
    pub found: Vec<FindingRecord>,
    /// Every reading of the last sweep.
    readings: Vec<GaugeRecord>,
    /// What could not be read, and why.
    unread: Vec<String>,
    capture: CaptureRecord,
    effort: Effort,
}

impl Host {
    /// Watches, and gives what was found.
    ///
    /// # Errors
    /// Where nothing of this host can be seen.
    pub fn watch(&self, thresholds: Thresholds) -> Result<Found> {
        log::begin(0)?;
        let observe = Observe::everything(self.netns);
        // Namespaces are entered while that is allowed.
        let options = gauges::Options { entries: self.conntrack, follow: self.netns == Netns::All };
        let gauges = Gauges::open(&self.netns.places()?, options);
        let mut source = From::usual(self.source).open(&observe)?;
        let reads_netfilter = self.conntrack || gauges.reads_rules();
        let mut watching = Watching {
            gauges,
            diagnosis: Diagnosis::new(thresholds),
            needs: source.needs()
                | privilege::GAUGES
                | if reads_netfilter { privilege::NETFILTER } else { Needs::empty() },
            how_long: self.how_long,
            capture: CaptureRecord::default(),
        };
        let config = Config { thresholds, ..Config::default() };
        let until = async {
            tokio::time::sleep(self.how_long).await;
            Ok(ExitCode::SUCCESS)
        };
        live::run(&observe, source.as_mut(), config, &mut watching, until)?;
        let Watching { gauges, mut diagnosis, capture, .. } = watching;
        let readings = gauges.readings();
        diagnosis.gauges(&readings);
        let mut found = Diagnosis::findings(vec![diagnosis], &capture);
        for case in found.iter_mut().flat_map(|record| &mut record.cases) {
            case.finding.forget_file();
        }
        Ok(Found { found, readings, unread: gauges.unread(), capture, effort: gauges.effort() })
    }

    /// Prints it.
    pub fn print(&self, output: Format, page: &Page, found: &Found) -> Result<()> {
        let mut out = Vec::new();
        match output {
            Format::Text => {
                let mut text = String::new();
                doctor(page, &mut text, &doctor_page(self, found, &namespace::names()));
                out.extend_from_slice(text.as_bytes());
            }
            Format::Json => {
                for record in &found.found {
                    json::line(&mut out, &Object::Finding(Box::new(record.clone())))?;
                }
                for reading in &found.readings {
                    json::line(&mut out, &Object::Gauge(Box::new(reading.clone())))?;
                }
                found.unread.iter().for_each(|what| eprintln!("observer: not seen: {what}"));
            }
        }
        io::stdout().lock().write_all(&out).context("writing to standard output")
    }
}

fn doctor_page<'a>(host: &Host, found: &'a Found, names: &'a BTreeMap<u32, String>) -> crate::sink::Doctor<'a> {
    crate::sink::Doctor {
        found: &found.found,
        readings: &found.readings,
        own: namespace::own().ok(),
        names,
        unread: &found.unread,
        capture: &found.capture,
        how_long: host.how_long,
        effort: (found.effort.sweeps, found.effort.each, found.effort.looking),
    }
}

struct Watching {
    gauges: Gauges,
    diagnosis: Diagnosis,
    needs: Needs,
    how_long: Duration,
    capture: CaptureRecord,
}

impl Teller for Watching {
    fn start(&mut self) -> Result<()> {
        privilege::lay_down(self.needs)?;
        if io::stderr().is_terminal() {
            eprintln!("observer: watching this host for {} s; Ctrl-C ends it", self.how_long.as_secs_f64());
        }
        self.gauges.sweep();
        self.diagnosis.passing(&self.gauges.readings());
        Ok(())
    }

    fn tell(&mut self, news: News<'_>) -> Result<()> {
        match news {
            News::Connection(record) => self.diagnosis.connection(record),
            News::Lookup(record) => self.diagnosis.lookup(record),
            News::Update(_) | News::Packet(..) => Ok(()),
        }
    }

    fn pause(&mut self) -> Result<()> {
        self.gauges.listen();
        if self.gauges.sweep_in_time() {
            self.diagnosis.passing(&self.gauges.readings());
        }
        Ok(())
    }

    fn finish(&mut self, capture: &CaptureRecord) -> Result<()> {
        self.gauges.sweep();
        self.capture = capture.clone();
        Ok(())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 3] = [("ms", 1e-3), ("min", 60.0), ("s", 1.0)];
    let (number, unit) =
        UNITS.iter().find_map(|(unit, secs)| Some((text.strip_suffix(unit)?, *secs))).unwrap_or((text, 1.0));
    let number: f64 = number.trim().parse().map_err(|_| "not a length of time, such as 10s or 2min".to_string())?;
    let time = Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())?;
    if time < Duration::from_millis(100) { Err("at least 100ms".to_string()) } else { Ok(time) }
}
