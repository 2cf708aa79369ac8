//! Sockets by state, process, listener and destination.

use super::trend::Trends;
use super::{Destination, Gauge, SOCK_DIAG, Sweep, count, top};
use crate::record::{Ages, GaugeRecord, Subject, TcpState, Unit};

/// `sockets` by state, `sockets_of_process`, `sockets_of_listener`, `sockets_of_destination`.
#[derive(Debug, Default)]
pub struct Sockets {
    states: Trends<&'static str>,
}

/// Every state that a socket can be seen in.
const STATES: [TcpState; 11] = [
    TcpState::Listen,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::Estab,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::CloseWait,
    TcpState::Closing,
    TcpState::LastAck,
    TcpState::TimeWait,
    TcpState::Closed,
];

impl Gauge for Sockets {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        if sweep.sockets.is_none() {
            return;
        }
        let mut counts = [0_u64; STATES.len()];
        let mut ages = [None; STATES.len()];
        for seen in sweep.sockets() {
            let state = seen.socket.tcp_state();
            let Some(place) = STATES.iter().position(|one| *one == state) else { continue };
            if let (Some(count), Some(ages)) = (counts.get_mut(place), ages.get_mut(place)) {
                *count += 1;
                ages.get_or_insert_with(Ages::default).add(seen.known.age);
            }
        }
        for ((state, count), ages) in STATES.into_iter().zip(counts).zip(ages) {
            let rate = self.states.rate(state.name(), sweep.at, count as f64);
            let subject = Subject { state: Some(state), ..Subject::default() };
            // A listener does not grow old.
            let ages = ages.filter(|_| state != TcpState::Listen);
            let reading = sweep.reading("sockets", subject, count, Unit::Sockets, SOCK_DIAG).growing(rate);
            out.push(GaugeRecord { ages, ..reading });
        }
        let of_processes = sweep.sockets().filter_map(|seen| seen.known.owner);
        let mut of_processes = count(of_processes);
        of_processes.retain(|pid, _| sweep.processes.facts.get(pid).is_some_and(|process| process.is_whole));
        for (pid, sockets) in top(of_processes) {
            let subject = sweep.processes.subject(pid);
            out.push(sweep.reading("sockets_of_process", subject, sockets, Unit::Sockets, SOCK_DIAG));
        }
        let accepted = sweep.sockets().filter(|seen| seen.socket.peer.1 != 0);
        for (listener, sockets) in top(count(accepted.filter_map(|seen| seen.known.listener))) {
            let subject = Subject { listener: Some(listener), ..Subject::default() };
            out.push(sweep.reading("sockets_of_listener", subject, sockets, Unit::Sockets, SOCK_DIAG));
        }
        for ((source, destination), Destination { sockets, .. }) in sweep.top_destinations(|one| one.sockets) {
            let subject = Subject { source: Some(source), destination: Some(destination), ..Subject::default() };
            out.push(sweep.reading("sockets_of_destination", subject, sockets, Unit::Sockets, SOCK_DIAG));
        }
    }
}
