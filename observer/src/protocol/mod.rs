//! What connections are for: the protocols inside them.
//!
//! A [`Conversation`] puts both directions' octets in order (`stream.rs`), finds out by what they hold which protocol they
//! are (`PROTOCOLS`), and has that protocol take them. Protocols say how much they want: most of a connection goes by
//! unseen. A connection may change its protocol (STARTTLS, CONNECT, upgrades); each that it had is kept.

mod database;
pub mod dns;
mod http1;
mod http2;
mod mail;
mod prelude;
mod proxy;
pub mod quic;
mod ssh;
mod stream;
mod text;
pub(crate) mod tls;
mod websocket;

use std::fmt::Debug;
use std::sync::Arc;

use self::dns::Heard;
use self::prelude::Prelude;
pub use self::stream::{Arrival, Next, Payload, Stream, Take, Taker};
use crate::keylog::Keys;
use crate::record::{Application, LookupRecord, NameRecord, NameSource, Side};
use crate::sequence::Seq;
use crate::time::Timestamp;

/// A protocol that a connection speaks, both of its directions.
pub trait Protocol: Debug + Send {
    /// Takes in what comes next from one end.
    fn take(&mut self, from: Side, arrival: Arrival<'_>, at: Timestamp) -> Take;

    /// Adds what it has learnt to the record.
    fn record(&self, into: &mut Application);

    /// Octets of unfinished messages that it keeps; a gap makes it give them up.
    fn held(&self) -> usize {
        0
    }

    /// Who takes over where it asks to be replaced; `None` where content has to tell.
    fn successor(&mut self) -> Option<Box<dyn Protocol>> {
        None
    }

    /// Whether something is said before its first request that it tells nothing of.
    fn has_prelude(&self) -> bool {
        true
    }

    /// Whether it makes something of octets that were sent and not seen; else it goes by those that were.
    fn minds_unseen(&self) -> bool {
        false
    }

    /// The message of one end that has just gone by did so at a time that nobody saw.
    fn unseen(&mut self, _from: Side) {}

    /// Hands over the messages of DNS that came since this was asked last.
    fn hand_over(&mut self, _into: &mut Heard) {}

    /// Takes in the secrets that are known from now on. The conversation is the `depth`th inside of others.
    fn unlock(&mut self, _keys: &Arc<Keys>, _depth: u8) {}
}

/// What the first octets of a direction look like to one protocol.
#[derive(Debug)]
pub enum Guess {
    /// Another protocol's.
    No,
    /// Too few to tell.
    Unsure,
    /// Its own, sent by this end.
    Yes(Side, Box<dyn Protocol>),
    /// Its own, in which both ends begin alike.
    Either(Box<dyn Protocol>),
}

/// Whether the first octets of a direction begin a protocol.
pub type Recognise = fn(&[u8]) -> Guess;

/// Every protocol over TCP that is known, in the order they are asked.
const PROTOCOLS: &[Recognise] = &[
    tls::recognise,
    http1::recognise,
    http2::recognise,
    ssh::recognise,
    mail::recognise,
    proxy::recognise,
    database::recognise_postgres,
    database::recognise_mysql,
    database::recognise_redis,
    database::recognise_memcached,
    database::recognise_mongodb,
    database::recognise_kafka,
    database::recognise_amqp,
    database::recognise_mqtt,
    dns::recognise,
];

/// Octets by which a protocol must have been recognised.
const MOST_UNSURE: usize = 2048;

/// How many conversations may be inside of each other.
const MOST_DEPTH: u8 = 3;

/// How often a connection may change its protocol.
const MOST_CHANGES: usize = 4;

/// Both directions of a connection, numbered as in the tracker.
#[derive(Debug, Default)]
pub struct Conversation {
    streams: [Stream; 2],
    protocol: Option<Box<dyn Protocol>>,
    /// The direction of the protocol's client.
    client: u8,
    /// The direction of the connection's client.
    opener: u8,
    /// What was spoken before.
    former: Vec<Box<dyn Protocol>>,
    prelude: Prelude,
    /// Octets that were kept were given up.
    given_up: bool,
    /// The lookup that gave the client the server's address.
    pub lookup: Option<Arc<LookupRecord>>,
    /// The secrets that are known.
    keys: Option<Arc<Keys>>,
    /// How many conversations it is inside of.
    depth: u8,
}

/// What a stream's octets led to, besides their being taken.
enum Turn {
    /// The protocol is known now.
    Recognised,
    /// The protocol gives way to another.
    Changed,
}

impl Conversation {
    /// A conversation of a connection whose client sends on direction `opener`.
    pub fn new(opener: u8) -> Self {
        Self { opener, ..Self::default() }
    }

    /// A conversation inside of another, which is the `depth`th inside of others. Its client sends on direction 0.
    fn within(depth: u8) -> Self {
        Self { depth: depth + 1, ..Self::default() }
    }

    /// Takes in the secrets that are known from now on.
    pub fn unlock(&mut self, keys: &Arc<Keys>) {
        // Nobody seals more often than that but to exhaust the stack.
        if self.depth > MOST_DEPTH || self.keys.as_ref().is_some_and(|known| Arc::ptr_eq(known, keys)) {
            return;
        }
        self.keys = Some(Arc::clone(keys));
        if let Some(protocol) = &mut self.protocol {
            protocol.unlock(keys, self.depth);
        }
    }

    /// Whether nothing is known and nothing will be.
    pub fn is_void(&self) -> bool {
        self.protocol.is_none() && self.former.is_empty() && self.streams.iter().all(Stream::is_deaf)
    }

    /// Octets that are kept for later.
    pub fn held(&self) -> usize {
        let streams: usize = self.streams.iter().map(Stream::held).sum();
        streams + self.protocol.as_ref().map_or(0, |protocol| protocol.held())
    }

    /// Takes in payload that direction `from` sent.
    pub fn payload(&mut self, from: u8, payload: &Payload<'_>) {
        self.with(from, payload.at, |stream, take| stream.payload(payload, take));
        self.prelude.hear(from, payload);
    }

    /// Direction `from` has sent a FIN, before which come the octets up to `end`.
    pub fn fin(&mut self, from: u8, end: Seq, at: Timestamp) {
        self.with(from, at, |stream, take| stream.fin(end, take));
    }

    /// The other end has acknowledged the octets of direction `from` up to `end`, where not every segment is shown: with a
    /// message of its own, if `is_message`, which answers what has come by then.
    pub fn acknowledged(&mut self, from: u8, end: Seq, at: Timestamp, is_message: bool) {
        let minds = self.protocol.as_ref().is_some_and(|protocol| protocol.minds_unseen());
        if !minds || !(is_message || self.stream(from).ends_before(end)) {
            return;
        }
        let mut went_by = false;
        self.with(from, at, |stream, take| went_by = stream.unseen(end, take));
        if let Some(protocol) = self.protocol.as_mut().filter(|_| went_by) {
            protocol.unseen(if from == self.client { Side::Client } else { Side::Server });
        }
    }

    /// As [`Self::fin`], where not every segment is shown: what was to be passed over has come.
    pub fn fin_of_sample(&mut self, from: u8, end: Seq, at: Timestamp) {
        // What comes behind that is not known.
        self.acknowledged(from, end, at, false);
        self.with(from, at, |stream, take| {
            stream.sent(end);
            stream.fin(end, take);
        });
    }

    /// Nothing more comes from direction `from`.
    pub fn end(&mut self, from: u8, at: Timestamp) {
        self.with(from, at, |stream, take| stream.end(take));
    }

    /// Gives up the octets that are kept.
    pub fn give_up(&mut self, at: Timestamp) {
        self.given_up = true;
        for from in [0, 1] {
            self.with(from, at, |stream, take| stream.give_up(take));
        }
    }

    /// The messages of DNS that came since this was asked last; `None` where there are none.
    pub fn heard(&mut self) -> Option<Heard> {
        let protocol = self.protocol.as_mut()?;
        let mut heard = Heard { messages: Vec::new(), client: self.client, opened: false };
        protocol.hand_over(&mut heard);
        (!heard.messages.is_empty()).then_some(heard)
    }

    fn hand_over(&mut self, into: &mut Heard) {
        if let Some(protocol) = &mut self.protocol {
            protocol.hand_over(into);
        }
    }

    /// Wants nothing more.
    pub fn stop(&mut self) {
        self.streams.iter_mut().for_each(Stream::stop);
    }

    /// What was learnt; `None` where that is nothing.
    pub fn record(&self, show_secrets: bool) -> Option<Application> {
        let mut application = Application { given_up: self.given_up, show_secrets, ..Application::default() };
        self.tell(&mut application);
        if let Some(lookup) = &self.lookup {
            let name = || NameRecord { name: lookup.lookup.name.clone(), from: NameSource::Dns };
            application.name.get_or_insert_with(name);
            application.dns = Some(Box::new(LookupRecord::clone(lookup)));
        }
        (application.protocol.is_some() || self.lookup.is_some()).then_some(application)
    }

    /// Adds what the protocols have learnt to the record.
    fn tell(&self, into: &mut Application) {
        into.given_up |= self.given_up;
        into.malformed += self.streams.iter().map(Stream::conflicts).sum::<u64>();
        let (turns, cut) = self.prelude.turns(self.client);
        into.prelude.turns.extend(turns);
        into.prelude.cut = into.prelude.cut.or(cut);
        self.former.iter().chain(&self.protocol).for_each(|protocol| protocol.record(into));
    }

    /// How many octets of a direction, from `at` on, would be passed over unread.
    fn passes(&self, from: u8, at: Seq) -> u64 {
        self.stream(from).passes(at)
    }

    /// Octets of a direction are missing, nobody knows how many.
    fn lose(&mut self, from: u8, at: Timestamp) {
        self.with(from, at, |stream, take| stream.lose(take));
    }

    const fn stream(&self, from: u8) -> &Stream {
        let [low, high] = &self.streams;
        if from == 0 { low } else { high }
    }

    /// Has one direction's stream do something, and the protocol take what comes of it.
    fn with(&mut self, from: u8, at: Timestamp, act: impl FnOnce(&mut Stream, &mut Taker<'_>)) {
        let Self { streams: [low, high], protocol, client, opener, prelude, keys, depth, .. } = self;
        let own = if from == 0 { low } else { high };
        let mut turn = None;
        act(own, &mut |arrival| {
            if protocol.is_none() {
                let Arrival::Octets(octets) = arrival else { return Take::used(0) };
                match recognise(octets) {
                    Guess::No => return Take::nothing(),
                    Guess::Unsure => return Take::wait_for(octets.len() + 1),
                    Guess::Yes(side, recognised) => {
                        *client = if side == Side::Client { from } else { from ^ 1 };
                        *protocol = Some(recognised);
                    }
                    Guess::Either(recognised) => {
                        *client = *opener;
                        *protocol = Some(recognised);
                    }
                }
                turn = Some(Turn::Recognised);
                if let Some(protocol) = protocol {
                    keys.iter().for_each(|keys| protocol.unlock(keys, *depth));
                    if !protocol.has_prelude() {
                        prelude.end();
                    }
                }
            }
            let Some(protocol) = protocol else { return Take::nothing() };
            let side = if from == *client { Side::Client } else { Side::Server };
            let take = protocol.take(side, arrival, at);
            if take.next == Next::Change {
                turn = Some(Turn::Changed);
            }
            take
        });
        match turn {
            None => {}
            Some(Turn::Recognised) => self.resume(from ^ 1, at),
            Some(Turn::Changed) => self.change(from, at),
        }
    }

    /// Another protocol begins in both directions, with the octets that `from` sends next.
    fn change(&mut self, from: u8, at: Timestamp) {
        let mut former = self.protocol.take();
        let successor = former.as_mut().and_then(|former| former.successor());
        self.former.extend(former);
        self.protocol = successor;
        if self.former.len() > MOST_CHANGES {
            self.streams.iter_mut().for_each(Stream::stop);
            return;
        }
        self.resume(from, at);
        self.resume(from ^ 1, at);
    }

    fn resume(&mut self, from: u8, at: Timestamp) {
        self.with(from, at, |stream, take| stream.resume(take));
    }
}

/// Asks every protocol.
fn recognise(octets: &[u8]) -> Guess {
    let mut unsure = false;
    for recognise in PROTOCOLS {
        match recognise(octets) {
            Guess::No => {}
            Guess::Unsure => unsure = true,
            yes @ (Guess::Yes(..) | Guess::Either(_)) => return yes,
        }
    }
    if unsure && octets.len() < MOST_UNSURE { Guess::Unsure } else { Guess::No }
}

#[cfg(test)]
mod tests;
