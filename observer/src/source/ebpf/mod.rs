//! The kernel as a source: eBPF programs, and what they send.

mod book;
mod btf;
mod exec;
mod filters;
mod load;
mod losses;
mod names;
pub mod probe;
mod resolve;
mod roll;
mod seats;
mod translate;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use aya::maps::{MapData, RingBuf};
use observer::capture::{Direction, LinkType};
use observer::kernel::SocketId;
use observer::record::{CaptureRecord, HookRecord, OwnerHow, ProcessRecord};
use observer::time::Timestamp;
use observer_ebpf::{Hook, How, PacketHead, Plain as _, Settings, Socket, Stray, tag};

use book::Book;
use btf::Btf;
use exec::Started;
use filters::{Filters, Tools};
use load::{Loaded, Sizes};
use losses::Losses;
use names::Names;
use resolve::Resolved;
use roll::{A_WHILE, Roll};
use translate::{Occasion, Translator};

use super::addresses::{self, Addresses};
use super::clock::WallClock;
use super::live::{Batch, LiveSource, Roster, Seen, SeenPacket};
use super::namespace;
use super::owner::Owners;
use super::porter::{self, Errand, Porter};
use crate::failure::in_words;
use crate::privilege::{self, Needs};

/// `TCP_LISTEN` of include/net/tcp_states.h.
const LISTEN: u8 = 10;

/// The programs that visit every socket, and every file descriptor.
const SOCKETS: &str = "existing_sockets";
const DESCRIPTORS: &str = "existing_descriptors";

/// A record is written a moment after its time is taken: what is younger than this may still have company on the way.
const SETTLED: u64 = 2_000_000;

/// How often namespaces are searched for in which no socket was seen yet.
const SEARCH: Duration = Duration::from_secs(5);

/// Raw IP (LINKTYPE_RAW): what the packet filter passes on.
const RAW_IP: LinkType = LinkType(101);

/// How to observe.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hooks to attach.
    pub hooks: Vec<Hook>,
    /// Octets of the ring buffer; a power of two.
    pub ring: u32,
    /// Sockets that can be followed at once.
    pub sockets: u32,
    /// The one network namespace to observe, by its inode; `None` for all.
    pub netns: Option<u32>,
    /// The ports to observe, at either end; none for all.
    pub ports: Vec<u16>,
    /// Octets of payload of each direction that are passed on.
    pub payload: u32,
}

/// The kernel, observed. Dropping it detaches everything.
pub struct Kernel {
    loaded: Loaded,
    ring: RingBuf<MapData>,
    started: Started,
    sockets: Book,
    losses: Losses,
    resolved: Resolved,
    translator: Translator,
    options: Options,
    own_netns: u32,
    /// Enters other namespaces; none where only this one is observed, or where that is forbidden.
    porter: Option<Porter>,
    filters: Filters,
    /// Addresses by namespace, where they could be had.
    addresses: BTreeMap<u32, Addresses>,
    /// When namespaces were searched for.
    searched: Instant,
    /// Namespaces with sockets in the book, when it was last read; `None` before.
    populated: Option<BTreeSet<u32>>,
    /// Those of them where a socket has another end.
    connected: BTreeSet<u32>,
    /// Who listens where.
    listeners: HashMap<(u32, u16), Arc<ProcessRecord>>,
    /// Something came out of the ring since the last look.
    has_heard: bool,
    roll: Roll,
    roster: Option<Roster>,
    /// Raw records that are not settled yet, with their times.
    waiting: Vec<(u64, Raw)>,
    bytes: Vec<u8>,
}

/// A record as it came.
enum Raw {
    Socket(Box<Socket>),
    Stray(Box<Stray>),
    Packet { head: PacketHead, start: u32 },
}

/// A hook that does not work, and why.
pub type Off = (Hook, String);

impl Kernel {
    /// Loads and attaches what `options` name. What does not work on this kernel is told by [`Self::off`].
    ///
    /// # Errors
    /// When nothing works: no rights, no types, no eBPF.
    pub fn open(options: Options) -> Result<Self> {
        let own_netns = namespace::own()?;
        // First of all, while there is one thread and nothing to inherit.
        let porter = if options.netns == Some(own_netns) { None } else { Some(Porter::start(privilege::PORTER)?) };
        let btf = Btf::of_kernel()?;
        let resolved = Resolved::new(&btf);
        let settings = Settings {
            netns: options.netns.unwrap_or(0),
            by_port: u32::from(!options.ports.is_empty()),
            payload: options.payload,
            error_at_close: u32::from(options.hooks.contains(&Hook::Error)) & resolved.settings.error_at_close,
            ..resolved.settings
        };
        // Processes begin less often than connections, and less is said of them.
        let commands = (options.ring / 16).max(1 << 16);
        let sizes = Sizes { ring: options.ring, commands, sockets: options.sockets };
        let mut loaded = Loaded::new(&resolved, settings, sizes)?;
        loaded.choose_ports(&options.ports)?;
        loaded.attach(&options.hooks, &resolved, &btf);
        if loaded.attached.is_empty()
            && let Some((_, why)) = loaded.off.first()
        {
            anyhow::bail!("no hook can be attached: {why}");
        }
        let translator = Translator {
            clock: WallClock::new(),
            names: Names::new(&btf, options.hooks.contains(&Hook::Drop)),
            owners: Owners::new(),
        };
        let mut kernel = Self {
            ring: loaded.ring()?,
            started: Started::new(loaded.commands()?),
            sockets: loaded.sockets()?,
            losses: Losses::new(&mut loaded, resolved.settings.has_second != 0)?,
            loaded,
            resolved,
            translator,
            own_netns,
            porter,
            options,
            filters: Filters::new()?,
            addresses: BTreeMap::new(),
            searched: Instant::now(),
            populated: None,
            connected: BTreeSet::new(),
            listeners: HashMap::new(),
            has_heard: false,
            roll: Roll::default(),
            roster: None,
            waiting: Vec::new(),
            bytes: Vec::new(),
        };
        kernel.filter_namespaces();
        kernel.take_over()?;
        // Who listens is known before the first of them can go.
        kernel.look(&mut Batch::default())?;
        Ok(kernel)
    }

    /// The hooks at work.
    fn attached(&self) -> Vec<Hook> {
        self.loaded.attached.clone()
    }

    /// The hooks that do not work, and why.
    pub fn off(&self) -> &[Off] {
        &self.loaded.off
    }

    /// Puts a packet filter into each namespace that has none yet.
    fn filter_namespaces(&mut self) {
        if !self.loaded.attached.contains(&Hook::Packets) {
            return;
        }
        let mut namespaces = namespace::all();
        // Our own is there even where /proc hides the others.
        namespaces.entry(self.own_netns).or_insert_with(|| "/proc/thread-self/ns/net".into());
        self.filters.retain(|inode| namespaces.contains_key(&inode));
        self.addresses.retain(|inode, _| namespaces.contains_key(inode));
        self.addresses.values_mut().for_each(Addresses::age);
        for (inode, path) in namespaces {
            if self.options.netns.is_some_and(|one| one != inode) || self.filters.has(inode) {
                continue;
            }
            let path = (inode != self.own_netns).then_some(path);
            let mut tools = Tools { loaded: &mut self.loaded, porter: self.porter.as_ref() };
            match tools.open(Errand::Addresses, path.as_deref()).and_then(Addresses::by) {
                Ok(addresses) => drop(self.addresses.insert(inode, addresses)),
                Err(error) => tracing::info!("what network namespace {inode} forwards is not known: {error:#}"),
            }
            if let Err(error) = self.filters.add(inode, path, &mut tools) {
                self.loaded.off.push((Hook::Packets, format!("in network namespace {inode}: {}", in_words(&error))));
            }
        }
    }

    /// Puts the packet filter on interfaces that have come since.
    fn follow_interfaces(&mut self) {
        let mut tools = Tools { loaded: &mut self.loaded, porter: self.porter.as_ref() };
        if !self.filters.follow(&mut tools) {
            self.filter_namespaces();
        }
    }

    /// Which way a packet went, which may ask for somebody at an address and port.
    fn direction(&mut self, head: &PacketHead, asked: Option<(IpAddr, u16)>) -> Direction {
        if head.is_outbound() {
            return Direction::Outbound;
        }
        let is_asked = |(address, port): (IpAddr, u16)| {
            self.listeners.contains_key(&(head.netns, port))
                && self.addresses.get_mut(&head.netns).is_some_and(|own| own.has(address))
        };
        if asked.is_some_and(is_asked) { Direction::Asking } else { Direction::Inbound }
    }

    /// Enters the sockets that are there into the book, and their owners; refreshes the numbers of all.
    fn take_over(&mut self) -> Result<()> {
        if !self.loaded.attached.contains(&Hook::Existing) {
            return Ok(());
        }
        self.count()?;
        self.loaded.iterate(DESCRIPTORS, porter::open_iterator)
    }

    fn drain_until(&mut self, batch: &mut Batch, until: u64) -> Result<()> {
        batch.clear();
        self.loaded.flush_log();
        take(&mut self.ring, &mut self.waiting, &mut self.bytes)?;
        self.has_heard |= !self.waiting.is_empty();
        // After those: what the processes were started with that they are of is there by now.
        if self.started.take(&mut self.translator.owners.commands)? {
            self.has_heard = true;
            self.note_lost_commands()?;
        }
        self.waiting.sort_by_key(|(at, _)| *at);
        let settled = self.waiting.partition_point(|(at, _)| *at <= until);
        let left = self.waiting.split_off(settled);
        let settled = std::mem::replace(&mut self.waiting, left);
        for (at, raw) in settled {
            self.give(batch, at, raw);
        }
        self.keep_bytes();
        Ok(())
    }

    /// Forgets what processes were started with where something of that was lost.
    fn note_lost_commands(&mut self) -> Result<()> {
        self.started.note_lost(self.losses.of(Hook::Exec)?, &mut self.translator.owners.commands);
        Ok(())
    }

    /// Keeps the octets of those packets only that still wait.
    fn keep_bytes(&mut self) {
        let mut kept = Vec::new();
        for (_, raw) in &mut self.waiting {
            if let Raw::Packet { head, start } = raw {
                let from = *start as usize;
                let bytes = self.bytes.get(from..from + head.captured as usize).unwrap_or_default();
                *start = kept.len() as u32;
                kept.extend_from_slice(bytes);
            }
        }
        self.bytes = kept;
    }

    fn give(&mut self, batch: &mut Batch, at: u64, raw: Raw) {
        match raw {
            Raw::Socket(socket) => batch.seen.extend(self.socket(&socket, at, translate::occasion(&socket))),
            Raw::Stray(stray) => {
                if let Some(input) = self.translator.stray(&stray) {
                    batch.seen.push(Seen::Stray(stray.netns, Box::new(input)));
                }
            }
            Raw::Packet { head, start } => {
                let from = start as usize;
                let place = from..from + head.captured as usize;
                let asked = self.bytes.get(place.clone()).and_then(addresses::asked);
                let direction = self.direction(&head, asked);
                let bytes = self.bytes.get(place).unwrap_or_default();
                let packet = SeenPacket {
                    at: self.translator.clock.at(head.at),
                    interface: 0,
                    link: RAW_IP,
                    start: batch.bytes.len() as u32,
                    captured: head.captured,
                    len: head.len,
                    direction: Some(direction),
                };
                batch.bytes.extend_from_slice(bytes);
                batch.seen.push(Seen::Packet(head.netns, packet));
            }
        }
    }

    fn socket(&mut self, socket: &Socket, at: u64, occasion: Occasion) -> Option<Seen> {
        let place = (socket.netns, socket.local_port);
        // While it connects it may not be bound yet.
        if socket.local_port == 0 || socket.remote_port == 0 {
            // One that listens, or was never connected.
            if socket.owner_how == How::Listen as u8 || socket.state == LISTEN {
                let how = How::from_number(socket.owner_how);
                if let Some(how) = how.filter(|_| occasion != Occasion::Gone) {
                    let owner = self.translator.owners.record(&socket.owner, how, socket.cgroup, socket.born..=at);
                    let owner = ProcessRecord { how: Some(OwnerHow::Listener), ..ProcessRecord::clone(&owner) };
                    self.listeners.insert(place, Arc::new(owner));
                }
            }
            return None;
        }
        let listener = self.listeners.get(&place);
        let input = self.translator.socket(socket, at, occasion, listener);
        Some(Seen::Socket(socket.netns, Box::new(input)))
    }

    /// Strikes sockets off the book that are not in the kernel's tables any more, where their end may not have been shown.
    /// `begun` is when the tables were begun to be visited; those of some namespaces were not.
    fn strike_off(&mut self, begun: u64, unvisited: &BTreeSet<u32>) -> Result<()> {
        // One that has just been made may be in no table yet.
        let is_old = |socket: &Socket| socket.born.max(last_event(socket)) + A_WHILE < begun;
        for socket in self.sockets.read()? {
            if socket.visited < begun && is_old(&socket) && !unvisited.contains(&socket.netns) {
                self.sockets.remove(socket.key)?;
            }
        }
        Ok(())
    }

    /// The sockets in the book. Those go out of it that the kernel could not take out itself.
    fn read_book(&self) -> Result<Vec<Socket>> {
        let mut all = self.sockets.read()?;
        for over in all.extract_if(.., |socket| socket.marks & Socket::OVER != 0) {
            self.sockets.remove(over.key)?;
        }
        Ok(all)
    }
}

impl LiveSource for Kernel {
    fn drain(&mut self, batch: &mut Batch) -> Result<()> {
        self.follow_interfaces();
        self.drain_until(batch, WallClock::ktime().saturating_sub(SETTLED))
    }

    fn drain_all(&mut self, batch: &mut Batch) -> Result<()> {
        self.losses.count_missed(&self.loaded)?;
        self.drain_until(batch, u64::MAX)
    }

    fn look(&mut self, batch: &mut Batch) -> Result<usize> {
        batch.clear();
        // Where nothing happens, nothing is missed.
        if std::mem::take(&mut self.has_heard) {
            self.losses.count_missed(&self.loaded)?;
            self.note_lost_commands()?;
        }
        // What is lost from now on is for the next look: its sockets may be found by this one.
        let calls_roll = self.roll.is_due(self.losses.ends()?);
        let now = WallClock::ktime();
        let found = self.read_book()?;
        self.populated = Some(found.iter().map(|socket| socket.netns).collect());
        let is_connected = |socket: &&Socket| socket.remote_port != 0;
        self.connected = found.iter().filter(is_connected).map(|socket| socket.netns).collect();
        if calls_roll {
            let clock = &self.translator.clock;
            let id = |socket: &Socket| SocketId { key: socket.key, first_seen: clock.at(socket.born) };
            self.roster = Some(Roster { at: clock.at(now), sockets: found.iter().map(id).collect() });
        }
        // Listeners first: they tell whose the others are.
        let (listening, others): (Vec<_>, Vec<_>) = found.iter().partition(|socket| socket.remote_port == 0);
        for socket in listening.iter().chain(&others) {
            batch.seen.extend(self.socket(socket, now, Occasion::Look));
        }
        Ok(found.len())
    }

    fn roster(&mut self) -> Option<Roster> {
        self.roster.take()
    }

    fn count(&mut self) -> Result<()> {
        if !self.loaded.attached.contains(&Hook::Existing) {
            return Ok(());
        }
        let begun = WallClock::ktime();
        let missed = self.losses.ask_missed(&self.loaded, Hook::Destroy)?;
        let strikes_off = self.roll.is_to_strike_off(missed, begun);
        let mut unvisited = BTreeSet::new();
        // Each visit goes over the kernel's whole table, which all namespaces share, to where there are numbers to be taken:
        // those who only listen have none.
        let wanted = |inode: &u32| {
            let visited = |populated| if strikes_off { populated } else { &self.connected };
            self.options.netns.is_none_or(|one| one == *inode)
                && self.populated.as_ref().is_none_or(|populated| visited(populated).contains(inode))
        };
        for (inode, path) in namespace::all().into_iter().filter(|(inode, _)| wanted(inode)) {
            if inode == self.own_netns {
                self.loaded.iterate(SOCKETS, porter::open_iterator)?;
            } else if let Some(porter) = &self.porter {
                let open = |program: BorrowedFd<'_>| porter.open(Errand::Iterator, &path, Some(program));
                // A namespace may go while we look; its sockets go with it.
                if let Err(error) = self.loaded.iterate(SOCKETS, open) {
                    tracing::info!("the sockets of network namespace {inode} are not counted: {error:#}");
                    unvisited.insert(inode);
                }
            }
        }
        if strikes_off { self.strike_off(begun, &unvisited) } else { Ok(()) }
    }

    fn look_for_namespaces(&mut self) -> Result<()> {
        // To find them takes a look at every process.
        let is_known = |inode: &u32| self.filters.has(*inode);
        let all_known = self.populated.as_ref().is_none_or(|populated| populated.iter().all(is_known));
        if !all_known || self.searched.elapsed() > SEARCH {
            self.filter_namespaces();
            self.searched = Instant::now();
        }
        Ok(())
    }

    fn lost(&self) -> Result<Option<u64>> {
        self.losses.total().map(Some)
    }

    fn now(&self) -> Timestamp {
        self.translator.clock.at(WallClock::ktime())
    }

    fn sees_every_packet(&self) -> bool {
        false
    }

    fn needs(&self) -> Needs {
        privilege::KERNEL
    }

    fn unseen(&self) -> Vec<String> {
        Vec::new()
    }

    fn describe(&self, record: &mut CaptureRecord) -> Result<()> {
        let (attached, lost) = (self.attached(), self.losses.by_hook()?);
        let hooks = self.options.hooks.iter().map(|hook| HookRecord {
            name: hook.name(),
            attached: attached.contains(hook),
            why: self.off().iter().find(|(off, _)| off == hook).map(|(_, why)| why.clone()),
            lacks: if attached.contains(hook) { self.resolved.lacks(*hook) } else { Vec::new() },
            lost: lost.iter().find(|(of, _)| of == hook).map(|(_, lost)| lost.clone()).unwrap_or_default(),
            missed: self.losses.missed(*hook),
        });
        record.hooks = hooks.collect();
        Ok(())
    }
}

/// When something last happened to a socket; 0 where nothing did.
fn last_event(socket: &Socket) -> u64 {
    let filled = socket.events.get(..socket.filled as usize).unwrap_or(&socket.events);
    filled.last().map_or(0, |event| event.at)
}

/// Takes every record out of a ring buffer.
fn take(ring: &mut RingBuf<MapData>, out: &mut Vec<(u64, Raw)>, bytes: &mut Vec<u8>) -> Result<()> {
    while let Some(item) = ring.next() {
        let raw = match translate::tag_of(&item) {
            tag::GONE | tag::CHAPTER => {
                let socket = Socket::read(&item)?;
                let at = if socket.filled == 0 { socket.born } else { last_event(&socket) };
                (at, Raw::Socket(Box::new(socket)))
            }
            tag::STRAY => {
                let stray = Stray::parse(&item)?;
                (stray.event.at, Raw::Stray(Box::new(stray)))
            }
            tag::PACKET => {
                let head = PacketHead::parse(&item)?;
                let start = bytes.len() as u32;
                let data = item.get(size_of::<PacketHead>()..).unwrap_or_default();
                bytes.extend_from_slice(data.get(..head.captured as usize).unwrap_or(data));
                (head.at, Raw::Packet { head, start })
            }
            other => anyhow::bail!("the ring buffer holds a record of unknown kind {other}"),
        };
        out.push(raw);
    }
    Ok(())
}
