//! Reading what gauges are made of: the tables of sockets, the texts of /proc, and what processes have open.

mod survey;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use observer::gauge::{Board, Seen, Text, Texts};
use observer::kernel;
use observer::record::{GaugeRecord, TcpState};
use observer::tracker::States;
use rustix::time::{ClockId, clock_gettime};

use super::clock::WallClock;
use super::namespace;
use super::sock_diag::dump::{More, Query, Table};
use survey::Survey;

/// From one sweep to the next, at least.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps take no more than one part in so many of a processor: where they cost more, they are further apart.
const SHARE: u32 = 200;

/// The largest text that is read.
const LONGEST: usize = 1 << 16;

/// The gauges of some network namespaces.
pub struct Gauges {
    clock: WallClock,
    /// Texts that the host has once.
    host: Vec<(Text, File)>,
    lanes: BTreeMap<u32, Lane>,
    processes: Survey,
    next: Instant,
    /// When it is looked for owners again, between two sweeps.
    next_look: Instant,
    /// What cannot be read, and why; each is told once.
    unread: Vec<String>,
    /// The last readings.
    readings: Vec<GaugeRecord>,
    sweeps: u32,
    /// Time on the processor that all of it took.
    spent: Duration,
}

/// One namespace.
struct Lane {
    table: Option<Table>,
    files: Vec<(Text, File)>,
    board: Board,
    /// Kept for its room.
    seen: Vec<Seen>,
}

impl Gauges {
    /// Opens what is read again and again in each of the namespaces: inode, and where to enter those that are not ours.
    pub fn open(namespaces: &[(u32, Option<PathBuf>)]) -> Self {
        let mut unread = Vec::new();
        let host = open_texts(Text::is_of_host, &mut unread);
        let mut lanes = BTreeMap::new();
        for (netns, path) in namespaces {
            let opened = match path {
                None => Ok(Lane::open()),
                Some(path) => namespace::within(path, || Ok(Lane::open())),
            };
            match opened {
                Ok((lane, why)) => {
                    lanes.insert(*netns, lane);
                    unread.extend(why);
                }
                Err(error) => unread.push(format!("gauges of the network namespace {netns}: {error:#}")),
            }
        }
        unread.sort();
        unread.dedup();
        Self {
            clock: WallClock::new(),
            host,
            lanes,
            processes: Survey::default(),
            next: Instant::now(),
            next_look: Instant::now(),
            unread,
            readings: Vec::new(),
            sweeps: 0,
            spent: Duration::ZERO,
        }
    }

    /// Reads everything, where it is time to. Until it is known for the first time whose the sockets are, that is looked
    /// for in between.
    pub fn sweep_in_time(&mut self) {
        let now = Instant::now();
        if now >= self.next {
            self.sweep();
        } else if self.processes.is_new() && now >= self.next_look {
            let before = processor_time();
            self.processes.look_on();
            self.spent += processor_time().saturating_sub(before);
            self.next_look = now + INTERVAL;
        }
    }

    /// Reads everything.
    pub fn sweep(&mut self) {
        let before = processor_time();
        for lane in self.lanes.values_mut() {
            if let Err(error) = lane.read_sockets() {
                self.unread.push(format!("sockets: {error:#}"));
                lane.table = None;
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
            let readings = lane.board.sweep(at, *netns, sockets, &texts, &self.processes.found);
            self.readings.extend(readings);
        }
        self.sweeps += 1;
        let cost = processor_time().saturating_sub(before);
        self.spent += cost;
        let now = Instant::now();
        self.next = now + INTERVAL.max(cost * SHARE);
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
        let hidden = self.processes.hidden();
        if hidden > 0 {
            unread.push(format!(
                "descriptors and sockets of {hidden} processes of other users (this takes CAP_SYS_PTRACE and \
                 CAP_DAC_READ_SEARCH, or root)",
            ));
        }
        unread
    }

    /// How many sweeps there were, and the time on the processor that each took, all in all.
    pub fn effort(&self) -> (u32, Duration) {
        (self.sweeps, self.spent / self.sweeps.max(1))
    }
}

impl Lane {
    /// Opens what there is in the namespace that this thread is in; also what cannot be opened, and why.
    fn open() -> (Self, Vec<String>) {
        let mut unread = Vec::new();
        let table = Table::open().map_err(|error| unread.push(format!("sockets: {error:#}"))).ok();
        let files = open_texts(|text| !text.is_of_host(), &mut unread);
        (Self { table, files, board: Board::default(), seen: Vec::new() }, unread)
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

/// Opens the texts of the namespace that this thread is in; adds to `unread` what cannot be opened, and why.
fn open_texts(wanted: impl Fn(Text) -> bool, unread: &mut Vec<String>) -> Vec<(Text, File)> {
    let mut files = Vec::new();
    for text in Text::ALL.into_iter().filter(|text| wanted(*text)) {
        // /proc/net is that of the process's first thread.
        let path = text.source().replace("/proc/net/", "/proc/thread-self/net/");
        match File::open(path) {
            Ok(file) => files.push((text, file)),
            // Connection tracking may not be loaded: there is nothing to read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => unread.push(format!("{}: {error}", text.source())),
        }
    }
    files
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
        let mut gauges = Gauges::open(&[(own, None)]);
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
