//! `observer packets`: one line per TCP segment.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

/// Print one line per TCP segment, as `tcpdump -n` does
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: observer packets -# -tt --state capture.pcapng")]
pub struct Packets {
    /// Capture files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Packets {
    pub fn run(self) -> Result<ExitCode> {
        let Some(file) = self.files.first() else { bail!("no file") };
        bail!("reading {}: files are not read yet", file.display())
    }
}
