//! Where Wireshark's rules take one thing for another, and the connection knows better.
//!
//! Wireshark tells a segment that was overtaken from one that was sent again by the clock: less than a round trip after
//! its direction last moved on, it is `out_of_order`. Of payload that starts before *next*:
//!
//! 1. All of it was captured before: it was sent again, however soon. At the sender, before the network could have
//!    reordered anything, this is every such segment.
//! 2. It fills a hole, and was sent before the segment beyond the hole: that one overtook it, however late it came and
//!    whoever asked for it.
//! 3. It fills a hole, and was sent after the segment beyond the hole: so it was sent again, and what was sent first was
//!    lost before the capture point.
//!
//! Which of two segments was sent first is told by their TSvals (each takes its own when it is sent: RFC 7323, section 3.2);
//! where there are none, or the same, by their IPv4 identifications, if they are close enough to come from one counter.
//! Where neither tells, Wireshark's clock decides.

use std::cmp::Ordering;

use super::analysis::AnalysisSet;
use super::pack::{pack_fields, pack_wrapped};
use crate::packet::Segment;
use crate::sequence::Seq;

/// A name for payload that starts before *next*, without those that say more.
const SENT_AGAIN: AnalysisSet = AnalysisSet::RETRANSMISSION;

/// All names for it.
const OLD: AnalysisSet = SENT_AGAIN
    .union(AnalysisSet::FAST_RETRANSMISSION)
    .union(AnalysisSet::SPURIOUS_RETRANSMISSION)
    .union(AnalysisSet::OUT_OF_ORDER);

/// How far two identifications from one counter are apart at most. Of drawn ones, one pair in 64 is as close.
const CLOSE: i16 = 512;

/// Holes remembered of one direction; beyond it the oldest is forgotten.
const MOST_HOLES: usize = 16;

/// The holes in what was captured of one direction. Costs no heap until there is one.
#[derive(Debug, Default)]
pub(super) struct Holes(Option<Box<List>>);

/// The oldest first. Boxed as a whole: a word where there is none.
#[derive(Debug, Default)]
struct List(Vec<Beyond>);

/// The first segment beyond a hole.
#[derive(Clone, Copy, Debug)]
struct Beyond {
    seq: Seq,
    sent: Sent,
}

/// What tells when a segment was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) tsval: Option<u32>,
    /// Of IPv4; 0 says nothing.
    pub(super) ip_id: u16,
}

impl Sent {
    /// Whether this segment was sent before or after another; `None` where nothing tells.
    fn compare(self, other: Self) -> Option<Ordering> {
        let by_time = self.tsval.zip(other.tsval).map(|(one, other)| Seq(one).delta(Seq(other)).cmp(&0));
        by_time.filter(|order| order.is_ne()).or_else(|| {
            let distance = self.ip_id.wrapping_sub(other.ip_id) as i16;
            let counted = self.ip_id != 0 && other.ip_id != 0 && (-CLOSE..=CLOSE).contains(&distance);
            Some(distance.cmp(&0)).filter(|order| counted && order.is_ne())
        })
    }
}

impl Holes {
    /// Takes in a segment with payload, and corrects what the analysis says of it. `seen` says that all of its payload was
    /// captured before, `acknowledged` up to where the other end needs nothing more.
    pub(super) fn correct(
        &mut self,
        set: AnalysisSet,
        segment: &Segment,
        sent: Sent,
        seen: bool,
        acknowledged: Option<Seq>,
    ) -> AnalysisSet {
        if set.contains(AnalysisSet::LOST_SEGMENT) {
            self.open(segment.seq, sent, acknowledged);
        }
        if !set.intersects(OLD) {
            return set;
        }
        match self.age(segment.seq, sent) {
            _ if seen && set.contains(AnalysisSet::OUT_OF_ORDER) => (set - OLD) | SENT_AGAIN,
            _ if seen => set,
            Some(Ordering::Less) => (set - OLD) | AnalysisSet::OUT_OF_ORDER,
            Some(Ordering::Greater) if set.contains(AnalysisSet::OUT_OF_ORDER) => (set - OLD) | SENT_AGAIN,
            _ => set,
        }
    }

    fn open(&mut self, seq: Seq, sent: Sent, acknowledged: Option<Seq>) {
        let List(holes) = &mut **self.0.get_or_insert_default();
        holes.retain(|hole| acknowledged.is_none_or(|acknowledged| hole.seq.after(acknowledged)));
        if holes.len() >= MOST_HOLES {
            holes.remove(0);
        }
        holes.push(Beyond { seq, sent });
    }

    /// Whether a segment at `seq` was sent before or after the first segment beyond it.
    fn age(&self, seq: Seq, sent: Sent) -> Option<Ordering> {
        let distance = |hole: &&Beyond| hole.seq.delta(seq);
        let beyond = self.0.iter().flat_map(|list| &list.0).filter(|hole| distance(hole) > 0).min_by_key(distance)?;
        sent.compare(beyond.sent)
    }
}

pack_fields! {
    Beyond { seq, sent }
    Sent { tsval, ip_id }
}

pack_wrapped!(Holes, List);

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
            holes.correct(set, &segment, Sent { tsval: Some(value), ip_id: 0 }, seen, None)
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
    fn identifications_tell_where_timestamps_do_not() {
        let sent = |tsval, ip_id| Sent { tsval, ip_id };
        assert_eq!(sent(Some(5), 65_530).compare(sent(Some(5), 3)), Some(Ordering::Less));
        assert_eq!(sent(None, 12).compare(sent(None, 3)), Some(Ordering::Greater));
        assert_eq!(sent(Some(6), 2).compare(sent(Some(5), 3)), Some(Ordering::Greater));
        for (one, other) in [(0, 3), (3, 0), (3, 3), (3, 3000)] {
            assert_eq!(sent(None, one).compare(sent(Some(5), other)), None);
        }
    }

    #[test]
    fn few_holes_are_remembered() {
        let kept = |holes: &Holes| holes.0.as_ref().map_or(0, |list| list.0.len());
        let mut holes = Holes::default();
        let sent = Sent { tsval: Some(1), ip_id: 0 };
        for seq in (0..100).map(|number| Seq(number * 1000)) {
            let segment = Segment { seq, len: 100, ..Segment::default() };
            holes.correct(AnalysisSet::LOST_SEGMENT, &segment, sent, false, None);
        }
        assert_eq!(kept(&holes), MOST_HOLES);
        holes.open(Seq(100_000), sent, Some(Seq(98_000)));
        assert_eq!(kept(&holes), 2);
    }
}
