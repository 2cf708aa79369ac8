//! CLOSE-WAIT by process: the other end is done, and the process has not closed its socket.

use foldhash::{HashMap, HashMapExt as _};

use super::trend::{Trends, time_left};
use super::{Gauge, SOCK_DIAG, Sweep, TOP};
use crate::record::{Ages, GaugeRecord, Subject, TcpState, Unit};

/// `close_wait`, with ages, and the time until accept(2) and socket(2) fail with EMFILE if they go on growing so; without a
/// process for those whose owner is not known.
#[derive(Debug, Default)]
pub struct CloseWait {
    trends: Trends<Option<u32>>,
}

impl Gauge for CloseWait {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        let mut by_process: HashMap<Option<u32>, (u64, Ages)> = HashMap::new();
        for seen in sweep.sockets().filter(|seen| seen.socket.tcp_state() == TcpState::CloseWait) {
            let (count, ages) = by_process.entry(seen.known.owner).or_default();
            *count += 1;
            ages.add(seen.known.age);
        }
        let mut all: Vec<_> = by_process.into_iter().collect();
        all.sort_by_key(|(pid, (count, _))| (std::cmp::Reverse(*count), *pid));
        for (place, (pid, (count, ages))) in all.into_iter().enumerate() {
            let rate = self.trends.rate(pid, sweep.at, count as f64);
            if place < TOP {
                let subject = pid.map_or_else(Subject::default, |pid| sweep.processes.subject(pid));
                let reading = sweep.reading("close_wait", subject, count, Unit::Sockets, SOCK_DIAG).growing(rate);
                // What is open besides them leaves so much less for them to grow into.
                let process = pid.and_then(|pid| sweep.processes.facts.get(&pid));
                let room = process.and_then(|process| process.descriptors.zip(process.limit));
                let time_left_ns = room.and_then(|(open, limit)| time_left(open as f64, limit, rate));
                out.push(GaugeRecord { ages: Some(ages), time_left_ns, ..reading });
            }
        }
        self.trends.forget(sweep.at);
    }
}
