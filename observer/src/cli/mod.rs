//! The command line: one file a subcommand.

mod check;
mod completions;
mod cut;
mod doctor;
mod explain;
mod format;
mod judging;
mod lab;
mod live;
mod log;
mod man;
mod packets;
mod page;
mod places;
mod progress;
mod replay;
mod schema;
mod sockets;
mod source;
mod status;
mod trace;
mod watch;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use observer::record::FileRecord;

use crate::source::{Options, Source};

/// Watches TCP connections and says what happened to them.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Watch(Box<watch::Watch>),
    Trace(Box<trace::Trace>),
    Sockets(Box<sockets::Sockets>),
    Check(check::Check),
    Replay(Box<replay::Replay>),
    Packets(packets::Packets),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Lab(lab::Lab),
    Schema(schema::Schema),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Does what the command line asks. Wrong usage has ended the process with status 2 before.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Watch(watch) => watch.run(),
            Command::Trace(trace) => trace.run(),
            Command::Sockets(sockets) => sockets.run(),
            Command::Check(check) => check.run(),
            Command::Replay(replay) => replay.run(),
            Command::Packets(packets) => packets.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Explain(explain) => explain.run(),
            Command::Lab(lab) => lab.run(),
            Command::Schema(schema) => schema.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}

/// Opens captures. What keeps that from being done is wrong usage: a file that cannot be read is not (see [`status_of`]).
fn open(files: &[PathBuf], options: Options) -> Box<dyn Source> {
    let wrong = |error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error:#}\n")).exit();
    crate::source::open(files, options).unwrap_or_else(wrong)
}

/// Ends the process with status 2 and the usage of a subcommand.
fn refuse(subcommand: &str, kind: ErrorKind, message: impl Display) -> ! {
    let mut all = Cli::command();
    all.build();
    all.find_subcommand(subcommand).cloned().unwrap_or(all).error(kind, message).exit()
}

/// Says on standard error what could not be read, and gives the exit status for it: 0 where everything could.
fn status_of(files: &[FileRecord]) -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for FileRecord { name, error, .. } in files {
        if let Some(error) = error {
            eprintln!("observer: {name}: {error}");
            status = ExitCode::FAILURE;
        }
    }
    status
}
