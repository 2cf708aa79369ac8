//! Follows connections: packets go in, records come out.
//!
//! `handle` takes in, `poll` gives out; time is an argument.

pub mod analysis;
mod books;
mod config;
mod connection;
mod correction;
mod duplicate;
mod handshake;
mod hearing;
mod kernel;
mod lookups;
mod moment;
mod notable;
mod opened;
mod outcome;
mod overheard;
pub(crate) mod pack;
mod phases;
mod quic;
mod report;
mod rest;
mod retransmit;
mod rtt;
mod segment;
mod sending;
mod split;
mod state;
mod strain;
mod table;
mod timeline;
mod turn;
mod usage;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub use analysis::AnalysisSet;
pub use config::{Config, Timeouts};
pub use turn::States;

use self::books::{Books, Over};
use self::connection::{Connection, Listed};
use self::lookups::Lookups;
use self::overheard::Overheard;
use self::quic::Flows;
use self::segment::Done;
use self::table::{Key, Table, Taken};
use self::turn::Turns;
use crate::flow;
use crate::input::{Input, PacketInput};
use crate::kernel::{SocketId, SocketInput, StrayInput};
use crate::packet::{Body, Datagram, Flags, IcmpError, Notes, Packet, Segment, Tuple};
use crate::protocol::dns;
use crate::record::{ConnectionRecord, EntryKind, LookupRecord, Side, Sides, TcpState, WITHOUT_FRAME};
use crate::time::Timestamp;

/// What the tracker gives out.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connection of which nothing more will be said.
    Connection(Box<ConnectionRecord>),
    /// A connection that goes on, as it stands.
    Update(Box<ConnectionRecord>),
    /// A lookup of a name that was answered, or will not be.
    Lookup(Box<LookupRecord>),
}

/// What a segment did: what `packets --state` prints behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The connection's `id`.
    pub connection: u64,
    /// Who sent it.
    pub from: Side,
    /// State of both ends after it.
    pub state: Sides<TcpState>,
    /// What the analysis says of it.
    pub analysis: AnalysisSet,
    /// It was captured before: a second copy.
    pub duplicate: bool,
}

/// What a tracker has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections given out.
    pub connections: u64,
    /// Those of them that were given up to stay within the bound.
    pub evicted: u64,
    /// Packets captured a second time.
    pub duplicates: u64,
    /// Connections that only pass through, of which nothing was told.
    pub forwarded: u64,
    /// Messages of DNS over UDP that contradict themselves and answer no question.
    pub malformed_lookups: u64,
}

/// How many connections that are over are kept for packets that come late (a last ACK, a FIN sent again), before the one
/// that has been over the longest is given out.
const MOST_OVER: usize = 1024;

/// Follows every connection of its input.
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    table: Table,
    books: Books,
    out: VecDeque<Event>,
    /// Connections that the end of the input has still to give out: their records are made one by one, as they are far
    /// larger.
    leaving: std::vec::IntoIter<(u64, Taken)>,
    /// Time of the last packet.
    previous: Timestamp,
    /// How many connections were opened without a packet.
    unseen: u64,
    lookups: Lookups,
    /// Connections of other trackers that speak DNS.
    overheard: Overheard,
    /// Connections that speak QUIC.
    quic: Flows,
    /// What was told of connections that turned remarkable, by their numbers.
    told: HashMap<u64, Turns>,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: Config) -> Self {
        Self {
            lookups: Lookups::new(&config),
            overheard: Overheard::default(),
            config,
            table: Table::new(config.least_awake),
            books: Books::default(),
            out: VecDeque::new(),
            leaving: Vec::new().into_iter(),
            previous: Timestamp::default(),
            unseen: 0,
            quic: Flows::default(),
            told: HashMap::new(),
        }
    }

    /// Looks ahead: brings what packets will need from memory near the processor, so that none waits for the memory of
    /// another. A few at a time: it does not hold much.
    pub fn foresee<'a>(&mut self, packets: impl Iterator<Item = &'a Packet>) {
        for packet in packets {
            match &packet.body {
                Body::Udp(_) => self.quic.foresee(packet.hash),
                Body::Icmp(_) => self.table.foresee(packet.hash),
                Body::Tcp(segment) => {
                    self.books.foresee(packet, segment);
                    self.table.foresee(packet.hash);
                }
            }
        }
    }

    /// The same for what is found by what [`foresee`](Self::foresee) brought: once that had time to come.
    #[inline]
    pub fn foresee_more(&self, packet: &Packet) {
        self.table.foresee_more(packet.hash, packet.tail.payload > 0);
    }

    /// Takes in one thing that a source saw, and says what it did to its connection. `None` where it belongs to none.
    #[inline]
    pub fn handle(&mut self, input: Input<'_>) -> Option<Effect> {
        match input {
            Input::Packet(input) => {
                let mut effect = None;
                self.packet(input, Some(&mut effect));
                return effect;
            }
            Input::Socket(socket) => self.socket(socket),
            Input::Stray(stray) => self.stray(stray),
            Input::Socketless(since) => self.end_socketless(since),
            Input::Keys(keys) => self.books.keys = Some(Arc::clone(keys)),
        }
        None
    }

    /// Takes in a packet, and says to which connection it belongs: less than [`handle`](Self::handle) says, and sooner.
    #[inline]
    pub fn follow(&mut self, input: &PacketInput<'_>) -> Option<u64> {
        self.packet(input, None)
    }

    /// Takes in a packet. What it did to its connection is put where that is asked for.
    fn packet(&mut self, input: &PacketInput<'_>, effect: Option<&mut Option<Effect>>) -> Option<u64> {
        self.table.pass(input.packet.number);
        let connection = match &input.packet.body {
            Body::Tcp(_) if outcome::leaves_aside(input.packet, input.layers, &self.config) => {
                self.leave_aside(input);
                None
            }
            Body::Tcp(segment) => self.segment(input, segment, effect),
            Body::Icmp(_) => tell(self.icmp(input), effect),
            Body::Udp(datagram) => tell(self.datagram(input, *datagram), effect),
        };
        self.previous = input.packet.at;
        connection
    }

    /// Ends what has run out of time at `now`: connections that have been over for [`Config::linger`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.lookups.handle_timeout(now);
        self.out.extend(self.lookups.drain());
        self.expire_quic(now);
        while let Some(over) = self.books.over.front()
            && now.since(over.since) >= self.config.linger
        {
            self.give_out_over();
        }
        while let Some(over) = self.books.half_over.front()
            && now.since(over.since) >= self.config.linger_half
        {
            if let Some(over) = self.books.half_over.pop_front() {
                self.give_out_if_over(over);
            }
        }
    }

    /// The sockets that were taken in and are not among those that live at `at`, gone by then. Their last words may still be
    /// on their way.
    pub fn sockets_missing(&mut self, living: &HashSet<SocketId>, at: Timestamp) -> Vec<SocketInput> {
        let mut missing = Vec::new();
        self.table.each(|connection| {
            let known = connection.kernel.iter().flat_map(|kernel| kernel.ended(connection.ends, at));
            missing.extend(known.filter(|socket| socket.first_seen < at && !living.contains(&socket.id())));
        });
        missing
    }

    fn end_socketless(&mut self, since: Timestamp) {
        let mut over = Vec::new();
        self.table.each(|connection| {
            if connection.is_own && !connection.has_socket() && connection.last_seen < since {
                over.push((connection.id, connection.ends));
            }
        });
        over.sort_unstable_by_key(|(id, _)| *id);
        for (id, ends) in over {
            let hash = self.key_of(&ends).0.hash;
            self.table.remove(hash, id).iter().for_each(|connection| self.give_out(connection));
        }
    }

    /// The input is at its end: every connection is given out.
    pub fn finish(&mut self) {
        self.books.over.clear();
        self.books.half_over.clear();
        self.lookups.finish();
        self.out.extend(self.lookups.drain());
        self.leaving = self.table.drain();
        self.quic.drain();
    }

    /// Gives out how every connection stands that is open at `now` and was seen first before `before`.
    pub fn update(&mut self, before: Timestamp) {
        let config = &self.config;
        let mut records = Vec::new();
        self.table.each(|connection| {
            let is_wanted = connection.first_seen < before && connection.listed == Listed::No;
            if is_wanted && !connection.passes(config) {
                records.push(connection.record(config));
            }
        });
        records.extend(self.update_quic(before));
        records.sort_unstable_by_key(|record| record.id);
        self.out.extend(records.into_iter().map(Event::Update));
    }

    /// Gives out how the connections stand that go on and turned remarkable, by `now`, in a way that was not told of them
    /// yet: what, stands in their [`turned`](ConnectionRecord::turned). `watched` are states that are told whenever an end
    /// comes to one of them.
    pub fn notice(&mut self, now: Timestamp, watched: States) {
        let (config, told) = (&self.config, &mut self.told);
        let mut records = Vec::new();
        self.table.each(|connection| {
            if connection.passes(config) {
                return;
            }
            let turns = connection.turns(now, watched);
            let before = told.get(&connection.id).copied().unwrap_or_default();
            let news = turns.difference(before);
            if !news.is_empty() {
                let mut record = connection.record(config);
                record.turned = news.list();
                records.push(record);
            }
            // Another time in a state that is watched is news; the rest is told once.
            let known = before.difference(Turns::STATE) | turns;
            if known != before {
                told.insert(connection.id, known);
            }
        });
        records.sort_unstable_by_key(|record| record.id);
        self.out.extend(records.into_iter().map(Event::Update));
    }

    /// What there is to give out.
    pub fn poll(&mut self) -> Option<Event> {
        // Of some there is nothing to tell.
        while self.out.is_empty() && self.next_leaving() {}
        self.out.pop_front()
    }

    /// Gives out the first of what the end of the input has left; whether there was any.
    fn next_leaving(&mut self) -> bool {
        let tcp = self.leaving.as_slice().first().map(|(id, _)| *id);
        if let Some(quic) = self.quic.next_leaving()
            && tcp.is_none_or(|tcp| quic < tcp)
        {
            self.next_leaving_quic();
        } else if let Some((_, connection)) = self.leaving.next() {
            self.give_out(&connection.wake());
        } else {
            return false;
        }
        true
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        Counts { malformed_lookups: self.lookups.malformed(), ..self.books.counts }
    }

    /// Connections that are being followed.
    pub fn open_connections(&self) -> usize {
        self.table.len() + self.quic.len()
    }

    /// The number of the first connection or lookup that is open: what is given out from now on is that one or younger.
    /// What [`poll`](Self::poll) has not given out yet does not count, nor what only [`finish`](Self::finish) gives out.
    pub fn first_open(&mut self) -> Option<u64> {
        let first = [self.table.first_open(), self.quic.first_open(), self.lookups.first_open()];
        first.into_iter().flatten().min()
    }

    #[inline(never)]
    fn leave_aside(&mut self, input: &PacketInput<'_>) {
        let (key, from) = self.key(input);
        self.table.get(&key).into_iter().for_each(|connection| connection.left_aside(from, input.packet));
    }

    // Always inlined, like what it leads to for most packets: calls were a tenth of what a packet costs.
    #[inline(always)]
    fn segment(
        &mut self,
        input: &PacketInput<'_>,
        segment: &Segment,
        effect: Option<&mut Option<Effect>>,
    ) -> Option<u64> {
        let (key, from) = self.key(input);
        let mut is_opened = false;
        loop {
            if let Some(connection) = self.table.get(&key)
                && (is_opened
                    || !connection.is_succeeded_by(from, segment, self.previous, input.packet.at, &self.config))
            {
                // The way of every packet: in one place, so that there is one copy of all that it leads through.
                let id = connection.id;
                let done = self.books.take(connection, &key, from, input, segment, &self.config);
                if let Some(effect) = effect {
                    *effect = Some(connection.effect(from, done));
                }
                if let Some(heard) = connection.heard(segment, &self.config) {
                    self.look_up(input.packet, from, heard);
                }
                self.keep_few_over();
                if segment.len > 0 {
                    self.keep_little(input.packet.at);
                }
                return Some(id);
            }
            if is_opened {
                return None;
            }
            self.open(&key, from, input.packet, segment);
            is_opened = true;
        }
    }

    /// Has connections give up payload that they keep, while there is too much of it.
    #[inline]
    fn keep_little(&mut self, at: Timestamp) {
        while self.books.holding.is_too_much(self.config.most_held)
            && let Some((hash, id)) = self.books.holding.oldest()
        {
            if let Some(connection) = self.table.by_id(hash, id) {
                self.books.holding.give_up(connection, at);
            }
        }
    }

    /// Whether there is a connection that the segment at hand belongs to.
    fn is_known(&mut self, key: &Key<'_>, from: u8, packet: &Packet, segment: &Segment) -> bool {
        let (previous, config) = (self.previous, self.config);
        let known = self.table.get(key);
        known.is_some_and(|known| !known.is_succeeded_by(from, segment, previous, packet.at, &config))
    }

    /// Opens a connection for the segment at hand, in place of a former one with the same key.
    #[inline(never)]
    fn open(&mut self, key: &Key<'_>, from: u8, packet: &Packet, segment: &Segment) {
        let former = self.table.get(key).map(|former| former.id);
        if let Some(former) = former.and_then(|id| self.table.remove(key.hash, id)) {
            self.give_out(&former);
        }
        while self.open_connections() >= self.config.max_connections.max(1) {
            self.make_room();
        }
        let mut connection = Connection::new(key, from, packet, segment, former.is_some(), &self.config);
        if let Some(lookup) = self.lookups.of(packet, segment) {
            connection.looked_up(lookup);
        }
        self.table.insert(key.hash, Box::new(connection));
    }

    /// A datagram: of a connection that speaks QUIC, a question or an answer of DNS, or nothing that is followed.
    fn datagram(&mut self, input: &PacketInput<'_>, datagram: Datagram) -> Option<Effect> {
        if !self.config.protocols {
            return None;
        }
        let effect = self.quic(input, datagram);
        if effect.is_none() && dns::may_be_message(input.payload, &input.packet.tuple) {
            self.lookups.datagram(input.packet, input.payload);
            self.out.extend(self.lookups.drain());
        }
        effect
    }

    /// A socket of this host: it belongs to the connection between its ends, and opens one where there is none.
    fn socket(&mut self, input: &SocketInput) {
        let (key, from) = self.key_of(&input.tuple);
        let known = self.table.get(&key);
        if known.is_none_or(|known| known.is_succeeded_by_socket(from, input)) {
            let opener = if input.passive == Some(true) { from ^ 1 } else { from };
            self.open_without_packet(&key, opener, opener == from, input.first_seen);
        }
        let Some(connection) = self.table.get(&key) else { return };
        connection.socket(from, input);
        self.books.list_if_over(connection, key.hash, &self.config);
        self.keep_few_over();
    }

    /// An event without a socket: it belongs to the connection with these ends. A SYN, or what answers one, opens one where
    /// there is none; other events of unknown connections are of no use.
    fn stray(&mut self, input: &StrayInput) {
        let (key, from) = self.key_of(&input.tuple);
        let opener = match input.event.kind {
            EntryKind::SynAckRetransmit => Some(from ^ 1),
            _ if input.flags.is_bare_syn() => Some(from),
            _ => None,
        };
        if let Some(opener) = opener
            && self.table.get(&key).is_none()
        {
            self.open_without_packet(&key, opener, false, input.event.at);
        }
        let Some(connection) = self.table.get(&key) else { return };
        // On its way through a translation that has forgotten the connection, its last RST arrives here, where no socket
        // waits for it. That makes it no connection of this host.
        if input.event.kind == EntryKind::Drop && input.flags.contains(Flags::RST) && !connection.is_of_this_host() {
            return;
        }
        // The packet at hand is what the reset answers.
        let by = if input.event.kind == EntryKind::ResetSent && !input.flags.is_empty() { from ^ 1 } else { from };
        connection.kernel_event(by, input.event.clone());
        self.books.list_if_over(connection, key.hash, &self.config);
    }

    fn key_of<'a>(&self, tuple: &'a Tuple) -> (Key<'a>, u8) {
        let key = Key::new(flow::hash(tuple, &[], self.config.seed), tuple, &[]);
        (key, key.from)
    }

    /// Opens a connection of which no packet was seen, only the kernel's word. `is_here`: its client is known to be on this
    /// host.
    fn open_without_packet(&mut self, key: &Key<'_>, opener: u8, is_here: bool, at: Timestamp) {
        let tuple = if opener == 0 { key.ends() } else { key.ends().reversed() };
        self.unseen += 1;
        let notes = if is_here { Notes::OUTBOUND } else { Notes::empty() };
        let packet = Packet { notes, ..Packet::placeholder(at, WITHOUT_FRAME + self.unseen, tuple) };
        let segment = Segment { flags: Flags::SYN, ..Segment::default() };
        self.open(key, opener, &packet, &segment);
    }

    /// An ICMP error belongs to the connection that it quotes; one about no known connection is left alone.
    fn icmp(&mut self, input: &PacketInput<'_>) -> Option<Effect> {
        let error = input.error?;
        let (key, quoted) = self.key(input);
        if self.config.strict_wireshark {
            self.quoted_segment(&key, quoted, input.packet, error);
        }
        let connection = self.table.get(&key)?;
        connection.icmp(quoted, input.packet, error, &self.config);
        Some(connection.effect(quoted ^ 1, Done::default()))
    }

    /// Wireshark's view: a quoted segment is a packet of its sender, and opens a connection where there is none.
    fn quoted_segment(&mut self, key: &Key<'_>, quoted: u8, packet: &Packet, error: &IcmpError) {
        let Some(flags) = error.flags else { return };
        let segment = Segment { seq: error.seq, flags, ..Segment::default() };
        if !self.is_known(key, quoted, packet, &segment) {
            self.open(key, quoted, packet, &segment);
        }
        if let Some(connection) = self.table.get(key) {
            connection.quoted_segment(quoted, packet, flags);
        }
    }

    /// The key of a packet, and its direction.
    #[inline(always)]
    fn key<'a>(&self, input: &PacketInput<'a>) -> (Key<'a>, u8) {
        let tuple = &input.packet.tuple;
        let key = if !input.layers.is_empty() && self.config.is_keyed_by_tuple() {
            Key::new(flow::hash(tuple, &[], self.config.seed), tuple, &[])
        } else {
            Key::new(input.packet.hash, tuple, input.layers)
        };
        (key, key.from)
    }

    /// Gives out one connection: one that is over if there is any, or else the least recently used.
    fn make_room(&mut self) {
        if !self.books.over.is_empty() {
            self.give_out_over();
        } else if self.quic.len() > self.table.len() {
            self.evict_quic();
        } else if let Some(mut connection) = self.table.remove_least_recent() {
            connection.evicted = true;
            self.books.counts.evicted += 1;
            self.give_out(&connection);
        }
    }

    /// Gives out the connection that has been over the longest, if it still is.
    fn give_out_over(&mut self) {
        if let Some(over) = self.books.over.pop_front() {
            self.give_out_if_over(over);
        }
    }

    fn give_out_if_over(&mut self, Over { hash, id, .. }: Over) {
        let Some(connection) = self.table.by_id(hash, id) else { return };
        if !connection.is_over() {
            connection.listed = Listed::No;
            return;
        }
        if let Some(connection) = self.table.remove(hash, id) {
            self.give_out(&connection);
        }
    }

    #[inline]
    fn keep_few_over(&mut self) {
        if self.books.over.len() > MOST_OVER {
            self.keep_fewer_over();
        }
    }

    #[inline(never)]
    fn keep_fewer_over(&mut self) {
        self.give_out_over();
        // Those whose turn is next have been left alone for long.
        let mut next = self.books.over.iter().map(|over| over.hash);
        next.next().into_iter().for_each(|hash| self.table.foresee_end(hash));
        next.next().into_iter().for_each(|hash| self.table.foresee_more(hash, true));
        next.next().into_iter().for_each(|hash| self.table.foresee(hash));
    }

    fn give_out(&mut self, connection: &Connection) {
        self.told.remove(&connection.id);
        self.books.holding.forget(connection);
        if connection.passes(&self.config) {
            self.books.counts.forwarded += 1;
            return;
        }
        self.books.counts.connections += 1;
        self.out.push_back(Event::Connection(connection.record(&self.config)));
    }
}

/// Puts `done` where it is asked for, and says to which connection it was done.
fn tell(done: Option<Effect>, effect: Option<&mut Option<Effect>>) -> Option<u64> {
    effect.into_iter().for_each(|effect| *effect = done);
    done.map(|done| done.connection)
}

#[cfg(test)]
mod tests;
