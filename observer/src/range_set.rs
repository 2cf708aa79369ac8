//! Which octets of a sequence space were seen: a bounded set of ranges.
//!
//! A stream that arrives in order is one range, kept inline: it costs no heap. Ranges beyond a hole go to a list that
//! exists only while there is a hole.

use crate::sequence::Seq;
use crate::tracker::pack::{pack_fields, pack_wrapped};

/// How many ranges a [`RangeSet`] tells apart. Beyond it the oldest hole is given up.
pub const MAX_RANGES: usize = 64;

/// How far behind the highest octet seen the set remembers, in octets: the largest window that TCP can offer (RFC 7323,
/// section 2.3). What lies further back counts as seen.
pub const HORIZON: u32 = 1 << 30;

/// A set of octets in sequence space, which wraps.
///
/// What lies before the floor counts as seen: before the first octet of a stream whose SYN was captured, and more than
/// [`HORIZON`] behind the highest octet otherwise. Where there would be more than [`MAX_RANGES`] ranges, the oldest hole
/// counts as seen too. So the set may call an octet seen that was not, and never the other way round. A jump by half the
/// sequence space or more cannot be told from a step back (RFC 9293, section 3.4), and counts as seen.
///
/// Invariants: `floor ≤ first.start`; `first` and the ranges of `rest` are in order and no two of them touch; the highest
/// end is at most [`HORIZON`] after `floor`; `rest` is `None` rather than empty. Only `first` may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    floor: Seq,
    first: Range,
    started: bool,
    rest: Option<Box<Rest>>,
}

/// From `start` up to `end`, which is not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first octet.
    pub start: Seq,
    /// The octet after the last.
    pub end: Seq,
}

/// The ranges after the first. Boxed as a whole, so that a set without holes is three words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rest(Vec<Range>);

impl RangeSet {
    /// An empty set of a stream whose first octet is known to be `start`: the one after the SYN.
    pub const fn starting_at(start: Seq) -> Self {
        Self { floor: start, first: Range { start, end: start }, started: true, rest: None }
    }

    /// Adds `len` octets from `start` on, and says how many of them were not in the set.
    ///
    /// The first octets added to a default set need not be the first of the stream: earlier ones may follow.
    pub fn insert(&mut self, start: Seq, len: u32) -> u32 {
        if start == self.first.end && self.rest.is_none() && self.started {
            // In order: all that a stream without loss or reordering ever asks for.
            let len = len.min(HORIZON);
            self.first.end = start.plus(len);
            self.keep_to_horizon();
            return len;
        }
        if !self.started {
            *self = Self { floor: start.minus(HORIZON), ..Self::starting_at(start) };
            return self.insert(start, len);
        }
        let Some(range) = self.above_floor(start, len) else { return 0 };
        let new = self.missing(range);
        if new > 0 {
            self.put(range);
            self.keep_to_horizon();
        }
        new
    }

    /// Whether all `len` octets from `start` on are in the set, or count as seen.
    pub fn contains(&self, start: Seq, len: u32) -> bool {
        self.started && self.above_floor(start, len).is_none_or(|range| self.missing(range) == 0)
    }

    /// The end of the first range: everything up to here was seen, from the start of the stream or from the earliest
    /// octet remembered. `None` while nothing is known.
    pub fn contiguous_end(&self) -> Option<Seq> {
        self.started.then_some(self.first.end)
    }

    /// The end of the last range. `None` while nothing is known.
    pub fn highest_end(&self) -> Option<Seq> {
        self.started.then(|| self.last().end)
    }

    /// The first hole: what is missing between the first range and the next.
    pub fn first_gap(&self) -> Option<Range> {
        let next = self.rest.as_ref()?.0.first()?;
        Some(Range { start: self.first.end, end: next.start })
    }

    /// The ranges in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        let first = (self.first.start != self.first.end).then_some(self.first);
        first.into_iter().chain(self.rest.iter().flat_map(|rest| rest.0.iter().copied()))
    }

    /// Counts everything before `seq` as seen, and forgets what was known of it.
    pub fn forget_before(&mut self, seq: Seq) {
        if !self.started {
            *self = Self::starting_at(seq);
            return;
        }
        if seq.at_or_before(self.floor) {
            return;
        }
        self.floor = seq;
        let floor = self.floor;
        while self.first.end.before(floor) {
            match self.take_second() {
                Some(second) => self.first = second,
                None => self.first = Range { start: floor, end: floor },
            }
        }
        self.first.start = self.first.start.latest(floor);
    }

    /// The part of a range that is not before the floor; `None` where nothing is left of it.
    fn above_floor(&self, start: Seq, len: u32) -> Option<Range> {
        let end = start.plus(len.min(HORIZON));
        let start = start.latest(self.floor);
        end.after(start).then_some(Range { start, end })
    }

    fn last(&self) -> Range {
        self.rest.as_ref().and_then(|rest| rest.0.last().copied()).unwrap_or(self.first)
    }

    /// How many octets of `range`, which is not before the floor, are not in the set.
    fn missing(&self, range: Range) -> u32 {
        let rest = self.rest.as_ref().map_or(&[][..], |rest| &rest.0);
        let seen: u32 = std::iter::once(&self.first).chain(rest).map(|have| self.overlap(*have, range)).sum();
        self.len(range) - seen
    }

    fn overlap(&self, one: Range, other: Range) -> u32 {
        let start = self.offset(one.start).max(self.offset(other.start));
        let end = self.offset(one.end).min(self.offset(other.end));
        end.saturating_sub(start)
    }

    fn len(&self, range: Range) -> u32 {
        self.offset(range.end) - self.offset(range.start)
    }

    /// A place as a number that does not wrap. Nothing is compared that reaches further than 3·2³⁰ beyond the floor.
    fn offset(&self, seq: Seq) -> u32 {
        seq.offset_from(self.floor)
    }

    /// Puts `range` among the others and joins it with all that it touches.
    fn put(&mut self, range: Range) {
        let floor = self.floor;
        let offset = |seq: Seq| seq.offset_from(floor);
        let ranges = &mut self.rest.get_or_insert_default().0;
        ranges.insert(0, self.first);
        let from = ranges.partition_point(|have| offset(have.end) < offset(range.start));
        let to = ranges.partition_point(|have| offset(have.start) <= offset(range.end));
        let touched = ranges.get(from..to).unwrap_or(&[]);
        let joined = match (touched.first(), touched.last()) {
            (Some(low), Some(high)) => Range {
                start: if offset(low.start) < offset(range.start) { low.start } else { range.start },
                end: if offset(high.end) > offset(range.end) { high.end } else { range.end },
            },
            _ => range,
        };
        ranges.splice(from..to, [joined]);
        self.first = ranges.remove(0);
        if ranges.len() >= MAX_RANGES {
            self.first.end = ranges.remove(0).end;
        }
        self.drop_empty_rest();
    }

    fn take_second(&mut self) -> Option<Range> {
        let ranges = &mut self.rest.as_mut()?.0;
        let second = (!ranges.is_empty()).then(|| ranges.remove(0));
        self.drop_empty_rest();
        second
    }

    fn drop_empty_rest(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.0.is_empty()) {
            self.rest = None;
        }
    }

    fn keep_to_horizon(&mut self) {
        let high = self.last().end;
        if self.offset(high) > HORIZON {
            self.forget_before(high.minus(HORIZON));
        }
    }
}

pack_fields! {
    Range { start, end }
    RangeSet { floor, first, started, rest }
}

pack_wrapped!(Rest);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The obvious way: every octet by itself, in a space that does not wrap.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn insert(&mut self, start: u64, len: u32) -> u32 {
            let new = (start..start + u64::from(len)).filter(|octet| self.seen.insert(*octet)).count() as u32;
            let runs = self.runs();
            if runs.len() > MAX_RANGES {
                self.seen.extend(runs[0].1..runs[1].0);
            }
            new
        }

        fn runs(&self) -> Vec<(u64, u64)> {
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for &octet in &self.seen {
                match runs.last_mut() {
                    Some(run) if run.1 == octet => run.1 += 1,
                    _ => runs.push((octet, octet + 1)),
                }
            }
            runs
        }
    }

    fn agrees(set: &RangeSet, model: &Model) -> Result<(), TestCaseError> {
        let runs = model.runs();
        let narrow: Vec<Range> =
            runs.iter().map(|&(start, end)| Range { start: Seq(start as u32), end: Seq(end as u32) }).collect();
        prop_assert_eq!(set.ranges().collect::<Vec<_>>(), narrow);
        prop_assert_eq!(set.rest.is_none(), set.first_gap().is_none());
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn agrees_with_counting_every_octet(
            base in prop_oneof![Just((1u64 << 32) - 300), (1u64 << 31)..(1u64 << 33)],
            inserts in prop::collection::vec((0u64..700, 0u32..40), 1..200),
        ) {
            let (mut set, mut model) = (RangeSet::default(), Model::default());
            for (offset, len) in inserts {
                let start = base + offset;
                let held = (start..start + u64::from(len)).all(|octet| model.seen.contains(&octet));
                // An empty range tells a new set where it stands, which the model does not know of.
                prop_assume!(set.started || len > 0);
                if set.started {
                    prop_assert_eq!(set.contains(Seq(start as u32), len), held);
                }
                prop_assert_eq!(set.insert(Seq(start as u32), len), model.insert(start, len));
                agrees(&set, &model)?;
            }
        }

        #[test]
        fn keeps_its_bound_on_many_ranges(
            base in any::<u32>(),
            inserts in prop::collection::vec((0u64..4000, 1u32..4), 200..400),
        ) {
            let base = u64::from(base) + (1 << 33);
            let (mut set, mut model) = (RangeSet::default(), Model::default());
            for (offset, len) in inserts {
                prop_assert_eq!(set.insert(Seq((base + offset) as u32), len), model.insert(base + offset, len));
                agrees(&set, &model)?;
                prop_assert!(set.ranges().count() <= MAX_RANGES);
            }
        }

        #[test]
        fn takes_anything(inserts in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 1..100)) {
            let mut set = RangeSet::default();
            for (start, len, forget) in inserts {
                prop_assert!(set.insert(Seq(start), len) <= len);
                if forget.is_multiple_of(3) {
                    set.forget_before(Seq(forget));
                }
                let ranges: Vec<Range> = set.ranges().collect();
                prop_assert!(ranges.len() <= MAX_RANGES);
                prop_assert!(set.offset(set.last().end) <= HORIZON);
                let in_order = ranges.windows(2).all(|two| set.offset(two[0].end) < set.offset(two[1].start));
                prop_assert!(in_order, "{:?}", ranges);
            }
        }
    }

    #[test]
    fn a_stream_in_order_needs_no_heap() {
        let mut set = RangeSet::starting_at(Seq(u32::MAX - 10_000));
        let mut at = Seq(u32::MAX - 10_000);
        // Three times around the sequence space.
        for _ in 0..3 << 16 {
            assert_eq!(set.insert(at, 1 << 16), 1 << 16);
            at = at.plus(1 << 16);
            assert!(set.rest.is_none());
        }
        assert_eq!(set.contiguous_end(), Some(at));
        assert!(set.contains(at.minus(HORIZON + 5), 9), "what is beyond the horizon counts as seen");
    }

    #[test]
    fn nothing_counts_before_the_start_of_a_stream() {
        let mut set = RangeSet::starting_at(Seq(100));
        assert_eq!(set.insert(Seq(99), 1), 0, "a keep-alive's octet");
        assert_eq!(set.insert(Seq(99), 3), 2);
        assert_eq!(set.ranges().collect::<Vec<_>>(), [Range { start: Seq(100), end: Seq(102) }]);
    }

    #[test]
    fn a_hole_shows_and_is_filled() {
        let mut set = RangeSet::starting_at(Seq(0));
        set.insert(Seq(10), 10);
        assert_eq!(set.first_gap(), Some(Range { start: Seq(0), end: Seq(10) }));
        assert_eq!((set.contiguous_end(), set.highest_end()), (Some(Seq(0)), Some(Seq(20))));
        assert_eq!(set.insert(Seq(0), 12), 10);
        assert_eq!((set.contiguous_end(), set.first_gap()), (Some(Seq(20)), None));
        assert!(set.rest.is_none(), "the list goes with the hole");
    }

    #[test]
    fn is_three_words() {
        assert_eq!(size_of::<RangeSet>(), 24);
    }
}
