//! The connections that speak QUIC, and those that speak DTLS, which are followed alike: found by the ends of a datagram, or by the server's connection ID where a client has
//! moved to other ends.
//!
//! A datagram opens a connection by what it holds, never by its ports (`Spoken::begin`); after that every datagram
//! between the same ends is the connection's. It ends once it was silent for [`Config::silence`](super::Config::silence),
//! where its ends begin another one, or with the input: how it was closed is encrypted.

mod flow;
mod report;
mod spin;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use hashbrown::HashTable;

use self::flow::{Flow, Spoken};
use super::opened::Opened;
use super::table::Key;
use super::{AnalysisSet, Effect, Event, Tracker};
use crate::input::PacketInput;
use crate::nearby::fetch;
use crate::packet::{Address, Datagram, Packet, Tuple};
use crate::protocol::quic::ConnectionId;
use crate::record::{ConnectionRecord, Side, Sides, TcpState};
use crate::time::Timestamp;

/// Which part of the octets that may be kept for protocols is for QUIC.
const PART_HELD: usize = 4;

/// Bits of a first octet that a short header has (RFC 9000, section 17.3.1), and of those it does not.
const SHORT: [u8; 2] = [0x40, 0x80];

/// Every connection that speaks QUIC.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// By flow hash and key of the ends where each began.
    table: HashTable<Box<Flow>>,
    /// By the ends where each has moved to, lower end first.
    moved: HashMap<Tuple, Moved>,
    /// By what clients send to.
    ids: HashMap<ServerId, Place>,
    /// The lengths of those connection IDs, a bit each.
    lengths: u32,
    /// When each connection was used last, as of some time ago: now it is that or later. Entries of connections that are gone
    /// are skipped when they come up.
    order: BinaryHeap<Reverse<(Timestamp, Place)>>,
    /// Their hashes in the order in which they were opened.
    opened: Opened<u64>,
    /// Octets that all keep, and those that began to keep some, the first one first.
    held: usize,
    holding: VecDeque<Place>,
    /// What the end of the input has still to give out, the first one first.
    leaving: VecDeque<Box<Flow>>,
}

/// What finds a connection again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    id: u64,
    hash: u64,
}

/// A connection between ends that it has moved to.
#[derive(Clone, Copy, Debug)]
struct Moved {
    place: Place,
    /// The client's direction.
    client: u8,
}

/// A connection ID, and the end that chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ServerId {
    address: Address,
    port: u16,
    id: ConnectionId,
}

impl Flows {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Shows every connection, in no order.
    fn each(&self) -> impl Iterator<Item = &Flow> {
        self.table.iter().map(|flow| &**flow)
    }

    /// Has the connection with the given hash fetched, if there is one.
    pub(super) fn foresee(&self, hash: u64) {
        self.table.find(hash, |flow| flow.hash == hash).into_iter().for_each(|flow| fetch(&**flow));
    }

    /// The number of the connection that the end of the input gives out next.
    pub(super) fn next_leaving(&self) -> Option<u64> {
        self.leaving.front().map(|flow| flow.id)
    }

    /// Takes every connection out, to be given out one by one.
    pub(super) fn drain(&mut self) {
        let mut leaving: VecDeque<_> = std::mem::take(self).table.into_iter().collect();
        leaving.make_contiguous().sort_unstable_by_key(|flow| flow.id);
        self.leaving = leaving;
    }

    /// The connection of a datagram, and who sent it.
    fn find(&mut self, key: &Key<'_>, from: u8, packet: &Packet, payload: &[u8]) -> Option<(Place, Side)> {
        if let Some(flow) = self.table.find(key.hash, |flow| flow.hash == key.hash && flow.has_key(key)) {
            return Some((Place { id: flow.id, hash: flow.hash }, Flow::side(from, flow.client)));
        }
        if let Some(moved) = self.moved.get(&key.ends()) {
            return Some((moved.place, Flow::side(from, moved.client)));
        }
        self.find_by_id(key, from, packet, payload)
    }

    /// The connection of a client that sends to one of the server's connection IDs from elsewhere.
    fn find_by_id(&mut self, key: &Key<'_>, from: u8, packet: &Packet, payload: &[u8]) -> Option<(Place, Side)> {
        let [set, unset] = SHORT;
        let (first, rest) = payload.split_first()?;
        if first & set == 0 || first & unset != 0 || self.lengths == 0 {
            return None;
        }
        let (address, port) = (packet.tuple.dst, packet.tuple.dport);
        let mut lengths = self.lengths;
        while lengths != 0 {
            let length = lengths.trailing_zeros() as usize;
            lengths &= lengths - 1;
            let id = rest.get(..length).and_then(ConnectionId::new);
            let place = id.and_then(|id| self.ids.get(&ServerId { address, port, id }).copied());
            if let Some(place) = place
                && let Some(flow) = self.by_place(place)
                && flow.may_move()
            {
                flow.moved(packet);
                self.moved.insert(key.ends(), Moved { place, client: from });
                return Some((place, Side::Client));
            }
        }
        None
    }

    fn by_place(&mut self, place: Place) -> Option<&mut Flow> {
        self.table.find_mut(place.hash, |flow| flow.id == place.id).map(|flow| &mut **flow)
    }

    fn insert(&mut self, flow: Box<Flow>) {
        let place = Place { id: flow.id, hash: flow.hash };
        if self.order.len() > 2 * self.table.len() + 1024 {
            let place = |flow: &Flow| Reverse((flow.last_seen, Place { id: flow.id, hash: flow.hash }));
            self.order = self.each().map(place).collect();
        }
        self.order.push(Reverse((flow.last_seen, place)));
        let Self { table, opened, .. } = self;
        opened.push(place.id, place.hash, table.len(), |id, hash| is_open(table, *hash, id));
        table.insert_unique(place.hash, flow, |flow| flow.hash);
    }

    /// The identifier of the connection that was opened first.
    pub(super) fn first_open(&mut self) -> Option<u64> {
        let Self { table, opened, .. } = self;
        opened.first(table.iter().map(|flow| (flow.id, flow.hash)), |id, hash| is_open(table, *hash, id))
    }

    fn remove(&mut self, place: Place) -> Option<Box<Flow>> {
        let flow = self.table.find_entry(place.hash, |flow| flow.id == place.id).ok()?.remove().0;
        self.held = self.held.saturating_sub(flow.spoken.held());
        if let Some(id) = flow.server_id()
            && self.ids.get(&id) == Some(&place)
        {
            self.ids.remove(&id);
        }
        for ends in flow.moves.iter().map(Flow::ends_of_move) {
            if self.moved.get(&ends).is_some_and(|moved| moved.place == place) {
                self.moved.remove(&ends);
            }
        }
        Some(flow)
    }

    /// Takes out the connection that was silent for longest; where `until` is given, only if that is since then or before.
    fn remove_first(&mut self, until: Option<Timestamp>) -> Option<Box<Flow>> {
        loop {
            let &Reverse((used, place)) = self.order.peek()?;
            if until.is_some_and(|until| used > until) {
                return None;
            }
            self.order.pop();
            let Some(flow) = self.by_place(place) else { continue };
            let later = flow.last_seen;
            if later == used {
                return self.remove(place);
            }
            self.order.push(Reverse((later, place)));
        }
    }

    /// Notes what a connection has become by the datagram at hand, having kept `before` octets.
    fn note(&mut self, place: Place, before: usize, most: usize) {
        let Some(flow) = self.by_place(place) else { return };
        let (now, at, id) = (flow.spoken.held(), flow.last_seen, flow.server_id());
        if let Some(id) = id
            && !id.id.octets().is_empty()
            && !self.ids.contains_key(&id)
        {
            self.lengths |= 1 << id.id.octets().len();
            self.ids.insert(id, place);
        }
        self.held = (self.held + now).saturating_sub(before);
        if before == 0 && now > 0 {
            self.holding.push_back(place);
        }
        while (self.held > most || self.holding.len() > 2 * self.table.len() + 1024)
            && let Some(place) = self.holding.pop_front()
        {
            let Some(flow) = self.by_place(place) else { continue };
            let kept = flow.spoken.held();
            if kept > 0 && self.held > most {
                let Some(flow) = self.by_place(place) else { continue };
                flow.spoken.give_up(at);
                let left = flow.spoken.held();
                self.held = (self.held + left).saturating_sub(kept);
            } else if kept > 0 {
                self.holding.push_back(place);
                break;
            }
        }
    }
}

fn is_open(table: &HashTable<Box<Flow>>, hash: u64, id: u64) -> bool {
    table.find(hash, |flow| flow.id == id).is_some()
}

impl Flow {
    fn server_id(&self) -> Option<ServerId> {
        let (address, port) = match self.client {
            0 => (self.ends.dst, self.ends.dport),
            _ => (self.ends.src, self.ends.sport),
        };
        Some(ServerId { address, port, id: self.spoken.server_id()? })
    }
}

impl Tracker {
    /// Takes in a datagram if it belongs to a connection that speaks QUIC, or opens one.
    pub(super) fn quic(&mut self, input: &PacketInput<'_>, datagram: Datagram) -> Option<Effect> {
        let (key, from) = self.key(input);
        let PacketInput { packet, payload, .. } = *input;
        let len = datagram.len as usize;
        let mut found = self.quic.find(&key, from, packet, payload);
        if let Some((place, side)) = found
            && let Some(flow) = self.quic.by_place(place)
            && (packet.at.since(flow.last_seen) >= self.config.udp_timeout()
                || flow.spoken.is_succeeded_by(side, payload, len))
        {
            self.give_out_quic(place);
            found = None;
        }
        let (place, side) = match found {
            Some(found) => found,
            None => self.open_quic(&key, from, packet, payload, len)?,
        };
        let flow = self.quic.by_place(place)?;
        // Most datagrams hold no handshake: what is kept need not be counted for them.
        let [set, unset] = SHORT;
        let is_short = payload.first().is_some_and(|first| first & (set | unset) == set);
        let before = if is_short { 0 } else { flow.spoken.held() };
        let heard = flow.datagram(side, input, datagram.len, &self.config);
        self.books.counts.duplicates += u64::from(heard.is_none());
        if heard.is_some_and(|heard| heard.handshake) {
            self.quic.note(place, before, self.config.most_held / PART_HELD);
        }
        Some(Effect {
            connection: place.id,
            from: side,
            state: Sides { client: TcpState::Unknown, server: TcpState::Unknown },
            analysis: AnalysisSet::empty(),
            duplicate: heard.is_none(),
        })
    }

    fn open_quic(
        &mut self,
        key: &Key<'_>,
        from: u8,
        packet: &Packet,
        payload: &[u8],
        len: usize,
    ) -> Option<(Place, Side)> {
        let begun = Spoken::begin(payload, len)?;
        self.expire_quic(packet.at);
        while self.open_connections() >= self.config.max_connections.max(1) {
            self.make_room();
        }
        let mut flow = Box::new(Flow::new(key, from, packet, begun));
        let side = Flow::side(from, flow.client);
        flow.lookup = self.lookups.known(packet, side == Side::Client);
        let place = Place { id: flow.id, hash: flow.hash };
        self.quic.insert(flow);
        Some((place, side))
    }

    /// Gives out the connections that have been silent for too long at `now`.
    pub(super) fn expire_quic(&mut self, now: Timestamp) {
        let until = now.before(self.config.udp_timeout());
        while let Some(flow) = self.quic.remove_first(Some(until)) {
            self.tell_quic(&flow);
        }
    }

    /// Gives out the connection that was silent for longest, for want of room.
    pub(super) fn evict_quic(&mut self) {
        if let Some(mut flow) = self.quic.remove_first(None) {
            flow.evicted = true;
            self.books.counts.evicted += 1;
            self.tell_quic(&flow);
        }
    }

    /// Gives out the next connection that the end of the input has left.
    pub(super) fn next_leaving_quic(&mut self) {
        if let Some(flow) = self.quic.leaving.pop_front() {
            self.tell_quic(&flow);
        }
    }

    /// Gives out how every connection stands that was seen first before `before`.
    pub(super) fn update_quic(&self, before: Timestamp) -> impl Iterator<Item = Box<ConnectionRecord>> + '_ {
        let open = self.quic.each().filter(move |flow| flow.first_seen < before && !flow.passes(&self.config));
        open.map(|flow| Box::new(flow.record(&self.config)))
    }

    fn give_out_quic(&mut self, place: Place) {
        if let Some(flow) = self.quic.remove(place) {
            self.tell_quic(&flow);
        }
    }

    fn tell_quic(&mut self, flow: &Flow) {
        if flow.passes(&self.config) {
            self.books.counts.forwarded += 1;
            return;
        }
        self.books.counts.connections += 1;
        self.out.push_back(Event::Connection(Box::new(flow.record(&self.config))));
    }
}
