//! Loading the programs into the kernel and attaching them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, FExit, Iter, ProgramError,
    SocketFilter,
};
use aya::{Ebpf, EbpfLoader, Pod};
use aya_log::EbpfLogger;
use observer_ebpf::{HOOKS, Hook, Settings};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::book::Book;
use super::btf::Btf;
use super::resolve::{ACCEPTED, Kind, LEAVING, PACKETS, PACKETS_ALONE, PROGRAMS, Program, Resolved};
use super::seats::Seats;
use crate::failure::in_words;
use crate::source::owner;

/// The programs as they are delivered.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../observer-ebpf/observer.bpf.o"));

/// Another object to load in place of [`OBJECT`]: the one that a test run has just built.
const OBJECT_VARIABLE: &str = "OBSERVER_BPF_OBJECT";

/// A global of the programs.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct SettingsValue(Settings);

// SAFETY: `Settings` is `repr(C)`, of integers, without padding.
unsafe impl Pod for SettingsValue {}

/// Counters of each processor, by hook.
pub type Counts = PerCpuArray<MapData, [u64; HOOKS.len()]>;

/// Programs in the kernel, and the maps they share with us. Dropping it detaches them.
pub struct Loaded {
    ebpf: Ebpf,
    /// What the programs say of their work.
    log: EbpfLogger<&'static dyn log::Log>,
    types: aya::Btf,
    /// How many sockets have a seat.
    seats: u32,
    /// The hooks at work.
    pub attached: Vec<Hook>,
    /// The hooks that cannot work here, and why.
    pub off: Vec<(Hook, String)>,
    /// Whether packets that leave are seen without a packet socket.
    pub sees_leaving: bool,
    /// Whether accept(2) is seen as it ends.
    sees_accepts: bool,
}

/// How large the shared maps are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Octets of the ring buffer; a power of two.
    pub ring: u32,
    /// Octets of the ring buffer for what processes were started with; a power of two.
    pub commands: u32,
    /// Sockets that can be followed at once.
    pub sockets: u32,
}

impl Sizes {
    /// How many of them have a seat: as many as come and go on a busy host in the time that one lives; a power of two.
    fn seats(&self) -> u32 {
        1 << (self.sockets / 32).max(1).ilog2()
    }
}

impl Loaded {
    /// Loads the object with what is known of the kernel; no program is loaded yet.
    pub fn new(resolved: &Resolved, settings: Settings, sizes: Sizes) -> Result<Self> {
        let own = std::env::var_os(OBJECT_VARIABLE);
        let read = own.as_ref().map(std::fs::read).transpose();
        let object = read.with_context(|| format!("reading the eBPF object that {OBJECT_VARIABLE} names"))?;
        let seats = sizes.seats();
        let settings = SettingsValue(Settings { seat_mask: seats - 1, ..settings });
        let mut ebpf = EbpfLoader::new()
            .override_global("FIELDS", resolved.fields(), true)
            .override_global("SETTINGS", &settings, true)
            // What is below the level is left out of the programs as they are loaded.
            .override_global(aya_log::LEVEL, &log_level(), true)
            .map_max_entries("RECORDS", sizes.ring)
            .map_max_entries("COMMANDS", sizes.commands)
            .map_max_entries("SEATS", seats)
            .map_max_entries("CLAIMS", seats)
            .map_max_entries("SOCKETS", sizes.sockets)
            .load(object.as_deref().unwrap_or(OBJECT))
            .context("creating the eBPF maps")?;
        let types = aya::Btf::from_sys_fs().context("reading the kernel's types")?;
        let log = EbpfLogger::init(&mut ebpf).context("opening the log of the programs in the kernel")?;
        Ok(Self {
            ebpf,
            types,
            log,
            seats,
            attached: Vec::new(),
            off: Vec::new(),
            sees_leaving: false,
            sees_accepts: false,
        })
    }

    /// Attaches what `wanted` names, as far as this kernel allows; what it does not allow is kept in [`Self::off`].
    pub fn attach(&mut self, wanted: &[Hook], resolved: &Resolved, btf: &Btf) {
        for hook in HOOKS.iter().filter(|hook| wanted.contains(hook)) {
            match self.attach_hook(*hook, resolved, btf) {
                Ok(()) => {
                    tracing::info!("the hook {} is attached", hook.name());
                    self.attached.push(*hook);
                }
                Err(error) => self.off.push((*hook, in_words(&error))),
            }
        }
    }

    /// Starts what there is for a hook.
    fn attach_hook(&mut self, hook: Hook, resolved: &Resolved, btf: &Btf) -> Result<()> {
        if hook == ACCEPTED.hook {
            return self.attach_accept(resolved, btf);
        }
        self.start_all(hook, resolved, btf)?;
        if hook == LEAVING.hook {
            // Packet sockets do it alone, at a higher price.
            let leaving = self.start(&LEAVING);
            if let Err(error) = &leaving {
                tracing::info!("packet sockets have to show what leaves, too: {error:#}");
            }
            self.sees_leaving = leaving.is_ok();
            if leaving.is_err() {
                self.start(&PACKETS_ALONE)?;
            }
        }
        Ok(())
    }

    /// The end of accept(2) shows all, but not those that had begun before; its question for the peer shows those that ask.
    fn attach_accept(&mut self, resolved: &Resolved, btf: &Btf) -> Result<()> {
        let ends = match resolved.obstacle(&ACCEPTED, btf) {
            Some(obstacle) => Err(anyhow!(obstacle)),
            None => self.start(&ACCEPTED),
        };
        let asks = self.start_all(ACCEPTED.hook, resolved, btf);
        self.sees_accepts = ends.is_ok();
        match (ends, asks) {
            (Err(error), asks) => {
                tracing::info!("who accepts is seen where it asks for the peer: {error:#}");
                asks
            }
            (Ok(()), Err(error)) => {
                tracing::info!("an accept(2) that has begun already is not seen to end: {error:#}");
                Ok(())
            }
            (Ok(()), Ok(())) => Ok(()),
        }
    }

    /// Starts all programs of a hook.
    fn start_all(&mut self, hook: Hook, resolved: &Resolved, btf: &Btf) -> Result<()> {
        let mut programs = PROGRAMS.iter().filter(|program| program.hook == hook && resolved.wants(program));
        let obstacle = programs.clone().find_map(|program| resolved.obstacle(program, btf));
        if let Some(obstacle) = obstacle {
            bail!(obstacle);
        }
        programs.try_for_each(|program| self.start(program))
    }

    fn start(&mut self, program: &Program) -> Result<()> {
        let name = program.name;
        let found = self.ebpf.program_mut(name).with_context(|| format!("the eBPF object has no program {name}"))?;
        match program.kind {
            Kind::Tracepoint(tracepoint) | Kind::Second(tracepoint) => {
                let found: &mut BtfTracePoint = found.try_into()?;
                found
                    .load(tracepoint, &self.types)
                    .map_err(brief)
                    .with_context(|| format!("loading the program for {tracepoint}"))?;
                found.attach().with_context(|| format!("attaching to the tracepoint {tracepoint}"))?;
            }
            Kind::Exit(function) => {
                let found: &mut FExit = found.try_into()?;
                found
                    .load(function, &self.types)
                    .map_err(brief)
                    .with_context(|| format!("loading the program for the end of {function}"))?;
                found.attach().with_context(|| format!("attaching to the end of {function}"))?;
            }
            Kind::Iterator(over) => {
                let found: &mut Iter = found.try_into()?;
                found
                    .load(over, &self.types)
                    .map_err(brief)
                    .with_context(|| format!("loading the iterator iter/{over}"))?;
            }
            Kind::SocketFilter => {
                let found: &mut SocketFilter = found.try_into()?;
                found.load().map_err(brief).context("loading the packet filter")?;
            }
            Kind::Egress => {
                let root = root_cgroup()?;
                let found: &mut CgroupSkb = found.try_into()?;
                found.load().map_err(brief).context("loading the program for packets that leave")?;
                // A link is never the only one, and the kernel refuses to be told so.
                found.attach(root, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
            }
            Kind::PeerName => {
                let root = root_cgroup()?;
                let found: &mut CgroupSockAddr = found.try_into()?;
                found.load().map_err(brief).context("loading the program for questions for a peer")?;
                found.attach(root, CgroupAttachMode::Single)?;
            }
        }
        Ok(())
    }

    /// Puts the packet filter on a socket.
    pub fn filter(&mut self, socket: impl AsFd) -> Result<()> {
        let name = if self.sees_leaving { PACKETS } else { PACKETS_ALONE.name };
        let filter: &SocketFilter = self.ebpf.program(name).context("there is no packet filter")?.try_into()?;
        filter.attach(socket).context("putting the packet filter on a socket")?;
        Ok(())
    }

    /// Has an iterator go over everything once, in the namespace that `open` opens it in.
    pub fn iterate(&self, name: &str, open: impl FnOnce(BorrowedFd<'_>) -> Result<OwnedFd>) -> Result<()> {
        let found: &Iter =
            self.ebpf.program(name).with_context(|| format!("there is no iterator {name}"))?.try_into()?;
        let mut file: File = open(found.fd()?.as_fd())?.into();
        let mut nothing = [0; 256];
        // The programs write nothing: a read runs them until the end.
        while file.read(&mut nothing).with_context(|| format!("reading the iterator {name}"))? > 0 {}
        Ok(())
    }

    /// Says which ports are observed, where not all are.
    pub fn choose_ports(&mut self, ports: &[u16]) -> Result<()> {
        let map = self.ebpf.map_mut("PORTS").context("the eBPF object has no map of ports")?;
        let mut map: Array<_, u64> = map.try_into().context("opening the map of ports")?;
        for port in ports {
            let (word, bit) = (u32::from(port >> 6), port & 63);
            let bits = map.get(&word, 0)? | 1 << bit;
            map.set(word, bits, 0).with_context(|| format!("choosing the port {port}"))?;
        }
        Ok(())
    }

    /// How often the kernel has left out the first program of a hook, as it counts it itself; what the second took in is
    /// still to be taken off.
    pub fn left_out(&self, hook: Hook) -> Result<u64> {
        let first = if hook == ACCEPTED.hook && self.sees_accepts {
            Some(&ACCEPTED)
        } else {
            PROGRAMS.iter().find(|program| program.hook == hook)
        };
        let Some(program) = first.filter(|_| self.attached.contains(&hook)) else { return Ok(0) };
        let found = self.ebpf.program(program.name).context("the eBPF object has lost a program")?;
        recursion_misses(found.fd()?.as_fd())
    }

    /// Hands on what the programs have said.
    pub fn flush_log(&mut self) {
        self.log.flush();
    }

    /// The ring buffer, once.
    pub fn ring(&mut self) -> Result<RingBuf<MapData>> {
        self.ring_buffer("RECORDS")
    }

    /// That for what processes were started with, once.
    pub fn commands(&mut self) -> Result<RingBuf<MapData>> {
        self.ring_buffer("COMMANDS")
    }

    fn ring_buffer(&mut self, name: &str) -> Result<RingBuf<MapData>> {
        let map = self.ebpf.take_map(name).with_context(|| format!("the eBPF object has no ring buffer {name}"))?;
        RingBuf::try_from(map).with_context(|| format!("mapping the ring buffer {name}"))
    }

    /// The seats and the map of sockets, once.
    pub fn sockets(&mut self) -> Result<Book> {
        let [seats, claims, map] = ["SEATS", "CLAIMS", "SOCKETS"].map(|name| self.ebpf.take_map(name));
        let (Some(Map::Array(seats)), Some(Map::Array(claims)), Some(Map::HashMap(map))) = (seats, claims, map) else {
            bail!("the eBPF object lacks a map of sockets")
        };
        let seats = Seats::new(seats.fd().as_fd(), claims.fd().as_fd(), self.seats)?;
        Ok(Book::new(seats, map))
    }

    /// The counters of lost records, once.
    pub fn lost(&mut self) -> Result<Counts> {
        self.counts("LOST")
    }

    /// The counters of what second programs took in, once.
    pub fn made_up(&mut self) -> Result<Counts> {
        self.counts("MADE_UP")
    }

    fn counts(&mut self, name: &str) -> Result<Counts> {
        let map = self.ebpf.take_map(name).with_context(|| format!("the eBPF object has no counters {name}"))?;
        PerCpuArray::try_from(map).with_context(|| format!("opening the counters {name}"))
    }
}

/// How often the kernel did not run a program since it was at work already: `recursion_misses` of `struct bpf_prog_info`; 0
/// before Linux 5.12, which has no such field.
fn recursion_misses(program: BorrowedFd<'_>) -> Result<u64> {
    /// `BPF_OBJ_GET_INFO_BY_FD` of include/uapi/linux/bpf.h.
    const GET_INFO: libc::c_long = 15;
    /// Octets of `struct bpf_prog_info` up to the end of that field.
    const LENGTH: usize = 216;
    /// The part of `union bpf_attr` that the call uses.
    #[repr(C)]
    struct Attributes {
        program: u32,
        length: u32,
        info: u64,
    }
    let mut info = [0_u64; LENGTH / 8];
    let length = LENGTH as u32;
    let mut attributes =
        Attributes { program: program.as_raw_fd().cast_unsigned(), length, info: info.as_mut_ptr() as u64 };
    // SAFETY: the attributes say where there is room and how much; it outlives the call, and any octets make it up.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, GET_INFO, std::ptr::from_mut(&mut attributes), size_of::<Attributes>()) };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("asking how often a program was left out");
    }
    let [.., misses] = info;
    Ok(misses)
}

/// The cgroup that every process is in.
fn root_cgroup() -> Result<File> {
    /// The inode of the root; inside a container, something else is mounted in its place.
    const ROOT: u64 = 1;
    let mounted = owner::root().and_then(|path| File::open(path).ok());
    let root = match mounted {
        Some(root) => root,
        None => {
            mount_cgroups().context("cgroups of version 2 are not mounted where observer sees them, nor can they be")?
        }
    };
    anyhow::ensure!(root.metadata()?.ino() == ROOT, "the root of all cgroups is not to be seen from here");
    Ok(root)
}

/// The cgroups, mounted for this process alone: nowhere, and gone when the file is closed.
fn mount_cgroups() -> io::Result<File> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&mount, ".", flags, Mode::empty())?.into())
}

/// How much the programs are to say, as [`aya_log::Level`] numbers it.
fn log_level() -> u8 {
    let level = match tracing::level_filters::LevelFilter::current().into_level() {
        None => return 0,
        Some(tracing::Level::ERROR) => aya_log::Level::Error,
        Some(tracing::Level::WARN) => aya_log::Level::Warn,
        Some(tracing::Level::INFO) => aya_log::Level::Info,
        Some(tracing::Level::DEBUG) => aya_log::Level::Debug,
        Some(tracing::Level::TRACE) => aya_log::Level::Trace,
    };
    level as u8
}

/// Why the kernel refuses a program: of the verifier's pages, the line that says it.
fn brief(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let is_reason = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
            match log.lines().rev().find(is_reason) {
                Some(reason) => anyhow::anyhow!("the kernel refuses it: {io_error}; its verifier says: {reason}"),
                None => anyhow::anyhow!("the kernel refuses it: {io_error}"),
            }
        }
        other => other.into(),
    }
}

/// How the lines begin that the verifier ends with.
const STATISTICS: [&str; 3] = ["verification time", "stack depth", "processed"];
