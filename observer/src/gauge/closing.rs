//! Sockets that are being closed and wait for the other end: for the ACK of their FIN, or for the other end's own.

use std::cmp::Reverse;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::{Gauge, SOCK_DIAG, Seen, Sweep, TIME_WAIT, TOP};
use crate::record::{Ages, Endpoint, GaugeRecord, Subject, TcpState, Unit};
use crate::socket::{Socket, TimerKind};
use crate::time::Nanos;

/// `closing`, by state and by where the connections lead, or which listener they came to, with ages. Of FIN-WAIT-2 only
/// those that no process has any more: a program may close its half and read on for as long as it likes.
#[derive(Debug, Default)]
pub struct Closing;

/// The shortest time until something is sent again: TCP_RTO_MIN of include/net/tcp.h. It doubles each time.
const RTO_MIN: Nanos = Nanos::from_millis(200);

/// The longest: TCP_RTO_MAX.
const RTO_MAX: Nanos = Nanos::from_secs(120);

/// Where connections lead from which address, or the listener that they came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ends {
    Listener(Endpoint),
    Destination(IpAddr, Endpoint),
}

impl Gauge for Closing {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        use TcpState::{CloseWait, Closing, FinWait1, FinWait2, LastAck};
        let is_closing = |seen: &&Seen| match seen.socket.tcp_state() {
            FinWait1 | Closing | LastAck => true,
            FinWait2 => seen.socket.inode == 0,
            _ => false,
        };
        let closing: Vec<&Seen> = sweep.sockets().filter(is_closing).collect();
        let mut not_closed = HashSet::new();
        if closing.iter().any(|seen| seen.socket.tcp_state() == FinWait2) {
            let sockets = sweep.sockets().filter(|seen| seen.socket.tcp_state() == CloseWait);
            not_closed.extend(sockets.map(Seen::ends));
        }
        let mut all: HashMap<(&'static str, TcpState, Ends), (u64, Ages)> = HashMap::new();
        for seen in closing {
            let state = seen.socket.tcp_state();
            let (own, other) = seen.ends();
            let age = match state {
                // Where the other end is here too, it is its CLOSE-WAIT that is told.
                FinWait2 if not_closed.contains(&(other, own)) => continue,
                FinWait2 => seen.known.age,
                _ => seen.known.age.max(unanswered(&seen.socket)),
            };
            let ends = seen.known.listener.map_or(Ends::Destination(own.ip, other), Ends::Listener);
            let (count, ages) = all.entry((state.name(), state, ends)).or_default();
            *count += 1;
            ages.add(age);
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|((name, _, ends), (count, ages))| (Reverse((ages.oldest_ns, *count)), *name, *ends));
        for ((_, state, ends), (count, ages)) in all.into_iter().take(TOP) {
            let subject = Subject { state: Some(state), ..Subject::default() };
            let subject = match ends {
                Ends::Listener(listener) => Subject { listener: Some(listener), ..subject },
                Ends::Destination(source, destination) => {
                    Subject { source: Some(source), destination: Some(destination), ..subject }
                }
            };
            let reading = sweep.reading("closing", subject, count, Unit::Sockets, SOCK_DIAG);
            out.push(GaugeRecord { ages: Some(ages), ..reading });
        }
    }
}

/// For how long a socket that no process has any more has been in FIN-WAIT-2, by its timer, which began with
/// `tcp_fin_timeout`; `None` of others. Of that the last minute is a timer as that of TIME-WAIT, and what comes before,
/// where it is set to more, one as of keep-alive (tcp_rcv_state_process). Whoever set TCP_LINGER2 has another time.
pub(super) fn age_of_orphan(socket: &Socket, timeout: Nanos) -> Option<Nanos> {
    let timer = socket.timer.filter(|_| socket.inode == 0 && socket.tcp_state() == TcpState::FinWait2)?;
    let left = match timer.kind {
        TimerKind::TimeWait => timer.expires,
        TimerKind::KeepAlive if timeout > TIME_WAIT => Nanos(timer.expires.0.saturating_add(TIME_WAIT.0)),
        TimerKind::KeepAlive => timer.expires,
        _ => return None,
    };
    Some(Nanos(timeout.0.saturating_sub(left.0)))
}

/// For how long what a socket sent has not been answered, at least: by how often it was sent again since something was
/// acknowledged.
fn unanswered(socket: &Socket) -> Nanos {
    let times = socket.timer.filter(|timer| timer.kind == TimerKind::On).map_or(0, |timer| timer.retransmits);
    let waits = (0..u32::from(times)).map(|time| RTO_MIN.0.saturating_mul(1 << time.min(32)).min(RTO_MAX.0));
    Nanos(waits.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::IpVersion;
    use crate::socket::Timer;

    fn socket(state: u8, timer: TimerKind, expires: u64, retransmits: u8) -> Socket {
        let end = (Ipv4Addr::LOCALHOST.into(), 80);
        let timer = Some(Timer { kind: timer, expires: Nanos::from_secs(expires), retransmits });
        let (interface, cookie, recv_queue, send_queue, uid, inode) = (0, 1, 0, 0, 0, 0);
        let family = IpVersion::V4;
        Socket { family, state, timer, local: end, peer: end, interface, cookie, recv_queue, send_queue, uid, inode }
    }

    #[test]
    fn an_orphan_in_fin_wait_2_is_as_old_as_its_timer_says() {
        const FIN_WAIT_2: u8 = 5;
        let age = |kind, expires, timeout| {
            age_of_orphan(&socket(FIN_WAIT_2, kind, expires, 0), Nanos::from_secs(timeout))
                .map(|age| age.0 / 1_000_000_000)
        };
        assert_eq!(age(TimerKind::TimeWait, 17, 60), Some(43));
        assert_eq!(age(TimerKind::KeepAlive, 17, 60), Some(43));
        // Of two minutes the first is one of keep-alive.
        assert_eq!((age(TimerKind::KeepAlive, 50, 120), age(TimerKind::TimeWait, 50, 120)), (Some(10), Some(70)));
        assert_eq!((age(TimerKind::TimeWait, 61, 60), age(TimerKind::On, 1, 60)), (Some(0), None));
        let held = Socket { inode: 9, ..socket(FIN_WAIT_2, TimerKind::KeepAlive, 17, 0) };
        assert_eq!(age_of_orphan(&held, Nanos::from_secs(60)), None, "that is a keep-alive");
        assert_eq!(age_of_orphan(&socket(6, TimerKind::TimeWait, 17, 0), Nanos::from_secs(60)), None);
    }

    #[test]
    fn what_is_sent_again_six_times_has_waited_for_twelve_seconds() {
        const FIN_WAIT_1: u8 = 4;
        let waited = |times| unanswered(&socket(FIN_WAIT_1, TimerKind::On, 1, times));
        assert_eq!((waited(0), waited(1), waited(6)), (Nanos(0), RTO_MIN, Nanos::from_millis(12_600)));
        assert_eq!(waited(255).0, 1_023 * RTO_MIN.0 + 245 * RTO_MAX.0, "two minutes at most between two");
        assert_eq!(unanswered(&socket(FIN_WAIT_1, TimerKind::KeepAlive, 1, 6)), Nanos(0));
    }
}
