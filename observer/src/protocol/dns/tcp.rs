//! DNS over TCP (RFC 7766): each message behind its length.

use std::collections::{HashMap, VecDeque};

use super::super::{Arrival, Guess, Protocol, Take};
use super::{HEADER, Message, may_be_unicast};
use crate::packet::Packet;
use crate::record::{Application, LookupsOver, LookupsRecord, ProtocolName, Side, Sides};
use crate::time::Timestamp;

/// Octets of the shortest message with a question.
const SHORTEST: usize = HEADER + 5;

/// Connections that are known to speak DNS.
const MOST_SPEAKERS: usize = 1024;

/// A connection that speaks DNS.
#[derive(Debug, Default)]
struct OverTcp {
    heard: Vec<Message>,
    malformed: u64,
    /// Octets of this end are missing.
    gap: Sides<bool>,
}

/// Messages that came over a connection.
#[derive(Debug)]
pub struct Heard {
    /// In their order.
    pub messages: Vec<Message>,
    /// The direction of who asks.
    pub client: u8,
    /// They were inside of something that was opened: TLS.
    pub opened: bool,
}

/// Whether these octets begin a connection that speaks DNS: a message behind its length.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    let &[a, b, ref message @ ..] = octets else { return Guess::Unsure };
    let length = usize::from(u16::from_be_bytes([a, b]));
    if length < SHORTEST {
        return Guess::No;
    }
    let message = message.get(..length).unwrap_or(message);
    match message.get(2) {
        None => Guess::Unsure,
        Some(flags) if flags >> 3 & 0xf != 0 => Guess::No,
        Some(_) if message.len() < SHORTEST => Guess::Unsure,
        Some(flags) if may_be_unicast(message) => {
            let from = if flags & 0x80 == 0 { Side::Client } else { Side::Server };
            Guess::Yes(from, Box::new(OverTcp::default()))
        }
        Some(_) => Guess::No,
    }
}

impl Protocol for OverTcp {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        match arrival {
            Arrival::Octets(&[a, b, ref rest @ ..]) => {
                let length = usize::from(u16::from_be_bytes([a, b]));
                let Some(message) = rest.get(..length) else { return Take::wait_for(2 + length) };
                match Message::parse(message) {
                    Some(message) => self.heard.push(message),
                    None => self.malformed += 1,
                }
                Take::used(2 + length)
            }
            Arrival::Octets(_) => Take::wait_for(2),
            // Where the next message begins is not known.
            Arrival::Gap(_) => {
                *self.gap.of_mut(from) = true;
                Take::nothing()
            }
            Arrival::End => Take::nothing(),
            Arrival::Passed(_) => Take::used(0),
        }
    }

    fn has_prelude(&self) -> bool {
        false
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Dns);
        into.malformed += self.malformed;
        into.lookups = Some(LookupsRecord { gap: self.gap, ..LookupsRecord::over(LookupsOver::Tcp) });
    }

    fn hand_over(&mut self, into: &mut Heard) {
        into.messages.append(&mut self.heard);
    }
}

/// Which connections speak DNS over TCP, as far as single segments show it: for whoever deals out segments before anyone
/// puts them in order.
#[derive(Debug, Default)]
pub struct Speakers {
    /// By the flow's hash.
    known: HashMap<u64, Mark>,
    /// In the order they were marked. Some are marked no more.
    order: VecDeque<u64>,
    /// A bit for each of those that are known, by the last bits of its hash: nearly all other segments stop here.
    sieve: Sieve,
}

/// Bits for hashes: where there is none, the hash is not known.
#[derive(Debug)]
struct Sieve {
    bits: Box<[u64; Self::WORDS]>,
    /// How many were forgotten, whose bits are still there.
    stale: usize,
}

/// What a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// A message behind its length.
    Speaks,
    /// A length alone in its segment, sent by the end that stands first in the flow's key or by the other one.
    Begins { by_first: bool },
}

impl Speakers {
    /// Takes in a segment with this payload: whether it may belong to a connection that speaks DNS.
    #[inline]
    pub fn hear(&mut self, packet: &Packet, payload: &[u8]) -> bool {
        // Every segment of a capture comes by: nearly all have no single question where a message would count them.
        let may_be = payload.len() == 2 || payload.get(6..8) == Some(&[0, 1]);
        if !may_be && !self.sieve.may_have(packet.hash) {
            return false;
        }
        self.look(packet, payload)
    }

    fn look(&mut self, packet: &Packet, payload: &[u8]) -> bool {
        let mark = match *payload {
            [] => None,
            [a, b] if usize::from(u16::from_be_bytes([a, b])) >= SHORTEST => {
                Some(Mark::Begins { by_first: packet.tuple.is_canonical() })
            }
            _ => matches!(recognise(payload), Guess::Yes(..)).then_some(Mark::Speaks),
        };
        match mark {
            None => self.is_known(packet, payload),
            Some(mark) => {
                self.mark(packet.hash, mark);
                true
            }
        }
    }

    fn is_known(&mut self, packet: &Packet, payload: &[u8]) -> bool {
        let Some(known) = self.known.get_mut(&packet.hash) else { return false };
        let Mark::Begins { by_first } = *known else { return true };
        // Until the message has come, what the other end sends may be anything.
        if by_first != packet.tuple.is_canonical() || payload.is_empty() {
            return false;
        }
        if !may_be_unicast(payload) {
            self.known.remove(&packet.hash);
            return false;
        }
        *known = Mark::Speaks;
        true
    }

    fn mark(&mut self, hash: u64, mark: Mark) {
        if self.known.get(&hash) == Some(&Mark::Speaks) {
            return;
        }
        if self.known.insert(hash, mark).is_none() {
            self.order.push_back(hash);
            self.sieve.add(hash);
        }
        if self.order.len() > MOST_SPEAKERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.sieve.forget(&self.known);
        }
    }
}

impl Sieve {
    const WORDS: usize = 256;

    /// The word and the bit of a hash.
    const fn place(hash: u64) -> (usize, u64) {
        ((hash >> 6) as usize % Self::WORDS, 1 << (hash % 64))
    }

    #[inline]
    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = Self::place(hash);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn add(&mut self, hash: u64) {
        let (word, bit) = Self::place(hash);
        self.bits.iter_mut().skip(word).take(1).for_each(|bits| *bits |= bit);
    }

    /// One is known no more: now and then only what is known keeps its bit.
    fn forget(&mut self, known: &HashMap<u64, Mark>) {
        self.stale += 1;
        if self.stale >= MOST_SPEAKERS {
            *self = Self::default();
            known.keys().for_each(|hash| self.add(*hash));
        }
    }
}

impl Default for Sieve {
    fn default() -> Self {
        Self { bits: Box::new([0; Self::WORDS]), stale: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Address, IpVersion, Tuple};

    const QUERY: &[u8] = b"\0\x17\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x03lab\0\0\x01\0\x01";

    fn packet(hash: u64, from_client: bool) -> Packet {
        let [client, server] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Address::v4);
        let tuple = Tuple { src: client, dst: server, sport: 40_000, dport: 53, version: IpVersion::V4 };
        let tuple = if from_client { tuple } else { tuple.reversed() };
        Packet { hash, ..Packet::placeholder(Timestamp::default(), 1, tuple) }
    }

    #[test]
    fn who_sends_a_message_speaks_from_then_on() {
        let mut speakers = Speakers::default();
        assert!(!speakers.hear(&packet(1, true), b""), "nothing is known");
        assert!(!speakers.hear(&packet(1, true), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(speakers.hear(&packet(1, true), QUERY));
        assert!(speakers.hear(&packet(1, false), b"the middle of an answer"));
        assert!(!speakers.hear(&packet(2, false), b"the middle of an answer"), "of another connection");
    }

    #[test]
    fn a_length_may_come_alone() {
        let (length, message) = QUERY.split_at(2);
        let mut speakers = Speakers::default();
        assert!(speakers.hear(&packet(1, true), length));
        assert!(!speakers.hear(&packet(1, false), b"something else"), "it may be anything so far");
        assert!(speakers.hear(&packet(1, true), message));
        assert!(speakers.hear(&packet(1, false), b"the middle of an answer"));
        assert!(speakers.hear(&packet(2, true), length));
        assert!(!speakers.hear(&packet(2, true), b"something else"));
        assert!(!speakers.hear(&packet(2, false), b"something else"));
    }

    #[test]
    fn few_are_kept() {
        let mut speakers = Speakers::default();
        for hash in 0..100_000 {
            assert!(speakers.hear(&packet(hash, true), QUERY));
        }
        assert!(speakers.known.len() <= MOST_SPEAKERS && speakers.order.len() <= MOST_SPEAKERS);
    }
}
