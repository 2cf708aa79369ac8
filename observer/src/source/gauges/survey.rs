//! Whose the sockets are, found out little by little: what processes have open is asked for by reading a link for each
//! descriptor, which on a host with very many costs more than everything else that gauges read.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::time::Duration;

use foldhash::{HashMap, HashSet, HashSetExt as _};
use observer::gauge::{Process, Processes, Seen};

use super::processor_time;
use crate::source::namespace;
use crate::source::sock_diag::descriptors;

/// Time on the processor that one look takes, at most.
const MOST: Duration = Duration::from_millis(8);

/// The processes that have sockets open, as far as that is known.
///
/// A process that was found to have a socket open is not asked again. While there are sockets of which nobody is known to
/// have them open, processes are looked at in *rounds*: first those in a namespace that is watched whose number of
/// descriptors has changed, of each a piece before the next piece of any. What a whole round did not find belongs to nobody
/// that can be seen.
#[derive(Debug, Default)]
pub struct Survey {
    /// What was found.
    pub found: Processes,
    /// Sockets of which nobody is known to have them open.
    wanted: HashSet<u32>,
    /// Those of them that were wanted when the round began.
    wanted_in_round: HashSet<u32>,
    /// Those that a whole round did not find.
    ownerless: HashSet<u32>,
    /// What the round has still to look at: processes, and where in their lists of descriptors.
    round: VecDeque<(u32, u64)>,
    /// How many descriptors processes had when they were looked at last.
    looked_at: HashMap<u32, u64>,
    hidden: HashSet<u32>,
    has_finished_a_round: bool,
    /// Time on the processor that the first round took.
    first_round: Duration,
}

impl Survey {
    /// Takes in the sockets that there are in the namespaces `watched`, looks for whose they are, and counts the
    /// descriptors of the processes that have some.
    pub fn look<'a>(&mut self, sockets: impl Iterator<Item = &'a Seen> + Clone, watched: &HashSet<u32>) {
        let inodes = sockets.map(|seen| seen.socket.inode).filter(|inode| *inode != 0);
        self.wanted.clear();
        let mut ownerless = HashSet::new();
        let mut count = 0;
        for inode in inodes.clone() {
            count += 1;
            if self.found.owners.contains_key(&inode) {
                continue;
            }
            let known = self.ownerless.contains(&inode);
            if known {
                ownerless.insert(inode)
            } else {
                self.wanted.insert(inode)
            };
        }
        self.ownerless = ownerless;
        // Inodes of sockets are not given out again for a long time: it is the room that counts.
        if self.found.owners.len() > 2 * count + 1000 {
            let open: HashSet<u32> = inodes.collect();
            self.found.owners.retain(|inode, _| open.contains(inode));
        }
        if self.round.is_empty() && !self.wanted.is_empty() {
            self.begin_round(watched);
        }
        self.look_on();
        let is_all_known = self.wanted.is_empty();
        self.found.facts.retain(|pid, process| {
            process.descriptors = descriptors::count(*pid);
            process.is_whole |= is_all_known;
            process.descriptors.is_some()
        });
    }

    /// Goes on with the round that is under way, for a while.
    pub fn look_on(&mut self) {
        let begun = processor_time();
        let is_first = self.is_new();
        while !self.wanted.is_empty() && processor_time().saturating_sub(begun) < MOST {
            let Some((pid, from)) = self.round.pop_front() else { break };
            self.look_at(pid, from);
        }
        if self.wanted.is_empty() {
            self.round.clear();
        }
        if self.round.is_empty() {
            self.has_finished_a_round = true;
            let missed = self.wanted_in_round.drain().filter(|inode| self.wanted.contains(inode));
            self.ownerless.extend(missed);
            self.wanted.retain(|inode| !self.ownerless.contains(inode));
        }
        if is_first {
            self.first_round += processor_time().saturating_sub(begun);
        }
    }

    /// Whether the first round is still under way.
    pub fn is_new(&self) -> bool {
        !self.has_finished_a_round
    }

    /// Time on the processor that the first round has taken so far.
    pub fn first_round(&self) -> Duration {
        self.first_round
    }

    /// Processes that do not show what they have open.
    pub fn hidden(&self) -> usize {
        self.hidden.len()
    }

    fn begin_round(&mut self, watched: &HashSet<u32>) {
        self.wanted_in_round.clone_from(&self.wanted);
        let mut order: Vec<_> = descriptors::processes()
            .map(|pid| {
                let is_elsewhere = !namespace::of_process(pid).is_some_and(|netns| watched.contains(&netns));
                let is_unchanged =
                    descriptors::count(pid).is_some_and(|count| self.looked_at.get(&pid) == Some(&count));
                (is_elsewhere, is_unchanged, pid)
            })
            .collect();
        order.sort_unstable();
        self.round = order.into_iter().map(|(.., pid)| (pid, 0)).collect();
        let living: HashSet<u32> = self.round.iter().map(|(pid, _)| *pid).collect();
        self.looked_at.retain(|pid, _| living.contains(pid));
        self.hidden.retain(|pid| living.contains(pid));
    }

    /// Looks at a piece of what a process has open.
    fn look_at(&mut self, pid: u32, from: u64) {
        let mut has_sockets = false;
        let Self { found, wanted, ownerless, .. } = self;
        let looked = descriptors::piece_of(pid, from, |_, inode| {
            // Of several processes, the one with the lowest number: a parent comes before those that inherited from it.
            let is_of_other = found.owners.get(&inode).is_some_and(|owner| pid < *owner);
            if wanted.remove(&inode) || ownerless.remove(&inode) || is_of_other {
                found.owners.insert(inode, pid);
                has_sockets = true;
            }
        });
        if has_sockets && !self.found.facts.contains_key(&pid) {
            let limit = fs::read_to_string(format!("/proc/{pid}/limits")).ok().and_then(|text| limit(&text));
            let process = Process { name: descriptors::name(pid), descriptors: None, limit, is_whole: false };
            self.found.facts.insert(pid, process);
        }
        match looked {
            Ok(Some(next)) => self.round.push_back((pid, next)),
            Ok(None) => {
                if let Some(process) = self.found.facts.get_mut(&pid) {
                    process.is_whole = true;
                }
                self.looked_at.extend(descriptors::count(pid).map(|count| (pid, count)));
                self.hidden.remove(&pid);
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => drop(self.hidden.insert(pid)),
            // One that has just ended.
            Err(_) => {}
        }
    }
}

/// The soft limit of `Max open files` in `/proc/PID/limits`; `None` where there is none.
fn limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(limit(text), Some(1024));
        assert_eq!(limit("Max open files            unlimited            unlimited            files\n"), None);
        assert_eq!(limit(""), None);
    }
}
