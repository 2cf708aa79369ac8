//! `observer explain`: what findings mean.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use observer::finding::{FINDINGS, Finding, find};

use super::page::{Color, page};
use crate::sink::explain;

/// Explain a finding: what it means, what brings it about, when it is found, what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    observer explain\n  \
    observer explain unanswered-syn\n  \
    observer explain --thresholds")]
pub struct Explain {
    /// The finding's name; without one, all are listed
    #[arg(value_name = "FINDING", value_parser = finding, conflicts_with = "thresholds")]
    finding: Option<&'static str>,

    /// List the thresholds that findings go by, as `--threshold` takes them
    #[arg(long)]
    thresholds: bool,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

impl Explain {
    /// Prints what is asked for.
    pub fn run(self) -> Result<ExitCode> {
        let page = page(self.color);
        let mut text = String::new();
        match self.finding.and_then(find) {
            Some(finding) => explain::finding(&page, &mut text, finding.page()),
            None if self.thresholds => explain::thresholds(&page, &mut text),
            None => explain::list(&page, &mut text),
        }
        io::stdout().lock().write_all(text.as_bytes()).context("writing to standard output")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn finding(name: &str) -> Result<&'static str, String> {
    let page = find(name).map(Finding::page);
    page.map(|page| page.name).ok_or_else(|| {
        let like = FINDINGS.iter().map(|finding| finding.page().name).filter(|known| known.contains(name));
        let like: Vec<_> = like.collect();
        let hint = if like.is_empty() { String::new() } else { format!(" (is it {}?)", like.join(" or ")) };
        format!("there is no finding {name}{hint}; `observer explain` lists them")
    })
}
