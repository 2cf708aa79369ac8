//! When a connection is over: Zeek's timers, and what makes a SYN the first of a new connection.

use super::endpoint::{EndFlags, State};
use super::{Facts, Outcome};
use crate::packet::{Flags, Segment};
use crate::time::{Nanos, Timestamp};

/// `tcp_attempt_delay`: how long a SYN may go without an answer.
const ATTEMPT: Nanos = Nanos::from_secs(5);
/// `tcp_close_delay`: how long a closed connection is kept.
const CLOSE: Nanos = Nanos::from_secs(5);
/// `tcp_SYN_timeout`: when it is first tested whether a connection has ended.
const FIRST_CHECK: Nanos = Nanos::from_secs(5);
/// `tcp_session_timer`: how often it is tested after that.
const CHECK: Nanos = Nanos::from_secs(6);
/// `tcp_connection_linger`: how long a half-closed connection must be quiet to count as ended.
const LINGER: Nanos = Nanos::from_secs(5);
/// `udp_inactivity_timeout`, which also holds for TCP until the handshake is over.
const INACTIVITY_IN_HANDSHAKE: Nanos = Nanos::from_secs(60);
/// `tcp_inactivity_timeout`.
const INACTIVITY: Nanos = Nanos::from_secs(5 * 60);
/// `Conn::port_inactivity_timeouts`.
const INACTIVITY_INTERACTIVE: Nanos = Nanos::from_secs(60 * 60);

/// The clock, as far as Zeek's timers need it. Zeek reads time off the packets: a timer runs out when the first packet
/// after it, of whatever connection, is captured.
#[derive(Clone, Copy, Debug)]
pub(in crate::tracker) struct Clock {
    /// Time of the connection's first packet.
    pub(in crate::tracker) first: Timestamp,
    /// Time of its last packet so far.
    pub(in crate::tracker) last: Timestamp,
    /// Time of the packet before this one, of any connection.
    pub(in crate::tracker) previous: Timestamp,
    /// Time of this packet.
    pub(in crate::tracker) now: Timestamp,
}

impl Outcome {
    /// Whether a segment with the same key belongs to a new connection by Zeek's rules: this one is expired, or its ports
    /// are used anew.
    pub(in crate::tracker) fn is_succeeded_by(&self, segment: &Segment, clock: &Clock) -> bool {
        self.is_expired(clock) || self.is_reuse(segment)
    }

    /// Whether Zeek's timers have ended the connection by `clock.now`: what comes now, even on the same tuple, belongs to
    /// a new one.
    ///
    /// 1. An originator's SYN or SYN-ACK without any answer ends after 5 s, whatever was sent again in that time.
    /// 2. A connection that closed (both directions, or one by RST, or one while the other was silent, and all data
    ///    before was delivered) ends 5 s after that, whatever comes in that time.
    /// 3. A connection with one direction closed, and the other reset or silent, or of which nothing but wrong checksums
    ///    was seen, ends at the first check after 5 s of silence. Checks come 5 s after the first packet and every 6 s
    ///    from there, and 6 s after a close and every 6 s from there. A connection that was reset while data was missing
    ///    is not checked.
    /// 4. Any connection ends after a silence of 5 min; of 1 min while in handshake; of 1 h once established to port 21,
    ///    22, 23 or 513. (Zeek also grants the hour to SSH and FTP that it recognises on other ports.)
    pub(super) fn is_expired(&self, clock: &Clock) -> bool {
        let inactivity = match self.facts {
            facts if facts.contains(Facts::INTERACTIVE) => INACTIVITY_INTERACTIVE,
            facts if facts.contains(Facts::SETTLED) => INACTIVITY,
            _ => INACTIVITY_IN_HANDSHAKE,
        };
        if clock.now >= clock.last.plus(inactivity) {
            return true;
        }
        let timer = (self.timer_ms > 0).then(|| clock.first.plus(Nanos::from_millis(self.timer_ms.into())));
        let run_out = timer.is_some_and(|timer| clock.now >= timer);
        if self.facts.contains(Facts::GOING) {
            return run_out;
        }
        if self.facts.contains(Facts::INERT) {
            return false;
        }
        let (originator, responder) = self.by_role();
        let (closed, silent) = (
            [originator, responder].map(|end| end.flags.contains(EndFlags::CLOSED)),
            [originator, responder].map(|end| end.state == State::Inactive),
        );
        if originator.state.is_opening() && responder.state == State::Inactive && run_out {
            return true;
        }
        let reset = [originator, responder].iter().any(|end| end.state == State::Reset);
        let over = closed.contains(&true) && (reset || silent.contains(&true));
        if !over && silent.contains(&false) {
            return false;
        }
        let checked_from = [Some(clock.first.plus(FIRST_CHECK)), timer.filter(|_| closed.contains(&true))];
        checked_from.into_iter().flatten().any(|from| is_checked_in_silence(from, clock))
    }

    /// Whether a segment on the same tuple starts a new connection by Zeek's rule, whoever sends it:
    ///
    /// 1. a SYN without ACK, or a SYN-ACK while the originator was silent;
    /// 2. one direction is closed (see [`Outcome::is_expired`], 2), or its sequence number is another than the one the
    ///    originator (for a SYN-ACK: the responder) started with;
    /// 3. and it is not the SYN that a SYN-ACK captured before it answers.
    ///
    /// So a simultaneous open makes two connections in Zeek, and a SYN that is sent again after a RST a new one.
    pub(super) fn is_reuse(&self, segment: &Segment) -> bool {
        if !segment.flags.contains(Flags::SYN) {
            return false;
        }
        let (originator, responder) = self.by_role();
        let answer = segment.flags.contains(Flags::ACK);
        if answer && originator.state != State::Inactive {
            return false;
        }
        if [originator, responder].iter().any(|end| end.flags.contains(EndFlags::CLOSED)) {
            return true;
        }
        let opener = if answer { responder } else { originator };
        let reversed = !answer
            && originator.state == State::SynAckSent
            && responder.state == State::Inactive
            && segment.seq == responder.start;
        segment.seq != opener.start && !reversed
    }

    pub(super) fn start_attempt_timer(&mut self, age: Nanos) {
        self.start_timer(age, ATTEMPT);
    }

    pub(super) fn start_session_timer(&mut self, age: Nanos) {
        self.start_timer(age, CHECK);
    }

    pub(super) fn start_delete_timer(&mut self, age: Nanos) {
        self.facts.remove(Facts::GOING);
        self.start_timer(age, CLOSE);
        self.facts |= Facts::GOING;
    }

    /// Starts a timer; the one that ends the connection is not given up for another.
    fn start_timer(&mut self, age: Nanos, wait: Nanos) {
        if self.facts.contains(Facts::GOING) {
            return;
        }
        let at = age.0.saturating_add(wait.0).div_ceil(Nanos::from_millis(1).0);
        self.timer_ms = u32::try_from(at).unwrap_or(u32::MAX);
    }
}

/// Whether a check, one of those every [`CHECK`] from `from` on, fell into a silence longer than [`LINGER`]. A check up to
/// the previous packet took place at its own time, a later one takes place now.
fn is_checked_in_silence(from: Timestamp, clock: &Clock) -> bool {
    let quiet_since = clock.last.plus(LINGER);
    next_check(from, quiet_since) <= clock.previous
        || (clock.now > quiet_since && next_check(from, clock.previous) <= clock.now)
}

/// The first check after `time`.
fn next_check(from: Timestamp, time: Timestamp) -> Timestamp {
    match time.checked_since(from) {
        Some(since) => from.plus(Nanos((since.0 / CHECK.0 + 1).saturating_mul(CHECK.0))),
        None => from,
    }
}
