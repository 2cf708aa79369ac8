//! What the kernel says of a connection: its sockets on this host, and what happened to its packets below them.

use std::sync::Arc;

use super::AnalysisSet;
use super::connection::both;
use crate::kernel::{KernelEvent, SocketInput};
use crate::packet::{Flags, Tuple};
use crate::record::{
    ConnState, DropRecord, EntryKind, KernelSocket, ProcessRecord, Side, Sides, Source, TcpState, Timeline,
    TimelineEntry,
};
use crate::time::{Nanos, Timestamp};

/// How many events are kept of one connection, the first and the last.
const MOST_EVENTS: usize = 512;

/// How long after its connection's last packet a socket may appear that belongs to it.
const LATE: Nanos = Nanos::from_millis(500);

/// A timer runs longer (TCP_RTO_MIN is 200 ms): what is sent again sooner after another repairs the same loss.
const AT_ONCE: Nanos = Nanos::from_millis(100);

/// The kernel's side of one connection. Directions are 0 and 1, as in the connection.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    sockets: [Option<Socket>; 2],
    events: Vec<(u8, KernelEvent)>,
    cut: u64,
    pub(super) sources: Vec<Source>,
}

/// What may be wrong with a socket that lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plight {
    /// SYNs that it sent again.
    pub(super) syns_again: u64,
    /// How often it sent other segments again, those that follow each other at once counted together.
    pub(super) again: u64,
    /// Segments with payload that it sent in all, as far as it was asked.
    pub(super) sent: Option<u32>,
    /// The other end has no room for data.
    pub(super) window_closed: bool,
    /// It sent or took a RST.
    pub(super) reset: bool,
    /// Since when it has not answered the other end's FIN.
    pub(super) close_wait: Option<Timestamp>,
}

/// A socket of this host.
#[derive(Debug)]
struct Socket {
    key: u64,
    passive: Option<bool>,
    /// How many of its events were taken in.
    events: u32,
    /// Of the segments that it sent again, SYNs.
    syns_again: u64,
    /// When it last sent another one again, and how often, as [`Plight::again`] counts.
    again_at: Option<Timestamp>,
    again: u64,
    /// When it was first in CLOSE-WAIT.
    close_wait: Option<Timestamp>,
    /// A RST ended it: no TIME-WAIT follows.
    aborted: bool,
    /// A RST answered its SYN.
    refused: bool,
    /// It was in a state that comes after the handshake.
    opened: bool,
    /// It sent a RST and took none before.
    sent_reset: bool,
    /// It sent its FIN.
    sent_fin: bool,
    /// It took the other end's FIN.
    saw_fin: bool,
    /// It closed first and went away: TIME-WAIT follows, or FIN-WAIT-2 while the other end's FIN has not come.
    waits: bool,
    /// Its state before the first of its events.
    first_state: TcpState,
    processes: Vec<Arc<ProcessRecord>>,
    record: KernelSocket,
}

impl Kernel {
    /// Whether `input` is a socket of another connection than this one, which direction `from` would send on.
    pub(super) fn is_succeeded_by(&self, from: u8, input: &SocketInput, last_seen: Timestamp, over: bool) -> bool {
        match self.sockets.get(usize::from(from)) {
            Some(Some(known)) => known.key != input.key || known.record.first_seen != input.first_seen,
            _ => over && input.first_seen > last_seen.plus(LATE),
        }
    }

    /// Takes in what is new of a socket that sends on direction `from`.
    pub(super) fn socket(&mut self, from: u8, input: &SocketInput) {
        let [own, _] = both(&mut self.sockets, from);
        let socket = own.get_or_insert_with(|| Socket::new(input));
        let known = socket.events.saturating_sub(input.first_event) as usize;
        // Those before them are still on their way where the socket was only looked at; else they were lost.
        let is_early = input.looked_at && input.first_event > socket.events;
        let fresh = if is_early { &[] } else { input.events.get(known..).unwrap_or_default() };
        fresh.iter().for_each(|event| socket.take(event));
        let aborted_itself = socket.sent_reset;
        if !is_early {
            socket.events = socket.events.max(input.first_event + input.events.len() as u32);
        }
        socket.update(input);
        let sources = [Source::Destroy, Source::Existing, Source::SockDiag];
        let fed = [input.gone && !input.polled && !input.looked_at, input.existed && !input.polled, input.polled];
        sources.into_iter().zip(fed).filter(|(_, fed)| *fed).for_each(|(source, _)| self.fed_by(source));
        let told = fresh.iter().filter(|event| !(aborted_itself && is_connection_reset(event)));
        told.for_each(|event| self.event(from, event.clone()));
    }

    /// Takes in an event of direction `from`.
    pub(super) fn event(&mut self, from: u8, event: KernelEvent) {
        self.fed_by(event.source);
        if self.events.len() < MOST_EVENTS {
            self.events.push((from, event));
        } else {
            // The last one makes room: the newest is always there.
            self.cut += 1;
            if let Some(last) = self.events.last_mut() {
                *last = (from, event);
            }
        }
    }

    fn fed_by(&mut self, source: Source) {
        if !self.sources.contains(&source) {
            self.sources.push(source);
        }
    }

    /// Whether every socket that is known has gone; `None` where there is none.
    pub(super) fn is_gone(&self) -> Option<bool> {
        let mut known = self.sockets.iter().flatten().peekable();
        known.peek()?;
        Some(known.all(|socket| socket.record.gone.is_some()))
    }

    /// The sockets that have not gone as far as is known, said to have gone by `at`. `ends` are the ends of the connection,
    /// the lower one first.
    pub(super) fn ended(&self, ends: Tuple, at: Timestamp) -> impl Iterator<Item = SocketInput> {
        let tuples = [ends, ends.reversed()];
        let sockets = self.sockets.iter().zip(tuples).filter_map(|(socket, tuple)| Some((socket.as_ref()?, tuple)));
        sockets.filter(|(socket, _)| socket.record.gone.is_none()).map(move |(socket, tuple)| socket.ended(tuple, at))
    }

    /// How many of the ends' sockets are known.
    pub(super) fn known_ends(&self) -> usize {
        self.sockets.iter().flatten().count()
    }

    /// How the socket that sends on a direction fares; `None` where there is none here.
    pub(super) fn plight(&self, direction: usize) -> Option<Plight> {
        let socket = self.sockets.get(direction)?.as_ref()?;
        let is_open = matches!(socket.record.state, TcpState::Estab | TcpState::CloseWait);
        let window = socket.record.info.and_then(|info| info.snd_wnd);
        Some(Plight {
            syns_again: socket.syns_again,
            again: socket.again,
            sent: socket.record.info.and_then(|info| info.data_segs_out),
            window_closed: is_open && window == Some(0),
            reset: socket.aborted,
            close_wait: socket.close_wait,
        })
    }

    /// Whether a RST answered the SYN: the other end never had a socket.
    pub(super) fn is_refused(&self) -> bool {
        self.sockets.iter().flatten().any(|socket| socket.refused)
    }

    /// The direction of the end that opened the connection, by the word of the kernel.
    pub(super) fn opener(&self) -> Option<u8> {
        let [low, high] = [0, 1].map(|at: usize| self.sockets.get(at)?.as_ref()?.passive);
        match (low, high) {
            (Some(false), _) | (_, Some(true)) => Some(0),
            (_, Some(false)) | (Some(true), _) => Some(1),
            _ => None,
        }
    }

    /// State of the socket that sends on a direction; `None` where there is none here.
    pub(super) fn state(&self, direction: usize, peer_has_closed: bool) -> Option<TcpState> {
        let socket = self.sockets.get(direction)?.as_ref()?;
        Some(socket.state_now(peer_has_closed || self.has_closed(direction ^ 1)))
    }

    /// Whether the end that sends on `direction` has closed, as far as its socket shows.
    fn has_closed(&self, direction: usize) -> bool {
        let socket = self.sockets.get(direction).and_then(Option::as_ref);
        socket.is_some_and(|socket| socket.waits || socket.sent_fin || has_sent_fin(socket.record.state))
    }

    /// Zeek's outcome by the sockets alone; `originator` is the direction of the client.
    pub(super) fn conn_state(&self, originator: usize) -> Option<ConnState> {
        let [client, server] = [originator, originator ^ 1].map(|at| self.sockets.get(at).and_then(Option::as_ref));
        match (client, server) {
            (None, None) => return None,
            (Some(client), None) if client.refused => return Some(ConnState::REJ),
            (Some(client), None) if !client.is_open() => return Some(ConnState::S0),
            _ => {}
        }
        if self.has_reset(originator) {
            return Some(ConnState::RSTO);
        }
        if self.has_reset(originator ^ 1) {
            return Some(ConnState::RSTR);
        }
        let saw_fin = |socket: Option<&Socket>| socket.is_some_and(|socket| socket.saw_fin);
        let by_client = self.has_closed(originator) || saw_fin(server);
        let by_server = self.has_closed(originator ^ 1) || saw_fin(client);
        Some(match (by_client, by_server) {
            (true, true) => ConnState::SF,
            (true, false) => ConnState::S2,
            (false, true) => ConnState::S3,
            (false, false) => ConnState::S1,
        })
    }

    /// Whether the end that sends on `direction` reset the connection: it says so, or the other end took the RST.
    fn has_reset(&self, direction: usize) -> bool {
        self.events.iter().any(|(from, event)| match event.kind {
            EntryKind::ResetSent => usize::from(*from) == direction,
            EntryKind::ResetReceived => usize::from(*from) == direction ^ 1,
            _ => false,
        })
    }

    /// The packets that this host dropped. `client` is the client's direction.
    pub(super) fn drops(&self, client: u8) -> Vec<DropRecord> {
        let mut drops: Vec<DropRecord> = Vec::new();
        for (from, event) in self.events.iter().filter(|(_, event)| event.kind == EntryKind::Drop) {
            let from = if *from == client { Side::Client } else { Side::Server };
            match drops.iter_mut().find(|drop| drop.from == from && drop.reason == event.detail) {
                Some(drop) => {
                    drop.count += 1;
                    drop.last = drop.last.max(event.at);
                }
                None => drops.push(DropRecord {
                    from,
                    reason: event.detail.clone(),
                    count: 1,
                    first: event.at,
                    last: event.at,
                }),
            }
        }
        drops
    }

    /// Adds what the kernel saw to a timeline of packets. `client` is the client's direction.
    pub(super) fn join(&self, timeline: &mut Timeline, client: u8) {
        let entries = self.events.iter().map(|(from, event)| {
            let from = if *from == client { Side::Client } else { Side::Server };
            TimelineEntry::of_kernel(from, event)
        });
        timeline.entries.extend(entries);
        timeline.cut += self.cut;
        timeline.entries.sort_by_key(|entry| entry.at);
        self.replay_states(timeline, client);
        // Taking a smaller thing for the socket is no change where it is in the same state.
        let mut last = Sides { client: TcpState::Unknown, server: TcpState::Unknown };
        timeline.entries.retain(|entry| {
            let state = *entry.state.of(entry.from);
            entry.kind != EntryKind::State || std::mem::replace(last.of_mut(entry.from), state) != state
        });
    }

    /// Where an end has a socket here, its state is the kernel's word, entry by entry.
    fn replay_states(&self, timeline: &mut Timeline, client: u8) {
        let socket = |side| {
            let direction = if side == Side::Client { client } else { client ^ 1 };
            self.sockets.get(usize::from(direction)).and_then(Option::as_ref)
        };
        let mut now = Sides { client: TcpState::Unknown, server: TcpState::Unknown };
        for side in [Side::Client, Side::Server] {
            if let Some(socket) = socket(side) {
                *now.of_mut(side) = socket.first_state;
            }
        }
        // An end that is closed by now has sent one before.
        let mut fins = Sides { client: has_sent_fin(now.client), server: has_sent_fin(now.server) };
        for entry in &mut timeline.entries {
            for side in [Side::Client, Side::Server] {
                // Elsewhere it is what the packets say.
                let tells = match socket(side) {
                    Some(socket) if entry.kind == EntryKind::State && entry.from == side => {
                        let to = *entry.state.of(side);
                        let waits = to == TcpState::Closed && socket.waits;
                        Some(match (waits, *fins.of(side.other())) {
                            (false, _) => to,
                            (true, true) => TcpState::TimeWait,
                            (true, false) => TcpState::FinWait2,
                        })
                    }
                    Some(_) => None,
                    None if entry.is_event() => None,
                    None => Some(*entry.state.of(side)),
                };
                let state = now.of_mut(side);
                *state = tells.unwrap_or(*state);
                *entry.state.of_mut(side) = *state;
                *fins.of_mut(side) |= has_sent_fin(*state);
            }
            // It waits once it has acknowledged the other end's FIN, with a segment that the filter does not pass on.
            let other = entry.from.other();
            if *entry.state.of(entry.from) == TcpState::TimeWait && socket(other).is_none() {
                let last = now.of_mut(other);
                *last = if *last == TcpState::LastAck { TcpState::Closed } else { *last };
                *entry.state.of_mut(other) = *last;
            }
        }
    }

    /// The socket that sends on a direction, and whose it is.
    pub(super) fn record(
        &self,
        direction: usize,
        peer_has_closed: bool,
    ) -> Option<(KernelSocket, &[Arc<ProcessRecord>])> {
        let socket = self.sockets.get(direction)?.as_ref()?;
        let state = socket.state_now(peer_has_closed || self.has_closed(direction ^ 1));
        Some((KernelSocket { state, ..socket.record.clone() }, &socket.processes))
    }
}

/// What a socket is told of that took a RST. One that aborts its connection with a RST of its own has that noted as well
/// (tcp_disconnect of net/ipv4/tcp.c), and nobody is there to be told.
fn is_connection_reset(event: &KernelEvent) -> bool {
    event.kind == EntryKind::Error && event.detail.as_deref() == Some("ECONNRESET")
}

impl Socket {
    fn new(input: &SocketInput) -> Self {
        Self {
            key: input.key,
            passive: input.passive,
            events: 0,
            syns_again: 0,
            again_at: None,
            again: 0,
            close_wait: None,
            aborted: false,
            refused: false,
            opened: false,
            sent_reset: false,
            sent_fin: false,
            saw_fin: false,
            waits: false,
            first_state: match (input.events.first(), input.passive) {
                (Some(event), _) if input.first_event == 0 => event.states.0,
                (None, _) => input.state,
                _ => TcpState::Unknown,
            },
            processes: Vec::new(),
            record: KernelSocket {
                cookie: input.cookie,
                state: input.state,
                existed: input.existed,
                first_seen: input.first_seen,
                established: None,
                connect_ns: None,
                gone: None,
                error: None,
                reset_reason: None,
                retransmit_events: 0,
                info: None,
            },
        }
    }

    fn take(&mut self, event: &KernelEvent) {
        match event.kind {
            EntryKind::State => self.change(event),
            EntryKind::Retransmit => {
                self.record.retransmit_events += 1;
                if event.states.0 == TcpState::SynSent {
                    self.syns_again += 1;
                } else {
                    let before = self.again_at.replace(event.at);
                    self.again += u64::from(before.is_none_or(|before| event.at.since(before) >= AT_ONCE));
                }
            }
            EntryKind::ResetSent => {
                self.sent_reset |= !self.aborted;
                self.aborted = true;
                if self.record.reset_reason.is_none() {
                    self.record.reset_reason.clone_from(&event.detail);
                }
            }
            EntryKind::ResetReceived => {
                self.aborted = true;
                self.refused = event.states.0 == TcpState::SynSent;
            }
            EntryKind::Error if self.sent_reset && is_connection_reset(event) => {}
            EntryKind::Error => self.record.error.clone_from(&event.detail),
            _ => {}
        }
    }

    fn change(&mut self, event: &KernelEvent) {
        let (from, to) = event.states;
        self.reach(to, event.at);
        let is_hook = event.source == Source::State;
        match to {
            TcpState::Estab if is_hook => {
                self.record.established = Some(event.at);
                if from == TcpState::SynSent {
                    self.record.connect_ns = Some(event.at.since(self.record.first_seen));
                }
            }
            // The kernel puts a smaller thing in the socket's place (struct inet_timewait_sock), and says no more of it.
            TcpState::Closed => {
                self.waits = is_hook && matches!(from, TcpState::FinWait2 | TcpState::Closing) && !self.aborted;
            }
            _ => {}
        }
        self.record.state = to;
    }

    /// Notes what a state, seen at `at`, says of those before it.
    fn reach(&mut self, state: TcpState, at: Timestamp) {
        if state == TcpState::CloseWait {
            self.close_wait.get_or_insert(at);
        }
        self.sent_fin |= has_sent_fin(state);
        self.saw_fin |= has_seen_fin(state);
        self.opened |= state == TcpState::Estab || has_sent_fin(state) || has_seen_fin(state);
    }

    fn update(&mut self, input: &SocketInput) {
        self.reach(input.state, input.at);
        self.record.state = input.state;
        self.record.cookie = self.record.cookie.or(input.cookie);
        self.passive = self.passive.or(input.passive);
        if input.gone {
            self.record.gone = Some(input.at);
        }
        if input.info.is_some() {
            self.record.info = input.info;
        }
        if !input.processes.is_empty() {
            self.processes.clone_from(&input.processes);
        }
    }

    /// It, gone by `at`.
    fn ended(&self, tuple: Tuple, at: Timestamp) -> SocketInput {
        SocketInput {
            key: self.key,
            at,
            tuple,
            cookie: self.record.cookie,
            first_seen: self.record.first_seen,
            passive: self.passive,
            existed: self.record.existed,
            polled: false,
            looked_at: true,
            gone: true,
            state: TcpState::Closed,
            processes: Vec::new(),
            info: None,
            first_event: self.events,
            events: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.opened || self.record.existed
    }

    /// Its state, and after it that of what the kernel put in its place.
    fn state_now(&self, peer_has_closed: bool) -> TcpState {
        match (self.waits, peer_has_closed) {
            (true, true) => TcpState::TimeWait,
            (true, false) => TcpState::FinWait2,
            _ => self.record.state,
        }
    }
}

const fn has_sent_fin(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck | TcpState::TimeWait
    )
}

const fn has_seen_fin(state: TcpState) -> bool {
    matches!(state, TcpState::CloseWait | TcpState::Closing | TcpState::LastAck | TcpState::TimeWait)
}

impl TimelineEntry {
    fn of_kernel(from: Side, event: &KernelEvent) -> Self {
        let mut state = Sides { client: TcpState::Unknown, server: TcpState::Unknown };
        *state.of_mut(from) = event.states.1;
        Self {
            at: event.at,
            until: event.at,
            frame: 0,
            last_frame: 0,
            file: 0,
            from,
            kind: event.kind,
            packets: 0,
            bytes: 0,
            acks: 0,
            flags: Flags::empty(),
            analysis: AnalysisSet::empty(),
            retransmission: None,
            state,
            seq: 0,
            ack: None,
            window: 0,
            detail: event.detail.clone(),
            source: event.source,
        }
    }
}
