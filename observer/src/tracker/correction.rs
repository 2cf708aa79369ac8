//! Where Wireshark's rules take one thing for another, and the connection knows better.
//!
//! Wireshark tells a segment that was overtaken from one that was sent again by the clock: less than a round trip after
//! its direction last moved on, it is `out_of_order`. Of payload that starts before *next*:
//!
//! 1. All of it was captured before: it was sent again, however soon. At the sender, before the network could have
//!    reordered anything, this is every such segment.
//! 2. It fills a hole, and its TSval is older than that of the segment beyond the hole: that one overtook it, however late
//!    it came and whoever asked for it (a segment takes its TSval when it is sent: RFC 7323, section 3.2).
//! 3. It fills a hole, and its TSval is newer: it was sent after the segment beyond the hole, so it was sent again, and what
//!    was sent first was lost before the capture point.
//!
//! Without timestamps, or where both TSvals are the same, Wireshark's clock decides.

use std::cmp::Ordering;

use super::analysis::AnalysisSet;
use crate::packet::Segment;
use crate::sequence::Seq;
use crate::tcp_options::TcpOptions;

/// A name for payload that starts before *next*, without those that say more.
const SENT_AGAIN: AnalysisSet = AnalysisSet::RETRANSMISSION;

/// All names for it.
const OLD: AnalysisSet = SENT_AGAIN
    .union(AnalysisSet::FAST_RETRANSMISSION)
    .union(AnalysisSet::SPURIOUS_RETRANSMISSION)
    .union(AnalysisSet::OUT_OF_ORDER);

/// Holes remembered of one direction; beyond it the oldest is forgotten.
const MOST_HOLES: usize = 16;

/// The holes in what was captured of one direction. Costs no heap until there is one.
#[derive(Debug, Default)]
pub(super) struct Holes(Vec<Beyond>);

/// The first segment beyond a hole.
#[derive(Clone, Copy, Debug)]
struct Beyond {
    seq: Seq,
    /// Its TSval.
    value: u32,
}

impl Holes {
    /// Takes in a segment with payload, and corrects what the analysis says of it. `seen` says that all of its payload was
    /// captured before, `acknowledged` up to where the other end needs nothing more.
    pub(super) fn correct(
        &mut self,
        set: AnalysisSet,
        segment: &Segment,
        options: &TcpOptions,
        seen: bool,
        acknowledged: Option<Seq>,
    ) -> AnalysisSet {
        if set.contains(AnalysisSet::LOST_SEGMENT) {
            self.open(segment, options, acknowledged);
        }
        if !set.intersects(OLD) {
            return set;
        }
        match self.age(segment, options) {
            _ if seen && set.contains(AnalysisSet::OUT_OF_ORDER) => (set - OLD) | SENT_AGAIN,
            _ if seen => set,
            Some(Ordering::Less) => (set - OLD) | AnalysisSet::OUT_OF_ORDER,
            Some(Ordering::Greater) if set.contains(AnalysisSet::OUT_OF_ORDER) => (set - OLD) | SENT_AGAIN,
            _ => set,
        }
    }

    fn open(&mut self, beyond: &Segment, options: &TcpOptions, acknowledged: Option<Seq>) {
        let Some((value, _)) = options.timestamps else { return };
        self.0.retain(|hole| acknowledged.is_none_or(|acknowledged| hole.seq.after(acknowledged)));
        if self.0.len() >= MOST_HOLES {
            self.0.remove(0);
        }
        self.0.push(Beyond { seq: beyond.seq, value });
    }

    /// How the TSval of a segment compares with that of the first segment beyond it; `None` where there are no two.
    fn age(&self, segment: &Segment, options: &TcpOptions) -> Option<Ordering> {
        let (value, _) = options.timestamps?;
        let distance = |hole: &&Beyond| hole.seq.delta(segment.seq);
        let beyond = self.0.iter().filter(|hole| distance(hole) > 0).min_by_key(distance)?;
        Some(Seq(value).delta(Seq(beyond.value)).cmp(&0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPURIOUS: AnalysisSet = SENT_AGAIN.union(AnalysisSet::SPURIOUS_RETRANSMISSION);
    const FAST: AnalysisSet = SENT_AGAIN.union(AnalysisSet::FAST_RETRANSMISSION);

    /// What becomes of `set` on the segment at 100, sent at `value`, after holes before 200 and 300 whose far sides were
    /// sent at 7 and 9.
    fn corrected(set: AnalysisSet, value: u32, seen: bool) -> AnalysisSet {
        let mut holes = Holes::default();
        let mut take = |set, seq, value, seen| {
            let segment = Segment { seq: Seq(seq), len: 100, ..Segment::default() };
            let options = TcpOptions { timestamps: Some((value, 0)), ..TcpOptions::default() };
            holes.correct(set, &segment, &options, seen, None)
        };
        take(AnalysisSet::LOST_SEGMENT, 300, 9, false);
        take(AnalysisSet::LOST_SEGMENT, 200, 7, false);
        take(set, 100, value, seen)
    }

    #[test]
    fn what_was_captured_before_was_sent_again() {
        let other = AnalysisSet::ZERO_WINDOW;
        assert_eq!(corrected(AnalysisSet::OUT_OF_ORDER | other, 6, true), SENT_AGAIN | other);
        assert_eq!(corrected(SPURIOUS, 6, true), SPURIOUS);
    }

    #[test]
    fn timestamps_tell_what_was_overtaken() {
        assert_eq!(corrected(FAST, 6, false), AnalysisSet::OUT_OF_ORDER);
        assert_eq!(corrected(FAST, 8, false), FAST);
        assert_eq!(corrected(AnalysisSet::OUT_OF_ORDER, 8, false), SENT_AGAIN);
        assert_eq!(corrected(AnalysisSet::OUT_OF_ORDER, 7, false), AnalysisSet::OUT_OF_ORDER);
    }

    #[test]
    fn few_holes_are_remembered() {
        let mut holes = Holes::default();
        let options = TcpOptions { timestamps: Some((1, 0)), ..TcpOptions::default() };
        for seq in (0..100).map(|number| Seq(number * 1000)) {
            let segment = Segment { seq, len: 100, ..Segment::default() };
            holes.correct(AnalysisSet::LOST_SEGMENT, &segment, &options, false, None);
        }
        assert_eq!(holes.0.len(), MOST_HOLES);
        holes.open(&Segment { seq: Seq(100_000), ..Segment::default() }, &options, Some(Seq(98_000)));
        assert_eq!(holes.0.len(), 2);
    }
}
