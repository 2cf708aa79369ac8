//! IP fragments (RFC 791, section 3.2; RFC 8200, section 4.5) put together again.
//!
//! Invariants: the pieces of a datagram never overlap, and none lies beyond its end once that is known. Of octets that
//! come twice the first are kept. What waits is bounded in number, in octets and in age.

use std::collections::{BTreeMap, HashMap};

use crate::packet::{Address, Notes};
use crate::time::{Nanos, Timestamp};

use super::Fragments;
use super::bytes::{Bytes, Miss, Outcome};
use super::ip::Ip;
use super::walk::Walk;

/// How long fragments wait for the rest, by the capture's clock (RFC 8200, section 4.5).
const MAX_AGE: Nanos = Nanos::from_secs(60);

/// How many datagrams may wait.
const MAX_WAITING: usize = 4096;

/// How many octets may wait, with [`PIECE_COST`] for each piece.
const MAX_OCTETS: usize = 4 << 20;

/// What a piece costs beside its octets.
const PIECE_COST: usize = 64;

/// The longest payload that fragments can make (RFC 791: a total length of 65,535).
const MAX_LENGTH: u32 = 65_535;

/// What makes fragments parts of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) src: Address,
    pub(super) dst: Address,
    pub(super) id: u32,
    /// The protocol for IPv4; 0 for IPv6, where only the first fragment knows it.
    pub(super) protocol: u8,
    /// A hash of the addresses and of the tunnels around the fragment: who uses which addresses differs by tunnel.
    pub(super) context: u64,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    /// What the IP header, or the fragment header, says comes next.
    pub(super) next: u8,
    /// Where it starts in the datagram, in octets.
    pub(super) offset: u32,
    /// Whether it is not the last one.
    pub(super) more: bool,
    pub(super) data: &'a [u8],
}

/// What a fragment did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// Others are still missing.
    Waiting,
    /// It contradicts what is known of the datagram, and was left out.
    Contradiction,
    /// It was the last one missing.
    Complete {
        /// What the first fragment says comes next.
        next: u8,
        data: Vec<u8>,
    },
}

/// A datagram of which some fragments came.
#[derive(Debug, Default)]
struct Waiting {
    since: Timestamp,
    /// Its place in [`Reassembler::by_age`].
    serial: u64,
    next: u8,
    fragments: u64,
    /// Octets in `pieces`.
    have: u32,
    /// Its length, once the last fragment came.
    length: Option<u32>,
    pieces: BTreeMap<u32, Box<[u8]>>,
}

/// The datagrams that wait for fragments.
#[derive(Debug, Default)]
pub(super) struct Reassembler {
    waiting: HashMap<Key, Waiting>,
    by_age: BTreeMap<u64, Key>,
    serial: u64,
    cost: usize,
    dropped: u64,
}

impl Reassembler {
    /// Takes in a fragment that was captured at `at`.
    pub(super) fn add(&mut self, key: Key, at: Timestamp, fragment: Fragment<'_>) -> Added {
        self.make_room(at);
        let datagram = self.waiting.entry(key).or_insert_with(|| {
            self.serial += 1;
            self.by_age.insert(self.serial, key);
            Waiting { since: at, serial: self.serial, ..Waiting::default() }
        });
        let pieces = datagram.pieces.len();
        let have = datagram.have;
        if !datagram.add(fragment) {
            self.dropped += 1;
            return Added::Contradiction;
        }
        self.cost += (datagram.have - have) as usize + PIECE_COST * (datagram.pieces.len() - pieces);
        if datagram.length != Some(datagram.have) {
            return Added::Waiting;
        }
        match self.remove(&key) {
            Some(datagram) => Added::Complete {
                next: datagram.next,
                data: datagram.pieces.into_values().fold(Vec::new(), |mut data, piece| {
                    data.extend_from_slice(&piece);
                    data
                }),
            },
            None => Added::Waiting,
        }
    }

    /// Fragments given up so far, those that still wait included.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped + self.waiting.values().map(|datagram| datagram.fragments).sum::<u64>()
    }

    /// Gives up what has waited too long, and the oldest while there is too much.
    fn make_room(&mut self, now: Timestamp) {
        while let Some((_, &oldest)) = self.by_age.first_key_value() {
            let too_old = self.waiting.get(&oldest).is_none_or(|datagram| now.since(datagram.since) > MAX_AGE);
            if !too_old && self.waiting.len() < MAX_WAITING && self.cost < MAX_OCTETS {
                break;
            }
            match self.remove(&oldest) {
                Some(datagram) => self.dropped += datagram.fragments,
                None => break,
            }
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Waiting> {
        let datagram = self.waiting.remove(key)?;
        self.by_age.remove(&datagram.serial);
        self.cost -= datagram.have as usize + PIECE_COST * datagram.pieces.len();
        Some(datagram)
    }
}

impl Waiting {
    /// Takes in a fragment; false where it contradicts what is known.
    fn add(&mut self, fragment: Fragment<'_>) -> bool {
        let (start, end) = (fragment.offset, fragment.offset.saturating_add(fragment.data.len() as u32));
        let known_end = self.pieces.last_key_value().map_or(0, |(at, piece)| at + piece.len() as u32);
        let fits = match (fragment.more, self.length) {
            (true, None) => end > start,
            (true, Some(length)) => end > start && end <= length,
            (false, None) => end >= known_end,
            (false, Some(length)) => end == length,
        };
        if !fits || end > MAX_LENGTH {
            return false;
        }
        if !fragment.more {
            self.length = Some(end);
        }
        if start == 0 {
            self.next = fragment.next;
        }
        self.fragments += 1;
        self.fill(start, end, fragment.data);
        true
    }

    /// Keeps those octets of `data` that did not come before.
    fn fill(&mut self, start: u32, end: u32, data: &[u8]) {
        let before = self.pieces.range(..start).next_back().map_or(0, |(at, piece)| at + piece.len() as u32);
        let mut from = start.max(before);
        while from < end {
            let (to, next) = match self.pieces.range(from..end).next() {
                Some((&at, piece)) => (at, at + piece.len() as u32),
                None => (end, end),
            };
            if let Some(gap) = data.get((from - start) as usize..(to - start) as usize)
                && !gap.is_empty()
            {
                self.have += gap.len() as u32;
                self.pieces.insert(from, gap.into());
            }
            from = next;
        }
    }
}

impl Walk<'_> {
    /// A fragment of an IP datagram. Where the capture lacks a part of it, nothing can be put together: what the first
    /// fragment shows is taken for the whole, as [`Fragments::AsCaptured`] does with every first fragment.
    pub(super) fn fragment(
        &mut self,
        mut ip: Ip,
        key: Key,
        next: u8,
        offset: u32,
        more: bool,
        payload: Bytes<'_>,
    ) -> Outcome {
        self.decoder.counts.fragments += 1;
        let whole = payload.is_whole() && !ip.notes.contains(Notes::TRUNCATED_IP);
        if self.decoder.fragments == Fragments::AsCaptured || !whole {
            if offset > 0 {
                return Err(if whole { Miss::Other } else { Miss::Cut });
            }
            ip.fragmented = true;
            return self.ip_payload(next, ip, payload);
        }
        let fragment = Fragment { next, offset, more, data: payload.data() };
        let (next, data) = match self.decoder.reassembler.add(key, self.frame.at, fragment) {
            Added::Waiting => return Err(Miss::Waiting),
            Added::Contradiction => return Err(Miss::Malformed),
            Added::Complete { next, data } => (next, data),
        };
        let start = self.out.reassembled.len();
        let packets = self.out.packets.len();
        self.out.reassembled.extend_from_slice(&data);
        let outer = std::mem::replace(&mut self.reassembled, true);
        ip.notes |= Notes::REASSEMBLED;
        let whole = Bytes::new(&data, u32::try_from(start).map_err(|_| Miss::Other)?, data.len() as u32);
        let outcome = self.ip_payload(next, ip, whole);
        self.reassembled = outer;
        if self.out.packets.len() == packets {
            self.out.reassembled.truncate(start);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: u32) -> Key {
        Key { src: Address::v4([1; 4]), dst: Address::v4([2; 4]), id, protocol: 6, context: 0 }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    fn first(data: &[u8]) -> Fragment<'_> {
        Fragment { next: 6, offset: 0, more: true, data }
    }

    #[test]
    fn gives_up_what_waits_too_long() {
        let mut table = Reassembler::default();
        assert_eq!(table.add(key(1), at(0), first(&[1; 8])), Added::Waiting);
        assert_eq!(table.add(key(2), at(61), first(&[1; 8])), Added::Waiting);
        let last = Fragment { next: 6, offset: 8, more: false, data: &[2; 4] };
        assert_eq!(table.add(key(1), at(61), last), Added::Waiting);
        let Added::Complete { data, .. } = table.add(key(2), at(62), last) else { panic!("the datagram is complete") };
        assert_eq!(data, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(table.dropped(), 2);
    }

    #[test]
    fn stays_within_its_bounds() {
        let mut table = Reassembler::default();
        let octets = vec![0; 60_000];
        for id in 0..200 {
            assert_eq!(table.add(key(id), at(0), first(&octets)), Added::Waiting);
            assert!(table.cost <= MAX_OCTETS + octets.len() + PIECE_COST);
        }
        for id in 1000..10_000 {
            assert_eq!(table.add(key(id), at(0), first(&[1; 8])), Added::Waiting);
            assert!(table.waiting.len() <= MAX_WAITING && table.by_age.len() == table.waiting.len());
        }
        assert_eq!(table.dropped(), 9200);
    }

    #[test]
    fn leaves_out_what_contradicts_the_end() {
        let mut table = Reassembler::default();
        let piece = |offset, more, length: usize| Fragment { next: 6, offset, more, data: &[9; 64][..length] };
        assert_eq!(table.add(key(1), at(0), piece(8, false, 8)), Added::Waiting);
        assert_eq!(table.add(key(1), at(0), piece(16, true, 8)), Added::Contradiction);
        assert_eq!(table.add(key(1), at(0), piece(8, false, 4)), Added::Contradiction);
        assert_eq!(table.add(key(1), at(0), piece(65_528, false, 64)), Added::Contradiction);
        assert!(matches!(table.add(key(1), at(0), piece(0, true, 8)), Added::Complete { .. }));
        assert!(table.waiting.is_empty() && table.by_age.is_empty() && table.cost == 0);
    }

    proptest! {
        /// Held against a datagram of single octets: each is written once, by the fragment that came first.
        #[test]
        fn agrees_with_octets_written_one_by_one(
            pieces in proptest::collection::vec((0usize..24, 1usize..12, any::<bool>()), 1..24),
        ) {
            let mut table = Reassembler::default();
            let mut model: [Option<u8>; 40] = [None; 40];
            let mut length = None;
            for (mark, &(offset, len, last)) in pieces.iter().enumerate() {
                let octets = vec![mark as u8; len];
                let (end, more) = (offset + len, !last);
                let added = table.add(key(7), at(0), Fragment { next: 6, offset: offset as u32, more, data: &octets });
                let reach = model.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
                let contradicts = match length {
                    Some(length) => if last { end != length } else { end > length },
                    None => last && end < reach,
                };
                if contradicts {
                    prop_assert_eq!(added, Added::Contradiction);
                    continue;
                }
                if last {
                    length = Some(end);
                }
                model[offset..end].iter_mut().for_each(|octet| *octet = octet.or(Some(mark as u8)));
                let whole: Option<Vec<u8>> = length.and_then(|length| model[..length].iter().copied().collect());
                match whole {
                    Some(data) => {
                        prop_assert_eq!(added, Added::Complete { next: if data.is_empty() { 0 } else { 6 }, data });
                        (model, length) = ([None; 40], None);
                    }
                    None => prop_assert_eq!(added, Added::Waiting),
                }
            }
        }
    }
}
