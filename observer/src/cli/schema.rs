//! `observer schema`: what the lines of `--output json` hold.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use observer::record::Object;

/// Print the JSON Schema of the objects that `--output json` prints
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    observer schema > observer.schema.json\n  \
    observer schema | jq '.\"$defs\".Handshake.properties'")]
pub struct Schema {}

impl Schema {
    /// Prints the schema, JSON Schema 2020-12.
    pub fn run(self) -> Result<ExitCode> {
        let mut out = io::stdout().lock();
        let written = serde_json::to_writer_pretty(&mut out, &schemars::schema_for!(Object)).map_err(io::Error::from);
        written.and_then(|()| writeln!(out)).context("writing to standard output")?;
        Ok(ExitCode::SUCCESS)
    }
}
