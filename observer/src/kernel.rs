//! What the kernel's hooks hand to the tracker: sockets with what happened to them, and events without a socket.

use std::sync::Arc;

use crate::packet::{Flags, Tuple};
use crate::record::{EntryKind, ProcessRecord, Source, TcpInfo, TcpState};
use crate::time::Timestamp;
use crate::tracker::States;

/// A socket of this host: all that was seen since it was last handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketInput {
    /// Names the socket, apart from all others that lived when it did.
    pub key: u64,
    /// When this was so.
    pub at: Timestamp,
    /// Its ends: the source is this host's.
    pub tuple: Tuple,
    /// The kernel's cookie of it.
    pub cookie: Option<u64>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// Whether it came out of a listening socket; `None` where that is not known.
    pub passive: Option<bool>,
    /// It was there before observer was.
    pub existed: bool,
    /// It was found in the kernel's tables (sock_diag), not by a hook: what is new happened some time before.
    pub polled: bool,
    /// It was looked at while it lives: events that were sent of it before may still be on their way.
    pub looked_at: bool,
    /// It has gone away: the last that is said of it. Where it was looked at, it was not there any more, and what the kernel
    /// said of its end was lost.
    pub gone: bool,
    /// Its state now.
    pub state: TcpState,
    /// Who opened, accepted or closed it; sides are not known here.
    pub processes: Vec<Arc<ProcessRecord>>,
    /// The kernel's numbers.
    pub info: Option<TcpInfo>,
    /// How many events were there before [`Self::events`].
    pub first_event: u32,
    /// What happened, in order; some may have been handed over before.
    pub events: Vec<KernelEvent>,
}

/// What tells a socket from all others, at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    /// [`SocketInput::key`].
    pub key: u64,
    /// [`SocketInput::first_seen`].
    pub first_seen: Timestamp,
}

impl SocketInput {
    /// What tells it from all others.
    pub const fn id(&self) -> SocketId {
        SocketId { key: self.key, first_seen: self.first_seen }
    }

    /// One for tests: the client's of a connection from 10.0.0.1:40000 to 10.0.0.2:80, as a look at it shows it.
    #[cfg(test)]
    pub fn client(state: TcpState, at: Timestamp) -> Self {
        use crate::packet::{Address, IpVersion};
        let (src, dst) = (Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2]));
        Self {
            key: 1,
            at,
            tuple: Tuple { src, dst, sport: 40_000, dport: 80, version: IpVersion::V4 },
            cookie: None,
            first_seen: at,
            passive: Some(false),
            existed: false,
            polled: false,
            looked_at: true,
            gone: false,
            state,
            processes: Vec::new(),
            info: None,
            first_event: 0,
            events: Vec::new(),
        }
    }
}

/// Something that happened to a packet or to a socket that is no more, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayInput {
    /// Source and destination of the packet; of a socket, this host's end is the source.
    pub tuple: Tuple,
    /// Flags of the packet; empty where there is none.
    pub flags: Flags,
    /// What happened.
    pub event: KernelEvent,
}

/// One thing that happened in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelEvent {
    /// When.
    pub at: Timestamp,
    /// What, as the timeline calls it.
    pub kind: EntryKind,
    /// State before and after; both the same for what is no change.
    pub states: (TcpState, TcpState),
    /// The kernel's reason, or its error, by name.
    pub detail: Option<String>,
    /// The hook that saw it.
    pub source: Source,
}

/// A state as `include/net/tcp_states.h` numbers it.
pub const fn state(number: u8) -> TcpState {
    match number {
        1 => TcpState::Estab,
        2 => TcpState::SynSent,
        3 | 12 => TcpState::SynRecv,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Closed,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        _ => TcpState::Unknown,
    }
}

/// A bit for each state, by those numbers: what sock_diag is asked with.
pub fn numbers(states: States) -> u32 {
    (1..=12).filter(|number| states.contain(state(*number))).fold(0, |bits, number| bits | 1 << number)
}
