//! What makes a connection remarkable while it goes on: told at that moment, not in the end only.

use bitflags::bitflags;

use super::AnalysisSet;
use super::connection::{Connection, Listed};
use crate::record::{Retransmissions, TcpState, Turn};
use crate::time::{Nanos, Timestamp};

/// Segments of one end that were sent again, from which on it is no accident.
const REPEATED: u64 = 3;

/// How long an end may leave the other's FIN unanswered before its program is taken to have forgotten the socket.
const CLOSE_WAIT: Nanos = Nanos::from_secs(60);

bitflags! {
    /// A set of TCP states.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct States: u16 {
        /// [`TcpState::Listen`].
        const LISTEN = 1 << 0;
        /// [`TcpState::SynSent`].
        const SYN_SENT = 1 << 1;
        /// [`TcpState::SynRecv`].
        const SYN_RECV = 1 << 2;
        /// [`TcpState::Estab`].
        const ESTAB = 1 << 3;
        /// [`TcpState::FinWait1`].
        const FIN_WAIT_1 = 1 << 4;
        /// [`TcpState::FinWait2`].
        const FIN_WAIT_2 = 1 << 5;
        /// [`TcpState::CloseWait`].
        const CLOSE_WAIT = 1 << 6;
        /// [`TcpState::Closing`].
        const CLOSING = 1 << 7;
        /// [`TcpState::LastAck`].
        const LAST_ACK = 1 << 8;
        /// [`TcpState::TimeWait`].
        const TIME_WAIT = 1 << 9;
        /// [`TcpState::Closed`].
        const CLOSED = 1 << 10;
    }
}

/// The states of `ss`, by its words, some of which stand for several.
impl States {
    /// Every word that `ss` has for states.
    pub const NAMES: [(&str, Self); 17] = [
        ("established", Self::ESTAB),
        ("estab", Self::ESTAB),
        ("syn-sent", Self::SYN_SENT),
        ("syn-recv", Self::SYN_RECV),
        ("fin-wait-1", Self::FIN_WAIT_1),
        ("fin-wait-2", Self::FIN_WAIT_2),
        ("time-wait", Self::TIME_WAIT),
        ("closed", Self::CLOSED),
        ("close-wait", Self::CLOSE_WAIT),
        ("last-ack", Self::LAST_ACK),
        ("closing", Self::CLOSING),
        ("listening", Self::LISTEN),
        ("all", Self::all()),
        ("connected", Self::LISTEN.union(Self::CLOSED).complement()),
        ("synchronized", Self::LISTEN.union(Self::CLOSED).union(Self::SYN_SENT).complement()),
        ("bucket", Self::TIME_WAIT.union(Self::SYN_RECV)),
        ("big", Self::TIME_WAIT.union(Self::SYN_RECV).union(Self::CLOSED).complement()),
    ];

    /// The states that a word of `ss` stands for; `None` for any other word.
    pub fn by_name(word: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, states)| states)
    }

    /// Whether a state is among them.
    pub fn contain(self, state: TcpState) -> bool {
        self.intersects(Self::from(state))
    }
}

impl From<TcpState> for States {
    fn from(state: TcpState) -> Self {
        match state {
            TcpState::Unknown => Self::empty(),
            TcpState::Listen => Self::LISTEN,
            TcpState::SynSent => Self::SYN_SENT,
            TcpState::SynRecv => Self::SYN_RECV,
            TcpState::Estab => Self::ESTAB,
            TcpState::FinWait1 => Self::FIN_WAIT_1,
            TcpState::FinWait2 => Self::FIN_WAIT_2,
            TcpState::CloseWait => Self::CLOSE_WAIT,
            TcpState::Closing => Self::CLOSING,
            TcpState::LastAck => Self::LAST_ACK,
            TcpState::TimeWait => Self::TIME_WAIT,
            TcpState::Closed => Self::CLOSED,
        }
    }
}

bitflags! {
    /// What holds of a connection, or was told of it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Turns: u8 {
        const SYN_UNANSWERED = 1;
        const RETRANSMISSIONS = 1 << 1;
        const ZERO_WINDOW = 1 << 2;
        const RESET = 1 << 3;
        const CLOSE_WAIT = 1 << 4;
        const STATE = 1 << 5;
    }
}

impl Turns {
    /// As a record lists them.
    pub(super) fn list(self) -> Vec<Turn> {
        let all = [
            (Self::SYN_UNANSWERED, Turn::SynUnanswered),
            (Self::RETRANSMISSIONS, Turn::Retransmissions),
            (Self::ZERO_WINDOW, Turn::ZeroWindow),
            (Self::RESET, Turn::Reset),
            (Self::CLOSE_WAIT, Turn::CloseWait),
            (Self::STATE, Turn::State),
        ];
        all.into_iter().filter(|(turn, _)| self.contains(*turn)).map(|(_, turn)| turn).collect()
    }
}

impl Connection {
    /// What is remarkable at `now` about a connection that goes on; nothing where it does not. `watched` are states that
    /// are looked out for.
    pub(super) fn turns(&self, now: Timestamp, watched: States) -> Turns {
        let mut turns = Turns::empty();
        if self.listed != Listed::No {
            return turns;
        }
        let handshake = u64::from(self.handshake.sent_again());
        for direction in [0, 1] {
            let state = self.state_of(direction);
            let kernel = self.kernel.as_deref().and_then(|kernel| kernel.plight(direction));
            let rare = self.rare.as_deref();
            let syns = kernel.map_or(handshake, |plight| plight.syns_again);
            let again = kernel.map_or_else(|| self.again(direction).saturating_sub(handshake), |plight| plight.again);
            // Long transfers lose a segment now and then.
            let sent = kernel.and_then(|plight| plight.sent).map_or(0, u64::from);
            let is_little = again.saturating_mul(100) < sent;
            // Where every segment is seen, the analysis counts those with a window of 0.
            let stays_closed = self.sent.get(direction).is_some_and(|end| end.zero_window() > Nanos::default());
            let closed = kernel.is_some_and(|plight| plight.window_closed)
                || stays_closed
                || rare
                    .and_then(|rare| rare.analysis.get(direction))
                    .is_some_and(|counts| counts.of(AnalysisSet::ZERO_WINDOW) > 0);
            let reset = kernel.is_some_and(|plight| plight.reset)
                || self.closing.rst.get(direction).is_some_and(|rst| rst.get().is_some());
            let peer_fin = self.closing.fin.get(direction ^ 1).and_then(|fin| fin.get());
            let since = kernel.map_or(peer_fin, |plight| plight.close_wait);
            let held = state == TcpState::CloseWait && since.is_some_and(|since| now.since(since) >= CLOSE_WAIT);
            let found = [
                (Turns::SYN_UNANSWERED, state == TcpState::SynSent && syns > 0),
                (Turns::RETRANSMISSIONS, again >= REPEATED && !is_little),
                (Turns::ZERO_WINDOW, closed),
                (Turns::RESET, reset),
                (Turns::CLOSE_WAIT, held),
                (Turns::STATE, watched.intersects(state.into())),
            ];
            found.into_iter().filter(|(_, holds)| *holds).for_each(|(turn, _)| turns.insert(turn));
        }
        turns
    }

    /// Segments that the packets show a direction to have sent again.
    fn again(&self, direction: usize) -> u64 {
        let counts = self.sent.get(direction).map(|end| end.retransmits.counts()).unwrap_or_default();
        let Retransmissions { rto, fast, tail_loss_probe, spurious, sack_repaired } = counts;
        rto + fast + tail_loss_probe + spurious + sack_repaired
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Event, Tracker};
    use super::*;
    use crate::input::Input;
    use crate::kernel::{KernelEvent, SocketId, SocketInput};
    use crate::record::{EntryKind, Side, Source, TcpInfo};

    const fn second(number: u64) -> Timestamp {
        Timestamp::from_nanos(1_700_000_000_000_000_000 + number * 1_000_000_000)
    }

    const fn event(at: u64, kind: EntryKind, from: TcpState, to: TcpState) -> KernelEvent {
        let source = if matches!(kind, EntryKind::State) { Source::State } else { Source::Retransmit };
        KernelEvent { at: second(at), kind, states: (from, to), detail: None, source }
    }

    fn socket(at: u64, state: TcpState, events: Vec<KernelEvent>) -> SocketInput {
        SocketInput { first_seen: second(0), events, ..SocketInput::client(state, second(at)) }
    }

    fn noticed(tracker: &mut Tracker, at: u64, watched: States) -> Vec<Vec<Turn>> {
        tracker.notice(second(at), watched);
        let mut turned = Vec::new();
        while let Some(event) = tracker.poll() {
            match event {
                Event::Update(record) => turned.push(record.turned),
                other => panic!("nothing ends here: {other:?}"),
            }
        }
        turned
    }

    #[test]
    fn what_is_remarkable_is_told_once_and_when_it_shows() {
        use EntryKind::{Retransmit, State};
        use TcpState::{CloseWait, Closed, Estab, SynSent};
        let mut tracker = Tracker::new(Config { sampled: true, ..Config::default() });
        let none = States::empty();
        let mut events = vec![event(0, State, Closed, SynSent)];
        tracker.handle(Input::Socket(&socket(1, SynSent, events.clone())));
        assert!(noticed(&mut tracker, 1, none).is_empty(), "a SYN may take a while");
        events.push(event(1, Retransmit, SynSent, SynSent));
        tracker.handle(Input::Socket(&socket(2, SynSent, events.clone())));
        assert_eq!(noticed(&mut tracker, 2, none), [[Turn::SynUnanswered]]);
        assert!(noticed(&mut tracker, 3, none).is_empty(), "it was told");
        events.push(event(3, State, SynSent, Estab));
        events.extend([4, 5].map(|at| event(at, Retransmit, Estab, Estab)));
        tracker.handle(Input::Socket(&socket(5, Estab, events.clone())));
        assert!(noticed(&mut tracker, 5, none).is_empty(), "twice may be");
        events.push(event(6, Retransmit, Estab, Estab));
        let info = Some(TcpInfo { snd_wnd: Some(0), ..TcpInfo::default() });
        tracker.handle(Input::Socket(&SocketInput { info, ..socket(6, Estab, events.clone()) }));
        assert_eq!(noticed(&mut tracker, 6, none), [[Turn::Retransmissions, Turn::ZeroWindow]]);
        events.push(event(10, State, Estab, CloseWait));
        tracker.handle(Input::Socket(&socket(10, CloseWait, events)));
        assert!(noticed(&mut tracker, 69, none).is_empty(), "it has a minute");
        assert_eq!(noticed(&mut tracker, 70, none), [[Turn::CloseWait]]);
        tracker.finish();
        let Some(Event::Connection(record)) = tracker.poll() else { panic!("it is told in the end") };
        assert!(record.turned.is_empty(), "of what is final nothing turns");
    }

    #[test]
    fn states_that_are_watched_are_told_each_time() {
        use TcpState::{Closed, Estab, FinWait1, SynSent};
        let mut tracker = Tracker::new(Config { sampled: true, ..Config::default() });
        let watched = States::ESTAB | States::FIN_WAIT_1;
        tracker.handle(Input::Socket(&socket(0, SynSent, vec![event(0, EntryKind::State, Closed, SynSent)])));
        assert!(noticed(&mut tracker, 0, watched).is_empty());
        tracker.handle(Input::Socket(&socket(1, Estab, Vec::new())));
        assert_eq!(noticed(&mut tracker, 1, watched), [[Turn::State]]);
        assert!(noticed(&mut tracker, 2, watched).is_empty(), "still there");
        tracker.handle(Input::Socket(&socket(3, SynSent, Vec::new())));
        assert!(noticed(&mut tracker, 3, watched).is_empty());
        tracker.handle(Input::Socket(&socket(4, FinWait1, Vec::new())));
        assert_eq!(noticed(&mut tracker, 4, watched), [[Turn::State]]);
    }

    #[test]
    fn sockets_that_are_missing_end_their_connection() {
        use TcpState::Estab;
        let config = Config { sampled: true, ..Config::default() };
        let mut tracker = Tracker::new(Config { linger: Nanos(0), linger_half: Nanos(0), ..config });
        let known = socket(1, Estab, Vec::new());
        tracker.handle(Input::Socket(&known));
        assert!(tracker.sockets_missing(&[known.id()].into(), second(2)).is_empty(), "it lives");
        let another = SocketId { key: known.key, first_seen: second(1) };
        let missing = tracker.sockets_missing(&[another].into(), second(3));
        assert_eq!(
            missing.iter().map(SocketInput::id).collect::<Vec<_>>(),
            [known.id()],
            "one in its place is another"
        );
        tracker.handle(Input::Socket(missing.first().expect("as above")));
        tracker.handle_timeout(second(3));
        let Some(Event::Connection(record)) = tracker.poll() else { panic!("it is over") };
        let kernel = record.kernel.as_ref().and_then(|kernel| kernel.client.as_ref()).expect("the kernel spoke of it");
        assert_eq!((kernel.state, kernel.gone), (TcpState::Closed, Some(second(3))));
        assert!(!record.sources.contains(&Source::Destroy), "no hook said so");
        assert!(tracker.sockets_missing(&[].into(), second(4)).is_empty(), "nothing is left");
    }

    /// The ACK of the other end's FIN is sent before TIME-WAIT is entered, and may be answered to before that is seen.
    #[test]
    fn who_closes_last_waits_though_the_other_end_has_closed_before() {
        use TcpState::{CloseWait, Closed, Estab, FinWait1, FinWait2, LastAck};
        let config = Config { sampled: true, timeline_entries: 100, ..Config::default() };
        let mut tracker = Tracker::new(Config { linger: Nanos(0), linger_half: Nanos(0), ..config });
        let change = |at, from, to| event(at, EntryKind::State, from, to);
        let first = vec![change(1, Estab, FinWait1), change(4, FinWait1, FinWait2), change(6, FinWait2, Closed)];
        let others = vec![change(2, Estab, CloseWait), change(3, CloseWait, LastAck), change(5, LastAck, Closed)];
        let here = SocketInput { gone: true, looked_at: false, ..socket(7, Closed, first) };
        let there = SocketInput { key: 2, tuple: here.tuple.reversed(), passive: Some(true), ..here.clone() };
        tracker.handle(Input::Socket(&here));
        tracker.handle(Input::Socket(&SocketInput { events: others, ..there }));
        tracker.handle_timeout(second(7));
        let Some(Event::Connection(record)) = tracker.poll() else { panic!("it is over") };
        let entries = record.timeline.as_ref().map(|timeline| timeline.entries.as_slice()).unwrap_or_default();
        let last = entries.iter().rfind(|entry| entry.from == Side::Client).map(|entry| entry.state.client);
        assert_eq!((last, record.tcp_state.client), (Some(TcpState::TimeWait), TcpState::TimeWait));
    }
}
