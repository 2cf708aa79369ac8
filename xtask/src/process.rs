//! Starting other programs, and where things are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// The folder that holds the workspace.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The cargo that runs this program, in the workspace's folder.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this program about its package would reach the build scripts, and those that look at it (ring's)
    // would build everything anew by turns.
    const OURS: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];
    for (name, _) in env::vars_os() {
        if OURS.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

/// Builds observer with optimisation and gives the path of the program.
pub fn release_observer() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", "observer"]))?;
    Ok(target_dir().join("release/observer"))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs `command` to its end; that it fails is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", line(command)))?;
    ensure!(status.success(), "{} ended with {status}", line(command));
    Ok(())
}

/// What Ctrl-C would send to `child`, which was not waited for yet. Nothing where it has ended.
pub fn interrupt(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::INT);
}

/// What a command prints, without the line's end.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {}", line(command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {said}", line(command), output.status);
    let text = String::from_utf8(output.stdout).with_context(|| format!("reading {}", line(command)))?;
    Ok(text.trim_end().to_owned())
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether `cargo NAME` runs. rustup puts commands into the search path whose component is not installed.
pub fn has_subcommand(name: &str) -> bool {
    succeeds(cargo().args([name, "--version"]))
}

/// Whether `command` succeeds, all its talk aside.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Where `program` is in the search path.
pub fn find(program: &str) -> Option<PathBuf> {
    // Tools for root lie outside an ordinary user's path on Debian.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
