//! The encoding of marks: [postcard](https://postcard.jamesmunns.com/wire-format) of the structs below, one after another.
//!
//! These are apart from what the program works with, so that neither keeps the other from changing: enums are numbers from
//! the tables here, times are nanoseconds. A change of any struct or table is a new version.

use std::sync::Arc;

use observer_ebpf::HOOKS;
use serde::{Deserialize, Serialize};

use super::{Begin, End, Error, Mark, Placed};
use crate::kernel::{KernelEvent, SocketInput, StrayInput};
use crate::packet::{Address, Flags, IpVersion, Tuple};
use crate::record::{EntryKind, HookRecord, InterfaceRecord, OwnerHow, ProcessRecord, Source, TcpInfo, TcpState};
use crate::time::{Nanos, Timestamp};

/// The most processes that one socket is believed to have.
const MOST_PROCESSES: usize = 8;

/// A number stands for its place.
const KINDS: [EntryKind; 9] = [
    EntryKind::State,
    EntryKind::Retransmit,
    EntryKind::SynAckRetransmit,
    EntryKind::ResetSent,
    EntryKind::ResetReceived,
    EntryKind::Drop,
    EntryKind::Error,
    EntryKind::NotRetransmitted,
    EntryKind::Congestion,
];
const SOURCES: [Source; 13] = [
    Source::Packets,
    Source::State,
    Source::Destroy,
    Source::Retransmit,
    Source::SynAck,
    Source::ResetSent,
    Source::ResetReceived,
    Source::Drop,
    Source::Error,
    Source::Accept,
    Source::Existing,
    Source::SockDiag,
    Source::Congestion,
];
const STATES: [TcpState; 12] = [
    TcpState::Unknown,
    TcpState::Estab,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::TimeWait,
    TcpState::Closed,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::Listen,
    TcpState::Closing,
];
const HOWS: [OwnerHow; 7] = [
    OwnerHow::Connect,
    OwnerHow::Listen,
    OwnerHow::Accept,
    OwnerHow::Descriptor,
    OwnerHow::Close,
    OwnerHow::Listener,
    OwnerHow::User,
];

#[derive(Serialize, Deserialize)]
struct WirePlaced {
    after: u64,
    mark: WireMark,
}

#[derive(Serialize, Deserialize)]
enum WireMark {
    Begin { at: u64, sampled: bool, max_connections: u64, linger: u64, linger_half: u64 },
    Interface { interface: u16, netns: u32 },
    Socket(u32, Box<WireSocket>),
    Stray { netns: u32, ends: WireTuple, flags: u16, event: WireEvent },
    Lost { records: Option<u64>, since: u64, at: u64 },
    Now(u64),
    End { dropped: Option<u64>, unseen: Vec<String>, hooks: Vec<WireHook>, interfaces: Vec<WireInterface> },
    Socketless(u64),
}

#[derive(Serialize, Deserialize)]
struct WireSocket {
    key: u64,
    at: u64,
    ends: WireTuple,
    cookie: Option<u64>,
    first_seen: u64,
    passive: Option<bool>,
    existed: bool,
    polled: bool,
    looked_at: bool,
    gone: bool,
    state: u8,
    processes: Vec<WireProcess>,
    info: Option<TcpInfo>,
    first_event: u32,
    events: Vec<WireEvent>,
}

#[derive(Serialize, Deserialize)]
struct WireTuple {
    src: [u8; 16],
    dst: [u8; 16],
    sport: u16,
    dport: u16,
    v6: bool,
}

#[derive(Serialize, Deserialize)]
struct WireEvent {
    at: u64,
    kind: u8,
    from: u8,
    to: u8,
    detail: Option<String>,
    source: u8,
}

#[derive(Serialize, Deserialize)]
struct WireProcess {
    pid: Option<u32>,
    name: Option<String>,
    command: Option<String>,
    args: Option<String>,
    uid: Option<u32>,
    parent_pid: Option<u32>,
    container: Option<String>,
    container_id: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
    cgroup: Option<String>,
    unit: Option<String>,
    how: Option<u8>,
}

#[derive(Serialize, Deserialize)]
struct WireHook {
    name: String,
    attached: bool,
    why: Option<String>,
    lacks: Vec<String>,
    lost: Vec<u64>,
    missed: u64,
}

/// What [`HookRecord::lacks`] may name.
const LACKS: [&str; 2] = ["reason", "error"];

#[derive(Serialize, Deserialize)]
struct WireInterface {
    name: Option<String>,
    description: Option<String>,
    filter: Option<String>,
    link_type: u16,
    snap_len: u32,
    received: Option<u64>,
    dropped: Option<u64>,
}

/// Appends a mark.
pub(super) fn encode(placed: &Placed, out: &mut Vec<u8>) {
    let wire = WirePlaced { after: placed.after, mark: WireMark::from(&placed.mark) };
    // Nothing in these structs is beyond what postcard can write, and a Vec takes everything.
    if let Ok(octets) = postcard::to_allocvec(&wire) {
        out.extend(octets);
    }
}

/// The mark at the front of `data`, and what is behind it.
pub(super) fn decode(data: &[u8]) -> Result<(Placed, &[u8]), Error> {
    let (wire, rest) = postcard::take_from_bytes::<WirePlaced>(data).map_err(|_| Error::Damaged("no mark"))?;
    Ok((Placed { after: wire.after, mark: wire.mark.try_into()? }, rest))
}

/// The number of a value.
fn number<T: PartialEq>(table: &[T], value: &T) -> u8 {
    table.iter().position(|known| known == value).unwrap_or(0) as u8
}

/// The value of a number.
fn value<T: Copy>(table: &[T], number: u8, what: &'static str) -> Result<T, Error> {
    table.get(usize::from(number)).copied().ok_or(Error::Damaged(what))
}

impl From<&Mark> for WireMark {
    fn from(mark: &Mark) -> Self {
        match mark {
            Mark::Begin(Begin { at, sampled, max_connections, linger, linger_half }) => Self::Begin {
                at: at.as_nanos(),
                sampled: *sampled,
                max_connections: *max_connections,
                linger: linger.0,
                linger_half: linger_half.0,
            },
            Mark::Interface { interface, netns } => Self::Interface { interface: *interface, netns: *netns },
            Mark::Socket(netns, socket) => Self::Socket(*netns, Box::new(WireSocket::from(&**socket))),
            Mark::Stray(netns, stray) => Self::Stray {
                netns: *netns,
                ends: (&stray.tuple).into(),
                flags: stray.flags.bits(),
                event: (&stray.event).into(),
            },
            Mark::Lost { records, since, at } => {
                Self::Lost { records: *records, since: since.as_nanos(), at: at.as_nanos() }
            }
            Mark::Now(at) => Self::Now(at.as_nanos()),
            Mark::Socketless(since) => Self::Socketless(since.as_nanos()),
            Mark::End(End { dropped, unseen, hooks, interfaces }) => Self::End {
                dropped: *dropped,
                unseen: unseen.clone(),
                hooks: hooks.iter().map(WireHook::from).collect(),
                interfaces: interfaces.iter().map(WireInterface::from).collect(),
            },
        }
    }
}

impl TryFrom<WireMark> for Mark {
    type Error = Error;

    fn try_from(wire: WireMark) -> Result<Self, Error> {
        let at = Timestamp::from_nanos;
        Ok(match wire {
            WireMark::Begin { at: began, sampled, max_connections, linger, linger_half } => Self::Begin(Begin {
                at: at(began),
                sampled,
                max_connections,
                linger: Nanos(linger),
                linger_half: Nanos(linger_half),
            }),
            WireMark::Interface { interface, netns } => Self::Interface { interface, netns },
            WireMark::Socket(netns, socket) => Self::Socket(netns, Box::new((*socket).try_into()?)),
            WireMark::Stray { netns, ends, flags, event } => {
                let (tuple, event) = (ends.into(), event.try_into()?);
                Self::Stray(netns, Box::new(StrayInput { tuple, flags: Flags::from_bits_truncate(flags), event }))
            }
            WireMark::Lost { records, since, at: now } => Self::Lost { records, since: at(since), at: at(now) },
            WireMark::Now(when) => Self::Now(at(when)),
            WireMark::Socketless(since) => Self::Socketless(at(since)),
            WireMark::End { dropped, unseen, hooks, interfaces } => Self::End(End {
                dropped,
                unseen,
                hooks: hooks.into_iter().filter_map(WireHook::into_record).collect(),
                interfaces: interfaces.into_iter().map(InterfaceRecord::from).collect(),
            }),
        })
    }
}

impl From<&SocketInput> for WireSocket {
    fn from(socket: &SocketInput) -> Self {
        Self {
            key: socket.key,
            at: socket.at.as_nanos(),
            ends: (&socket.tuple).into(),
            cookie: socket.cookie,
            first_seen: socket.first_seen.as_nanos(),
            passive: socket.passive,
            existed: socket.existed,
            polled: socket.polled,
            looked_at: socket.looked_at,
            gone: socket.gone,
            state: number(&STATES, &socket.state),
            processes: socket.processes.iter().map(|process| (&**process).into()).collect(),
            info: socket.info,
            first_event: socket.first_event,
            events: socket.events.iter().map(WireEvent::from).collect(),
        }
    }
}

impl TryFrom<WireSocket> for SocketInput {
    type Error = Error;

    fn try_from(wire: WireSocket) -> Result<Self, Error> {
        let processes = wire.processes.into_iter().take(MOST_PROCESSES);
        Ok(Self {
            key: wire.key,
            at: Timestamp::from_nanos(wire.at),
            tuple: wire.ends.into(),
            cookie: wire.cookie,
            first_seen: Timestamp::from_nanos(wire.first_seen),
            passive: wire.passive,
            existed: wire.existed,
            polled: wire.polled,
            looked_at: wire.looked_at,
            gone: wire.gone,
            state: value(&STATES, wire.state, "an unknown state")?,
            processes: processes.map(|process| process.try_into().map(Arc::new)).collect::<Result<_, _>>()?,
            info: wire.info,
            first_event: wire.first_event,
            events: wire.events.into_iter().map(KernelEvent::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Tuple> for WireTuple {
    fn from(tuple: &Tuple) -> Self {
        let Tuple { src, dst, sport, dport, version } = *tuple;
        Self { src: src.0, dst: dst.0, sport, dport, v6: version == IpVersion::V6 }
    }
}

impl From<WireTuple> for Tuple {
    fn from(wire: WireTuple) -> Self {
        let version = if wire.v6 { IpVersion::V6 } else { IpVersion::V4 };
        Self { src: Address(wire.src), dst: Address(wire.dst), sport: wire.sport, dport: wire.dport, version }
    }
}

impl From<&KernelEvent> for WireEvent {
    fn from(event: &KernelEvent) -> Self {
        Self {
            at: event.at.as_nanos(),
            kind: number(&KINDS, &event.kind),
            from: number(&STATES, &event.states.0),
            to: number(&STATES, &event.states.1),
            detail: event.detail.clone(),
            source: number(&SOURCES, &event.source),
        }
    }
}

impl TryFrom<WireEvent> for KernelEvent {
    type Error = Error;

    fn try_from(wire: WireEvent) -> Result<Self, Error> {
        let state = |number| value(&STATES, number, "an unknown state");
        Ok(Self {
            at: Timestamp::from_nanos(wire.at),
            kind: value(&KINDS, wire.kind, "an unknown kind of event")?,
            states: (state(wire.from)?, state(wire.to)?),
            detail: wire.detail,
            source: value(&SOURCES, wire.source, "an unknown source")?,
        })
    }
}

impl From<&ProcessRecord> for WireProcess {
    fn from(process: &ProcessRecord) -> Self {
        let process = process.clone();
        Self {
            pid: process.pid,
            name: process.name,
            command: process.command,
            args: process.args,
            uid: process.uid,
            parent_pid: process.parent_pid,
            container: process.container,
            container_id: process.container_id,
            pod: process.pod,
            namespace: process.namespace,
            cgroup: process.cgroup,
            unit: process.unit,
            how: process.how.map(|how| number(&HOWS, &how)),
        }
    }
}

impl TryFrom<WireProcess> for ProcessRecord {
    type Error = Error;

    fn try_from(wire: WireProcess) -> Result<Self, Error> {
        Ok(Self {
            side: None,
            pid: wire.pid,
            name: wire.name,
            command: wire.command,
            args: wire.args,
            uid: wire.uid,
            parent_pid: wire.parent_pid,
            ancestors: Vec::new(),
            container: wire.container,
            container_id: wire.container_id,
            pod: wire.pod,
            namespace: wire.namespace,
            cgroup: wire.cgroup,
            unit: wire.unit,
            how: wire.how.map(|how| value(&HOWS, how, "an unknown way to own a socket")).transpose()?,
        })
    }
}

impl From<&HookRecord> for WireHook {
    fn from(hook: &HookRecord) -> Self {
        let HookRecord { name, attached, why, lacks, lost, missed } = hook;
        let lacks = lacks.iter().map(|lack| (*lack).to_string()).collect();
        Self {
            name: (*name).to_string(),
            attached: *attached,
            why: why.clone(),
            lacks,
            lost: lost.clone(),
            missed: *missed,
        }
    }
}

impl WireHook {
    /// A hook that this observer knows.
    fn into_record(self) -> Option<HookRecord> {
        let name = HOOKS.into_iter().map(observer_ebpf::Hook::name).find(|known| *known == self.name)?;
        let lacks = LACKS.into_iter().filter(|lack| self.lacks.iter().any(|own| own == lack)).collect();
        Some(HookRecord { name, attached: self.attached, why: self.why, lacks, lost: self.lost, missed: self.missed })
    }
}

impl From<&InterfaceRecord> for WireInterface {
    fn from(interface: &InterfaceRecord) -> Self {
        let InterfaceRecord { name, description, filter, link_type, snap_len, received, dropped } = interface.clone();
        Self { name, description, filter, link_type, snap_len, received, dropped }
    }
}

impl From<WireInterface> for InterfaceRecord {
    fn from(wire: WireInterface) -> Self {
        let WireInterface { name, description, filter, link_type, snap_len, received, dropped } = wire;
        Self { name, description, filter, link_type, snap_len, received, dropped }
    }
}
