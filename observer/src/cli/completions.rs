//! `observer completions`: what a shell needs to complete observer's command line.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    observer completions bash > ~/.local/share/bash-completion/completions/observer\n  \
    observer completions zsh > ~/.zfunc/_observer\n  \
    observer completions fish > ~/.config/fish/completions/observer.fish")]
pub struct Completions {
    /// The shell it is for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self) -> Result<ExitCode> {
        // clap_complete panics where its output cannot be written (`| head`), so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "observer", &mut script);
        io::stdout().write_all(&script).context("writing to standard output")?;
        Ok(ExitCode::SUCCESS)
    }
}
