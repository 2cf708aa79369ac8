//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz`, on the stable compiler.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, cargo};
use crate::setup;

/// Run fuzz targets, each for some minutes.
///
/// What they find is kept: inputs that reach new code in target/fuzz-corpus, inputs that fail in tests/fuzz/artifacts.
#[derive(clap::Args)]
pub struct Args {
    /// Which; all of them when none is named
    targets: Vec<String>,
    /// How long each runs
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

impl Args {
    pub fn run(self) -> Result<()> {
        ensure!(
            process::has_subcommand("fuzz"),
            "cargo-fuzz is not installed; install it with: cargo install --locked cargo-fuzz"
        );
        setup::ensure(setup::BUILD)?;
        setup::ensure(setup::FUZZ)?;
        let targets = if self.targets.is_empty() { targets()? } else { self.targets };
        targets.iter().try_for_each(|target| run(target, self.seconds, Build::Fast))
    }
}

/// The names of all targets.
pub fn targets() -> Result<Vec<String>> {
    let folder = process::root().join("tests/fuzz/targets");
    let files = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names = Vec::new();
    for file in files {
        let path = file.with_context(|| format!("reading {}", folder.display()))?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// How a target is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// To try as many inputs as it can.
    Fast,
    /// To be there soon.
    Soon,
}

/// Builds a target and runs it for `seconds`; an input that makes it fail is an error.
pub fn run(target: &str, seconds: u64, build: Build) -> Result<()> {
    let found = process::target_dir().join("fuzz-corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
    eprintln!("fuzz target {target} for {seconds} s");
    let mut command = cargo();
    // The compiler's coverage options are not stable yet. No sanitizer: the library has no unsafe code to watch.
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none"]);
    if build == Build::Soon {
        command.arg("--dev");
    }
    command.arg("--target-dir").arg(process::target_dir().join("fuzz")).arg(target);
    // What is found goes to the first folder; real captures and the target's own seeds are where to start from.
    let seeds = ["captures".into(), format!("tests/fuzz/seeds/{target}")].map(|folder| process::root().join(folder));
    command.arg(found).args(seeds.iter().filter(|folder| folder.is_dir()));
    command.args(["--", "-max_len=65536", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    process::run(&mut command).with_context(|| format!("fuzz target {target}"))
}
