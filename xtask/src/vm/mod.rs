//! `cargo xtask vm`: other kernels than this machine's, booted under qemu.

mod hooks;
mod initramfs;
mod kernel;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, copy};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, cargo, root, target_dir};
use crate::setup;
use initramfs::Archive;
use kernel::{Image, KERNELS, Kernel};

/// Run observer on Debian's kernels, under qemu: which of its hooks each of them takes.
///
/// Fetches kernels with apt (so needs a Debian or one of its kin) and keeps them in target/vm.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask vm 5.10 6.1")]
pub struct Args {
    /// Only these kernels
    #[arg(value_name = "KERNEL", value_parser = kernel_names())]
    kernels: Vec<String>,
}

fn kernel_names() -> clap::builder::PossibleValuesParser {
    KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>().into()
}

/// Something to run on each kernel.
struct Program {
    name: &'static str,
    /// What the shell of the machine runs; `observer` and the tools of [`TOOLS`] are there.
    script: &'static str,
    /// Reads what it printed and says what the kernel gives; an error is a failure.
    judge: fn(&Kernel, &str) -> Result<Vec<Gives>>,
}

/// One line of what a kernel gives.
#[derive(Debug, PartialEq, Eq)]
struct Gives {
    what: String,
    /// Why it does not, where it does not.
    why_not: Option<String>,
}

const PROGRAMS: &[Program] = &[Program { name: "hooks", script: include_str!("hooks.sh"), judge: hooks::judge }];

/// Programs of this machine that are there too, as far as it has them.
const TOOLS: &[&str] = &["ip", "ss", "tc", "nft", "ethtool", "tcpdump"];

/// The first process.
const INIT: &str = include_str!("init.sh");

/// A kernel that has not come to an end by then hangs. One that is emulated on a busy machine takes its time.
const DEADLINE: Duration = Duration::from_secs(300);

impl Args {
    pub fn run(self) -> Result<()> {
        let wanted = |kernel: &&Kernel| self.kernels.is_empty() || self.kernels.iter().any(|name| name == kernel.name);
        let outcomes = run(KERNELS.iter().filter(wanted))?;
        println!("{}", table(&outcomes));
        let failed: Vec<&str> = outcomes.iter().filter(|o| o.failed > 0).map(|o| o.kernel.name).collect();
        ensure!(failed.is_empty(), "failed on {}: see above", failed.join(", "));
        Ok(())
    }
}

/// What came of a kernel.
pub struct Outcome {
    kernel: &'static Kernel,
    /// How it names itself.
    release: String,
    gives: Vec<Gives>,
    pub passed: u64,
    pub failed: u64,
}

/// Runs all programs on each of `kernels`.
///
/// # Errors
/// When they cannot be run; that one fails is told in its outcome.
pub fn run(kernels: impl Iterator<Item = &'static Kernel>) -> Result<Vec<Outcome>> {
    ensure!(cfg!(target_arch = "x86_64"), "kernels are run on x86-64 only");
    setup::ensure(setup::BUILD)?;
    setup::ensure(setup::VM)?;
    process::run(cargo().args(["build", "--package", "observer"]))?;
    let programs = folder().join("programs.cpio");
    fs::create_dir_all(folder()).with_context(|| format!("making {}", folder().display()))?;
    pack(&programs)?;
    kernels.map(|kernel| run_on(kernel, &programs)).collect()
}

/// Where kernels are kept.
fn folder() -> PathBuf {
    root().join(target_dir()).join("vm")
}

/// Writes the part of the file system that is the same for all kernels.
fn pack(path: &Path) -> Result<()> {
    let mut archive = Archive::create(path)?;
    archive.console()?;
    archive.program(&process::find("busybox").context("busybox is gone")?, Path::new("/bin/busybox"))?;
    archive.file(Path::new("/init"), 0o755, INIT.as_bytes())?;
    archive.program(&root().join(target_dir()).join("debug/observer"), Path::new("/usr/bin/observer"))?;
    for tool in TOOLS {
        if let Some(program) = process::find(tool) {
            archive.program(&program, &Path::new("/usr/bin").join(tool))?;
        }
    }
    for (number, program) in PROGRAMS.iter().enumerate() {
        archive.file(Path::new(&format!("/programs/{number}-{}", program.name)), 0o644, program.script.as_bytes())?;
    }
    archive.finish()
}

fn run_on(kernel: &'static Kernel, programs: &Path) -> Result<Outcome> {
    let image = kernel.image()?;
    let initramfs = folder().join(format!("{}.cpio", kernel.name));
    join(&[&image.modules, programs], &initramfs)?;
    let start = Instant::now();
    let lines = boot(&image, &initramfs).with_context(|| format!("running kernel {}", kernel.name))?;
    let said = lines.join("\n");
    let log = folder().join(format!("{}.log", kernel.name));
    fs::write(&log, &said).with_context(|| format!("writing {}", log.display()))?;
    let release = lines.iter().find_map(|line| line.strip_prefix("@kernel ")).unwrap_or("unknown").to_owned();
    let mut outcome = Outcome { kernel, release, gives: Vec::new(), passed: 0, failed: 0 };
    for (number, program) in PROGRAMS.iter().enumerate() {
        match printed(&said, &format!("{number}-{}", program.name)).and_then(|text| (program.judge)(kernel, text)) {
            Ok(gives) => {
                outcome.passed += 1;
                outcome.gives.extend(gives);
            }
            Err(error) => {
                eprintln!(
                    "kernel {}: {}: {error:#}; all it printed is in {}",
                    kernel.name,
                    program.name,
                    log.display()
                );
                outcome.failed += 1;
            }
        }
    }
    let (Outcome { passed, failed, release, .. }, time) = (&outcome, start.elapsed().as_secs_f64());
    eprintln!("kernel {} ({release}): {passed} passed, {failed} failed in {time:.1} s", kernel.name);
    Ok(outcome)
}

/// Writes `parts` one behind the other.
fn join(parts: &[&Path], whole: &Path) -> Result<()> {
    let mut file = File::create(whole).with_context(|| format!("creating {}", whole.display()))?;
    for part in parts {
        let mut part_file = File::open(part).with_context(|| format!("opening {}", part.display()))?;
        copy(&mut part_file, &mut file).with_context(|| format!("writing {}", whole.display()))?;
    }
    Ok(())
}

/// Boots, and returns the lines that the machine prints until it ends.
fn boot(image: &Image, initramfs: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("qemu-system-x86_64");
    // Emulated, since not every machine that builds this lets it use its processor's virtualisation.
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-no-reboot"]);
    command.args(["-display", "none", "-serial", "stdio", "-kernel"]).arg(&image.vmlinuz).arg("-initrd").arg(initramfs);
    command.args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut machine = command.spawn().with_context(|| format!("starting {}", process::line(&command)))?;
    let output = machine.stdout.take().context("no pipe from qemu")?;
    let (sender, receiver) = mpsc::channel::<String>();
    let reader = thread::spawn(move || {
        // What a machine prints need not be text.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + DEADLINE;
    let mut lines = Vec::new();
    let in_time = loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        machine.kill().context("stopping qemu")?;
    }
    let status = machine.wait().context("waiting for qemu")?;
    // It has nothing left to read.
    let _ = reader.join();
    let last = || lines.iter().rev().take(20).rev().cloned().collect::<Vec<_>>().join("\n");
    ensure!(in_time, "no end after {} s; its last lines:\n{}", DEADLINE.as_secs(), last());
    ensure!(status.success(), "qemu ended with {status}");
    Ok(lines)
}

/// What a program printed; that it did not end well is an error.
fn printed<'a>(said: &'a str, name: &str) -> Result<&'a str> {
    let (_, text) = said.split_once(&format!("@begin {name}\n")).context("it was never started")?;
    let (text, rest) = text.split_once(&format!("\n@end {name} ")).context("it did not come to its end")?;
    let status = rest.lines().next().unwrap_or_default();
    ensure!(status == "0", "it ended with status {status}: {}", text.trim());
    Ok(text)
}

/// Markdown: a line for each thing that kernels give, a column for each kernel.
fn table(outcomes: &[Outcome]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let columns = || outcomes.iter();
    let mut text = row([" ".to_owned()].into_iter().chain(columns().map(|o| o.release.clone())).collect());
    text += &row(vec!["---".to_owned(); outcomes.len() + 1]);
    let mut things: Vec<&str> = Vec::new();
    for gives in columns().flat_map(|outcome| &outcome.gives) {
        if !things.contains(&gives.what.as_str()) {
            things.push(&gives.what);
        }
    }
    for thing in things {
        let cell = |outcome: &Outcome| match outcome.gives.iter().find(|gives| gives.what == thing) {
            None => "?".to_owned(),
            Some(Gives { why_not: None, .. }) => "yes".to_owned(),
            Some(Gives { why_not: Some(_), .. }) => "no".to_owned(),
        };
        text += &row([thing.to_owned()].into_iter().chain(columns().map(cell)).collect());
    }
    for outcome in columns() {
        for Gives { what, why_not } in &outcome.gives {
            if let Some(why) = why_not {
                text += &format!("\n{} on {}: {why}", what, outcome.release);
            }
        }
    }
    text
}
