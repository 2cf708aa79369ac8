//! observer's own chores: `cargo xtask COMMAND`. One file a command.
//!
//! Nothing here needs more than a Rust toolchain to build: this is what installs the rest.

mod process;
mod run;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// observer's own chores.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Test(test::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => args.run(),
        Command::Test(args) => args.run(),
    }
}
