//! Relative sequence numbers, counted from where tcpdump counts them.
//!
//! 1. A conversation is the addresses and ports of a segment, whatever tunnels are around it, in an order that does not
//!    depend on its direction.
//! 2. The first segment with ACK of a conversation, and each one with SYN and ACK, sets what both directions are counted
//!    from: its own sequence number, and its acknowledgment number less one. It is shown with absolute numbers itself.
//! 3. Later segments with ACK are shown relative to these; those without ACK are shown with absolute numbers.

use std::mem;

use hashbrown::HashTable;
use observer::flow;
use observer::packet::{Flags, Segment, Tuple};
use observer::sequence::Seq;

use crate::run::seed;

/// Conversations kept in each of the two generations of [`Conversations`]: about 50 MB where both are full.
const GENERATION: usize = 1 << 18;

/// The numbers to show for one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relative {
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// What is to be taken off the edges of SACK blocks.
    pub sack_base: Seq,
}

/// Where the sequence numbers of both ends of every conversation are counted from.
///
/// At most two generations of conversations are kept. When the younger one is full it becomes the older one, and what
/// was not used since is forgotten, so that a flood of conversations costs a fixed amount of memory.
#[derive(Debug)]
pub struct Conversations {
    young: HashTable<Conversation>,
    old: HashTable<Conversation>,
    generation: usize,
    /// Keys the hashes, so that nobody can choose tuples that collide. What is shown does not depend on it.
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Conversation {
    ends: Tuple,
    /// What the numbers of `ends.src` and of `ends.dst` are counted from.
    bases: [Seq; 2],
}

impl Default for Conversations {
    fn default() -> Self {
        Self { young: HashTable::new(), old: HashTable::new(), generation: GENERATION, seed: seed() }
    }
}

impl Conversations {
    /// The numbers of a segment between the ends `tuple`. Where `counts` is false later ones are not counted from it.
    pub fn relative(&mut self, tuple: &Tuple, segment: &Segment, counts: bool) -> Relative {
        let Segment { seq, ack, flags, .. } = *segment;
        let absolute = Relative { seq, ack, sack_base: Seq(0) };
        if !flags.contains(Flags::ACK) {
            return absolute;
        }
        let reversed = (tuple.sport, tuple.src) > (tuple.dport, tuple.dst);
        let ends = if reversed { tuple.reversed() } else { *tuple };
        let hash = flow::hash(&ends, &[], self.seed);
        let known = self.find(hash, &ends);
        if let (Some(Conversation { bases: [low, high], .. }), false) = (&known, flags.contains(Flags::SYN)) {
            let (own, other) = if reversed { (high, low) } else { (low, high) };
            return Relative { seq: seq.minus(own.0), ack: ack.minus(other.0), sack_base: *other };
        }
        if !counts {
            return absolute;
        }
        let (own, other) = (seq, ack.minus(1));
        let bases = if reversed { [other, own] } else { [own, other] };
        match known {
            Some(conversation) => conversation.bases = bases,
            None => self.insert(hash, Conversation { ends, bases }),
        }
        Relative { sack_base: other, ..absolute }
    }

    /// The conversation of `ends`, moved to the younger generation where it was in the older one.
    fn find(&mut self, hash: u64, ends: &Tuple) -> Option<&mut Conversation> {
        if let Ok(entry) = self.old.find_entry(hash, |known| known.ends == *ends) {
            let (conversation, _) = entry.remove();
            self.insert(hash, conversation);
        }
        self.young.find_mut(hash, |known| known.ends == *ends)
    }

    fn insert(&mut self, hash: u64, conversation: Conversation) {
        if self.young.len() >= self.generation {
            self.old.clear();
            mem::swap(&mut self.young, &mut self.old);
        }
        self.young.insert_unique(hash, conversation, |known| flow::hash(&known.ends, &[], self.seed));
    }
}

#[cfg(test)]
mod tests {
    use observer::packet::{Address, IpVersion};

    use super::*;

    fn tuple(sport: u16, dport: u16) -> Tuple {
        let (src, dst) = (Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2]));
        Tuple { src, dst, sport, dport, version: IpVersion::V4 }
    }

    fn segment(seq: u32, ack: u32, flags: Flags) -> Segment {
        Segment { seq: Seq(seq), ack: Seq(ack), flags, ..Segment::default() }
    }

    fn numbers(shown: Relative) -> (u32, u32, u32) {
        (shown.seq.0, shown.ack.0, shown.sack_base.0)
    }

    #[test]
    fn counts_from_the_first_segment_with_ack() {
        for (client, server) in [(40_000, 80), (80, 40_000), (5, 5)] {
            let mut conversations = Conversations::default();
            let (there, back) = (tuple(client, server), tuple(client, server).reversed());
            let mut show = |tuple: &Tuple, seq, ack, flags| {
                numbers(conversations.relative(tuple, &segment(seq, ack, flags), true))
            };
            assert_eq!(show(&there, 100, 0, Flags::SYN), (100, 0, 0));
            assert_eq!(show(&back, u32::MAX, 101, Flags::SYN | Flags::ACK), (u32::MAX, 101, 100));
            assert_eq!(show(&there, 101, 0, Flags::ACK), (1, 1, u32::MAX));
            assert_eq!(show(&back, 9, 111, Flags::ACK), (10, 11, 100));
            assert_eq!(show(&there, 111, 9, Flags::RST), (111, 9, 0));
            assert_eq!(show(&back, 500, 1001, Flags::SYN | Flags::ACK), (500, 1001, 1000));
            assert_eq!(show(&there, 1001, 501, Flags::ACK), (1, 1, 500));
        }
    }

    #[test]
    fn forgets_what_was_not_used_for_two_generations() {
        let mut conversations = Conversations { generation: 4, ..Conversations::default() };
        let mut seq_of = |port| conversations.relative(&tuple(port, 1), &segment(7, 1, Flags::ACK), true).seq.0;
        assert_eq!(seq_of(100), 7);
        for port in 200..300 {
            assert_eq!(seq_of(port), 7);
            assert_eq!(seq_of(100), 0, "in use all the time");
        }
        assert_eq!(seq_of(200), 7, "forgotten");
        assert!(conversations.young.len() <= 4 && conversations.old.len() <= 4);
    }
}
