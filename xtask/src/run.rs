//! `cargo xtask run`: builds observer and runs it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, setup};

/// Build observer with optimisation and run it with the arguments behind `--`.
///
/// Example: cargo xtask run -- replay captures/https.pcapng
#[derive(clap::Args)]
pub struct Args {
    /// observer's arguments
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

impl Args {
    /// Never returns but for trouble: this process becomes observer, so that its exit status is observer's.
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        let observer = process::release_observer()?;
        let error = Command::new(&observer).args(self.arguments).exec();
        Err(error).with_context(|| format!("starting {}", observer.display()))
    }
}
