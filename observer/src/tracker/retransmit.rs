//! Why a segment was sent again, as far as the packets show.
//!
//! What the segment analysis calls a retransmission has the first cause that fits. *Answered* is the other end's highest
//! ACK, *next* the highest end of what was sent; a *recovery* lasts until *answered* reaches what *next* was at its start.
//!
//! 1. Spurious: its payload was acknowledged when it was sent again; or the other end says later that it had what it holds
//!    (DSACK, RFC 2883): of what was sent several times, the last that was not taken back yet.
//! 2. RTO: SYN and SYN-ACK; and all that is sent again in a recovery that an RTO began.
//! 3. In a recovery that began fast: RTO where this end was silent for an RTO; SACK-repaired where SACK reported octets
//!    after it; fast elsewhere (a partial ACK, RFC 6582).
//! 4. Fast, beginning a recovery: three duplicate ACKs ask for it (RFC 5681, section 3.2); or SACK reported octets after
//!    it and the last ACK is less than 1½ round trips ago (RACK, RFC 8985, waits for a part of a round trip); or an ICMP
//!    error said just as shortly ago that it was too large (RFC 1191, section 6.5; tcp_simple_retransmit()).
//! 5. Tail loss probe (RFC 8985, section 7): both ends permit SACK, which it depends on; it ends at *next*; nothing was
//!    sent again since *answered* moved, and nothing at all for 1½ round trips; and either what was sent before it is not
//!    acknowledged, which an RTO would send first, or the silence is no longer than a probe waits.
//! 6. RTO, beginning a recovery, elsewhere.
//!
//! An RTO is taken to be at least a round trip and 200 ms, the least that Linux waits (`TCP_RTO_MIN`); a probe of a single
//! segment waits for two round trips and as much. Where both are due at once, Linux sends the probe.

use super::analysis::{AnalysisSet, Flow};
use super::moment::Moment;
use super::pack::{Pack, Packer, Unpacker, pack_fields, pack_wrapped};
use crate::packet::{Flags, Segment};
use crate::record::{RetransmissionCause, Retransmissions};
use crate::sequence::Seq;
use crate::tcp_options::TcpOptions;
use crate::time::{Nanos, Timestamp};

/// Duplicate ACKs that ask for a retransmission (RFC 5681, section 3.2).
const DUPLICATE_ACKS: u8 = 3;

/// The least that an RTO adds to a round trip.
const MIN_RTO: Nanos = Nanos::from_millis(200);

/// What hosts and timers add to the time between an ACK and the segment that it asks for.
const SLACK: Nanos = Nanos::from_millis(10);

/// How many segments that were sent again may still be told to be needless: a bit each.
const MOST_OPEN: usize = u32::BITS as usize;

/// What segments go through, as far as known.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// What a round trip between both ends takes; 0 where not known.
    pub round_trip: Nanos,
    /// Both ends permit SACK.
    pub has_sack: bool,
}

/// What one end sent again. Costs a pointer until something is missing.
#[derive(Clone, Debug, Default)]
pub struct Retransmits(Option<Box<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    /// The other end's highest ACK; `None` where it was not captured.
    answered: Option<Seq>,
    /// The highest octet that SACK reported.
    sacked: Option<Seq>,
    recovery: Recovery,
    duplicate_acks: u8,
    /// Something was sent again since `answered` moved.
    has_sent_again: bool,
    /// When the other end last acknowledged anything.
    answered_at: Timestamp,
    /// When something was last sent again.
    sent_at: Timestamp,
    /// When a router last said that a segment was too large.
    too_large_at: Moment,
    /// Where what was sent again last begins, and why it was, until it is known to be needless.
    open: Vec<(Seq, u8)>,
    counts: [u32; 5],
}

/// What is being done about missing segments.
#[derive(Clone, Copy, Debug, Default)]
enum Recovery {
    #[default]
    None,
    /// Until this is acknowledged.
    Fast(Seq),
    Timeout(Seq),
}

impl Retransmits {
    /// Takes in a segment of the other end; `set` is what the analysis says of it. Gives how many segments it says to have
    /// been sent again for nothing, of which that was not known.
    pub fn answered(&mut self, segment: &Segment, set: AnalysisSet, options: &TcpOptions, at: Timestamp) -> u32 {
        let repeated = set.contains(AnalysisSet::DUPLICATE_ACK);
        let tells = repeated || options.sack_blocks > 0 || options.sack_begins.is_some();
        if self.0.is_none() && !tells || !segment.flags.contains(Flags::ACK) {
            return 0;
        }
        let new = || Box::new(State { answered: Some(segment.ack), ..State::default() });
        self.0.get_or_insert_with(new).answered(segment, repeated, options, at)
    }

    /// A router says that a segment was too large to be passed on; `rev` is the memory of the other direction.
    pub fn is_too_large(&mut self, rev: &Flow, at: Timestamp) {
        let new = || Box::new(State { answered: rev.acknowledges(), ..State::default() });
        self.0.get_or_insert_with(new).too_large_at.set(at);
    }

    /// Why `segment`, which the analysis calls a retransmission, was sent again. `fwd` and `rev` are the memories of its
    /// direction and of the other.
    pub fn cause(
        &mut self,
        segment: &Segment,
        set: AnalysisSet,
        [fwd, rev]: [&Flow; 2],
        path: Path,
        at: Timestamp,
    ) -> RetransmissionCause {
        let new = || Box::new(State { answered: rev.acknowledges(), ..State::default() });
        let state = self.0.get_or_insert_with(new);
        // Wireshark says so of payload only; a FIN takes a number as well.
        let is_acknowledged = |answered: Seq| answered.at_or_after(segment.end()) && segment.end() != segment.seq;
        let is_needless = segment.flags.contains(Flags::FIN) && rev.acknowledges().is_some_and(is_acknowledged);
        let cause = if set.contains(AnalysisSet::SPURIOUS_RETRANSMISSION) || is_needless {
            RetransmissionCause::Spurious
        } else {
            state.cause(segment, fwd, path, at)
        };
        state.sent_at = at;
        state.has_sent_again = true;
        if let Some(count) = state.counts.get_mut(cause as usize) {
            *count += 1;
        }
        if state.open.len() >= MOST_OPEN {
            state.open.remove(0);
        }
        state.open.push((segment.seq, cause as u8));
        cause
    }

    /// How many segments were sent again for each cause.
    pub fn counts(&self) -> Retransmissions {
        let Some(state) = &self.0 else { return Retransmissions::default() };
        let of = |cause: RetransmissionCause| state.counts.get(cause as usize).copied().unwrap_or(0).into();
        Retransmissions {
            rto: of(RetransmissionCause::Rto),
            fast: of(RetransmissionCause::Fast),
            tail_loss_probe: of(RetransmissionCause::TailLossProbe),
            spurious: of(RetransmissionCause::Spurious),
            sack_repaired: of(RetransmissionCause::SackRepaired),
        }
    }
}

impl State {
    fn answered(&mut self, segment: &Segment, repeated: bool, options: &TcpOptions, at: Timestamp) -> u32 {
        self.answered_at = at;
        let before = *self.answered.get_or_insert(segment.ack);
        let answered = before.latest(segment.ack);
        if answered != before {
            self.answered = Some(answered);
            self.duplicate_acks = 0;
            self.has_sent_again = false;
            if let Recovery::Fast(until) | Recovery::Timeout(until) = self.recovery
                && answered.at_or_after(until)
            {
                self.recovery = Recovery::None;
            }
            self.sacked = self.sacked.filter(|sacked| sacked.after(answered));
        } else if segment.len == 0 && segment.ack == answered && (repeated || options.sack_blocks > 0) {
            self.duplicate_acks = self.duplicate_acks.saturating_add(1);
        }
        for &(_, right) in options.sack().iter().filter(|(_, right)| right.after(answered)) {
            self.sacked = Some(self.sacked.map_or(right, |sacked| sacked.latest(right)));
        }
        // A block that is acknowledged already reports a duplicate (RFC 2883).
        let double = options.sack().first().copied().filter(|(_, right)| !right.after(answered));
        // Of one that was not captured whole, at least its first octet is.
        let cut = options.sack_begins.filter(|left| left.before(answered)).map(|left| (left, left.plus(1)));
        double.or(cut).map_or(0, |double| self.take_back(double))
    }

    /// The other end had what lies between two places when it came once more. Gives how many segments that were sent again
    /// are therefore counted as spurious, and were not before.
    fn take_back(&mut self, (left, right): (Seq, Seq)) -> u32 {
        // Of one that was sent several times, each report takes back the last.
        let is_last = |place: usize, seq: Seq| !self.open.iter().skip(place + 1).any(|(later, _)| *later == seq);
        let is_reported = |place, seq: Seq| left.at_or_before(seq) && seq.before(right) && is_last(place, seq);
        let reported = self.open.iter().enumerate().filter(|(place, (seq, _))| is_reported(*place, *seq));
        let reported = reported.fold(0_u32, |places, (place, _)| places | 1 << place);
        let (mut place, mut news) = (0, 0);
        self.open.retain(|(_, cause)| {
            let is_reported = reported >> place & 1 != 0;
            place += 1;
            if is_reported && *cause != RetransmissionCause::Spurious as u8 {
                let count = self.counts.get_mut(usize::from(*cause));
                count.into_iter().for_each(|count| *count = count.saturating_sub(1));
                news += 1;
            }
            !is_reported
        });
        let spurious = self.counts.get_mut(RetransmissionCause::Spurious as usize);
        spurious.into_iter().for_each(|count| *count += news);
        news
    }

    /// Causes 2 to 6.
    fn cause(&mut self, segment: &Segment, fwd: &Flow, path: Path, at: Timestamp) -> RetransmissionCause {
        let round_trip = path.round_trip;
        let silence = at.since(fwd.next_at().max(self.sent_at));
        // Damaged captures hold any time.
        let half_as_long_again = round_trip.0.saturating_add(round_trip.0 / 2);
        let timed_out = silence.0 >= round_trip.0.saturating_add(MIN_RTO.0);
        let is_sacked_beyond = self.sacked.is_some_and(|sacked| sacked.after(segment.seq));
        match self.recovery {
            _ if segment.flags.contains(Flags::SYN) => return RetransmissionCause::Rto,
            Recovery::Timeout(_) => return RetransmissionCause::Rto,
            Recovery::Fast(_) if timed_out => {}
            Recovery::Fast(_) if is_sacked_beyond => return RetransmissionCause::SackRepaired,
            Recovery::Fast(_) => return RetransmissionCause::Fast,
            Recovery::None => {
                let just = |then: Timestamp| at.since(then).0 <= half_as_long_again.saturating_add(SLACK.0);
                let is_asked_for = self.duplicate_acks >= DUPLICATE_ACKS && Some(segment.seq) == self.answered;
                if is_asked_for
                    || is_sacked_beyond && just(self.answered_at)
                    || self.too_large_at.get().is_some_and(just)
                {
                    self.recovery = Recovery::Fast(fwd.next());
                    return RetransmissionCause::Fast;
                }
                let is_first = self.answered.is_none_or(|answered| segment.seq.at_or_before(answered));
                let waited = round_trip.0 > 0 && silence.0 >= half_as_long_again;
                let may_probe = path.has_sack && segment.end() == fwd.next() && waited && !self.has_sent_again;
                let probe_wait = round_trip.0.saturating_mul(2).saturating_add(MIN_RTO.0 + SLACK.0);
                if may_probe && (!is_first || silence.0 <= probe_wait) {
                    return RetransmissionCause::TailLossProbe;
                }
            }
        }
        self.recovery = Recovery::Timeout(fwd.next());
        RetransmissionCause::Rto
    }
}

impl Pack for Recovery {
    fn pack(&self, to: &mut Packer) {
        match self {
            Self::None => 0u8.pack(to),
            Self::Fast(until) => (1u8, *until).pack(to),
            Self::Timeout(until) => (2u8, *until).pack(to),
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        match u8::unpack(from) {
            0 => Self::None,
            1 => Self::Fast(Pack::unpack(from)),
            _ => Self::Timeout(Pack::unpack(from)),
        }
    }
}

pack_fields! {
    State { answered, sacked, recovery, duplicate_acks, has_sent_again, answered_at, sent_at, too_large_at, open, counts }
}

pack_wrapped!(Retransmits);

#[cfg(test)]
mod tests {
    use super::super::analysis::{Shared, analyse};
    use super::*;

    const ROUND_TRIP: u64 = 40;
    const MSS: u32 = 1000;

    /// A sender of segments of [`MSS`] octets from 1 on, and what its receiver says, captured at the sender.
    #[derive(Default)]
    struct Talk {
        flows: [Flow; 2],
        shared: Shared,
        retransmits: Retransmits,
    }

    impl Talk {
        /// Sends the `number`th segment, and says what it was sent again for.
        fn sends(&mut self, number: u32, millis: u64) -> Option<RetransmissionCause> {
            let seq = Seq(1 + number * MSS);
            let segment = Segment { seq, ack: Seq(1), flags: Flags::ACK, window: 100, len: MSS, urgent: 0 };
            let at = Timestamp::from_nanos(1_000_000_000 + millis * 1_000_000);
            let [sender, receiver] = &mut self.flows;
            let set = analyse(sender, receiver, &mut self.shared, &segment, &TcpOptions::default(), at);
            let path = Path { round_trip: Nanos::from_millis(ROUND_TRIP), has_sack: true };
            set.contains(AnalysisSet::RETRANSMISSION)
                .then(|| self.retransmits.cause(&segment, set, [sender, receiver], path, at))
        }

        /// The receiver acknowledges all segments before the `number`th, and reports those from `sacked.0` to `sacked.1`.
        fn answers(&mut self, number: u32, sacked: Option<(u32, u32)>, millis: u64) {
            let edge = |number: u32| Seq(1 + number * MSS);
            let ack = edge(number);
            let segment = Segment { seq: Seq(1), ack, flags: Flags::ACK, window: 100, len: 0, urgent: 0 };
            let mut options = TcpOptions::default();
            if let Some((left, right)) = sacked {
                options.sack[0] = (edge(left), edge(right));
                options.sack_blocks = 1;
            }
            let at = Timestamp::from_nanos(1_000_000_000 + millis * 1_000_000);
            let [sender, receiver] = &mut self.flows;
            let set = analyse(receiver, sender, &mut self.shared, &segment, &options, at);
            self.retransmits.answered(&segment, set, &options, at);
        }

        /// Segments from the first to `last`, all sent at once.
        fn sending(last: u32) -> Self {
            let mut talk = Self::default();
            talk.answers(0, None, 0);
            for number in 0..=last {
                assert_eq!(talk.sends(number, 1), None);
            }
            talk
        }
    }

    #[test]
    fn a_probe_of_what_had_arrived_is_spurious() {
        let mut talk = Talk::sending(3);
        talk.answers(3, None, 41);
        assert_eq!(talk.sends(3, 150), Some(RetransmissionCause::TailLossProbe));
        talk.answers(4, Some((3, 4)), 190);
        let counts = talk.retransmits.counts();
        assert_eq!((counts.tail_loss_probe, counts.spurious), (0, 1));
    }

    #[test]
    fn what_was_too_large_is_sent_again_without_a_timeout() {
        let mut talk = Talk::sending(3);
        talk.retransmits.is_too_large(&talk.flows[1], Timestamp::from_nanos(1_030_000_000));
        assert_eq!(talk.sends(0, 31), Some(RetransmissionCause::Fast));
    }

    #[test]
    fn three_duplicate_acks_make_it_fast() {
        let mut talk = Talk::sending(5);
        (1..5).for_each(|count| talk.answers(0, None, 40 + count));
        assert_eq!(talk.sends(0, 45), Some(RetransmissionCause::Fast));
        // A partial ACK.
        talk.answers(1, None, 85);
        assert_eq!(talk.sends(1, 86), Some(RetransmissionCause::Fast));
        assert_eq!(talk.retransmits.counts().fast, 2);
    }

    #[test]
    fn sack_repairs_the_other_holes() {
        let mut talk = Talk::sending(5);
        talk.answers(0, Some((1, 2)), 41);
        talk.answers(0, Some((3, 4)), 42);
        assert_eq!(talk.sends(0, 52), Some(RetransmissionCause::Fast));
        assert_eq!(talk.sends(2, 52), Some(RetransmissionCause::SackRepaired));
        talk.answers(6, None, 92);
        // Another recovery.
        assert_eq!(talk.sends(6, 93), None);
        assert_eq!(talk.sends(7, 93), None);
        talk.answers(6, Some((7, 8)), 133);
        assert_eq!(talk.sends(6, 143), Some(RetransmissionCause::Fast));
    }

    #[test]
    fn a_tail_is_probed_before_the_timeout() {
        let mut talk = Talk::sending(2);
        assert_eq!(talk.sends(2, 91), Some(RetransmissionCause::TailLossProbe));
        assert_eq!(talk.sends(0, 400), Some(RetransmissionCause::Rto));
        assert_eq!(talk.sends(1, 440), Some(RetransmissionCause::Rto));
    }

    #[test]
    fn a_single_segment_is_probed_once() {
        let mut talk = Talk::sending(0);
        assert_eq!(talk.sends(0, 300), Some(RetransmissionCause::Rto));
        let mut talk = Talk::sending(0);
        assert_eq!(talk.sends(0, 242), Some(RetransmissionCause::TailLossProbe));
        assert_eq!(talk.sends(0, 490), Some(RetransmissionCause::Rto));
    }

    #[test]
    fn a_lost_retransmission_times_out() {
        let mut talk = Talk::sending(5);
        (1..5).for_each(|count| talk.answers(0, None, 40 + count));
        assert_eq!(talk.sends(0, 45), Some(RetransmissionCause::Fast));
        assert_eq!(talk.sends(0, 300), Some(RetransmissionCause::Rto));
        assert_eq!(talk.sends(1, 300), Some(RetransmissionCause::Rto));
    }

    #[test]
    fn what_was_acknowledged_is_spurious() {
        let mut talk = Talk::sending(2);
        talk.answers(3, None, 41);
        assert_eq!(talk.sends(2, 42), Some(RetransmissionCause::Spurious));
        assert_eq!(talk.retransmits.counts().spurious, 1);
    }

    #[test]
    fn timeouts_of_what_had_arrived_are_spurious() {
        let mut talk = Talk::sending(0);
        for millis in [400, 900, 1_900] {
            assert_ne!(talk.sends(0, millis), Some(RetransmissionCause::Spurious));
        }
        talk.answers(1, None, 1_910);
        assert_eq!(talk.retransmits.counts().spurious, 0, "the first may have been lost");
        for (millis, known) in [(1_911, 1), (1_912, 2), (1_913, 3), (1_914, 3)] {
            talk.answers(1, Some((0, 1)), millis);
            let counts = talk.retransmits.counts();
            assert_eq!((counts.spurious, counts.rto + counts.tail_loss_probe), (known, 3 - known));
        }
    }

    #[test]
    fn of_a_copy_that_was_needed_nothing_is_taken_back() {
        let mut talk = Talk::sending(0);
        assert_eq!(talk.sends(0, 400), Some(RetransmissionCause::Rto));
        talk.answers(1, None, 440);
        assert_eq!(talk.sends(0, 441), Some(RetransmissionCause::Spurious));
        talk.answers(1, Some((0, 1)), 480);
        let counts = talk.retransmits.counts();
        assert_eq!((counts.spurious, counts.rto), (1, 1));
    }

    #[test]
    fn costs_a_pointer() {
        assert_eq!(size_of::<Retransmits>(), size_of::<usize>());
        assert!(Talk::sending(9).retransmits.0.is_none());
    }
}
