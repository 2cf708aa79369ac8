//! `observer man`: the manual page.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap::error::ErrorKind;

/// Print the manual page, in roff
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    observer man | man -l -\n  \
    observer man replay > observer-replay.1")]
pub struct Man {
    /// The subcommand it is about; without it the page is about observer as a whole
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

impl Man {
    /// Prints the page.
    pub fn run(self) -> Result<ExitCode> {
        let mut command = super::Cli::command();
        command.build();
        let command = match &self.command {
            None => command,
            Some(name) => match command.find_subcommand(name) {
                Some(found) => found.clone().display_name(format!("observer-{name}")),
                None => super::refuse("man", ErrorKind::InvalidSubcommand, format!("no command `{name}`")),
            },
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        io::stdout().write_all(&page).context("writing to standard output")?;
        Ok(ExitCode::SUCCESS)
    }
}
