//! observer's command line.

mod cli;
mod failure;
mod keyring;
mod lab;
mod live;
mod privilege;
mod recorded;
mod run;
mod sink;
mod source;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;

/// Connections are opened on one thread and given up there, a hundred thousand a second: a tenth less time than with glibc's
/// (docs/performance.md), and no more memory.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(status) => status,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("observer: {}", failure::in_words(&error));
            failure::status(&error)
        }
    }
}

/// Whether the reader of standard output went away (`| head`): the end that was asked for, not trouble.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
