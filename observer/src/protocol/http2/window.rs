//! Flow control (RFC 9113, section 5.2): how long senders of DATA had to wait for a window.

use crate::record::Http2Stall;
use crate::time::Timestamp;

/// Octets that a window holds at first, unless SETTINGS say otherwise (section 6.9.2).
pub(super) const INITIAL: i64 = 65_535;

/// How many octets a sender may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    left: i64,
    /// When it was used up.
    empty_since: Option<Timestamp>,
    /// When it was used up last, and given back.
    waited: Option<(Timestamp, Timestamp)>,
}

impl Window {
    pub(super) const fn new(left: i64) -> Self {
        Self { left, empty_since: None, waited: None }
    }

    /// The sender has sent so many octets. Where it has waited for them, that is added to `stall`.
    pub(super) fn send(&mut self, octets: i64, at: Timestamp, stall: &mut Http2Stall) {
        if octets == 0 {
            return;
        }
        if let Some((from, to)) = self.waited.take() {
            let length = to.since(from);
            stall.count += 1;
            stall.time_ns.0 = stall.time_ns.0.saturating_add(length.0);
            stall.max_ns = stall.max_ns.max(length);
        }
        self.left = self.left.saturating_sub(octets);
        if self.left <= 0 {
            self.empty_since.get_or_insert(at);
        }
    }

    /// The receiver allows so many octets more; fewer, where SETTINGS take some back.
    pub(super) fn grant(&mut self, octets: i64, at: Timestamp) {
        self.left = self.left.saturating_add(octets);
        if self.left > 0
            && let Some(since) = self.empty_since.take()
        {
            self.waited = Some((since, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Nanos;

    #[test]
    fn a_stall_counts_once_there_is_more_to_send() {
        let at = Timestamp::from_nanos;
        let (mut window, mut stall) = (Window::new(100), Http2Stall::default());
        window.send(100, at(10), &mut stall);
        window.grant(-5, at(12));
        window.grant(5, at(15));
        assert_eq!(stall, Http2Stall::default(), "still empty");
        window.grant(50, at(30));
        assert_eq!(stall, Http2Stall::default(), "maybe there was nothing more to send");
        window.send(20, at(31), &mut stall);
        assert_eq!(stall, Http2Stall { count: 1, time_ns: Nanos(20), max_ns: Nanos(20) });
        window.send(20, at(32), &mut stall);
        window.grant(50, at(33));
        window.send(1, at(34), &mut stall);
        assert_eq!(stall.count, 1, "it was never used up");
    }
}
