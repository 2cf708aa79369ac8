//! `observer check`: what this host allows, and what the rest would need.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use observer::record::Object;

use super::format::Format;
use super::page::{Color, page};
use crate::sink::{self, json};
use crate::source::features;

/// Tell what this host allows observer to see, and what the rest would need
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo observer check\n  \
    observer check --output json | jq '.features[] | select(.works | not)'\n\n\
    Every hook is attached for a moment. The exit status is 0 where eBPF works with every hook, 1 where it does not \
    (`watch` then does with less, and says so), 2 for wrong usage.")]
pub struct Check {
    /// What to print
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

impl Check {
    /// Tries everything, and tells.
    pub fn run(self) -> Result<ExitCode> {
        let record = features::check();
        let status = if record.full { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        let mut text = Vec::new();
        match self.output {
            Format::Text => {
                let mut page_of_text = String::new();
                sink::check(&page(self.color), &mut page_of_text, &record);
                text = page_of_text.into_bytes();
            }
            Format::Json => json::line(&mut text, &Object::Check(Box::new(record)))?,
        }
        io::stdout().lock().write_all(&text).context("writing to standard output")?;
        Ok(status)
    }
}
