//! The kernel's tables of TCP sockets, looked at again and again: what is left where nothing else may be asked.

mod book;
pub mod descriptors;
pub mod dump;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use observer::kernel::SocketInput;
use observer::record::{CaptureRecord, ProcessRecord};
use observer::time::Timestamp;
use observer_ebpf::{How, Task};

use super::clock::WallClock;
use super::live::{Batch, LiveSource, Seen};
use super::namespace;
use super::owner::Owners;
use crate::privilege::{self, Needs};
use book::{Book, Whose};
use dump::{Shown, Table};

/// The part of a processor's time that looking may take: of a host with very many sockets, looks are further apart.
const SHARE: u32 = 20;

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The one network namespace to observe, by its inode; `None` for all that can be entered.
    pub netns: Option<u32>,
    /// From one look to the next.
    pub interval: Duration,
}

/// The tables, and what was made of them.
pub struct Tables {
    options: Options,
    own_netns: u32,
    clock: WallClock,
    owners: Owners,
    /// By namespace; `None` where one cannot be entered.
    lanes: BTreeMap<u32, Option<Lane>>,
    next: Instant,
    /// Sockets of namespaces that are gone.
    last: Vec<Seen>,
}

struct Lane {
    table: Table,
    book: Book,
}

impl Tables {
    /// Opens the tables.
    ///
    /// # Errors
    /// Where the kernel has no sock_diag for TCP, or refuses to answer.
    pub fn open(options: Options) -> Result<Self> {
        let own_netns = namespace::own()?;
        let mut tables = Self {
            options,
            own_netns,
            clock: WallClock::new(),
            owners: Owners::new(),
            lanes: BTreeMap::new(),
            next: Instant::now(),
            last: Vec::new(),
        };
        let first = options.netns.unwrap_or(own_netns);
        let path = (first != own_netns).then(|| namespace::path_of(first)).transpose()?;
        let mut lane = Lane::open(path.as_ref())?;
        lane.table.sockets()?;
        tables.lanes.insert(first, Some(lane));
        tables.look_for_namespaces()?;
        // What is there is taken over before it can go.
        let mut there = Batch::default();
        tables.poll(&mut there)?;
        tables.last = there.seen;
        Ok(tables)
    }

    fn poll(&mut self, batch: &mut Batch) -> Result<()> {
        batch.seen.append(&mut self.last);
        let mut out = Vec::new();
        for (netns, lane) in &mut self.lanes {
            let Some(lane) = lane else { continue };
            let table = lane.table.sockets()?;
            let now = self.clock.at(WallClock::ktime());
            let mut found = Found { tasks: HashMap::new(), owners: &mut self.owners };
            let wanted = lane.book.without_owner(&table);
            if !wanted.is_empty() {
                found.tasks = descriptors::find(&wanted);
            }
            lane.book.look(&table, now, &mut found, &mut out);
            batch.seen.extend(out.drain(..).map(|input| seen(*netns, input)));
        }
        Ok(())
    }
}

fn seen(netns: u32, input: SocketInput) -> Seen {
    Seen::Socket(netns, Box::new(input))
}

impl LiveSource for Tables {
    fn drain(&mut self, batch: &mut Batch) -> Result<()> {
        batch.clear();
        let begin = Instant::now();
        if begin < self.next {
            return Ok(());
        }
        self.poll(batch)?;
        self.next = begin + self.options.interval.max(begin.elapsed() * SHARE);
        Ok(())
    }

    fn drain_all(&mut self, batch: &mut Batch) -> Result<()> {
        batch.clear();
        self.poll(batch)
    }

    fn look(&mut self, batch: &mut Batch) -> Result<usize> {
        batch.clear();
        let now = self.now();
        let lanes = self.lanes.iter().filter_map(|(netns, lane)| Some((*netns, lane.as_ref()?)));
        let mut sockets = 0;
        for (netns, lane) in lanes {
            sockets += lane.book.len();
            batch.seen.extend(lane.book.living(now).map(|input| seen(netns, input)));
        }
        Ok(sockets)
    }

    /// Every look brings them along.
    fn count(&mut self) -> Result<()> {
        Ok(())
    }

    fn look_for_namespaces(&mut self) -> Result<()> {
        if self.options.netns.is_some() {
            return Ok(());
        }
        let mut all = namespace::all();
        // Our own is there even where /proc hides it.
        all.entry(self.own_netns).or_default();
        // A table that is held open keeps its namespace alive.
        let now = self.now();
        for (netns, lane) in self.lanes.extract_if(.., |netns, _| !all.contains_key(netns)) {
            let mut out = Vec::new();
            lane.into_iter().for_each(|lane| lane.book.close(now, &mut out));
            self.last.extend(out.into_iter().map(|input| seen(netns, input)));
        }
        for (netns, path) in all {
            self.lanes.entry(netns).or_insert_with(|| Lane::open(Some(&path)).ok());
        }
        Ok(())
    }

    /// What looks between two of its states do not show is not counted.
    fn lost(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn now(&self) -> Timestamp {
        self.clock.at(WallClock::ktime())
    }

    fn sees_every_packet(&self) -> bool {
        false
    }

    fn unseen(&self) -> Vec<String> {
        let interval = self.options.interval.as_millis();
        let mut unseen = vec![
            format!("connections shorter than {interval} ms that leave no TIME-WAIT on this host"),
            format!("when things happened, more closely than {interval} ms"),
            "packets, resets, drops, and who ended a connection that leaves no TIME-WAIT".to_string(),
        ];
        let closed = self.lanes.values().filter(|lane| lane.is_none()).count();
        if closed > 0 {
            unseen.push(format!("{closed} network namespaces that cannot be entered (this takes CAP_SYS_ADMIN)"));
        }
        unseen
    }

    fn needs(&self) -> Needs {
        privilege::TABLES
    }

    fn describe(&self, _record: &mut CaptureRecord) -> Result<()> {
        Ok(())
    }
}

impl Lane {
    /// The tables of the namespace at `path`, or of this thread's.
    fn open(path: Option<&PathBuf>) -> Result<Self> {
        let table = match path {
            Some(path) => namespace::within(path, Table::open)?,
            None => Table::open()?,
        };
        Ok(Self { table, book: Book::default() })
    }
}

/// Processes that a search found.
struct Found<'a> {
    tasks: HashMap<u32, Task>,
    owners: &'a mut Owners,
}

impl Whose for Found<'_> {
    fn owner(&mut self, shown: &Shown) -> Option<Arc<ProcessRecord>> {
        let task = self.tasks.get(&shown.inode)?;
        Some(self.owners.record(task, How::Descriptor, shown.cgroup, 0..=u64::MAX))
    }
}
