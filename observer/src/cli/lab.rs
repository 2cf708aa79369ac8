//! `observer lab`: small networks in which one thing can be seen.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::page::{Color, page};
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
}

impl Lab {
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::List => return list(),
            Command::Run { name, write } => {
                let scenario = Scenario::find(&name)
                    .with_context(|| format!("there is no scenario {name:?}; `observer lab list` names them"))?;
                let write = write.unwrap_or_else(|| format!("{name}.pcapng").into());
                let made = scenario.run().with_context(|| format!("playing {name}"))?;
                fs::write(&write, made.capture).with_context(|| format!("writing {}", write.display()))?;
                print!("{}", made.description);
            }
            Command::Storm { seed, connections, write } => {
                let capture = Storm { seed, connections }.run().with_context(|| format!("playing storm {seed}"))?;
                fs::write(&write, capture).with_context(|| format!("writing {}", write.display()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
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
