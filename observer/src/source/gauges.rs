//! Reading what gauges are made of: the tables of sockets, the texts of /proc, and what processes have open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use observer::gauge::{Board, Process, Processes, Seen, Text, Texts};
use observer::kernel;
use observer::record::GaugeRecord;
use observer::tracker::States;
use rustix::time::{ClockId, clock_gettime};

use super::clock::WallClock;
use super::namespace;
use super::sock_diag::descriptors;
use super::sock_diag::dump::{More, Query, Table};

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
    /// What cannot be read, and why; each is told once.
    unread: Vec<String>,
    /// The last readings.
    readings: Vec<GaugeRecord>,
    sweeps: u32,
    /// Time on the processor that the last sweep took that did not look at every process, or at first the only one.
    cost: Duration,
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
            unread,
            readings: Vec::new(),
            sweeps: 0,
            cost: Duration::ZERO,
        }
    }

    /// Reads everything, where it is time to.
    pub fn sweep_in_time(&mut self) {
        if Instant::now() >= self.next {
            self.sweep(false);
        }
    }

    /// Reads everything; `thoroughly` with the processes of every socket, known or not.
    pub fn sweep(&mut self, thoroughly: bool) {
        let before = processor_time();
        for lane in self.lanes.values_mut() {
            if let Err(error) = lane.read_sockets() {
                self.unread.push(format!("sockets: {error:#}"));
                lane.table = None;
            }
        }
        let sockets = || self.lanes.values().flat_map(|lane| &lane.seen);
        self.processes.look(sockets(), thoroughly || self.sweeps == 0);
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
        if !thoroughly || self.sweeps == 1 {
            self.cost = cost;
        }
        self.next = Instant::now() + INTERVAL.max(cost * SHARE);
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
        if self.processes.hidden > 0 {
            unread.push(format!(
                "descriptors and sockets of {} processes of other users (this takes CAP_SYS_PTRACE and \
                 CAP_DAC_READ_SEARCH, or root)",
                self.processes.hidden
            ));
        }
        unread
    }

    /// How many sweeps there were, and the time on the processor that the last one took; those that look at every
    /// process, at the beginning and at the end, take longer.
    pub fn effort(&self) -> (u32, Duration) {
        (self.sweeps, self.cost)
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
        let (listen, close_wait) = (States::LISTEN, States::CLOSE_WAIT);
        let of = |states, more| Query { states: kernel::numbers(states), more, ..Query::ALL };
        table
            .each(of((listen | close_wait).complement(), More::default()), |diag| seen.push(Seen::new(diag.socket)))?;
        table.each(of(listen, More { memory: true, ..More::default() }), |diag| {
            let mut one = Seen::new(diag.socket);
            one.drops = diag.memory().map(|memory| memory.drops);
            seen.push(one);
        })?;
        table.each(of(close_wait, More { info: true, ..More::default() }), |diag| {
            let mut one = Seen::new(diag.socket);
            one.quiet = diag.info().and_then(|info| info.last_ack_received());
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

/// What processes have open.
#[derive(Debug, Default)]
struct Survey {
    found: Processes,
    /// Sockets that no process was found to have open.
    ownerless: HashSet<u32>,
    hidden: usize,
}

impl Survey {
    /// Looks at every process, where a listener or a CLOSE-WAIT is not known to belong to one, or `all` are to be found;
    /// else only at how many descriptors those have that are known.
    fn look<'a>(&mut self, sockets: impl Iterator<Item = &'a Seen>, all: bool) {
        let mut wanted = HashSet::new();
        for Seen { socket, .. } in sockets {
            let state = socket.tcp_state();
            let matters = States::LISTEN.union(States::CLOSE_WAIT).contain(state);
            let is_known = self.found.owners.contains_key(&socket.inode) || self.ownerless.contains(&socket.inode);
            if socket.inode != 0 && matters && !is_known {
                wanted.insert(socket.inode);
            }
        }
        if all || !wanted.is_empty() {
            self.find();
            wanted.retain(|inode| !self.found.owners.contains_key(inode));
            self.ownerless = wanted;
        }
        self.found.facts.retain(|pid, process| {
            process.descriptors = descriptors_of(*pid);
            process.descriptors.is_some()
        });
    }

    fn find(&mut self) {
        let mut owners = HashMap::new();
        let mut facts = HashMap::new();
        self.hidden = 0;
        for pid in descriptors::processes() {
            let mut has_sockets = false;
            let looked = descriptors::each_of(pid, |_, inode| {
                has_sockets = true;
                owners.entry(inode).or_insert(pid);
            });
            self.hidden += usize::from(looked.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied));
            if has_sockets {
                let limit = fs::read_to_string(format!("/proc/{pid}/limits")).ok().and_then(|text| limit(&text));
                facts.insert(pid, Process { name: descriptors::name(pid), descriptors: None, limit });
            }
        }
        self.found = Processes { owners, facts };
    }
}

/// How many file descriptors a process has open; `None` where it has ended or does not show them. Since Linux 6.2 the
/// folder's size says so.
fn descriptors_of(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    match fs::metadata(&folder).ok()?.size() {
        0 => fs::read_dir(&folder).ok().map(|entries| entries.count() as u64),
        size => Some(size),
    }
}

/// The soft limit of `Max open files` in `/proc/PID/limits`; `None` where there is none.
fn limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
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
    fn limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(limit(text), Some(1024));
        assert_eq!(limit("Max open files            unlimited            unlimited            files\n"), None);
        assert_eq!(limit(""), None);
    }

    #[test]
    fn a_sweep_sees_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has one").port();
        let own = namespace::own().expect("we are in one");
        let mut gauges = Gauges::open(&[(own, None)]);
        gauges.sweep(true);
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
