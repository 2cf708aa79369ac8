//! `observer lab`: small networks in which one thing can be seen.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Subcommand;

use super::page::{Color, page};
use crate::failure::WrongUsage;
use crate::lab::calm::Calm;
use crate::lab::storm::Storm;
use crate::lab::{SCENARIOS, Scenario};
use crate::sink::{Line, Page, Tone};

/// Build a small network in which one thing can be seen, and capture it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: observer lab run zero-window --write zero-window.pcapng")]
pub struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name every scenario
    #[command(after_help = "Example: observer lab list")]
    List,
    /// Play a scenario and write what was captured; prints how it was made and what must be found in it
    #[command(after_help = "Example: observer lab run zero-window --write zero-window.pcapng > zero-window.toml")]
    Run {
        /// One of the names that `observer lab list` prints
        #[arg(value_name = "NAME")]
        name: String,
        /// The capture file to write (pcapng) [default: NAME.pcapng]
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
    },
    /// Make many connections in bad weather (loss, reordering, slow readers, used ports, gaps in the capture) and write
    /// what was captured: something to hold tools against each other with
    #[command(after_help = "Example: observer lab storm --seed 7 --connections 200 --write storm.pcapng")]
    Storm {
        /// Decides all that is left to chance
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// How many connections to make
        #[arg(long, value_name = "K", default_value_t = 200)]
        connections: usize,
        /// The capture file to write (pcapng)
        #[arg(long, value_name = "FILE")]
        write: PathBuf,
    },
    /// Let ordinary programs do their ordinary work (curl, nginx, redis, PostgreSQL, dnsmasq, which must be installed) and
    /// write what was captured: something in which no alarm may be raised. Prints how it was made. Takes root
    #[command(after_help = "Example: observer lab calm --for 3600 --write ordinary.pcapng.zst > ordinary.toml")]
    Calm {
        /// Decides all that is left to chance
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// How many seconds it goes on
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 3600)]
        seconds: u64,
        /// How many times as often as usual they do something; how they do it stays the same
        #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
        pace: f64,
        /// How many octets of each frame to capture
        #[arg(long, value_name = "OCTETS", default_value_t = 96)]
        snap_length: usize,
        /// The capture file to write (pcapng, compressed with zstd)
        #[arg(long, value_name = "FILE")]
        write: PathBuf,
    },
}

impl Lab {
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::List => return list(),
            Command::Run { name, write } => {
                let unknown = || WrongUsage(format!("there is no scenario {name:?}; `observer lab list` names them"));
                let scenario = Scenario::find(&name).ok_or_else(unknown)?;
                let write = write.unwrap_or_else(|| format!("{name}.pcapng").into());
                let made = scenario.run().with_context(|| format!("playing {name}"))?;
                fs::write(&write, made.capture).with_context(|| format!("writing {}", write.display()))?;
                print!("{}", made.description);
            }
            Command::Storm { seed, connections, write } => {
                let capture = Storm { seed, connections }.run().with_context(|| format!("playing storm {seed}"))?;
                fs::write(&write, capture).with_context(|| format!("writing {}", write.display()))?;
            }
            Command::Calm { seed, seconds, pace, snap_length, write } => {
                let duration = Duration::from_secs(seconds);
                let made = Calm { seed, duration, pace, snap_length }.run().context("playing ordinary traffic")?;
                let capture = compressed(&made.capture)?;
                fs::write(&write, capture).with_context(|| format!("writing {}", write.display()))?;
                print!("{}", made.description);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The same, as small as zstd makes it in reasonable time.
fn compressed(capture: &[u8]) -> Result<Vec<u8>> {
    const LEVEL: i32 = 19;
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(capture.len()));
    zstd_safe::compress(&mut compressed, capture, LEVEL)
        .map_err(|code| anyhow!("compressing: {}", zstd_safe::get_error_name(code)))?;
    Ok(compressed)
}

fn list() -> Result<ExitCode> {
    let width = SCENARIOS.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    // For programs, a line each.
    let columns = if io::stdout().is_terminal() { page(Color::Never).width } else { usize::MAX };
    let (page, mut text) = (Page { width: columns, color: false }, String::new());
    for Scenario { name, about, .. } in SCENARIOS {
        let first = Line::new().then(Tone::Plain, format!("{name:width$}  "));
        page.paragraph(&mut text, &first, &Line::new().then(Tone::Plain, *about));
    }
    io::stdout().lock().write_all(text.as_bytes()).context("writing to standard output")?;
    Ok(ExitCode::SUCCESS)
}
