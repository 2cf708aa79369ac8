//! Gauges: how full the host is, how fast it fills, and how long that lasts.
//!
//! A gauge is one file here and one line in `gauges`. It takes in a [`Sweep`], which is all that was read of one network
//! namespace at one moment, and adds its readings. Nothing here reads anything: texts and sockets are handed in, and time
//! with them.

mod close_wait;
mod closing;
mod conntrack;
mod descriptors;
mod firewall;
mod listeners;
mod listening;
mod memory;
mod ports;
mod sockets;
mod stack;
#[cfg(test)]
mod tests;
pub mod text;
mod time_wait;
mod trend;

use std::cmp::Reverse;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use foldhash::{HashMap, HashMapExt as _};

pub use conntrack::{Flows, TABLE as CONNTRACK, Tracked};
pub use firewall::{DROPPED as FIREWALL_DROPPED, REJECTED as FIREWALL_REJECTED};
pub use text::{Text, Texts};

use crate::firewall::Counted;
use crate::record::{Endpoint, GaugeProcess, GaugeRecord, Subject, TcpState, Unit, Value};
use crate::socket::Socket;
use crate::time::{Nanos, Timestamp};
use listening::Listening;
use trend::time_left;

/// The most of one kind that are told apart (processes, listeners, destinations): those with the highest values.
pub const TOP: usize = 10;

/// The message that shows sockets.
const SOCK_DIAG: &str = "sock_diag SOCK_DIAG_BY_FAMILY";

/// A gauge, or a few that are read together.
pub trait Gauge: Send {
    /// Takes in what was read, and adds its readings.
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>);
}

/// Every gauge there is, for one network namespace.
fn gauges() -> Vec<Box<dyn Gauge>> {
    vec![
        Box::<sockets::Sockets>::default(),
        Box::<close_wait::CloseWait>::default(),
        Box::<closing::Closing>::default(),
        Box::<descriptors::Descriptors>::default(),
        Box::<time_wait::TimeWait>::default(),
        Box::<ports::Ports>::default(),
        Box::<conntrack::Conntrack>::default(),
        Box::<firewall::Firewall>::default(),
        Box::<listeners::Listeners>::default(),
        Box::<memory::Memory>::default(),
        Box::<stack::Stack>::default(),
    ]
}

/// All that was read of one network namespace at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// When.
    pub at: Timestamp,
    /// Inode of the namespace.
    pub netns: u32,
    /// Every TCP socket; `None` where the table cannot be read.
    pub sockets: Option<&'a [Seen]>,
    /// Texts of /proc.
    pub texts: &'a Texts,
    /// Whose the sockets are.
    pub processes: &'a Processes,
    /// What connection tracking tells of itself.
    pub flows: &'a Flows,
    /// Rules of the firewall; none where they were not read this time.
    pub rules: &'a [Counted],
    /// Connections that were opened here, by where they lead.
    destinations: &'a HashMap<(IpAddr, Endpoint), Destination>,
}

/// What was read of one network namespace, for [`Board::sweep`].
#[derive(Debug)]
pub struct Read<'a> {
    /// Every TCP socket; `None` where the table cannot be read.
    pub sockets: Option<&'a mut [Seen]>,
    /// Texts of /proc.
    pub texts: &'a Texts,
    /// Whose the sockets are.
    pub processes: &'a Processes,
    /// What connection tracking tells of itself.
    pub flows: &'a Flows,
    /// Rules of the firewall; none where they were not read this time.
    pub rules: &'a [Counted],
}

/// The connections from one address of this host to one destination.
#[derive(Clone, Copy, Debug, Default)]
struct Destination {
    /// Sockets, those in TIME-WAIT too.
    sockets: u64,
    /// Those whose own port is one that connect(2) chooses from.
    ports: u64,
    /// Those in TIME-WAIT.
    time_wait: u64,
    /// Those that went there within [`LOOK_BACK`].
    ended: u64,
}

/// What is looked back over for the rate of connections.
const LOOK_BACK: Nanos = Nanos::from_secs(10);

/// A socket, and what else matters here.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The socket.
    pub socket: Socket,
    /// Of a listener: connections that it had to drop (`sk_drops`).
    pub drops: Option<u32>,
    /// How long ago the last acknowledgment came (`tcpi_last_ack_recv`), where it was asked for, which is of interest in
    /// CLOSE-WAIT when it is seen first ([`Board::has_seen`]). A FIN brings one: it has been there for at least as long.
    pub quiet: Option<Nanos>,
    /// What [`Board::sweep`] finds out.
    known: Known,
}

/// What is found out about a socket once for all gauges.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// For how long it has been in its state, at least.
    age: Nanos,
    /// The process that has it open; `None` where that is not known.
    owner: Option<u32>,
    /// The listener that it came to, or is itself; `None` of what was opened here.
    listener: Option<Endpoint>,
}

impl Seen {
    /// A socket of which nothing more is known.
    pub const fn new(socket: Socket) -> Self {
        Self { socket, drops: None, quiet: None, known: Known { age: Nanos(0), owner: None, listener: None } }
    }

    /// Its ends, IPv4 spoken by an IPv6 socket as IPv4.
    fn ends(&self) -> (Endpoint, Endpoint) {
        let tuple = self.socket.tuple();
        (Endpoint::new(tuple.src, tuple.version, tuple.sport), Endpoint::new(tuple.dst, tuple.version, tuple.dport))
    }
}

/// What is known of processes.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// The process that has a socket open, by the inode of the socket; of several, the one with the lowest number.
    pub owners: HashMap<u32, u32>,
    /// What is known of a process.
    pub facts: HashMap<u32, Process>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its name (`comm`).
    pub name: String,
    /// How many file descriptors it has open.
    pub descriptors: Option<u64>,
    /// How many it may have (`RLIMIT_NOFILE`, the soft limit).
    pub limit: Option<u64>,
    /// Whether all that it had open was looked at: of a process that has very much, that takes more than one sweep.
    pub is_whole: bool,
}

impl Processes {
    /// The process that has a socket open; `None` where that is not known.
    fn owner(&self, socket: &Socket) -> Option<u32> {
        self.owners.get(&socket.inode).copied().filter(|_| socket.inode != 0)
    }

    fn subject(&self, pid: u32) -> Subject {
        let name = self.facts.get(&pid).map(|process| process.name.clone()).unwrap_or_default();
        Subject { process: Some(GaugeProcess { pid, name }), ..Subject::default() }
    }
}

/// The gauges of one network namespace.
pub struct Board {
    gauges: Vec<Box<dyn Gauge>>,
    /// Since when sockets have been in their states, by their cookies.
    since: HashMap<u64, Since>,
}

/// Since when a socket has been in its state.
#[derive(Clone, Copy, Debug)]
struct Since {
    state: u8,
    at: Timestamp,
    /// The sweep that saw it last.
    seen: Timestamp,
}

impl Default for Board {
    fn default() -> Self {
        Self { gauges: gauges(), since: HashMap::new() }
    }
}

/// How long TIME-WAIT lasts: TCP_TIMEWAIT_LEN of include/net/tcp.h.
pub const TIME_WAIT: Nanos = Nanos::from_secs(60);

impl Board {
    /// Takes in what was read, and gives every reading. What is found out about sockets is kept in them.
    pub fn sweep(&mut self, at: Timestamp, netns: u32, read: Read<'_>) -> Vec<GaugeRecord> {
        let Read { sockets, texts, processes, flows, rules } = read;
        let sockets = sockets.map(|sockets| {
            let fin_timeout = texts.number(Text::FinTimeout).map(Nanos::from_secs);
            self.find_out(at, sockets, processes, fin_timeout);
            &*sockets
        });
        let range = texts.get(Text::PortRange).and_then(ports::parse_range);
        let destinations = destinations(sockets.unwrap_or_default(), range.as_ref());
        let sweep = Sweep { at, netns, sockets, texts, processes, flows, rules, destinations: &destinations };
        let mut out = Vec::new();
        for gauge in &mut self.gauges {
            gauge.sweep(&sweep, &mut out);
        }
        out
    }

    /// Whether a socket was in its state before.
    pub fn has_seen(&self, socket: &Socket) -> bool {
        self.since.get(&socket.cookie).is_some_and(|since| since.state == socket.state)
    }

    fn find_out(&mut self, at: Timestamp, sockets: &mut [Seen], processes: &Processes, fin_timeout: Option<Nanos>) {
        let listening = Listening::among(sockets);
        for seen in sockets {
            let Socket { state, cookie, timer, .. } = seen.socket;
            let tcp_state = seen.socket.tcp_state();
            let age = if tcp_state == TcpState::TimeWait {
                // What stands for a socket then is made with its timer.
                timer.map_or(Nanos(0), |timer| Nanos(TIME_WAIT.0.saturating_sub(timer.expires.0)))
            } else {
                let quiet = seen.quiet.filter(|_| tcp_state == TcpState::CloseWait).unwrap_or_default();
                let begun = Timestamp::from_nanos(at.as_nanos().saturating_sub(quiet.0));
                let since = self.since.entry(cookie).or_insert(Since { state, at: begun, seen: at });
                if since.state != state {
                    *since = Since { state, at: begun, seen: at };
                }
                since.seen = at;
                let by_timer = fin_timeout.and_then(|timeout| closing::age_of_orphan(&seen.socket, timeout));
                at.since(since.at).max(by_timer.unwrap_or_default())
            };
            let listener = listening.at(listening::end(seen));
            seen.known = Known { age, owner: processes.owner(&seen.socket), listener };
        }
        self.since.retain(|_, since| since.seen == at);
    }
}

fn destinations(sockets: &[Seen], range: Option<&RangeInclusive<u16>>) -> HashMap<(IpAddr, Endpoint), Destination> {
    let mut all: HashMap<_, Destination> = HashMap::default();
    for seen in sockets.iter().filter(|seen| seen.socket.peer.1 != 0 && seen.known.listener.is_none()) {
        let (own, other) = seen.ends();
        let destination = all.entry((own.ip, other)).or_default();
        let is_over = seen.socket.tcp_state() == TcpState::TimeWait;
        destination.sockets += 1;
        destination.ports += u64::from(range.is_some_and(|range| range.contains(&own.port)));
        destination.time_wait += u64::from(is_over);
        destination.ended += u64::from(is_over && seen.known.age < LOOK_BACK);
    }
    all
}

impl Sweep<'_> {
    /// A reading without a limit.
    fn reading(
        &self,
        name: &'static str,
        subject: Subject,
        value: u64,
        unit: Unit,
        source: &'static str,
    ) -> GaugeRecord {
        GaugeRecord {
            at: self.at,
            name,
            netns: Some(self.netns),
            subject,
            value: value.into(),
            limit: None,
            unit,
            rate: None,
            time_left_ns: None,
            ages: None,
            by_processor: None,
            source,
        }
    }

    fn sockets(&self) -> impl Iterator<Item = &Seen> {
        self.sockets.into_iter().flatten()
    }

    /// The destinations with the most of something, at most [`TOP`], the most first.
    fn top_destinations(&self, most: impl Fn(&Destination) -> u64) -> Vec<((IpAddr, Endpoint), Destination)> {
        let mut all: Vec<_> = self.destinations.iter().map(|(ends, destination)| (*ends, *destination)).collect();
        all.retain(|(_, destination)| most(destination) > 0);
        all.sort_by_key(|(ends, destination)| (Reverse(most(destination)), *ends));
        all.truncate(TOP);
        all
    }
}

impl GaugeRecord {
    fn growing(mut self, rate: Option<f64>) -> Self {
        self.rate = rate.map(Value);
        self.time_left_ns = self.limit.and_then(|limit| time_left(self.value.0, limit, rate));
        self
    }

    fn within(mut self, limit: Option<u64>) -> Self {
        self.limit = limit;
        self
    }
}

/// The highest counts, at most [`TOP`], the highest first.
fn top<K: Ord + Clone>(counts: HashMap<K, u64>) -> Vec<(K, u64)> {
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
    all.truncate(TOP);
    all
}

/// Counts by key.
fn count<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, u64> {
    let mut counts = HashMap::new();
    keys.for_each(|key| *counts.entry(key).or_default() += 1);
    counts
}
