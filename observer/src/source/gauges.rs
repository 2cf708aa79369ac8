//! Reading what gauges are made of: the tables of sockets, the texts of /proc, and what processes have open.

mod survey;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use observer::gauge::{Board, Flows, Read, Seen, Text, Texts, Tracked};
use observer::kernel;
use observer::record::{GaugeRecord, TcpState};
use observer::tracker::States;
use rustix::time::{ClockId, clock_gettime};

use super::clock::WallClock;
use super::conntrack::{Entries, Events};
use super::namespace;
use super::nft::Rules;
use super::porter::{Errand, Porter};
use super::sock_diag::dump::{More, Query, Table};
use crate::privilege;
use survey::Survey;

/// From one sweep to the next, at least.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps take no more than one part in so many of a processor: where they cost more, they are further apart. The first and
/// the last, without which nothing is known, are made all the same.
const SHARE: u32 = 250;

/// The largest text that is read.
const LONGEST: usize = 1 << 16;

/// What is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The entries of connection tracking, one by one.
    pub entries: bool,
    /// Namespaces that appear later, too.
    pub follow: bool,
}

/// The gauges of some network namespaces.
pub struct Gauges {
    options: Options,
    clock: WallClock,
    /// Texts that the host has once.
    host: Vec<(Text, File)>,
    lanes: BTreeMap<u32, Lane>,
    /// Opens what appears later; `None` where that is not wanted, or not allowed.
    porter: Option<Porter>,
    own_netns: Option<u32>,
    processes: Survey,
    started: Instant,
    next: Instant,
    /// When it is looked for owners again, between two sweeps.
    next_look: Instant,
    /// What cannot be read, and why; each is told once.
    unread: Vec<String>,
    /// The last readings.
    readings: Vec<GaugeRecord>,
    sweeps: u32,
    /// Time on the processor that all sweeps took, without that of the first round through all processes.
    spent: Duration,
}

/// How much work it was.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often everything was read.
    pub sweeps: u32,
    /// Time on the processor that each of these took.
    pub each: Duration,
    /// Time on the processor that it took besides to find whose the sockets are, once: the first round through all
    /// processes.
    pub looking: Duration,
}

/// One namespace.
struct Lane {
    table: Option<Table>,
    files: Vec<(Text, File)>,
    new_flows: Option<Events>,
    entries: Option<Entries>,
    rules: Option<Rules>,
    flows: Flows,
    board: Board,
    /// Kept for its room.
    seen: Vec<Seen>,
}

impl Gauges {
    /// Opens what is read again and again in each of the namespaces: inode, and where to enter those that are not ours. To
    /// be called while this process has one thread only.
    pub fn open(namespaces: &[(u32, Option<PathBuf>)], options: Options) -> Self {
        let mut gauges = Self {
            options,
            clock: WallClock::new(),
            host: Vec::new(),
            lanes: BTreeMap::new(),
            // Where namespaces cannot be entered, those that appear cannot either; the first ones say so.
            porter: options.follow.then(|| Porter::start(privilege::GAUGE_PORTER).ok()).flatten(),
            own_netns: namespace::own().ok(),
            processes: Survey::default(),
            started: Instant::now(),
            next: Instant::now(),
            next_look: Instant::now(),
            unread: Vec::new(),
            readings: Vec::new(),
            sweeps: 0,
            spent: Duration::ZERO,
        };
        let here = |errand: Errand| errand.run(None);
        gauges.host = open_texts(Text::is_of_host, &here, &mut gauges.unread);
        for (netns, path) in namespaces {
            let opened = match path {
                None => Ok(Lane::open(options, &here)),
                Some(path) => namespace::within(path, || Ok(Lane::open(options, &here))),
            };
            gauges.take_in(*netns, opened);
        }
        gauges
    }

    fn take_in(&mut self, netns: u32, opened: Result<(Lane, Vec<String>)>) {
        match opened {
            Ok((lane, why)) => {
                self.lanes.insert(netns, lane);
                self.unread.extend(why);
            }
            Err(error) => self.unread.push(format!("gauges of the network namespace {netns}: {error:#}")),
        }
    }

    /// Takes in namespaces that have appeared, and lets go of those that have no name and no process any more: what is held
    /// open keeps them alive.
    fn follow(&mut self) {
        let Some(porter) = self.porter.take() else { return };
        let all = namespace::all();
        self.lanes.retain(|netns, _| all.contains_key(netns) || Some(*netns) == self.own_netns);
        for (netns, path) in all {
            if !self.lanes.contains_key(&netns) {
                let opened = Lane::open(self.options, &|errand| porter.open(errand, &path, None));
                // One that goes while it is entered is none to tell of.
                if opened.0.table.is_some() {
                    self.take_in(netns, Ok(opened));
                }
            }
        }
        self.porter = Some(porter);
    }

    /// Takes what cannot wait until the next sweep: what the kernel tells of is kept in a queue that is not long.
    pub fn listen(&mut self) {
        let before = processor_time();
        for lane in self.lanes.values_mut() {
            lane.listen();
        }
        self.spent += processor_time().saturating_sub(before);
    }

    /// Reads everything, where it is time to; whether it did. Until it is known for the first time whose the sockets are,
    /// that is looked for in between.
    pub fn sweep_in_time(&mut self) -> bool {
        let now = Instant::now();
        let is_time = now >= self.next;
        if is_time {
            self.read(false);
        } else if self.processes.is_new() && now >= self.next_look {
            self.processes.look_on();
            self.next_look = now + INTERVAL;
        }
        is_time
    }

    /// Reads everything, the rules of the firewall too: of those there may be many thousands, and what matters of them is
    /// what happened between the first time and the last.
    pub fn sweep(&mut self) {
        self.read(true);
    }

    fn read(&mut self, with_rules: bool) {
        let (before, first_round) = (processor_time(), self.processes.first_round());
        self.follow();
        for lane in self.lanes.values_mut() {
            if let Err(error) = lane.read_sockets() {
                self.unread.push(format!("sockets: {error:#}"));
                lane.table = None;
            }
            lane.listen();
            if let Err(error) = lane.read_entries() {
                self.unread.push(format!("{error:#}"));
                lane.entries = None;
            }
        }
        let watched = self.lanes.keys().copied().collect();
        self.processes.look(self.lanes.values().flat_map(|lane| &lane.seen), &watched);
        self.readings.clear();
        let host = read_texts(&self.host);
        for (netns, lane) in &mut self.lanes {
            let mut texts = read_texts(&lane.files);
            texts.0.extend(host.0.clone());
            let at = self.clock.at(WallClock::ktime());
            let sockets = lane.table.is_some().then_some(lane.seen.as_mut_slice());
            let rules = match lane.rules.as_mut().filter(|_| with_rules).map(Rules::counted) {
                Some(Err(error)) => {
                    self.unread.push(format!("{error:#}"));
                    lane.rules = None;
                    Vec::new()
                }
                rules => rules.and_then(Result::ok).unwrap_or_default(),
            };
            let (processes, flows) = (&self.processes.found, &lane.flows);
            let read = Read { sockets, texts: &texts, processes, flows, rules: &rules };
            self.readings.extend(lane.board.sweep(at, *netns, read));
            lane.flows = Flows { new: lane.new_flows.as_ref().map(|_| 0), tracked: None };
        }
        self.sweeps += 1;
        let looked = self.processes.first_round() - first_round;
        let cost = processor_time().saturating_sub(before + looked);
        self.spent += cost;
        let now = Instant::now();
        // One more, and the last. What was not used up before is not used up all at once.
        let paid = self.started + (self.spent + self.processes.first_round() + 2 * cost) * SHARE;
        self.next = paid.max(now + INTERVAL.max(cost * SHARE));
        self.next_look = now + INTERVAL;
    }

    /// What the last sweep gave. What the host has once is told once.
    pub fn readings(&self) -> Vec<GaugeRecord> {
        let mut told = HashSet::new();
        let is_new = |reading: &&GaugeRecord| reading.netns.is_some() || told.insert(reading.name);
        self.readings.iter().filter(is_new).cloned().collect()
    }

    /// What cannot be read, and why.
    pub fn unread(&self) -> Vec<String> {
        let mut unread = self.unread.clone();
        unread.sort();
        unread.dedup();
        let hidden = self.processes.hidden();
        if hidden > 0 {
            unread.push(format!(
                "descriptors and sockets of {hidden} processes of other users (this takes CAP_SYS_PTRACE and \
                 CAP_DAC_READ_SEARCH, or root)",
            ));
        }
        unread
    }

    /// Whether there may be rules of a firewall to read.
    pub fn reads_rules(&self) -> bool {
        self.lanes.values().any(|lane| lane.rules.is_some())
    }

    /// How much work it was.
    pub fn effort(&self) -> Effort {
        Effort { sweeps: self.sweeps, each: self.spent / self.sweeps.max(1), looking: self.processes.first_round() }
    }
}

impl Lane {
    /// Opens what there is in a namespace; also what cannot be opened, and why.
    fn open(options: Options, open: &dyn Fn(Errand) -> Result<OwnedFd>) -> (Self, Vec<String>) {
        let mut unread = Vec::new();
        let files = open_texts(|text| !text.is_of_host(), open, &mut unread);
        let mut try_open =
            |errand, what: &str| open(errand).map_err(|error| unread.push(format!("{what}: {error:#}"))).ok();
        let table = try_open(Errand::Table, "sockets").map(Table::by);
        // Without it there is nothing to hear.
        let is_tracked = files.iter().any(|(text, _)| *text == Text::ConntrackCount);
        let new_flows = is_tracked.then(|| try_open(Errand::NewFlows, "new flows").map(Events::by)).flatten();
        let wants_entries = is_tracked && options.entries;
        let entries = wants_entries.then(|| try_open(Errand::Entries, "entries").map(Entries::by)).flatten();
        let rules = Rules::are_there().then(|| try_open(Errand::Rules, "rules").map(Rules::by)).flatten();
        let flows = Flows { new: new_flows.as_ref().map(|_| 0), tracked: None };
        let lane = Self { table, files, new_flows, entries, rules, flows, board: Board::default(), seen: Vec::new() };
        (lane, unread)
    }

    /// Counts the flows that have begun.
    fn listen(&mut self) {
        let Some(events) = &mut self.new_flows else { return };
        let heard = events.take(|_| ()).unwrap_or(None);
        self.flows.new = self.flows.new.zip(heard).map(|(before, new)| before + new);
    }

    fn read_entries(&mut self) -> Result<()> {
        let Some(entries) = &mut self.entries else { return Ok(()) };
        let mut tracked = Tracked::default();
        entries.each(|entry| tracked.add(&entry))?;
        self.flows.tracked = Some(tracked);
        Ok(())
    }

    fn read_sockets(&mut self) -> Result<()> {
        self.seen.clear();
        let Some(table) = &mut self.table else { return Ok(()) };
        let seen = &mut self.seen;
        let of = |states, more| Query { states: kernel::numbers(states), more, ..Query::ALL };
        let mut are_new = false;
        table.each(of(States::LISTEN.complement(), More::default()), |diag| {
            are_new |= diag.socket.tcp_state() == TcpState::CloseWait && !self.board.has_seen(&diag.socket);
            seen.push(Seen::new(diag.socket));
        })?;
        if are_new {
            let mut quiet = HashMap::new();
            table.each(of(States::CLOSE_WAIT, More { info: true, ..More::default() }), |diag| {
                let since = diag.info().and_then(|info| info.last_ack_received());
                quiet.extend(since.map(|since| (diag.socket.cookie, since)));
            })?;
            seen.iter_mut().for_each(|one| one.quiet = quiet.get(&one.socket.cookie).copied());
        }
        // These are in a table of their own, which is small.
        table.each(of(States::LISTEN, More { memory: true, ..More::default() }), |diag| {
            let mut one = Seen::new(diag.socket);
            one.drops = diag.memory().map(|memory| memory.drops);
            seen.push(one);
        })
    }
}

/// Opens texts; adds to `unread` what cannot be opened, and why.
fn open_texts(
    wanted: impl Fn(Text) -> bool,
    open: &dyn Fn(Errand) -> Result<OwnedFd>,
    unread: &mut Vec<String>,
) -> Vec<(Text, File)> {
    let mut files = Vec::new();
    for text in Text::ALL.into_iter().filter(|text| wanted(*text)) {
        match open(Errand::Text(text)) {
            Ok(file) => files.push((text, file.into())),
            // Connection tracking may not be loaded: there is nothing to read.
            Err(error) if is_missing(&error) || !Path::new(text.source()).exists() => {}
            Err(error) => unread.push(format!("{}: {error:#}", text.source())),
        }
    }
    files
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn read_texts(files: &[(Text, File)]) -> Texts {
    let mut texts = Texts::default();
    let mut buffer = vec![0; LONGEST];
    for (text, file) in files {
        let read = read_whole(file, &mut buffer);
        if let Some(read) = read.ok().and_then(|read| std::str::from_utf8(read).ok()) {
            texts.0.insert(*text, read.to_string());
        }
    }
    texts
}

/// A text of /proc from its beginning: some of them give a part at a time.
fn read_whole<'a>(file: &File, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(buffer.get(..len).unwrap_or_default())
}

/// Time that this thread has had on a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_sees_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has one").port();
        let own = namespace::own().expect("we are in one");
        let mut gauges = Gauges::open(&[(own, None)], Options::default());
        gauges.sweep();
        let readings = gauges.readings();
        let is_ours = |reading: &&GaugeRecord| {
            reading.name == "accept_queue" && reading.subject.listener.is_some_and(|end| end.port == port)
        };
        let reading = readings.iter().find(is_ours);
        // Of many listeners the fullest are told; here there may be others.
        if let Some(process) = reading.and_then(|reading| reading.subject.process.as_ref()) {
            assert_eq!(process.pid, std::process::id());
        }
        let descriptors = readings.iter().filter(|reading| reading.name == "descriptors");
        assert!(descriptors.clone().all(|reading| reading.value.0 > 0.0 && reading.limit.is_some()));
    }
}
