//! `cargo xtask ebpf`: the eBPF programs, from their sources to the object that observer carries.
//!
//! The object is committed, so that building observer takes nothing but a stable Rust toolchain. Beside it stands what
//! it was built from and with ([`Record`]), which is how `cargo xtask test` notices that the two went apart.

mod digest;
mod record;
mod toolchain;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::process::{root, target_dir};
pub use record::{Build, Record};
use toolchain::TOOLCHAINS;

/// Build the eBPF programs again, for the object that observer carries: observer-ebpf/observer.bpf.o.
///
/// Builds them with every toolchain that can be had here (a pinned nightly of rustup's, Debian's packaged compiler),
/// installing what is missing, and writes down beside the object what each one gives: observer-ebpf/observer.bpf.toml.
#[derive(clap::Args)]
pub struct Args {}

impl Args {
    pub fn run(self) -> Result<()> {
        let sources = sources()?;
        let mut builds = Vec::new();
        let mut objects = Vec::new();
        for toolchain in TOOLCHAINS {
            match toolchain.build() {
                Ok((build, object)) => {
                    eprintln!("{}: {}, {}: {}", toolchain.name, build.rustc, build.linker, build.object);
                    builds.push(build);
                    objects.push(object);
                }
                Err(error) => eprintln!("not built with {}: {error:#}", toolchain.name),
            }
        }
        let object = objects.first().context("no toolchain could build the eBPF programs: see above")?;
        fs::copy(object, committed()).with_context(|| format!("writing {}", committed().display()))?;
        Record { sources, builds }.write(&record_path())
    }
}

/// The committed object, in the byte order of little-endian machines.
fn committed() -> PathBuf {
    root().join("observer-ebpf/observer.bpf.o")
}

fn record_path() -> PathBuf {
    root().join("observer-ebpf/observer.bpf.toml")
}

/// Where everything goes that building the programs takes: toolchains, linker, what they leave behind.
fn folder() -> PathBuf {
    // A target folder may be given relative to the workspace's.
    root().join(target_dir()).join("ebpf")
}

fn sources() -> Result<String> {
    digest::sources(root())
}

/// Whether the committed object is the one that [`Record`] speaks of, and that was built from these sources. Needs no
/// toolchain.
///
/// # Errors
/// When it is not: then `cargo xtask ebpf` mends it.
pub fn check_committed() -> Result<Record> {
    const MEND: &str = "run `cargo xtask ebpf` and commit observer-ebpf/observer.bpf.o and observer.bpf.toml";
    let record = Record::read(&record_path())?;
    let sources = sources()?;
    ensure!(
        record.sources == sources,
        "the eBPF programs' sources have the digest {sources}, observer.bpf.o was built from {}: {MEND}",
        record.sources
    );
    let object = digest::of_file(&committed())?;
    let built = record.builds.first().map_or("none", |build| &build.object);
    ensure!(object == built, "observer.bpf.o has the digest {object}, observer.bpf.toml says {built}: {MEND}");
    Ok(record)
}

/// Builds with the first toolchain that can be had; returns what with, and the object.
///
/// # Errors
/// When none can, with what each of them lacks.
pub fn build_fresh() -> Result<(Build, PathBuf)> {
    let mut causes = Vec::new();
    for toolchain in TOOLCHAINS {
        match toolchain.build() {
            Ok(built) => return Ok(built),
            Err(error) => causes.push(format!("{}: {error:#}", toolchain.name)),
        }
    }
    anyhow::bail!("{}", causes.join("; "))
}
