//! What processes were started with, those that are gone too.

use std::collections::{HashMap, VecDeque};
use std::iter::successors;
use std::ops::RangeInclusive;
use std::sync::Arc;

use observer_ebpf::Task;

/// How many beginnings are kept of all processes together.
const MOST: usize = 16_384;

/// Octets of their command lines that are kept; of copies, those of each count.
const MOST_OCTETS: usize = 4 << 20;

/// What programs were run by which process, and which process is the copy of which. The oldest beginnings are given up
/// first.
///
/// Nothing is guessed: a process is known by its identifier and by when it began, so that another with the same identifier
/// is another. Of several programs that it ran, it has to be known which it was. What may have been changed by something
/// that got lost is forgotten ([`Self::forget`]).
#[derive(Debug, Default)]
pub struct Commands {
    /// Of each process, in the order of time. None is empty.
    histories: HashMap<Process, VecDeque<Beginning>>,
    /// Whose beginnings they are, in the order in which they came.
    order: VecDeque<Process>,
    octets: usize,
}

/// A process, told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its identifier.
    pub pid: u32,
    /// When it began: [`Task::started`].
    pub started: u32,
}

/// A command line: arguments, each ended by a NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its octets, as far as they are known.
    pub octets: Arc<[u8]>,
    /// There are more.
    pub is_cut: bool,
}

/// A process begins, or begins to run a program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Beginning {
    /// When, in nanoseconds of the kernel's clock.
    at: u64,
    /// It is a copy of another, whose command line it has.
    is_copy: bool,
    /// That other.
    parent: Option<Process>,
    /// The process's name from then on.
    comm: [u8; 16],
    /// `None` where it could not be read, or is not known.
    command: Option<Command>,
}

/// What a process ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// When that began, in nanoseconds of the kernel's clock.
    pub since: u64,
    /// It has run nothing else since then.
    pub is_last: bool,
    /// The command line.
    pub command: Command,
}

impl Commands {
    /// A process begins to run a program at `at`.
    pub fn executed(&mut self, process: Process, at: u64, comm: [u8; 16], command: Option<Command>) {
        self.add(process, Beginning { at, is_copy: false, parent: None, comm, command });
    }

    /// A process begins at `at`, as a copy of `parent`. Gives whether it is known what that ran.
    pub fn forked(&mut self, process: Process, at: u64, comm: [u8; 16], parent: Process) -> bool {
        let command = self.ran_at(parent, at);
        let is_known = command.is_some();
        self.add(process, Beginning { at, is_copy: true, parent: Some(parent), comm, command });
        is_known
    }

    /// What a process ran at a moment.
    pub fn ran_at(&self, process: Process, at: u64) -> Option<Command> {
        self.histories.get(&process)?.iter().rev().find(|one| one.at <= at)?.command.clone()
    }

    /// Who started a process, who started that, and so on, as far as that was heard of: those that are gone, too.
    pub fn ancestors(&self, process: Process) -> impl Iterator<Item = Process> {
        /// No shell starts shells any deeper.
        const DEEPEST: usize = 32;
        let parent = |process: &Process| self.histories.get(process)?.front()?.parent;
        successors(parent(&process), parent).take(DEEPEST)
    }

    /// A process that is a copy, and has run nothing since then, was found to have this command line, or its parent was.
    pub fn found(&mut self, process: Process, command: &Command) {
        if let Some(Beginning { is_copy: true, command: unknown @ None, .. }) =
            self.histories.get_mut(&process).and_then(VecDeque::back_mut)
        {
            self.octets += command.octets.len();
            *unknown = Some(command.clone());
            self.trim();
        }
    }

    /// Whether a process was heard to run something itself.
    pub fn has_run(&self, process: Process) -> bool {
        self.histories.get(&process).and_then(VecDeque::back).is_some_and(|last| !last.is_copy)
    }

    /// What the process of `task` ran when that was looked at, which was at some time in `during`; `None` where that is not
    /// certain.
    pub fn find(&self, task: &Task, during: RangeInclusive<u64>) -> Option<Found> {
        let history = self.histories.get(&Process { pid: task.pid, started: task.started })?;
        // What it ran before all that is known.
        if history.front().is_none_or(|first| !first.is_copy && first.at > *during.start()) {
            return None;
        }
        let nexts = history.iter().skip(1).map(|next| next.at).chain([u64::MAX]);
        let mut candidates = history
            .iter()
            .zip(nexts)
            .enumerate()
            .filter(|(_, (one, next))| one.at <= *during.end() && next > during.start())
            .map(|(place, (one, _))| (place, one));
        let (place, one) = match (candidates.next()?, candidates.next()) {
            // A process may give itself another name. Where it is a copy, another name says that it runs something else by
            // now, of which is still to be heard.
            ((place, one), None) if !one.is_copy || one.comm == task.comm => (place, one),
            (first, second) => {
                let is_it = |(_, one): &(usize, &Beginning)| one.comm == task.comm;
                let mut named = [Some(first), second].into_iter().flatten().chain(candidates).filter(is_it);
                let only = named.next()?;
                if named.next().is_some() {
                    return None;
                }
                only
            }
        };
        let command = one.command.clone()?;
        Some(Found { since: one.at, is_last: place + 1 == history.len(), command })
    }

    /// Something was lost: whatever is known may be outdated.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, process: Process, beginning: Beginning) {
        self.octets += beginning.octets();
        self.order.push_back(process);
        self.histories.entry(process).or_default().push_back(beginning);
        self.trim();
    }

    fn trim(&mut self) {
        while self.order.len() > MOST || self.octets > MOST_OCTETS {
            let Some(oldest) = self.order.pop_front() else { return };
            let Some(history) = self.histories.get_mut(&oldest) else { continue };
            if let Some(given_up) = history.pop_front() {
                self.octets = self.octets.saturating_sub(given_up.octets());
            }
            if history.is_empty() {
                self.histories.remove(&oldest);
            }
        }
    }
}

impl Beginning {
    fn octets(&self) -> usize {
        self.command.as_ref().map_or(0, |command| command.octets.len())
    }
}

impl Command {
    /// The arguments, the program's name as the first; `None` where there are none. What is cut short ends with `…`.
    pub fn words(&self) -> Option<Vec<String>> {
        let words = self.octets.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let mut words: Vec<_> = words.collect();
        let filled = words.iter().rposition(|word| !word.is_empty())? + 1;
        words.truncate(filled);
        match words.last_mut() {
            Some(last) if self.is_cut && self.octets.last() != Some(&0) => last.push('…'),
            _ if self.is_cut => words.push("…".to_string()),
            _ => {}
        }
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURL: Process = Process { pid: 7, started: 100 };
    const SHELL: Process = Process { pid: 5, started: 90 };

    fn comm(name: &str) -> [u8; 16] {
        let mut comm = [0; 16];
        comm.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        comm
    }

    fn command(line: &str) -> Option<Command> {
        Some(Command { octets: line.replace(' ', "\0").into_bytes().into(), is_cut: false })
    }

    fn task(process: Process, name: &str) -> Task {
        Task { pid: process.pid, started: process.started, comm: comm(name), ..Task::NONE }
    }

    fn line(commands: &Commands, process: Process, name: &str, during: RangeInclusive<u64>) -> Option<String> {
        commands.find(&task(process, name), during)?.command.words().map(|words| words.join(" "))
    }

    #[test]
    fn a_process_is_known_by_what_it_ran_then() {
        let mut commands = Commands::default();
        commands.executed(SHELL, 50, comm("sh"), command("sh -c x"));
        assert!(commands.forked(CURL, 1_000, comm("sh"), SHELL));
        commands.executed(CURL, 1_010, comm("curl"), command("curl -s http://here"));
        let of_curl = |name: &str, during| line(&commands, CURL, name, during);
        assert_eq!(of_curl("curl", 1_020..=1_020).as_deref(), Some("curl -s http://here"));
        // It has named itself anew.
        assert_eq!(of_curl("transfer", 1_020..=2_000).as_deref(), Some("curl -s http://here"));
        // Looked at in between, it was still a copy.
        assert_eq!(of_curl("sh", 1_005..=1_005).as_deref(), Some("sh -c x"));
        // When that was is not known; its name tells, if it tells anything.
        assert_eq!(of_curl("sh", 990..=3_000).as_deref(), Some("sh -c x"));
        assert_eq!(of_curl("curl", 990..=3_000).as_deref(), Some("curl -s http://here"));
        assert_eq!(of_curl("other", 990..=3_000), None);
        assert_eq!(of_curl("sh", 900..=999), None, "it had not begun");
        let found = commands.find(&task(CURL, "sh"), 1_005..=1_005).expect("it is known");
        assert!(!found.is_last);
    }

    #[test]
    fn another_process_with_the_same_identifier_is_another() {
        let mut commands = Commands::default();
        commands.executed(CURL, 1_000, comm("curl"), command("curl first"));
        let later = Process { started: 200, ..CURL };
        assert_eq!(line(&commands, later, "curl", 2_000..=2_000), None);
        commands.executed(later, 2_000, comm("curl"), command("curl second"));
        assert_eq!(line(&commands, CURL, "curl", 1_000..=3_000).as_deref(), Some("curl first"));
        assert_eq!(line(&commands, later, "curl", 2_000..=3_000).as_deref(), Some("curl second"));
    }

    #[test]
    fn of_two_programs_with_the_same_name_neither_is_guessed() {
        let mut commands = Commands::default();
        assert!(!commands.forked(CURL, 1_000, comm("sh"), SHELL));
        commands.executed(CURL, 1_010, comm("sh"), command("sh one"));
        commands.executed(CURL, 1_020, comm("sh"), command("sh two"));
        assert_eq!(line(&commands, CURL, "sh", 1_015..=1_030), None);
        assert_eq!(line(&commands, CURL, "sh", 1_015..=1_015).as_deref(), Some("sh one"));
        assert_eq!(line(&commands, CURL, "sh", 1_020..=1_030).as_deref(), Some("sh two"));
        assert_eq!(line(&commands, CURL, "sh", 1_005..=1_005), None, "whose copy it was is not known");
    }

    #[test]
    fn what_was_run_before_all_that_is_known_is_not_guessed() {
        let mut commands = Commands::default();
        commands.executed(CURL, 1_000, comm("sh"), command("sh two"));
        assert_eq!(line(&commands, CURL, "sh", 900..=1_100), None);
        assert_eq!(line(&commands, CURL, "sh", 1_000..=1_100).as_deref(), Some("sh two"));
    }

    #[test]
    fn a_copy_with_another_name_runs_something_else() {
        let mut commands = Commands::default();
        commands.executed(SHELL, 50, comm("sh"), command("sh -c x"));
        commands.forked(CURL, 1_000, comm("sh"), SHELL);
        assert_eq!(line(&commands, CURL, "sh", 1_001..=1_001).as_deref(), Some("sh -c x"));
        assert_eq!(line(&commands, CURL, "curl", 1_001..=1_001), None);
    }

    #[test]
    fn a_copy_has_what_its_parent_ran_at_that_time() {
        let mut commands = Commands::default();
        commands.executed(SHELL, 50, comm("sh"), command("sh one"));
        commands.executed(SHELL, 60, comm("sh"), command("sh two"));
        commands.forked(CURL, 55, comm("sh"), SHELL);
        assert_eq!(line(&commands, CURL, "sh", 70..=70).as_deref(), Some("sh one"));
    }

    #[test]
    fn who_started_a_process_is_known_when_they_are_gone() {
        let mut commands = Commands::default();
        let between = Process { pid: 6, started: 95 };
        commands.forked(between, 50, comm("sh"), SHELL);
        commands.executed(between, 51, comm("timeout"), command("timeout 3 curl"));
        commands.forked(CURL, 55, comm("timeout"), between);
        commands.executed(CURL, 56, comm("curl"), command("curl"));
        assert_eq!(commands.ancestors(CURL).collect::<Vec<_>>(), [between, SHELL]);
        assert_eq!(commands.ancestors(Process { started: 1, ..CURL }).count(), 0, "it is another");
    }

    #[test]
    fn what_is_found_of_a_copy_later_is_not_taken_for_what_it_ran_itself() {
        let mut commands = Commands::default();
        let parents = command("nginx worker").expect("it is one");
        commands.forked(CURL, 1_000, comm("nginx"), SHELL);
        commands.found(CURL, &parents);
        assert_eq!(line(&commands, CURL, "nginx", 1_001..=1_001).as_deref(), Some("nginx worker"));
        commands.executed(CURL, 1_010, comm("curl"), None);
        commands.found(CURL, &parents);
        assert_eq!(line(&commands, CURL, "curl", 1_011..=1_011), None, "it could not be read");
    }

    #[test]
    fn one_that_is_cut_short_says_so() {
        let cut = |octets: &[u8]| Command { octets: octets.into(), is_cut: true }.words();
        assert_eq!(cut(b"curl\0http://he"), Some(vec!["curl".to_string(), "http://he…".to_string()]));
        assert_eq!(cut(b"curl\0-s\0"), Some(vec!["curl".to_string(), "-s".to_string(), "…".to_string()]));
        assert_eq!(cut(b"\0\0"), None);
    }

    #[test]
    fn the_oldest_are_given_up_first() {
        let mut commands = Commands::default();
        let one = |pid: usize| Process { pid: pid as u32, started: 1 };
        for pid in 0..MOST + 10 {
            commands.executed(one(pid), pid as u64, comm("x"), command("x y"));
        }
        assert_eq!((commands.order.len(), commands.histories.len()), (MOST, MOST));
        assert_eq!(commands.octets, MOST * 3);
        let is_known = |pid: usize| line(&commands, one(pid), "x", 1 << 40..=1 << 40).is_some();
        assert!(!is_known(9) && is_known(10) && is_known(MOST + 9));
    }

    #[test]
    fn what_is_kept_is_bounded_in_octets() {
        let mut commands = Commands::default();
        let long = Command { octets: vec![b'x'; 1024].into(), is_cut: true };
        commands.executed(SHELL, 1, comm("x"), Some(long.clone()));
        for number in 0..10_000_u32 {
            let process = Process { pid: 10 + number % 3, started: number / 1_000 };
            let at = u64::from(number) + 2;
            match number % 3 {
                0 => commands.executed(process, at, comm("x"), Some(long.clone())),
                1 => drop(commands.forked(process, at, comm("x"), SHELL)),
                _ => {
                    commands.forked(process, at, comm("x"), Process { pid: 1, started: 1 });
                    commands.found(process, &long);
                }
            }
            let held: usize = commands.histories.values().flatten().map(Beginning::octets).sum();
            let count: usize = commands.histories.values().map(VecDeque::len).sum();
            assert_eq!((commands.octets, commands.order.len()), (held, count));
            assert!(held <= MOST_OCTETS && commands.histories.values().all(|history| !history.is_empty()));
        }
        assert!(commands.octets > MOST_OCTETS / 2);
        commands.forget();
        assert_eq!((commands.octets, commands.order.len(), commands.histories.len()), (0, 0, 0));
    }
}
