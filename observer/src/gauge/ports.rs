//! Ephemeral ports: connect(2) takes one out of `ip_local_port_range` for each connection, and may take the same one for
//! another destination. So they run out for one (source address, destination address, destination port) at a time, and
//! TIME-WAIT keeps each for a minute beyond its connection.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::trend::Trends;
use super::{Gauge, LOOK_BACK, SOCK_DIAG, Sweep, TIME_WAIT, Text};
use crate::record::{Endpoint, GaugeRecord, Subject, Unit, Value};

/// `ephemeral_ports` in use, and `connection_rate` against what TIME-WAIT allows, by destination.
#[derive(Debug, Default)]
pub struct Ports {
    trends: Trends<(IpAddr, Endpoint)>,
}

impl Gauge for Ports {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        let Some(range) = sweep.texts.get(Text::PortRange).and_then(parse_range) else { return };
        let reserved = sweep.texts.get(Text::ReservedPorts).unwrap_or_default();
        let available = available(&range, reserved);
        for (key, destination) in sweep.top_destinations(|one| one.ports) {
            let rate = self.trends.rate(key, sweep.at, destination.ports as f64);
            let subject = Subject { source: Some(key.0), destination: Some(key.1), ..Subject::default() };
            let reading = sweep.reading("ephemeral_ports", subject.clone(), destination.ports, Unit::Ports, SOCK_DIAG);
            out.push(reading.within(Some(available)).growing(rate));
            if destination.ended > 0 {
                let unit = Unit::ConnectionsPerSecond;
                let reading = sweep.reading("connection_rate", subject, 0, unit, SOCK_DIAG);
                let ceiling = (available as f64 / TIME_WAIT.as_secs_f64()).round() as u64;
                let value = Value(destination.ended as f64 / LOOK_BACK.as_secs_f64());
                out.push(GaugeRecord { value, ..reading.within(Some(ceiling)) });
            }
        }
        self.trends.forget(sweep.at);
    }
}

/// The ends of the range: `32768 60999`.
pub(super) fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_ascii_whitespace().map(|end| end.parse().ok());
    Some(ends.next()??..=ends.next()??)
}

/// How many ports of the range are not reserved: `8080,9000-9005`.
fn available(range: &RangeInclusive<u16>, reserved: &str) -> u64 {
    let taken = |part: &str| {
        let (from, to) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        Some((u64::from(to.min(*range.end())) + 1).saturating_sub(from.max(*range.start()).into()))
    };
    let all = (u64::from(*range.end()) + 1).saturating_sub((*range.start()).into());
    all.saturating_sub(reserved.split(',').filter_map(taken).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_none_to_take() {
        let range = parse_range("32768\t60999\n").expect("it is one");
        assert_eq!(available(&range, "\n"), 28_232);
        assert_eq!(available(&range, "80,40000,50000-50009,60999-65535\n"), 28_232 - 1 - 10 - 1);
        assert_eq!(available(&range, "0-65535"), 0);
        let upside_down = parse_range("9 3").expect("the kernel would not write it");
        assert_eq!((parse_range("5"), available(&upside_down, "")), (None, 0));
    }
}
