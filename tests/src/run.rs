//! Running observer.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::SystemTime;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The observer to test: what `OBSERVER_BINARY` names, or this checkout's, built with or without optimisation as this
/// program is.
pub fn observer() -> Result<&'static Path> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = FOUND.get() {
        return Ok(path);
    }
    let path = match env::var_os("OBSERVER_BINARY") {
        Some(path) => PathBuf::from(path),
        None => match built_with_this()? {
            Some(path) => path,
            None => build()?,
        },
    };
    Ok(FOUND.get_or_init(|| path))
}

/// What `cargo test --workspace` has put beside this program, where it is newer than its sources: asking cargo again
/// could build everything once more, with other features.
fn built_with_this() -> Result<Option<PathBuf>> {
    let own = env::current_exe().context("looking for this program")?;
    // Tests lie in a folder below.
    let Some(path) = own.ancestors().skip(1).take(2).map(|folder| folder.join("observer")).find(|path| path.is_file())
    else {
        return Ok(None);
    };
    let built = modified(&path)?;
    let mut newest = modified(&super::root().join("Cargo.lock"))?;
    let mut folders = vec![super::root().join("observer/src"), super::root().join("observer-ebpf/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            newest = newest.max(modified(&path)?);
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok((built >= newest).then_some(path))
}

fn modified(path: &Path) -> Result<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).with_context(|| format!("looking at {}", path.display()))
}

fn build() -> Result<PathBuf> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(super::root()).args(["build", "--quiet", "--package", "observer", "--bin", "observer"]);
    command.args(["--message-format", "json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = success(&mut command)?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back()
        .context("cargo does not say where observer is")
}

/// Runs a program to its end; that it fails is an error with what it said.
pub fn success(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said.trim());
    Ok(output)
}

/// What `observer replay --output json` prints over `capture`, with more switches.
pub fn replay(observer: &Path, capture: &Path, switches: &[&str]) -> Result<String> {
    let mut command = Command::new(observer);
    command.args(["replay", "--output", "json"]).args(switches).arg(capture);
    Ok(String::from_utf8(success(&mut command)?.stdout)?)
}

/// The objects of JSON lines that have that `type`.
pub fn objects(lines: &str, kind: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|object| object.get("type").is_some_and(|found| found == kind)).collect())
}
