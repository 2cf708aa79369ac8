//! What did not get through: records that could not be sent or kept, and what the kernel did not show to a program.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use observer_ebpf::{HOOKS, Hook};

use super::load::{Counts, Loaded};

/// The counters of both.
pub struct Losses {
    lost: Counts,
    made_up: Counts,
    /// Hooks have a second program for what the first is not shown.
    has_second: bool,
    /// How often the kernel had not shown something to each hook, when it was last asked.
    missed: BTreeMap<Hook, u64>,
}

impl Losses {
    pub fn new(loaded: &mut Loaded, has_second: bool) -> Result<Self> {
        Ok(Self { lost: loaded.lost()?, made_up: loaded.made_up()?, has_second, missed: BTreeMap::new() })
    }

    /// Records that were lost so far, by hook and processor.
    pub fn by_hook(&self) -> Result<Vec<(Hook, Vec<u64>)>> {
        let processors = self.lost.get(&0, 0).context("reading the counters of lost records")?;
        let of_hook = |hook: Hook| processors.iter().map(|counts| counts[hook as usize]).collect();
        Ok(HOOKS.iter().map(|hook| (*hook, of_hook(*hook))).collect())
    }

    /// Asks the kernel what it has not shown.
    pub fn count_missed(&mut self, loaded: &Loaded) -> Result<()> {
        let counts = loaded.attached.iter().map(|hook| Ok((*hook, self.ask_missed(loaded, *hook)?)));
        self.missed = counts.collect::<Result<_>>()?;
        Ok(())
    }

    /// How often it has not shown something to one hook, asked anew.
    pub fn ask_missed(&self, loaded: &Loaded, hook: Hook) -> Result<u64> {
        if !self.has_second {
            return loaded.left_out(hook);
        }
        let processors = self.made_up.get(&0, 0).context("reading the counters of what was made up for")?;
        let made_up: u64 = processors.iter().map(|counts| counts[hook as usize]).sum();
        Ok(loaded.left_out(hook)?.saturating_sub(made_up))
    }

    /// The same, as last asked.
    pub fn missed(&self, hook: Hook) -> u64 {
        self.missed.get(&hook).copied().unwrap_or(0)
    }

    /// All of connections that did not get through: where a command line is lost, none of them is.
    pub fn total(&self) -> Result<u64> {
        let is_theirs = |hook: &Hook| *hook != Hook::Exec;
        let lost = self.by_hook()?.into_iter().filter(|(hook, _)| is_theirs(hook));
        let lost: u64 = lost.flat_map(|(_, lost)| lost).sum();
        Ok(lost + self.missed.iter().filter(|(hook, _)| is_theirs(hook)).map(|(_, missed)| missed).sum::<u64>())
    }

    /// What did not get through of one hook.
    pub fn of(&self, wanted: Hook) -> Result<u64> {
        let lost = self.by_hook()?.into_iter().filter(|(hook, _)| *hook == wanted);
        Ok(lost.flat_map(|(_, lost)| lost).sum::<u64>() + self.missed(wanted))
    }

    /// As much of it as may have been last words.
    pub fn ends(&self) -> Result<u64> {
        let lost = self.by_hook()?.into_iter().filter(|(hook, _)| *hook == Hook::Destroy);
        let missed = self.missed.iter().filter(|(hook, _)| **hook != Hook::Exec).map(|(_, missed)| missed);
        Ok(lost.flat_map(|(_, lost)| lost).sum::<u64>() + missed.sum::<u64>())
    }
}
