//! What of a stream was delivered in order, as far as Zeek's reassembler knows: what makes `g`, and what a close waits
//! for.
//!
//! Only places are kept, no payload. A hole is given up when its peer acknowledges beyond it: each hole below the
//! acknowledgment is one gap.

use super::endpoint::{BUFFER_LIMIT, EndFlags, State};
use super::{End, Facts, Outcome, of};
use crate::range_set::{HORIZON, RangeSet};
use crate::sequence::Seq;
use crate::time::Nanos;

/// Octets without any acknowledgment after which Zeek assumes it does not see the peer (`tcp_max_initial_window`,
/// `tcp_max_above_hole_without_any_acks`).
const UNACKED_LIMIT: u32 = 16_384;

impl Outcome {
    /// Payload that `me` sent, by its relative number.
    pub(super) fn deliver(&mut self, me: End, seq: Seq, len: u32) {
        let end = self.end(me);
        if end.flags.contains(EndFlags::SKIPPING) || seq.plus(len).at_or_before(end.trimmed) {
            return;
        }
        let (upper, seq) = (seq.plus(len), seq.latest(end.trimmed));
        let before = end.delivered;
        if upper.delta(before) > HORIZON as i32 {
            // No window reaches this far: made up, or the capture lacks a GiB. An acknowledgment will tell.
            if end.nothing_acked() {
                self.skip(me);
            }
            return;
        }
        if seq.after(before) || self.beyond_hole(me).is_some() {
            let beyond = of(&mut self.trouble.get_or_insert_default().beyond_hole, me);
            beyond.get_or_insert_with(|| RangeSet::starting_at(before)).insert(seq, upper.offset_from(seq));
            self.follow_hole(me);
        } else {
            self.end_mut(me).delivered = before.latest(upper);
        }
        self.limit(me, before);
    }

    /// An acknowledgment of what `me` sent, by its relative number.
    pub(super) fn acknowledged(&mut self, me: End, acked: Seq, age: Nanos) {
        let end = self.end(me);
        // The FIN's own number is no data.
        let past_fin = end.flags.contains(EndFlags::FIN_PLACED) && acked.at_or_after(end.fin_end);
        let acked = if past_fin { end.fin_end.minus(1) } else { acked };
        if acked.at_or_before(end.trimmed) {
            return;
        }
        if acked.after(end.delivered) {
            self.give_up_holes(me, acked);
        }
        self.end_mut(me).trimmed = acked;
        self.check_end(me, age);
    }

    /// Counts the holes below `acked`, and goes on from there.
    fn give_up_holes(&mut self, me: End, acked: Seq) {
        if self.facts.contains(Facts::PARTIAL) && acked.at_or_before(Seq(2)) {
            // The start was made up: nothing is missing there.
            return;
        }
        while let Some(gap) = self.beyond_hole(me).and_then(RangeSet::first_gap).filter(|gap| gap.end.before(acked)) {
            self.gap(me);
            self.fill(me, gap.start, gap.end);
        }
        let delivered = self.end(me).delivered;
        if delivered.before(acked) {
            self.gap(me);
            self.fill(me, delivered, acked);
        }
    }

    fn gap(&mut self, me: End) {
        let known = self.end(me).is_clean() && self.end(me.peer()).is_clean();
        if known && !self.end(me).flags.contains(EndFlags::SKIPPING) {
            self.count(me, |counts| &mut counts.gaps, b'G');
        }
    }

    fn fill(&mut self, me: End, start: Seq, end: Seq) {
        match self.beyond_hole_mut(me) {
            Some(hole) => {
                hole.insert(start, end.offset_from(start));
                self.follow_hole(me);
            }
            None => self.end_mut(me).delivered = end,
        }
    }

    /// Whether `me` has sent data that was not delivered yet, or has to wait for its peer's.
    fn is_data_pending(&self, me: End) -> bool {
        let end = self.end(me);
        if end.flags.contains(EndFlags::SKIPPING) {
            return false;
        }
        // A FIN takes a number, a RST does not.
        let missing = end.last.delta(end.start.plus(end.delivered.0));
        match missing {
            ..0 => false,
            0 | 1 => end.state != State::Reset && self.holds_data(me.peer()),
            _ => true,
        }
    }

    /// Whether Zeek would hold data that `me` sent: unacknowledged, or beyond a hole.
    fn holds_data(&self, me: End) -> bool {
        let end = self.end(me);
        !end.flags.contains(EndFlags::SKIPPING) && (end.delivered.after(end.trimmed) || self.beyond_hole(me).is_some())
    }

    /// Notes the end of what `me` sends, once a FIN or RST was seen and all data before it was delivered.
    pub(super) fn check_end(&mut self, me: End, age: Nanos) {
        let end = self.end(me);
        let ends = end.flags.contains(EndFlags::FIN) || matches!(end.state, State::Closed | State::Reset);
        if end.flags.contains(EndFlags::AT_END) || !ends || self.is_data_pending(me) {
            return;
        }
        self.end_mut(me).flags |= EndFlags::AT_END;
        if self.facts.contains(Facts::CLOSE_DEFERRED) {
            self.close(me, age);
            self.facts.remove(Facts::CLOSE_DEFERRED);
        }
    }

    /// Notes that `me` has closed its direction, unless data is outstanding.
    pub(super) fn close(&mut self, me: End, age: Nanos) {
        let pending = self.is_data_pending(me);
        self.facts.set(Facts::CLOSE_DEFERRED, pending);
        if pending || self.end(me).flags.contains(EndFlags::CLOSED) {
            return;
        }
        self.end_mut(me).flags |= EndFlags::CLOSED;
        let (end, peer) = (self.end(me), self.end(me.peer()));
        let complete =
            end.state == State::Reset || peer.flags.contains(EndFlags::CLOSED) || peer.state == State::Inactive;
        if complete {
            self.start_delete_timer(age);
        } else if end.previous != State::Inactive {
            self.start_session_timer(age);
        }
    }

    /// Keeps within Zeek's bounds on what is not acknowledged; `before` was delivered before the last payload.
    fn limit(&mut self, me: End, before: Seq) {
        let (end, peer) = (*self.end(me), self.end(me.peer()));
        let unacked = end.nothing_acked();
        if end.delivered != before && unacked && end.size(peer) > UNACKED_LIMIT {
            // The peer's direction is probably not captured: what was delivered needs no acknowledgment.
            self.end_mut(me).trimmed = end.delivered.latest(end.trimmed);
        }
        let end = self.end(me);
        let (above, beyond) = self.beyond_hole(me).map_or((0, 0), |hole| {
            let ranges = hole.ranges().filter(|range| range.start.after(end.delivered));
            let beyond = ranges.map(|range| range.end.offset_from(range.start)).sum();
            (hole.highest_end().map_or(0, |high| high.offset_from(end.delivered)), beyond)
        });
        let held: u32 = end.delivered.delta(end.trimmed).max(0).unsigned_abs().saturating_add(beyond);
        if (unacked && above > UNACKED_LIMIT) || held > BUFFER_LIMIT {
            self.skip(me);
        }
    }

    /// Follows the data no more.
    fn skip(&mut self, me: End) {
        self.end_mut(me).flags |= EndFlags::SKIPPING;
        if let Some(trouble) = &mut self.trouble {
            *of(&mut trouble.beyond_hole, me) = None;
        }
    }

    /// Takes over what the ranges say was delivered, and drops them when nothing lies beyond a hole any more.
    fn follow_hole(&mut self, me: End) {
        let Some(beyond) = self.beyond_hole(me) else { return };
        let (delivered, is_closed) = (beyond.contiguous_end(), beyond.first_gap().is_none());
        if let Some(delivered) = delivered {
            self.end_mut(me).delivered = delivered;
        }
        if let Some(trouble) = self.trouble.as_mut().filter(|_| is_closed) {
            *of(&mut trouble.beyond_hole, me) = None;
        }
    }

    fn beyond_hole(&self, me: End) -> Option<&RangeSet> {
        let [low, high] = &self.trouble.as_ref()?.beyond_hole;
        if me == End::Low { low.as_ref() } else { high.as_ref() }
    }

    fn beyond_hole_mut(&mut self, me: End) -> Option<&mut RangeSet> {
        of(&mut self.trouble.as_mut()?.beyond_hole, me).as_mut()
    }
}
