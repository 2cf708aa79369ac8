//! How a connection went, in Zeek's words: `conn_state` and `history`.
//!
//! Zeek follows each end through seven states of its own ([`endpoint::State`]), reassembles both streams far enough to
//! know what is missing, and writes a letter for what it sees the first time, or again. The rules here are those of its
//! `TCPSessionAdapter`, `TCP_Endpoint`, `TCP_Reassembler` and `base/protocols/conn`, written anew; payload is never kept.
//!
//! | letter | written when | again |
//! | --- | --- | --- |
//! | `s` `h` | SYN, SYN-ACK | with another sequence number than the last of the two |
//! | `f` | FIN | where the octet of the FIN is another |
//! | `r` | RST | with another sequence number |
//! | `d` `a` | payload, else ACK, without SYN, FIN or RST | never |
//! | `i` | FIN and RST in one segment | never |
//! | `q` | SYN with FIN or RST | never |
//! | `c` | wrong checksum | at the 10th, 100th, … |
//! | `t` | payload, and nothing beyond what was sent before | at the 10th, 100th, … |
//! | `w` | window 0: not in or after a RST, not after the peer's FIN | at the 10th, 100th, … |
//! | `g` | acknowledged and not captured, while both ends are established or closed from there | at the 10th, 100th, … |
//! | `^` | the roles were swapped: by ports ([`roles::flips_at_start`]), or as SYN-ACK and SYN came in reverse order | each time |
//!
//! Upper case is the originator's: the sender of the first packet, unless flipped. Zeek's `x` (an application analyzer
//! gave up) has no counterpart here.

mod delivery;
mod endpoint;
mod expiry;
mod history;
mod roles;

use bitflags::bitflags;

use self::endpoint::{EndFlags, Endpoint, State};
pub(super) use self::expiry::Clock;
use self::history::History;
use super::pack::{pack_fields, pack_flags};
use super::{Config, Timeouts};
use crate::packet::{Flags, IpVersion, Layer, Notes, Packet, Segment, Tuple};
use crate::range_set::RangeSet;
use crate::record::ConnState;
use crate::sequence::Seq;
use crate::time::Nanos;

/// An end of a connection, whatever its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The lower end of the key, which sends direction 0.
    Low,
    /// The higher end, which sends direction 1.
    High,
}

impl End {
    const fn sending(direction: u8) -> Self {
        if direction == 0 { Self::Low } else { Self::High }
    }

    const fn peer(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// What is known of a connection's outcome. Costs no heap unless something was lost, retransmitted, corrupt or out of
/// order, or the history is longer than 14 letters.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    ends: [Endpoint; 2],
    /// Counters and holes, once there is something to count.
    trouble: Option<Box<Trouble>>,
    history: History,
    /// A point in time that a timer of Zeek's waits for, in milliseconds after the first packet, rounded up; what it
    /// means depends on the state (see [`expiry`]). 0 is none.
    timer_ms: u32,
    /// Letters that were written, by role: originator, responder.
    written: [Written; 2],
    facts: Facts,
}

bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Facts: u16 {
        /// The higher end is the originator.
        const HIGH_ORIGINATES = 0x001;
        /// What opened the connection was not seen.
        const PARTIAL = 0x002;
        /// A packet of the originator was seen.
        const ORIGINATOR_SEEN = 0x004;
        /// A packet of the responder was seen.
        const RESPONDER_SEEN = 0x008;
        /// A close is to be noted as soon as outstanding data was delivered.
        const CLOSE_DEFERRED = 0x010;
        /// The connection closed for good, and goes when its timer runs out.
        const GOING = 0x020;
        /// A RST ended the connection: timers that look for its end have no effect any more.
        const INERT = 0x040;
        /// An end has left the handshake, so the longer inactivity timeout holds.
        const SETTLED = 0x080;
        /// Established to a port of [`roles::is_interactive`].
        const INTERACTIVE = 0x100;
        /// The end that sent the first packet is the responder.
        const FLIPPED = 0x200;
    }

    /// Letters that are written once, or again only with another sequence number.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Written: u8 {
        const SYN = 0x01;
        const FIN = 0x02;
        const RST = 0x04;
        const FIN_RST = 0x08;
        const DATA = 0x10;
        const ACK = 0x20;
        const MULTI_FLAG = 0x40;
    }
}

#[derive(Clone, Debug, Default)]
struct Trouble {
    counts: [Counts; 2],
    /// Relative numbers from what was delivered on, where there is something beyond a hole.
    beyond_hole: [Option<RangeSet>; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    bad_checksums: u32,
    retransmissions: u32,
    zero_windows: u32,
    gaps: u32,
}

impl Outcome {
    /// A connection between these ends, the lower first, whose first segment has these flags and direction.
    pub(super) fn new(ends: &Tuple, from: u8, flags: Flags, rule: Timeouts) -> Self {
        let end = |port| {
            Endpoint::new(if roles::is_interactive(port) { EndFlags::INTERACTIVE_PORT } else { EndFlags::empty() })
        };
        let mut outcome = Self {
            ends: [end(ends.sport), end(ends.dport)],
            trouble: None,
            history: History::default(),
            timer_ms: 0,
            written: [Written::empty(); 2],
            facts: Facts::empty(),
        };
        outcome.facts.set(Facts::HIGH_ORIGINATES, End::sending(from) == End::High);
        let first = if from == 0 { *ends } else { ends.reversed() };
        if roles::flips_at_start(&first, flags, rule) {
            outcome.flip();
        }
        outcome
    }

    /// A segment whose checksum is wrong, under `--checksums drop`: it is written down and counts for nothing else. Zeek
    /// makes a connection of it if it is the first, and tests [`Outcome::is_succeeded_by`] on it like on any other.
    pub(super) fn bad_checksum(&mut self, from: u8) {
        self.count(End::sending(from), |counts| &mut counts.bad_checksums, b'C');
    }

    /// Takes in a segment: its direction, whether the capture holds its whole payload, and how long after the
    /// connection's first packet it came.
    #[inline(always)]
    pub(super) fn segment(&mut self, from: u8, segment: &Segment, whole: bool, age: Nanos) {
        let me = End::sending(from);
        if !self.takes_next(me, segment, whole) {
            self.takes_any(me, segment, whole, age);
        }
    }

    /// The same for a segment whose IP header claims so many octets more than its frame held on the wire.
    #[inline(never)]
    pub(super) fn segment_beyond_its_frame(
        &mut self,
        from: u8,
        segment: &Segment,
        missing: u16,
        whole: bool,
        age: Nanos,
    ) {
        let claimed = Segment { len: segment.len + u32::from(missing), ..*segment };
        self.takes_any(End::sending(from), &claimed, whole, age);
    }

    /// The short way of what most segments are: the next one between two established ends that lack nothing. Says whether the
    /// segment was one; if not, nothing has changed.
    #[inline]
    fn takes_next(&mut self, me: End, segment: &Segment, whole: bool) -> bool {
        const NO_HANDSHAKE: Facts = Facts::ORIGINATOR_SEEN.union(Facts::RESPONDER_SEEN);
        let holes = self.trouble.as_deref().map_or(&[None, None], |trouble| &trouble.beyond_hole);
        if !segment.flags.is_ack_alone()
            || segment.window == 0
            || !self.facts.contains(NO_HANDSHAKE)
            || holes.iter().any(Option::is_some)
        {
            return false;
        }
        let [by_originator, by_responder] = self.written;
        let written = if self.is_originator(me) { by_originator } else { by_responder };
        let [low, high] = &mut self.ends;
        let (end, peer) = if me == End::Low { (low, high) } else { (high, low) };
        if !end.is_undisturbed() || !peer.is_undisturbed() {
            return false;
        }
        let acked = peer.relative_to_acked(segment.ack);
        if acked.before_start || acked.seq.after(peer.delivered) {
            return false;
        }
        let (what, letter) = if segment.len == 0 {
            if segment.seq != end.last {
                return false;
            }
            (Written::ACK, b'A')
        } else {
            if !whole || !end.takes_next(segment) {
                return false;
            }
            (Written::DATA, b'D')
        };
        peer.acknowledge(segment.ack);
        peer.trimmed = acked.seq.latest(peer.trimmed);
        if !written.contains(what) {
            self.write_once(me, what, letter);
        }
        true
    }

    /// The long way, which is any segment's.
    #[inline(never)]
    fn takes_any(&mut self, me: End, segment: &Segment, whole: bool, age: Nanos) {
        let peer = me.peer();
        let flags = segment.flags;
        let originator = self.is_originator(me);
        self.note_partial(originator, flags);

        self.end_mut(me).start_from(segment);
        let seq = self.end(me).relative_to_sent(segment.seq);
        self.write_flags(me, segment, seq.seq);
        if self.is_zero_window(me, segment) {
            self.count(me, |counts| &mut counts.zero_windows, b'W');
        }
        if flags.contains(Flags::FIN) {
            let end = self.end_mut(me);
            end.flags |= EndFlags::FIN;
            end.flags.set(EndFlags::FIN_PLACED, !seq.before_start);
            end.fin_end = Seq(endpoint::sequence_end(segment).offset_from(end.start));
        }
        let acked = flags.contains(Flags::ACK).then(|| self.take_ack(peer, segment)).flatten();
        if self.end_mut(me).advance(segment) {
            self.count(me, |counts| &mut counts.retransmissions, b'T');
        }

        let closes = self.change_state(me, originator, segment, age);
        // After the state: a gap that the last ACK of a connection reveals is not to be believed.
        if let Some(acked) = acked {
            self.acknowledged(peer, acked, age);
        }
        self.facts |= if originator { Facts::ORIGINATOR_SEEN } else { Facts::RESPONDER_SEEN };
        if segment.len > 0 && whole && !flags.contains(Flags::RST) && !seq.before_start {
            let data = seq.seq.plus(u32::from(flags.contains(Flags::SYN)));
            self.deliver(me, data, segment.len);
        }
        self.check_end(me, age);
        if closes {
            self.close(me, age);
        }
    }

    /// The outcome so far. The order of the rules is Zeek's.
    pub(super) fn conn_state(&self) -> ConnState {
        let (originator, responder) = self.by_role();
        let silent = |end: &Endpoint| matches!(end.state, State::Inactive | State::Partial);
        match (originator.state, responder.state) {
            (State::SynSent | State::SynAckSent, State::Reset) => ConnState::REJ,
            (State::Reset, State::Reset) if originator.size(responder) == 0 && responder.size(originator) == 0 => {
                ConnState::REJ
            }
            (_, State::Reset) if silent(originator) => ConnState::RSTRH,
            (_, State::Reset) => ConnState::RSTR,
            (State::Reset, _) if !silent(responder) => ConnState::RSTO,
            (State::Reset, _) if aborts_its_own_syn(self.history()) => ConnState::RSTOS0,
            (State::Reset, _) => ConnState::OTH,
            (State::Closed, State::Closed) => ConnState::SF,
            (State::Closed, _) if silent(responder) => ConnState::SH,
            (State::Closed, _) => ConnState::S2,
            (_, State::Closed) if silent(originator) => ConnState::SHR,
            (_, State::Closed) => ConnState::S3,
            (State::SynSent, State::Inactive) => ConnState::S0,
            (State::Established, State::Established) => ConnState::S1,
            _ => ConnState::OTH,
        }
    }

    /// The letters so far.
    pub(super) fn history(&self) -> &str {
        self.history.as_str()
    }

    /// The originator's direction, as of now: a flip changes it.
    pub(super) fn originator(&self) -> u8 {
        u8::from(self.originating_end() == End::High)
    }

    /// Whether the roles were swapped since the first packet.
    pub(super) fn originator_flipped(&self) -> bool {
        self.facts.contains(Facts::FLIPPED)
    }

    fn originating_end(&self) -> End {
        if self.facts.contains(Facts::HIGH_ORIGINATES) { End::High } else { End::Low }
    }

    fn is_originator(&self, end: End) -> bool {
        end == self.originating_end()
    }

    /// Originator and responder.
    fn by_role(&self) -> (&Endpoint, &Endpoint) {
        let originator = self.originating_end();
        (self.end(originator), self.end(originator.peer()))
    }

    fn end(&self, end: End) -> &Endpoint {
        let [low, high] = &self.ends;
        if end == End::Low { low } else { high }
    }

    fn end_mut(&mut self, end: End) -> &mut Endpoint {
        of(&mut self.ends, end)
    }

    /// Swaps the roles. The ends keep all that is known of them; letters already written stay as they are.
    fn flip(&mut self) {
        let originator = self.facts.contains(Facts::ORIGINATOR_SEEN);
        let responder = self.facts.contains(Facts::RESPONDER_SEEN);
        self.facts.set(Facts::ORIGINATOR_SEEN, responder);
        self.facts.set(Facts::RESPONDER_SEEN, originator);
        self.facts.toggle(Facts::FLIPPED | Facts::HIGH_ORIGINATES);
        self.facts.remove(Facts::PARTIAL);
        self.history.push(b'^');
    }

    fn note_partial(&mut self, originator: bool, flags: Flags) {
        if originator {
            if !self.facts.contains(Facts::ORIGINATOR_SEEN) {
                self.facts.set(Facts::PARTIAL, !flags.is_bare_syn());
            }
        } else if !self.facts.intersects(Facts::RESPONDER_SEEN | Facts::PARTIAL) {
            self.facts.set(Facts::PARTIAL, !flags.contains(Flags::SYN));
        }
    }

    /// Writes the letter of a segment's flags, or of its payload where it has none of SYN, FIN and RST.
    fn write_flags(&mut self, me: End, segment: &Segment, seq: Seq) {
        let flags = segment.flags;
        let (syn, fin, rst) = (flags.contains(Flags::SYN), flags.contains(Flags::FIN), flags.contains(Flags::RST));
        match (syn, fin, rst) {
            (_, true, true) => self.write_once(me, Written::FIN_RST, b'I'),
            (true, true, _) | (true, _, true) => self.write_once(me, Written::MULTI_FLAG, b'Q'),
            (true, false, false) => {
                let letter = if flags.contains(Flags::ACK) { b'H' } else { b'S' };
                let last = std::mem::replace(&mut self.end_mut(me).syn, seq);
                self.write_changed(me, Written::SYN, letter, last != seq);
            }
            (false, true, false) => {
                let at = seq.plus(segment.len);
                let last = std::mem::replace(&mut self.end_mut(me).fin, at);
                self.write_changed(me, Written::FIN, b'F', last != at);
            }
            (false, false, true) => {
                let last = std::mem::replace(&mut self.end_mut(me).rst, seq);
                self.write_changed(me, Written::RST, b'R', last != seq);
            }
            (false, false, false) if segment.len > 0 => self.write_once(me, Written::DATA, b'D'),
            (false, false, false) if flags.contains(Flags::ACK) => self.write_once(me, Written::ACK, b'A'),
            (false, false, false) => {}
        }
    }

    fn write_once(&mut self, me: End, what: Written, letter: u8) {
        self.write_changed(me, what, letter, false);
    }

    /// Writes `letter` the first time, and later where the sequence number `changed`.
    fn write_changed(&mut self, me: End, what: Written, letter: u8, changed: bool) {
        let originator = self.is_originator(me);
        let [by_originator, by_responder] = &mut self.written;
        let written = if originator { by_originator } else { by_responder };
        if !written.contains(what) || changed {
            written.insert(what);
            self.write(me, letter);
        }
    }

    fn write(&mut self, me: End, letter: u8) {
        let letter = if self.is_originator(me) { letter } else { letter.to_ascii_lowercase() };
        self.history.push(letter);
    }

    /// Counts, and writes the letter at the 1st, 10th, 100th, … time.
    fn count(&mut self, me: End, counter: fn(&mut Counts) -> &mut u32, letter: u8) {
        let count = counter(of(&mut self.trouble.get_or_insert_default().counts, me));
        *count = count.saturating_add(1);
        if *count < u32::MAX && is_power_of_ten(*count) {
            self.write(me, letter);
        }
    }

    /// A window of 0 that says something: with or after a RST it does not, nor once the peer has nothing more to send.
    fn is_zero_window(&self, me: End, segment: &Segment) -> bool {
        segment.window == 0
            && !segment.flags.contains(Flags::RST)
            && self.end(me.peer()).state != State::Closed
            && self.end(me).state != State::Reset
    }

    /// Takes in the acknowledgment number of a segment that `peer` is to read, and gives it relative to the start of what
    /// `peer` sent; `None` where it lies before that.
    fn take_ack(&mut self, peer: End, segment: &Segment) -> Option<Seq> {
        let end = self.end_mut(peer);
        if end.state == State::Inactive {
            // As though its SYN had been seen, and all of its data were to come.
            let start = segment.ack.minus(1);
            end.start_at(start, start);
            return Some(Seq(1));
        }
        let acked = end.relative_to_acked(segment.ack);
        if acked.before_start {
            return None;
        }
        if !segment.flags.contains(Flags::RST) {
            end.acknowledge(segment.ack);
        }
        Some(acked.seq)
    }

    /// Moves the sender's state, sometimes its peer's too, and says whether this closes the sender's direction.
    fn change_state(&mut self, me: End, originator: bool, segment: &Segment, age: Nanos) -> bool {
        let (flags, peer) = (segment.flags, me.peer());
        let (fin, rst) = (flags.contains(Flags::FIN), flags.contains(Flags::RST));
        match self.end(me).state {
            State::Inactive => return self.leave_inactive(me, originator, segment, age),
            State::SynSent | State::SynAckSent => {
                if fin {
                    self.set_state(me, State::Closed);
                }
                if rst {
                    self.set_state(me, State::Reset);
                    self.facts |= Facts::INERT;
                }
            }
            State::Established | State::Partial => {
                let late_syn = flags.is_bare_syn() && self.end(me).state == State::Partial;
                if late_syn && self.end(peer).state == State::Inactive {
                    self.set_state(me, State::SynSent);
                }
                if fin && !rst {
                    self.set_state(me, State::Closed);
                    if (self.end(peer).previous, self.end(peer).state) == (State::Closed, State::Reset) {
                        // The peer's RST came after its FIN: a normal end after all.
                        self.set_state(peer, State::Closed);
                    }
                }
                if rst {
                    self.set_state(me, State::Reset);
                    if (self.end(peer).previous, self.end(peer).state) != (State::Established, State::Reset) {
                        self.facts |= Facts::INERT;
                    }
                }
            }
            State::Closed => {
                let aborts = rst && self.end(peer).state != State::Closed;
                if aborts {
                    self.set_state(me, State::Reset);
                }
                return aborts && !self.end(me).flags.contains(EndFlags::CLOSED);
            }
            State::Reset => return false,
        }
        fin || rst
    }

    /// The first segments of an end.
    fn leave_inactive(&mut self, me: End, originator: bool, segment: &Segment, age: Nanos) -> bool {
        let (flags, peer) = (segment.flags, me.peer());
        if flags.contains(Flags::SYN) {
            if originator {
                let answer = flags.contains(Flags::ACK);
                self.set_state(me, if answer { State::SynAckSent } else { State::SynSent });
                self.start_attempt_timer(age);
            } else {
                self.answer_syn(me, flags);
            }
        }
        if flags.contains(Flags::FIN) {
            self.set_state(me, State::Closed);
        }
        if flags.contains(Flags::RST) {
            self.set_state(me, State::Reset);
        }
        if self.end(me).state == State::Inactive {
            // Some ACK a SYN before they answer it with theirs: that tells nothing yet.
            let early_ack = !originator && segment.len == 0 && self.end(peer).state == State::SynSent;
            if !early_ack {
                if flags.contains(Flags::ACK) && self.end(peer).state == State::Established {
                    // A SYN-ACK was seen before: only the SYN is missing.
                    self.set_state(me, State::Established);
                    self.facts.remove(Facts::PARTIAL);
                    self.facts |= if originator { Facts::ORIGINATOR_SEEN } else { Facts::RESPONDER_SEEN };
                } else {
                    self.set_state(me, State::Partial);
                }
            }
        }
        flags.intersects(Flags::FIN | Flags::RST)
    }

    /// The responder's first SYN, with or without ACK.
    fn answer_syn(&mut self, me: End, flags: Flags) {
        let peer = me.peer();
        if flags.is_bare_syn() && self.end(peer).state == State::SynAckSent {
            // The SYN-ACK was captured before the SYN it answers.
            self.flip();
            self.set_state(peer, State::Established);
            self.facts |= Facts::ORIGINATOR_SEEN;
        } else if self.end(peer).state == State::SynSent {
            self.set_state(peer, State::Established);
        }
        self.set_state(me, State::Established);
        let (_, responder) = self.by_role();
        if self.end(peer).state != State::Partial && responder.flags.contains(EndFlags::INTERACTIVE_PORT) {
            self.facts |= Facts::INTERACTIVE;
        }
    }

    fn set_state(&mut self, end: End, state: State) {
        let peer_in_handshake = self.end(end.peer()).state.is_handshake();
        let this = self.end_mut(end);
        if this.state == state {
            return;
        }
        let settles = !state.is_handshake() && this.state.is_handshake() && peer_in_handshake;
        (this.previous, this.state) = (this.state, state);
        if settles {
            self.facts |= Facts::SETTLED;
        }
    }
}

/// The one of two values that is `end`'s.
fn of<T>(values: &mut [T; 2], end: End) -> &mut T {
    let [low, high] = values;
    if end == End::Low { low } else { high }
}

/// Whether Zeek leaves a packet aside before it looks for its connection:
///
/// 1. under `--checksums drop`, where the IPv4 header checksum is wrong, or the IP length is 0 (a segment taken before
///    segmentation offload has no right checksum either);
/// 2. with `--timeouts zeek`, where the IP length is more than the frame has, or the fixed part of the TCP header was not
///    captured whole. A PPPoE length that is too small does not count: the frame has more.
pub(super) fn leaves_aside(packet: &Packet, layers: &[Layer], config: &Config) -> bool {
    let is_pppoe = || layers.iter().any(|layer| matches!(layer, Layer::Pppoe(_)));
    let unchecked = packet.notes.intersects(Notes::BAD_IP_CHECKSUM | Notes::LENGTH_ZERO);
    let is_incomplete = || {
        let beyond_the_frame = packet.notes.contains(Notes::TRUNCATED_IP) && !is_pppoe();
        packet.notes.contains(Notes::HEADER_CUT) || beyond_the_frame
    };
    (config.drop_bad_checksums && packet.tuple.version == IpVersion::V4 && unchecked)
        || (config.timeouts == Timeouts::Zeek && is_incomplete())
}

/// Whether a history is that of a SYN that its sender aborted: `^`, `S`, then no other of the originator's letters that
/// would make it more than an attempt, then `R`.
fn aborts_its_own_syn(history: &str) -> bool {
    let Some(rest) = history.strip_prefix('^').unwrap_or(history).strip_prefix('S') else { return false };
    rest.find('R').is_some_and(|at| !rest.get(..at).unwrap_or("").contains(['H', 'A', 'F', 'G', 'I', 'Q']))
}

fn is_power_of_ten(count: u32) -> bool {
    count.checked_ilog10().is_some_and(|digits| 10u32.pow(digits) == count)
}

pack_fields! {
    Outcome { ends, trouble, history, timer_ms, written, facts }
    Trouble { counts, beyond_hole }
    Counts { bad_checksums, retransmissions, zero_windows, gaps }
}

pack_flags!(Facts, Written);

#[cfg(test)]
mod tests;
