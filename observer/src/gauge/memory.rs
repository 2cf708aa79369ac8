//! Memory of TCP, for the whole host: beyond `tcp_mem`'s pressure mark buffers shrink, beyond its limit segments are
//! dropped and sockets killed.

use super::text::{find, snmp, sockstat};
use super::trend::Trends;
use super::{Gauge, Sweep, Text};
use crate::record::{GaugeRecord, Subject, Unit};

/// `tcp_memory` and its `tcp_memory_pressure` mark, `orphans`, and how often TCP came under pressure.
#[derive(Debug, Default)]
pub struct Memory {
    trends: Trends<&'static str>,
}

impl Gauge for Memory {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        let text = sweep.texts.get(Text::Sockstat).unwrap_or_default();
        let limits: Vec<u64> = sweep.texts.numbers(Text::TcpMem);
        let source = Text::Sockstat.source();
        if let Some(pages) = find(sockstat(text), "TCP", "mem") {
            let rate = self.trends.rate("tcp_memory", sweep.at, pages as f64);
            let reading = sweep.reading("tcp_memory", Subject::default(), pages, Unit::Pages, source);
            out.push(GaugeRecord { netns: None, ..reading.within(limits.get(2).copied()).growing(rate) });
            let reading = sweep.reading("tcp_memory_pressure", Subject::default(), pages, Unit::Pages, source);
            out.push(GaugeRecord { netns: None, ..reading.within(limits.get(1).copied()).growing(rate) });
        }
        if let Some(orphans) = find(sockstat(text), "TCP", "orphan") {
            let rate = self.trends.rate("orphans", sweep.at, orphans as f64);
            let reading = sweep.reading("orphans", Subject::default(), orphans, Unit::Sockets, source);
            let limit = sweep.texts.number(Text::MaxOrphans);
            out.push(GaugeRecord { netns: None, ..reading.within(limit).growing(rate) });
        }
        let text = sweep.texts.get(Text::Netstat).unwrap_or_default();
        for (name, field) in [("memory_pressures", "TCPMemoryPressures"), ("aborts_on_memory", "TCPAbortOnMemory")] {
            if let Some(times) = find(snmp(text), "TcpExt", field) {
                let rate = self.trends.rate_of_counter(name, sweep.at, times);
                let source = Text::Netstat.source();
                out.push(sweep.reading(name, Subject::default(), times, Unit::Events, source).growing(rate));
            }
        }
    }
}
