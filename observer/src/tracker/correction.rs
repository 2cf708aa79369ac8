//! Where Wireshark's rules take one thing for another, and the connection knows better.
//!
//! Wireshark tells a segment that was overtaken from one that was sent again by the clock: less than a round trip after
//! its direction last moved on, it is `out_of_order`. Of payload that starts before *next*:
//!
//! 1. All of it was captured before: it was sent again, however soon. At the sender, before the network could have
//!    reordered anything, this is every such segment.
//! 2. Some of it was not, and its TSval is older than the latest of its end: later segments overtook it, however late it
//!    came and whoever asked for it (a segment takes its TSval when it is sent: RFC 7323, section 3.2).
//! 3. Some of it was not, and its TSval is newer: it was sent after what came before it, so it was sent again, and what was
//!    sent first was lost before the capture point.
//!
//! Without timestamps, or where both TSvals are the same, Wireshark's clock decides.

use std::cmp::Ordering;

use super::analysis::AnalysisSet;

/// Names for payload that starts before *next*, without those that say more.
const SENT_AGAIN: AnalysisSet = AnalysisSet::RETRANSMISSION;

/// All names for it.
pub(super) const OLD: AnalysisSet = SENT_AGAIN
    .union(AnalysisSet::FAST_RETRANSMISSION)
    .union(AnalysisSet::SPURIOUS_RETRANSMISSION)
    .union(AnalysisSet::OUT_OF_ORDER);

/// What payload that the analysis calls `set`, one of [`OLD`], is. `seen` says that all of it was captured before, `age`
/// how its TSval compares with the latest of its end.
pub(super) fn correct(set: AnalysisSet, seen: bool, age: Option<Ordering>) -> AnalysisSet {
    match age {
        _ if seen && set.contains(AnalysisSet::OUT_OF_ORDER) => (set - OLD) | SENT_AGAIN,
        _ if seen => set,
        Some(Ordering::Less) => (set - OLD) | AnalysisSet::OUT_OF_ORDER,
        Some(Ordering::Greater) if set.contains(AnalysisSet::OUT_OF_ORDER) => (set - OLD) | SENT_AGAIN,
        _ => set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_captured_before_was_sent_again() {
        let other = AnalysisSet::ZERO_WINDOW;
        assert_eq!(correct(AnalysisSet::OUT_OF_ORDER | other, true, None), AnalysisSet::RETRANSMISSION | other);
        let spurious = AnalysisSet::RETRANSMISSION | AnalysisSet::SPURIOUS_RETRANSMISSION;
        assert_eq!(correct(spurious, true, Some(Ordering::Less)), spurious);
    }

    #[test]
    fn timestamps_tell_what_was_overtaken() {
        let fast = AnalysisSet::RETRANSMISSION | AnalysisSet::FAST_RETRANSMISSION;
        assert_eq!(correct(fast, false, Some(Ordering::Less)), AnalysisSet::OUT_OF_ORDER);
        assert_eq!(correct(fast, false, Some(Ordering::Greater)), fast);
        assert_eq!(correct(AnalysisSet::OUT_OF_ORDER, false, Some(Ordering::Greater)), AnalysisSet::RETRANSMISSION);
        assert_eq!(correct(AnalysisSet::OUT_OF_ORDER, false, Some(Ordering::Equal)), AnalysisSet::OUT_OF_ORDER);
        assert_eq!(correct(AnalysisSet::RETRANSMISSION, false, None), AnalysisSet::RETRANSMISSION);
    }
}
