//! observer's own chores: `cargo xtask COMMAND`. One file a command.
//!
//! Nothing here needs more than a Rust toolchain to build: this is what installs the rest.

mod bench;
mod captures;
mod conformance;
mod ebpf;
mod fuzz;
mod process;
mod run;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

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
    Bench(bench::Args),
    Captures(captures::Args),
    Conformance(conformance::Args),
    Ebpf(ebpf::Args),
    Vm(vm::Args),
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => args.run(),
        Command::Test(args) => args.run(),
        Command::Bench(args) => args.run(),
        Command::Captures(args) => args.run(),
        Command::Conformance(args) => args.run(),
        Command::Ebpf(args) => args.run(),
        Command::Vm(args) => args.run(),
        Command::Fuzz(args) => args.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
