//! Many entries of connection tracking: datagrams that nobody answers, each to another port.

use std::ffi::OsStr;
use std::fs::{self, File};

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::live::stage::Stage;

/// The whole host's: whoever changes it holds the lock, and puts it back whatever happens.
const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// The table may hold as much as is wanted, until dropped.
pub struct Room {
    before: String,
    _lock: File,
}

impl Room {
    fn make(entries: u32) -> Result<Self> {
        let lock = File::create(std::env::temp_dir().join("observer-conntrack.lock")).context("making a lock")?;
        lock.lock().context("locking it")?;
        let before = fs::read_to_string(MOST).context("there is no connection tracking")?;
        let room = Self { before, _lock: lock };
        let most: u32 = room.before.trim().parse().context("reading nf_conntrack_max")?;
        if most < 2 * entries {
            fs::write(MOST, (2 * entries).to_string()).context("raising nf_conntrack_max")?;
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = fs::write(MOST, self.before.trim()) {
            eprintln!("restoring nf_conntrack_max: {error}");
        }
    }
}

/// Has the namespace track so many connections; `None`, after saying so, where that cannot be had.
pub fn fill(stage: &Stage, entries: u32) -> Result<Option<Room>> {
    match try_fill(stage, entries) {
        Ok(room) => Ok(Some(room)),
        Err(error) => {
            println!("no connection tracking is measured: {error:#}");
            Ok(None)
        }
    }
}

fn try_fill(stage: &Stage, entries: u32) -> Result<Room> {
    let rules = "add table ip t; add chain ip t c { type filter hook output priority 0; }; \
                 add rule ip t c ct state established,new accept";
    run(stage, "nft", &[rules])?;
    run(stage, "sysctl", &["-qw", "net.netfilter.nf_conntrack_udp_timeout=600"])?;
    let room = Room::make(entries)?;
    let own = std::env::current_exe().context("looking for this program")?;
    run(stage, own, &["bench", "crowd", "datagrams", &entries.to_string()])?;
    let tracked = run(stage, "cat", &["/proc/sys/net/netfilter/nf_conntrack_count"])?;
    let tracked: u32 = tracked.trim().parse().context("reading nf_conntrack_count")?;
    // A port that a socket sends from leads to itself, which is no new flow.
    if tracked < entries - entries / 1000 {
        bail!("{tracked} connections are tracked, not {entries}")
    } else {
        Ok(room)
    }
}

/// What a program prints that runs in the namespace to its end.
fn run(stage: &Stage, program: impl AsRef<OsStr>, args: &[&str]) -> Result<String> {
    let output = stage.command(&program).args(args).output().context("running ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", program.as_ref().display(), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
