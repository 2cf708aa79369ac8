//! `cargo xtask vm`: other kernels than this machine's, booted under qemu, and the live tests on each.

mod initramfs;
mod kernel;
mod machine;
mod table;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::copy;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::process::{self, cargo, root, target_dir};
use crate::setup;
use crate::test::tally::{self, Tally};
use initramfs::Archive;
pub use kernel::KERNELS;
use kernel::{Image, Kernel};

/// Run the live tests on Debian's kernels, under qemu, and print what each of them gives.
///
/// Fetches kernels with apt (so needs a Debian or one of its kin) and keeps them in target/vm.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask vm 5.10 6.1")]
pub struct Args {
    /// Only these kernels
    #[arg(value_name = "KERNEL", value_parser = kernel_names())]
    kernels: Vec<String>,
    /// Write the table into README.md
    #[arg(long, conflicts_with = "kernels")]
    write: bool,
}

fn kernel_names() -> clap::builder::PossibleValuesParser {
    KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>().into()
}

/// Programs of this machine that are there too, as far as it has them.
const TOOLS: &[&str] = &["ip", "ss", "tc", "nft", "ethtool", "tcpdump"];

/// The first process.
const INIT: &str = include_str!("init.sh");

impl Args {
    pub fn run(self) -> Result<()> {
        let wanted = |kernel: &&Kernel| self.kernels.is_empty() || self.kernels.iter().any(|name| name == kernel.name);
        let machine = Machine::new(None)?;
        let images = KERNELS.iter().filter(wanted).map(|kernel| Ok((kernel, kernel.image()?)));
        let outcomes = machine.run_all(images.collect::<Result<_>>()?);
        let outcomes = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
        let table = table::markdown(&outcomes);
        println!("{table}");
        let failed: Vec<&str> =
            outcomes.iter().filter(|outcome| outcome.tally.failed > 0).map(|outcome| outcome.kernel).collect();
        ensure!(failed.is_empty(), "failed on {}: see above", failed.join(", "));
        if self.write { table::write(&table) } else { Ok(()) }
    }
}

/// What came of a kernel.
pub struct Outcome {
    kernel: &'static str,
    /// How it names itself.
    release: String,
    hooks: Vec<Hook>,
    pub tally: Tally,
}

/// What observer says of a hook in its object of type `capture`.
#[derive(Deserialize)]
struct Hook {
    name: String,
    attached: bool,
    why: Option<String>,
    #[serde(default)]
    lacks: Vec<String>,
}

/// All that is needed to run on a kernel, but for the kernel.
pub struct Machine {
    /// The part of the file system that is the same for all kernels.
    programs: PathBuf,
}

impl Machine {
    /// Builds and packs the live tests; they load the eBPF programs of `object` in place of observer's own.
    ///
    /// # Errors
    /// When something cannot be had: qemu, above all.
    pub fn new(object: Option<&Path>) -> Result<Self> {
        ensure!(cfg!(target_arch = "x86_64"), "kernels are run on x86-64 only");
        setup::ensure(setup::BUILD)?;
        setup::ensure(setup::VM)?;
        let programs = folder().join("programs.cpio");
        fs::create_dir_all(folder()).with_context(|| format!("making {}", folder().display()))?;
        pack(&programs, object)?;
        Ok(Self { programs })
    }

    /// Runs the live tests on each of these kernels, on as many at once as there are processors: a machine takes one. Gives
    /// what came of them in the same order.
    pub fn run_all(&self, kernels: Vec<(&'static Kernel, Image)>) -> Vec<Result<Outcome>> {
        let at_once = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(kernels.len());
        let next = AtomicUsize::new(0);
        let work = || {
            let mut own = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((kernel, image)) = kernels.get(index) else { return own };
                own.push((index, self.run(kernel, image)));
            }
        };
        let mut outcomes = thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect::<Vec<_>>()
        });
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Boots a kernel and runs the live tests on it; that one fails is told in the outcome.
    ///
    /// # Errors
    /// When they cannot be run.
    fn run(&self, kernel: &'static Kernel, image: &Image) -> Result<Outcome> {
        let initramfs = folder().join(format!("{}.cpio", kernel.name));
        join(&[&image.modules, &self.programs], &initramfs)?;
        let start = Instant::now();
        let lines = machine::boot(&image.vmlinuz, &initramfs, &format!("OBSERVER_LACKS={}", kernel.lacks.join(",")))
            .with_context(|| format!("running kernel {}", kernel.name))?;
        let text = lines.join("\n");
        let log = folder().join(format!("{}.log", kernel.name));
        fs::write(&log, &text).with_context(|| format!("writing {}", log.display()))?;
        let said = |word: &str| lines.iter().find_map(|line| line.strip_prefix(word));
        let mut tally = tally::of_libtest(&text);
        if said("@end ").is_none_or(|status| status != "0") {
            eprintln!("{}", end_of(&text));
            tally.failed = tally.failed.max(1);
        }
        let hooks = said("hooks: ").map(serde_json::from_str).transpose();
        let hooks = hooks.with_context(|| format!("reading the hooks in {}", log.display()))?.unwrap_or_default();
        let release = said("@kernel ").unwrap_or(kernel.name).to_owned();
        let time = start.elapsed().as_secs_f64();
        eprintln!("kernel {release}: {tally} in {time:.1} s; all it said is in {}", log.display());
        Ok(Outcome { kernel: kernel.name, release, hooks, tally })
    }
}

/// What the tests said of their failures, or else their last lines.
fn end_of(text: &str) -> String {
    let failures = text.split_once("\nfailures:\n").map(|(_, failures)| failures.to_owned());
    let lines: Vec<&str> = text.lines().collect();
    failures.unwrap_or_else(|| lines[lines.len().saturating_sub(40)..].join("\n"))
}

/// Where kernels are kept.
fn folder() -> PathBuf {
    root().join(target_dir()).join("vm")
}

/// Writes the part of the file system that is the same for all kernels.
fn pack(path: &Path, object: Option<&Path>) -> Result<()> {
    let mut archive = Archive::create(path)?;
    archive.console()?;
    archive.program(&process::find("busybox").context("busybox is gone")?, Path::new("/bin/busybox"))?;
    archive.file(Path::new("/init"), 0o755, INIT.as_bytes())?;
    for (name, program) in programs()? {
        archive.program(&program, &Path::new("/usr/bin").join(name))?;
    }
    for tool in TOOLS {
        if let Some(program) = process::find(tool) {
            archive.program(&program, &Path::new("/usr/bin").join(tool))?;
        }
    }
    if let Some(object) = object {
        let bytes = fs::read(object).with_context(|| format!("reading {}", object.display()))?;
        archive.file(Path::new("/observer.bpf.o"), 0o644, &bytes)?;
    }
    archive.finish()
}

/// observer, the live tests and the program that plays their servers and clients, as `cargo xtask test` builds them.
fn programs() -> Result<Vec<(&'static str, PathBuf)>> {
    #[derive(Deserialize)]
    struct Message {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let mut command = cargo();
    command.args(["build", "--workspace", "--bins", "--tests", "--message-format", "json-render-diagnostics"]);
    let messages = process::output(&mut command)?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let built: Vec<Message> = built.filter(|message| message.executable.is_some()).collect();
    [("observer", "bin"), ("actor", "bin"), ("live", "test")]
        .into_iter()
        .map(|(name, kind)| {
            // A program's unit tests come under its name too: elsewhere.
            let is_it = |path: &Path| kind == "test" || path.file_name() == Some(OsStr::new(name));
            let of_name = built.iter().filter(|m| m.target.name == name && m.target.kind.iter().any(|k| k == kind));
            let found = of_name.filter_map(|message| message.executable.as_deref()).find(|path| is_it(path));
            Ok((name, found.with_context(|| format!("cargo has built no {name}"))?.to_owned()))
        })
        .collect()
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
