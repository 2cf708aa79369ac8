//! What observer says of its own work, on standard error: its lines, and those of its programs in the kernel.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use tracing_log::LogTracer;
use tracing_subscriber::filter::LevelFilter;

/// Begins to say it: warnings, with 1 each step of the set-up, with 2 what the programs do with each socket.
///
/// # Errors
/// When it was begun before.
pub fn begin(verbose: u8) -> Result<()> {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    // What the programs in the kernel say comes through the `log` crate, as does what their loader thinks.
    let lines = LogTracer::builder().ignore_all(["aya", "aya_obj"]);
    lines.init().context("taking in what the programs in the kernel say")?;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .finish();
    tracing::subscriber::set_global_default(subscriber).context("saying what is done")
}
