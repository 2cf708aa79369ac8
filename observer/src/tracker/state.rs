//! The TCP state machine of both ends (RFC 9293, section 3.3.2), as far as the packets between them show it.
//!
//! A segment moves its sender when it leaves and its receiver when it arrives, and is taken to arrive: the states are
//! those of the columns of RFC 9293's figures, right after the segment. One step is left out: a SYN does not move its
//! receiver, since nothing shows yet that anybody listens there.

use crate::packet::{Flags, Segment};
use crate::record::TcpState::{self, *};

/// What one segment can do to a state, in the order it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Sends a SYN without ACK.
    SendSyn,
    /// Is sent a SYN without ACK.
    GetSyn,
    /// Sends a SYN with ACK.
    SendSynAck,
    /// Is sent a SYN with ACK.
    GetSynAck,
    /// Sends a segment that only an open connection sends.
    Send,
    /// Is sent an ACK.
    GetAck,
    /// Is sent an ACK that covers its FIN.
    GetAckOfFin,
    /// Sends a FIN.
    SendFin,
    /// Is sent a FIN.
    GetFin,
}

/// One transition a line.
const fn next(state: TcpState, step: Step) -> TcpState {
    match (state, step) {
        (Unknown | Listen | Closed, Step::SendSyn) => SynSent,
        // Simultaneous open: both have sent a SYN, and each is sent the other's.
        (SynSent, Step::GetSyn) => SynRecv,

        (Unknown | Listen | Closed | SynSent, Step::SendSynAck) => SynRecv,
        (Unknown | SynSent, Step::GetSynAck) => Estab,
        (SynRecv, Step::GetSynAck) => Estab,

        (Unknown | SynSent, Step::Send) => Estab,
        (Unknown | SynRecv, Step::GetAck) => Estab,

        (FinWait1, Step::GetAckOfFin) => FinWait2,
        (Closing, Step::GetAckOfFin) => TimeWait,
        (LastAck, Step::GetAckOfFin) => Closed,

        (Unknown | SynSent | SynRecv | Estab, Step::SendFin) => FinWait1,
        (CloseWait, Step::SendFin) => LastAck,

        (Unknown | SynRecv | Estab, Step::GetFin) => CloseWait,
        (FinWait1, Step::GetFin) => Closing,
        (FinWait2, Step::GetFin) => TimeWait,

        (state, _) => state,
    }
}

/// Moves `sender` and `receiver` on by one segment between them. `acks_fin` says that it acknowledges the receiver's FIN.
///
/// An RST closes both ends from any state (RFC 9293, section 3.10.7): whether it counts at all, see
/// [`super::connection`].
pub(super) fn apply(sender: &mut TcpState, receiver: &mut TcpState, segment: &Segment, acks_fin: bool) {
    let flags = segment.flags;
    if flags.contains(Flags::RST) {
        (*sender, *receiver) = (Closed, Closed);
        return;
    }
    let mut step = |sent: Option<Step>, got: Option<Step>| {
        *sender = sent.map_or(*sender, |step| next(*sender, step));
        *receiver = got.map_or(*receiver, |step| next(*receiver, step));
    };
    if flags.is_syn_ack() {
        step(Some(Step::SendSynAck), Some(Step::GetSynAck));
    } else if flags.contains(Flags::SYN) {
        step(Some(Step::SendSyn), Some(Step::GetSyn));
    } else if flags.contains(Flags::ACK) {
        step(Some(Step::Send), Some(Step::GetAck));
    } else {
        step(Some(Step::Send), None);
    }
    if acks_fin {
        step(None, Some(Step::GetAckOfFin));
    }
    if flags.contains(Flags::FIN) {
        step(Some(Step::SendFin), Some(Step::GetFin));
    }
}

/// Whether nothing more is owed on either side: closed, or only waiting for time to pass.
pub(super) const fn is_over(one: TcpState, other: TcpState) -> bool {
    matches!((one, other), (Closed | TimeWait, Closed | TimeWait))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Flags;

    /// Who sends which flags, whether the segment acknowledges the other's FIN, and both states after it.
    type Line = (char, Flags, bool, TcpState, TcpState);

    const SYN: Flags = Flags::SYN;
    const ACK: Flags = Flags::ACK;
    const SYN_ACK: Flags = SYN.union(ACK);
    const FIN_ACK: Flags = Flags::FIN.union(ACK);
    const RST: Flags = Flags::RST;

    fn follow(lines: &[Line]) {
        let (mut a, mut b) = (Unknown, Unknown);
        for (number, &(from, flags, acks_fin, want_a, want_b)) in lines.iter().enumerate() {
            let segment = Segment { flags, ..Segment::default() };
            if from == 'a' {
                apply(&mut a, &mut b, &segment, acks_fin);
            } else {
                apply(&mut b, &mut a, &segment, acks_fin);
            }
            assert_eq!((a, b), (want_a, want_b), "after line {number}: {from} sends {flags}");
        }
    }

    const OPEN: [Line; 3] =
        [('a', SYN, false, SynSent, Unknown), ('b', SYN_ACK, false, Estab, SynRecv), ('a', ACK, false, Estab, Estab)];

    fn after_open(lines: &[Line]) {
        follow(&[&OPEN, lines].concat());
    }

    /// RFC 9293, figure 12.
    #[test]
    fn normal_close() {
        after_open(&[
            ('a', FIN_ACK, false, FinWait1, CloseWait),
            ('b', ACK, true, FinWait2, CloseWait),
            ('b', FIN_ACK, true, TimeWait, LastAck),
            ('a', ACK, true, TimeWait, Closed),
        ]);
    }

    #[test]
    fn fin_that_acknowledges_a_fin() {
        after_open(&[
            ('a', FIN_ACK, false, FinWait1, CloseWait),
            ('b', FIN_ACK, true, TimeWait, LastAck),
            ('a', ACK, true, TimeWait, Closed),
        ]);
    }

    /// RFC 9293, figure 13.
    #[test]
    fn simultaneous_close() {
        after_open(&[
            ('a', FIN_ACK, false, FinWait1, CloseWait),
            ('b', FIN_ACK, false, Closing, LastAck),
            ('a', ACK, true, Closing, Closed),
            ('b', ACK, true, TimeWait, Closed),
        ]);
    }

    #[test]
    fn half_close_keeps_receiving() {
        after_open(&[
            ('a', FIN_ACK, false, FinWait1, CloseWait),
            ('b', ACK, true, FinWait2, CloseWait),
            ('b', ACK, true, FinWait2, CloseWait),
            ('a', ACK, false, FinWait2, CloseWait),
        ]);
    }

    /// RFC 9293, figure 7.
    #[test]
    fn simultaneous_open() {
        follow(&[
            ('a', SYN, false, SynSent, Unknown),
            ('b', SYN, false, SynRecv, SynSent),
            ('a', SYN_ACK, false, SynRecv, Estab),
            ('b', SYN_ACK, false, Estab, Estab),
        ]);
    }

    #[test]
    fn reset_closes_from_every_state() {
        follow(&[('a', SYN, false, SynSent, Unknown), ('b', RST.union(ACK), false, Closed, Closed)]);
        after_open(&[('b', RST, false, Closed, Closed)]);
        after_open(&[('a', FIN_ACK, false, FinWait1, CloseWait), ('a', RST, false, Closed, Closed)]);
    }

    #[test]
    fn midstream() {
        follow(&[('b', ACK, false, Estab, Estab), ('a', FIN_ACK, false, FinWait1, CloseWait)]);
    }
}
