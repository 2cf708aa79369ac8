//! Taking in what processes were started with.

use std::collections::HashMap;

use anyhow::{Result, bail};
use aya::maps::{MapData, RingBuf};
use observer_ebpf::{CommandHead, Plain as _, tag};

use super::translate;
use crate::source::commands::{Command, Commands, Process};
use crate::source::owner;

/// How many processes are looked up at once that were there before.
const LOOKED_UP: usize = 64;

/// What the hook sends.
pub struct Started {
    ring: RingBuf<MapData>,
    /// Records that were lost so far.
    lost: u64,
}

impl Started {
    pub fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, lost: 0 }
    }

    /// Takes every record out of the ring buffer. Gives whether there were any.
    pub fn take(&mut self, commands: &mut Commands) -> Result<bool> {
        let mut any = false;
        let mut orphans = Vec::new();
        while let Some(item) = self.ring.next() {
            any = true;
            let head = CommandHead::parse(&item)?;
            let process = Process { pid: head.pid, started: head.started };
            match translate::tag_of(&item) {
                tag::EXECUTED => {
                    let octets = item.get(size_of::<CommandHead>()..).and_then(|all| all.get(..head.captured as usize));
                    let octets = octets.filter(|octets| !octets.is_empty());
                    let is_cut = head.captured < head.len;
                    let command = octets.map(|octets| Command { octets: octets.into(), is_cut });
                    commands.executed(process, head.at, head.comm, command);
                }
                tag::FORKED => {
                    let parent = Process { pid: head.parent, started: head.parent_started };
                    if !commands.forked(process, head.at, head.comm, parent) {
                        orphans.push(Orphan { process, at: head.at, comm: head.comm, parent });
                    }
                }
                other => bail!("the ring buffer of processes holds a record of unknown kind {other}"),
            }
        }
        adopt(orphans, commands);
        Ok(any)
    }

    /// Forgets what may be outdated, where records were lost: `lost` so far.
    pub fn note_lost(&mut self, lost: u64, commands: &mut Commands) {
        if std::mem::replace(&mut self.lost, lost) != lost {
            commands.forget();
        }
    }
}

/// A copy of a process of which nothing is known.
struct Orphan {
    process: Process,
    at: u64,
    comm: [u8; 16],
    parent: Process,
}

/// Finds the command lines of parents that were there before observer was, or that were given up: what they ran since, is
/// heard of. Most of their children have run something else by now, and do not need it.
fn adopt(orphans: Vec<Orphan>, commands: &mut Commands) {
    let mut shown = HashMap::new();
    for Orphan { process, at, comm, parent } in orphans {
        if commands.has_run(process) {
            continue;
        }
        // It may itself be a copy of one that was found just now.
        let mut command = commands.ran_at(parent, at);
        if command.is_none() && !commands.has_run(parent) && (shown.len() < LOOKED_UP || shown.contains_key(&parent)) {
            let look_up = || owner::running(parent.pid, parent.started, &comm);
            command.clone_from(shown.entry(parent).or_insert_with(look_up));
        }
        if let Some(command) = command {
            commands.found(process, &command);
        }
    }
}
