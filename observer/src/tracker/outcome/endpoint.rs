//! One end of a connection as Zeek sees it.

use bitflags::bitflags;

use crate::packet::{Flags, Segment};
use crate::sequence::Seq;
use crate::tracker::pack::{pack_fields, pack_flags, pack_values};

/// A jump in sequence numbers that Zeek does not believe of a SYN, a RST or an ACK of 0, in octets.
const TOO_LARGE_JUMP: i32 = 1 << 20;

/// Octets beyond the last acknowledgment after which Zeek follows the data no more
/// (`tcp_excessive_data_without_further_acks`).
pub const BUFFER_LIMIT: u32 = 10 << 20;

/// What was seen of an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing, or nothing that tells.
    #[default]
    Inactive,
    /// A SYN.
    SynSent,
    /// A SYN-ACK, from the end that sent the first packet.
    SynAckSent,
    /// Data or an ACK, and no SYN before it.
    Partial,
    /// Its part of a handshake.
    Established,
    /// A FIN.
    Closed,
    /// A RST.
    Reset,
}

impl State {
    /// Whether the handshake may still be under way.
    pub fn is_handshake(self) -> bool {
        matches!(self, Self::Inactive | Self::SynSent | Self::SynAckSent)
    }

    /// Whether this end has sent an initial SYN or what Zeek takes for one.
    pub fn is_opening(self) -> bool {
        matches!(self, Self::SynSent | Self::SynAckSent)
    }
}

bitflags! {
    /// Facts about one end.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EndFlags: u8 {
        /// A FIN was seen, alone or with other flags.
        const FIN = 0x01;
        /// Its close has been taken note of: everything it sent was delivered or given up.
        const CLOSED = 0x02;
        /// The end of its data has been reached.
        const AT_END = 0x04;
        /// Its data is not followed any more: too much of it is not acknowledged.
        const SKIPPING = 0x08;
        /// The last FIN does not lie before the start, so that `fin_end` tells something.
        const FIN_PLACED = 0x20;
        /// It uses a port whose connections may be idle for an hour.
        const INTERACTIVE_PORT = 0x10;
    }
}

/// Sequence numbers and state of one end.
///
/// `start` is the number of its SYN, or one before its first octet where no SYN was seen. What is called relative counts
/// from there: the first octet of data has relative number 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endpoint {
    /// What was seen of it.
    pub state: State,
    /// The state before.
    pub previous: State,
    /// Facts.
    pub flags: EndFlags,
    /// How often `last` went around the sequence space; stays at 255.
    pub last_wraps: u8,
    /// How often `acked` went around the sequence space; stays at 255.
    pub acked_wraps: u8,
    /// Where its sequence numbers start.
    pub start: Seq,
    /// After the last octet it sent.
    pub last: Seq,
    /// The highest acknowledgment number its peer sent.
    pub acked: Seq,
    /// Relative number after the last octet that was delivered in order, or given up.
    pub delivered: Seq,
    /// Relative number up to which its peer has acknowledged.
    pub trimmed: Seq,
    /// Relative number of the last SYN in the history.
    pub syn: Seq,
    /// Relative number of the last FIN in the history.
    pub fin: Seq,
    /// Relative number of the last RST in the history.
    pub rst: Seq,
    /// Relative number after the last FIN.
    pub fin_end: Seq,
}

/// A sequence number counted from an end's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    /// The number, modulo 2³².
    pub seq: Seq,
    /// It lies before the start: older than what was seen first, or nonsense.
    pub before_start: bool,
}

impl Endpoint {
    /// An end that nothing was seen of.
    pub fn new(flags: EndFlags) -> Self {
        Self { flags, delivered: Seq(1), trimmed: Seq(1), ..Self::default() }
    }

    /// Takes the start of the sequence numbers from a segment that this end sent, where it tells more than what is known:
    /// from its first segment, and from a SYN as long as it can be the one that opens the connection.
    pub fn start_from(&mut self, segment: &Segment) {
        let syn = segment.flags.contains(Flags::SYN);
        match self.state {
            State::Inactive if !syn => {
                // As though the SYN had come right before, and so that this first segment is no retransmission.
                self.start_at(segment.seq.minus(1), segment.seq);
            }
            State::SynSent | State::SynAckSent if segment.seq == self.start => {}
            State::Reset if self.previous != State::Inactive => {}
            State::Closed => {}
            _ if syn => self.start_at(segment.seq, sequence_end(segment)),
            _ => {}
        }
    }

    /// Sets the start and what follows it. Zeek goes on counting rounds here, and so takes a SYN inside a connection that
    /// went around the sequence space for data far ahead; nothing is gained by doing so too.
    pub fn start_at(&mut self, start: Seq, last: Seq) {
        (self.start, self.acked, self.last) = (start, start, last);
        (self.last_wraps, self.acked_wraps) = (0, 0);
    }

    /// The sequence number of a segment this end sent, relative to its start.
    #[inline]
    pub fn relative_to_sent(&self, seq: Seq) -> Relative {
        self.relative(seq, self.last, self.last_wraps)
    }

    /// An acknowledgment number its peer sent, relative to its start.
    #[inline]
    pub fn relative_to_acked(&self, ack: Seq) -> Relative {
        self.relative(ack, self.acked, self.acked_wraps)
    }

    #[inline]
    fn relative(&self, seq: Seq, known: Seq, wraps: u8) -> Relative {
        let wraps = if seq.before(known) && seq.0 > known.0 {
            wraps.saturating_sub(1)
        } else if seq.after(known) && seq.0 < known.0 {
            wraps.saturating_add(1)
        } else {
            wraps
        };
        Relative { seq: Seq(seq.offset_from(self.start)), before_start: wraps == 0 && seq.before(self.start) }
    }

    /// Takes in an acknowledgment number that its peer sent.
    #[inline]
    pub fn acknowledge(&mut self, ack: Seq) {
        let ahead = ack.delta(self.acked);
        if ahead > 0 && (ack != Seq(0) || ahead <= TOO_LARGE_JUMP) {
            self.acked_wraps = self.acked_wraps.saturating_add(u8::from(ack.0 < self.acked.0));
            self.acked = ack;
        }
    }

    /// Takes in the end of a segment that this end sent, and says whether the segment retransmits payload.
    #[inline]
    pub fn advance(&mut self, segment: &Segment) -> bool {
        let end = sequence_end(segment);
        let ahead = end.delta(self.last);
        if segment.flags.intersects(Flags::SYN | Flags::RST) && !(-TOO_LARGE_JUMP..=TOO_LARGE_JUMP).contains(&ahead) {
            return false;
        }
        // A connection of which no more than SYN and FIN was captured may have carried over 2 GiB: its FIN is believed.
        let only_fin = segment.flags.contains(Flags::FIN) && self.last == self.start.plus(1);
        if only_fin || (ahead > 0 && self.state != State::Reset) {
            self.sent_up_to(end);
            return false;
        }
        self.state != State::Reset && segment.len > 0
    }

    #[inline(always)]
    fn sent_up_to(&mut self, end: Seq) {
        self.last_wraps = self.last_wraps.saturating_add(u8::from(end.0 < self.last.0));
        self.last = end;
    }

    /// Whether it went through a handshake, and has done nothing since but send and acknowledge.
    pub fn is_undisturbed(&self) -> bool {
        self.state == State::Established && EndFlags::INTERACTIVE_PORT.contains(self.flags)
    }

    /// Takes in the payload of a segment without SYN, FIN and RST that follows on what was sent and delivered, with nothing
    /// to be looked at closer. Says whether it was such a segment; if not, nothing has changed.
    #[inline(always)]
    pub fn takes_next(&mut self, segment: &Segment) -> bool {
        // What begins where the last one ended has gone around the sequence space as often as that.
        let before_start = self.last_wraps == 0 && self.last.before(self.start);
        let follows =
            segment.seq == self.last && !before_start && self.last.offset_from(self.start) == self.delivered.0;
        let held = u32::try_from(self.delivered.delta(self.trimmed)).ok();
        let is_little = held.is_some_and(|held| held.saturating_add(segment.len) <= BUFFER_LIMIT);
        if !follows || !is_little || self.nothing_acked() {
            return false;
        }
        self.sent_up_to(self.last.plus(segment.len));
        self.delivered = self.delivered.plus(segment.len);
        true
    }

    /// Whether the peer acknowledged none of its data; its SYN may be.
    pub fn nothing_acked(&self) -> bool {
        matches!(self.acked.offset_from(self.start), 0 | 1)
    }

    /// Octets of payload it sent, as its sequence numbers and its peer's acknowledgments tell, modulo 2³².
    pub fn size(&self, peer: &Self) -> u32 {
        let aborted = self.previous == State::SynSent && self.state == State::Reset && peer.state == State::Inactive;
        if aborted && !self.nothing_acked() {
            // A half-open connection that was discovered: the numbers belong to an older one.
            return 0;
        }
        let end = if self.last.after(self.acked) { self.last } else { self.acked };
        let controls = 1 + u32::from(self.flags.contains(EndFlags::FIN));
        end.offset_from(self.start).saturating_sub(controls)
    }

    /// Whether it went through a handshake, and was not reset since.
    pub fn is_clean(&self) -> bool {
        self.state == State::Established || (self.state == State::Closed && self.previous == State::Established)
    }
}

/// The sequence number after a segment. The payload of a RST is no part of the stream.
pub fn sequence_end(segment: &Segment) -> Seq {
    let payload = if segment.flags.contains(Flags::RST) { 0 } else { segment.len };
    let controls = u32::from(segment.flags.contains(Flags::SYN)) + u32::from(segment.flags.contains(Flags::FIN));
    segment.seq.plus(payload).plus(controls)
}

pack_fields! {
    Endpoint {
        state, previous, flags, last_wraps, acked_wraps, start, last, acked, delivered, trimmed, syn, fin, rst, fin_end,
    }
}

pack_values! {
    State { Inactive, SynSent, SynAckSent, Partial, Established, Closed, Reset }
}

pack_flags!(EndFlags);
