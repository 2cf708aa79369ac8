//! The ports for connections to one destination run out.

use super::readings::{Readings, about, evidence, percent};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict};
use crate::record::{About, GaugeRecord, Severity, Subject};
use crate::units;

/// See [`PORTS`].
pub struct EphemeralPorts;

/// See [`TIME_WAIT`].
pub struct TimeWaitExhaustion;

/// From here on connect(2) searches long, and soon fails.
const ERROR_PERCENT: u64 = 98;

const PORTS: Page = Page {
    name: "ephemeral-ports",
    title: "ephemeral ports run out",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "Connections to one destination take one port of ip_local_port_range each. When all are taken, connect(2) fails \
              with EADDRNOTAVAIL, though nothing is wrong with the network or the destination.",
    causes: &[
        "More connections at once to one address and port than there are ports: a proxy or load balancer without a pool.",
        "Connections that are not closed: see close-wait-leak.",
    ],
    rule: &[
        "ports_percent or more of the ports of ip_local_port_range, those of ip_local_reserved_ports aside, have a socket for \
         one source address, destination address and destination port (__inet_hash_connect).",
        "Less than half of those sockets are in TIME-WAIT (else see time-wait-exhaustion).",
        "It is an error from 98 percent on.",
    ],
    remedy: &[
        "See them: `observer sockets -anp dst {SERVER}:{PORT}`",
        "Use connections again: a pool, HTTP keep-alive, HTTP/2",
        "More ports: `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`; or more addresses, as source or as destination",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/gauges/main.rs::time_wait_uses_up_ports",
        near_miss: "tests/tests/gauges/main.rs::time_wait_uses_up_ports",
    },
};

const TIME_WAIT: Page = Page {
    name: "time-wait-exhaustion",
    title: "TIME-WAIT uses up the ports",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "This host opens and closes connections to one destination so fast that the ports of those that ended, which \
              stay in TIME-WAIT for a minute each, use up ip_local_port_range. With 28,232 ports that is 470 connections a \
              second. Beyond it connect(2) fails with EADDRNOTAVAIL.",
    causes: &[
        "Connections are opened for one request each, and this end closes them first.",
        "tcp_tw_reuse is off, or the other end does not send timestamps.",
    ],
    rule: &[
        "ports_percent or more of the ports have a socket for one destination, half of them or more in TIME-WAIT \
         (TCP_TIMEWAIT_LEN, RFC 9293 section 3.6.1); or so many connections to it went into TIME-WAIT within ten seconds that \
         it will come to ports_percent at that rate.",
        "It is an error from 98 percent of the ports on. With tcp_tw_reuse = 1, and with 2 (the default) where either address \
         is a loopback address, it is a warning at most: ports in TIME-WAIT may be taken again after a second \
         (tcp_twsk_unique).",
    ],
    remedy: &[
        "See them: `observer sockets -ano state time-wait dst {SERVER}:{PORT}`",
        "Use connections again: a pool, HTTP keep-alive, HTTP/2",
        "Take ports in TIME-WAIT again, where both ends send timestamps: `sysctl -w net.ipv4.tcp_tw_reuse=1`",
        "More ports: `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`; or more addresses, as source or as destination",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/gauges/main.rs::time_wait_uses_up_ports",
        near_miss: "tests/tests/gauges/main.rs::time_wait_uses_up_ports",
    },
};

impl Finding for EphemeralPorts {
    fn page(&self) -> &'static Page {
        &PORTS
    }

    fn tells_of_passing(&self) -> bool {
        true
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let is_full = |reading: &&GaugeRecord| {
            percent(reading) >= context.thresholds.ports_percent && !is_mostly_time_wait(readings, reading)
        };
        let full = readings.of("ephemeral_ports").filter(is_full);
        full.map(|reading| {
            let severity = if percent(reading) >= ERROR_PERCENT { Severity::Error } else { Severity::Warning };
            (about(reading), Verdict::new(severity, taken(reading)).by([evidence(reading)]))
        })
        .collect()
    }
}

impl Finding for TimeWaitExhaustion {
    fn page(&self) -> &'static Page {
        &TIME_WAIT
    }

    fn tells_of_passing(&self) -> bool {
        true
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for reading in readings.of("ephemeral_ports") {
            let speed = readings.beside(reading, "connection_rate");
            let is_fast = speed.is_some_and(|speed| percent(speed) >= context.thresholds.ports_percent);
            let is_full =
                percent(reading) >= context.thresholds.ports_percent && is_mostly_time_wait(readings, reading);
            if !is_fast && !is_full {
                continue;
            }
            let reuse = readings.whole(reading, "tcp_tw_reuse");
            let is_reused = reuse.is_some_and(|reuse| are_reused(reuse, &reading.subject));
            let is_error = percent(reading) >= ERROR_PERCENT && !is_reused;
            let mut what = taken(reading);
            if let Some(speed) = speed {
                let limit = speed.limit.unwrap_or(0);
                what.push_str(&format!(
                    " {:.0} connections a second end here; TIME-WAIT allows {}.",
                    speed.value.0,
                    units::count(limit)
                ));
            }
            let waiting = readings.beside(reading, "time_wait_of_destination");
            let shown = [Some(reading), waiting, speed, reuse].into_iter().flatten().map(evidence);
            let severity = if is_error { Severity::Error } else { Severity::Warning };
            verdicts.push((about(reading), Verdict::new(severity, what).by(shown)));
        }
        verdicts
    }
}

/// Whether connect(2) takes ports in TIME-WAIT again, from one address to one destination: tcp_twsk_unique.
fn are_reused(setting: &GaugeRecord, subject: &Subject) -> bool {
    const ALWAYS: f64 = 1.0;
    const ON_LOOPBACK: f64 = 2.0;
    let ends = subject.source.into_iter().chain(subject.destination.map(|end| end.ip));
    let is_loopback = ends.map(|ip| ip.to_canonical()).any(|ip| ip.is_loopback());
    setting.value.0 == ALWAYS || setting.value.0 == ON_LOOPBACK && is_loopback
}

fn is_mostly_time_wait(readings: Readings<'_>, reading: &GaugeRecord) -> bool {
    let waiting = readings.beside(reading, "time_wait_of_destination");
    waiting.is_some_and(|waiting| waiting.value.0 * 2.0 >= reading.value.0)
}

/// How many ports are taken, in a sentence.
fn taken(reading: &GaugeRecord) -> String {
    let subject = &reading.subject;
    let to = subject.destination.map_or("one destination".to_string(), units::end);
    let from = subject.source.map_or(String::new(), |source| format!(" from {source}"));
    let left = reading.time_left_ns.map_or(String::new(), |left| format!(", the rest lasts {}", units::time(left)));
    format!(
        "{} of {} ports are taken for connections{from} to {to}{left}.",
        units::count(reading.value.0 as u64),
        units::count(reading.limit.unwrap_or(0)),
    )
}
