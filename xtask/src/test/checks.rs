//! The checks, in the order they run: what fails soonest comes first.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use clap::builder::PossibleValuesParser;

use super::tally::{self, Tally};
use super::{Check, holds, skipped};
use crate::process::{self, cargo, run};
use crate::{ebpf, fuzz, setup, vm};

pub const CHECKS: &[Check] = &[
    Check { name: "fmt", what: "the sources are formatted", run: fmt },
    Check { name: "clippy", what: "no lint has anything to say", run: clippy },
    Check { name: "library", what: "the library stands alone, and uses no clock and no I/O", run: library },
    Check { name: "docs", what: "the documentation builds without warnings", run: docs },
    Check { name: "ebpf", what: "the committed eBPF programs are what their sources give", run: ebpf },
    Check { name: "tests", what: "all tests", run: tests },
    Check { name: "doctests", what: "the examples in the documentation", run: doctests },
    Check { name: "deny", what: "licences, duplicate versions and origins of the dependencies", run: deny },
    Check { name: "advisories", what: "no dependency has a known vulnerability", run: advisories },
    Check { name: "fuzz", what: "a short run of each fuzz target", run: fuzz_smoke },
];

/// Runs only where it is asked for: it takes minutes.
pub const KERNELS: Check = Check { name: "kernels", what: "the live tests on other kernels", run: kernels };

/// What the command line may name.
pub fn names() -> PossibleValuesParser {
    CHECKS.iter().chain([&KERNELS]).map(|check| check.name).collect::<Vec<_>>().into()
}

fn fmt() -> Result<Tally> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    // The fuzz targets are a workspace of their own.
    holds(run(cargo().args(["fmt", "--check", "--manifest-path", "tests/fuzz/Cargo.toml"])))
}

fn clippy() -> Result<Tally> {
    holds(run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))
}

fn library() -> Result<Tally> {
    let mut command = cargo();
    command.env("CLIPPY_CONF_DIR", process::root().join(".config/sans-io"));
    command.args(["clippy", "--package", "observer", "--lib", "--no-default-features", "--", "-D", "warnings"]);
    holds(run(&mut command))
}

fn docs() -> Result<Tally> {
    run(cargo().env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--no-deps", "--workspace"]))?;
    // The binary's pages would take the place of the library's, which has the same name. Only the pages go elsewhere:
    // what they are made from lies where it was.
    let target = process::target_dir();
    for item in ["--lib", "--bin=observer"] {
        let mut command = cargo();
        command.env("RUSTDOCFLAGS", "-D warnings").env("CARGO_BUILD_BUILD_DIR", &target);
        command.args(["doc", "--no-deps", "--package", "observer", item, "--document-private-items", "--target-dir"]);
        run(command.arg(target.join("private")))?;
    }
    holds(Ok(()))
}

/// The eBPF programs as they were built here, for the tests to load in place of the committed ones.
static FRESH_OBJECT: OnceLock<PathBuf> = OnceLock::new();

fn ebpf() -> Result<Tally> {
    let mut tally = Tally::default();
    let record = ebpf::check_committed();
    match &record {
        Ok(_) => tally.passed += 1,
        Err(error) => {
            eprintln!("ebpf: {error:#}");
            tally.failed += 1;
        }
    }
    let (build, object) = match ebpf::build_fresh() {
        Ok(built) => built,
        Err(error) => {
            tally.add(skipped("ebpf", &format!("the eBPF programs cannot be built here: {error:#}")));
            return Ok(tally);
        }
    };
    eprintln!("ebpf: built with {} and {}: {}", build.rustc, build.linker, build.object);
    // Its sources may give anything where they are not the committed object's.
    if let Ok(record) = record {
        match record.of_same_tools(&build) {
            Some(known) if known.object == build.object => tally.passed += 1,
            Some(known) => {
                eprintln!("ebpf: observer.bpf.toml says that these tools give {}", known.object);
                tally.failed += 1;
            }
            None => {
                let why = format!("{} and {} are not known to observer.bpf.toml", build.rustc, build.linker);
                tally.add(skipped("ebpf", &format!("no new build to hold the committed object against: {why}")));
            }
        }
    }
    FRESH_OBJECT.get_or_init(|| object);
    Ok(tally)
}

/// The command `cargo NAME` for tests: they load the eBPF programs that were built here, where some were.
fn cargo_for_tests(name: &str) -> Command {
    let mut command = cargo();
    command.arg(name).envs(FRESH_OBJECT.get().map(|object| ("OBSERVER_BPF_OBJECT", object)));
    command
}

fn tests() -> Result<Tally> {
    if !process::has_subcommand("nextest") {
        return libtest(&["--workspace", "--all-targets"]);
    }
    let report = process::target_dir().join("nextest/default/junit.xml");
    // One of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&report);
    let result = run(cargo_for_tests("nextest").args(["run", "--workspace"]));
    let report = fs::read_to_string(&report).ok().and_then(|xml| tally::of_junit(&xml));
    match (result, report) {
        (Ok(()), Some(tally)) => Ok(tally),
        (Err(_), Some(tally)) if tally.failed > 0 => Ok(tally),
        (Ok(()), None) => anyhow::bail!("nextest left no report"),
        (Err(error), _) => Err(error),
    }
}

fn kernels() -> Result<Tally> {
    let machine = match vm::Machine::new(FRESH_OBJECT.get().map(PathBuf::as_path)) {
        Ok(machine) => machine,
        Err(error) => return Ok(skipped("kernels", &format!("they cannot be run here: {error:#}"))),
    };
    let mut tally = Tally::default();
    let mut images = Vec::new();
    for kernel in vm::KERNELS {
        match kernel.image() {
            Ok(image) => images.push((kernel, image)),
            Err(error) => tally.add(skipped("kernels", &format!("{error:#}"))),
        }
    }
    for outcome in machine.run_all(images) {
        tally.add(outcome.map(|outcome| outcome.tally).unwrap_or_else(|error| {
            eprintln!("kernels: {error:#}");
            Tally { failed: 1, ..Tally::default() }
        }));
    }
    Ok(tally)
}

fn doctests() -> Result<Tally> {
    libtest(&["--workspace", "--doc"])
}

/// Runs `cargo test`, shows what it prints and counts it.
fn libtest(arguments: &[&str]) -> Result<Tally> {
    let mut command = cargo_for_tests("test");
    command.args(arguments).args(["--no-fail-fast", "--", "--show-output"]).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {}", process::line(&command)))?;
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().context("no pipe from cargo test")?).lines() {
        let line = line.context("reading what cargo test prints")?;
        eprintln!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait()?;
    let tally = tally::of_libtest(&text);
    ensure!(status.success() || tally.failed > 0, "{} ended with {status}", process::line(&command));
    Ok(tally)
}

fn deny() -> Result<Tally> {
    if !process::has_subcommand("deny") {
        return Ok(skipped("deny", "cargo-deny is not installed (cargo install --locked cargo-deny)"));
    }
    holds(run(cargo().args(["deny", "check", "licenses", "bans", "sources"])))
}

fn advisories() -> Result<Tally> {
    if !process::has_subcommand("deny") {
        return Ok(skipped("advisories", "cargo-deny is not installed (cargo install --locked cargo-deny)"));
    }
    let output = cargo().args(["deny", "check", "advisories"]).output().context("starting cargo deny")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("failed to fetch advisory database") {
        return Ok(skipped("advisories", "the advisory database cannot be reached from here"));
    }
    eprint!("{}{text}", String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "cargo deny check advisories ended with {}", output.status);
    holds(Ok(()))
}

/// Each target runs this long: enough to notice one that is broken.
const SMOKE_SECONDS: u64 = 5;

fn fuzz_smoke() -> Result<Tally> {
    if !process::has_subcommand("fuzz") {
        return Ok(skipped("fuzz", "cargo-fuzz is not installed (cargo install --locked cargo-fuzz)"));
    }
    if let Err(error) = setup::ensure(setup::FUZZ) {
        eprintln!("set-up: {error:#}");
        return Ok(skipped("fuzz", "there is no C++ compiler"));
    }
    let mut tally = Tally::default();
    for target in fuzz::targets()? {
        match fuzz::run(&target, SMOKE_SECONDS, fuzz::Build::Soon) {
            Ok(()) => tally.passed += 1,
            Err(error) => {
                eprintln!("fuzz: {error:#}");
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}
