//! Listeners: how many connections wait to be accepted, how many handshakes are under way, and what was dropped because
//! either was full.

use super::text::{find, snmp};
use super::trend::Trends;
use super::{Gauge, SOCK_DIAG, Sweep, TOP, Text, count};
use crate::record::{Endpoint, GaugeRecord, Subject, TcpState, Unit};

/// `accept_queue`, `syn_backlog` and `listener_drops` by listener; `listen_overflows`, `listen_drops`, `syn_cookies_sent`;
/// the setting `tcp_syncookies`.
#[derive(Debug, Default)]
pub struct Listeners {
    queues: Trends<u64>,
    drops: Trends<u64>,
    counters: Trends<&'static str>,
}

/// What counts for the namespace as a whole.
const COUNTERS: [(&str, &str); 5] = [
    ("listen_overflows", "ListenOverflows"),
    ("listen_drops", "ListenDrops"),
    ("syn_cookies_sent", "SyncookiesSent"),
    ("syn_cookies_received", "SyncookiesRecv"),
    ("syn_queue_dropped", "TCPReqQFullDrop"),
];

impl Gauge for Listeners {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        let begun = sweep.sockets().filter(|seen| seen.socket.tcp_state() == TcpState::SynRecv);
        let handshakes = count(begun.filter_map(|seen| seen.known.listener));
        let under_way = |seen: &super::Seen| {
            let listener = seen.known.listener.and_then(|listener| handshakes.get(&listener));
            listener.copied().unwrap_or(0)
        };
        let mut listeners: Vec<_> = sweep.sockets().filter(|seen| seen.socket.is_listener()).collect();
        let weight = |seen: &&super::Seen| {
            u64::from(seen.socket.recv_queue) + u64::from(seen.drops.unwrap_or(0)) + under_way(seen)
        };
        listeners.sort_by_key(|seen| (std::cmp::Reverse(weight(seen)), seen.socket.local.1, seen.socket.cookie));
        for (place, seen) in listeners.into_iter().enumerate() {
            let socket = &seen.socket;
            // The kernel lets one more wait than the backlog says (sk_acceptq_is_full).
            let (waiting, most) = (u64::from(socket.recv_queue), u64::from(socket.send_queue));
            let rate = self.queues.rate(socket.cookie, sweep.at, waiting as f64);
            let dropped = seen.drops.map(u64::from);
            let drop_rate = dropped.and_then(|drops| self.drops.rate_of_counter(socket.cookie, sweep.at, drops));
            if place >= TOP {
                continue;
            }
            let process = seen.known.owner.and_then(|pid| sweep.processes.subject(pid).process);
            let listener = Some(Endpoint { ip: socket.local.0, port: socket.local.1 });
            let subject = Subject { listener, process, ..Subject::default() };
            let reading = sweep.reading("accept_queue", subject.clone(), waiting, Unit::Connections, SOCK_DIAG);
            out.push(reading.within(Some(most)).growing(rate));
            let reading = sweep.reading("syn_backlog", subject.clone(), under_way(seen), Unit::Connections, SOCK_DIAG);
            out.push(reading.within(Some(most)));
            if let Some(dropped) = dropped {
                let reading = sweep.reading("listener_drops", subject, dropped, Unit::Events, SOCK_DIAG);
                out.push(reading.growing(drop_rate));
            }
        }
        self.queues.forget(sweep.at);
        self.drops.forget(sweep.at);
        if let Some(cookies) = sweep.texts.number(Text::SynCookies) {
            let source = Text::SynCookies.source();
            out.push(sweep.reading("tcp_syncookies", Subject::default(), cookies, Unit::Setting, source));
        }
        let text = sweep.texts.get(Text::Netstat).unwrap_or_default();
        for (name, field) in COUNTERS {
            if let Some(times) = find(snmp(text), "TcpExt", field) {
                let rate = self.counters.rate_of_counter(name, sweep.at, times);
                let source = Text::Netstat.source();
                out.push(sweep.reading(name, Subject::default(), times, Unit::Events, source).growing(rate));
            }
        }
    }
}
