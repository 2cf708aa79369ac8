//! `cargo xtask captures`: plays the lab's scenarios and keeps what they give in `captures/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{self, cargo, root};
use crate::setup;

/// Make the captures of captures/ again: NAME.pcapng, NAME.toml (how it was made, what must be found in it) and
/// NAME.json (its golden record: read the difference before you commit it)
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask captures zero-window")]
pub struct Args {
    /// Only these scenarios (`observer lab list` names them)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Leave the captures as they are and write only their golden records again
    #[arg(long)]
    records: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        setup::ensure(setup::TEST)?;
        let observer = process::release_observer()?;
        let known = scenarios(&observer)?;
        if let Some(unknown) = self.names.iter().find(|name| !known.contains(name)) {
            bail!("there is no scenario {unknown:?}; there are: {}", known.join(", "));
        }
        let folder = root().join("captures");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        for name in if self.names.is_empty() { &known } else { &self.names } {
            if !self.records {
                eprintln!("playing {name}");
                let file = format!("{name}.pcapng");
                let page = output(&observer, &folder, &["lab", "run", name, "--write", &file])?;
                write(&folder.join(format!("{name}.toml")), &page)?;
            }
            record(&observer, &folder, name)?;
        }
        // The same test holds them against their descriptions and against tshark.
        process::run(cargo().env("OBSERVER_BINARY", &observer).args([
            "test",
            "--package",
            "observer-tests",
            "--test",
            "captures",
        ]))
    }
}

/// Writes the golden record of a capture.
fn record(observer: &Path, folder: &Path, name: &str) -> Result<()> {
    let file = format!("{name}.pcapng");
    let lines = output(observer, folder, &["replay", "--output", "json", "--timeline", &file])?;
    write(&folder.join(format!("{name}.json")), &lines)
}

/// The names of all scenarios.
fn scenarios(observer: &Path) -> Result<Vec<String>> {
    let list = output(observer, root(), &["lab", "list"])?;
    Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// What observer prints on standard output, run in `folder`.
fn output(observer: &Path, folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(observer);
    command.current_dir(folder).args(arguments);
    let output = command.output().with_context(|| format!("starting {}", process::line(&command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {said}", process::line(&command), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("reading what {} prints", process::line(&command)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
