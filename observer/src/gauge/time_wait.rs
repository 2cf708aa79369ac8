//! TIME-WAIT: how many there are, and where they lead. Each keeps one port from being used again to the same destination,
//! for a minute.

use super::trend::Trends;
use super::{Destination, Gauge, SOCK_DIAG, Seen, Sweep, Text};
use crate::record::{GaugeRecord, Subject, TcpState, Unit};

/// `time_wait` against `tcp_max_tw_buckets`, `time_wait_of_destination`, and the setting `tcp_tw_reuse`.
#[derive(Debug, Default)]
pub struct TimeWait {
    trends: Trends<()>,
}

impl Gauge for TimeWait {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        if let Some(reuse) = sweep.texts.number(Text::TwReuse) {
            let source = Text::TwReuse.source();
            out.push(sweep.reading("tcp_tw_reuse", Subject::default(), reuse, Unit::Setting, source));
        }
        if sweep.sockets.is_none() {
            return;
        }
        let is_over = |seen: &&Seen| seen.socket.tcp_state() == TcpState::TimeWait;
        let total = sweep.sockets().filter(is_over).count() as u64;
        let rate = self.trends.rate((), sweep.at, total as f64);
        let reading = sweep.reading("time_wait", Subject::default(), total, Unit::Sockets, SOCK_DIAG);
        out.push(reading.within(sweep.texts.number(Text::MaxTwBuckets)).growing(rate));
        for ((source, destination), Destination { time_wait, .. }) in sweep.top_destinations(|one| one.time_wait) {
            let subject = Subject { source: Some(source), destination: Some(destination), ..Subject::default() };
            out.push(sweep.reading("time_wait_of_destination", subject, time_wait, Unit::Sockets, SOCK_DIAG));
        }
    }
}
