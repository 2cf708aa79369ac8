//! A new connection for every request.

use std::any::Any;
use std::net::IpAddr;

use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Span, Tally, Verdict};
use crate::record::{About, ConnectionRecord, Endpoint, Severity, Side};
use crate::time::Nanos;
use crate::units;

/// See [`PAGE`].
pub struct ConnectionChurn;

const PAGE: Page = Page {
    name: "connection-churn",
    title: "connections are not used again",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "One client opens connection after connection to the same server, each for a single exchange. Every one costs a \
              round trip for TCP, one or two more and some computing for TLS, starts slowly, and leaves a port in TIME-WAIT: \
              beyond some 470 a second to one server a host runs out of ports.",
    causes: &[
        "The client's program makes a new client object for each request, or has keep-alive off.",
        "The server, or a proxy before it, answers with `Connection: close`.",
        "Health checks and monitoring.",
    ],
    rule: &[
        "One client opened churn_connections or more connections to one server and port, and completed their handshakes.",
        "Each carried payload both ways, at most one exchange, and lasted no longer than churn_duration: a connection that persists \
         would have served them all (RFC 9112, section 9.3).",
        "There was at least one a second on average.",
        "A pool of as many as were open at a time, on average, would have saved churn_connections or more.",
    ],
    remedy: &[
        "In the client, keep connections: one client object for all requests, a pool, HTTP/2",
        "See that the server lets it: `curl -sv http://{SERVER}:{PORT}/ 2>&1 | grep -i connection`; nginx \
         `keepalive_timeout 75s;` and `keepalive 32;` in upstream blocks",
        "See what it leaves behind: `ss -tan state time-wait 'dport = :{PORT}' | wc -l`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::a_connection_for_each_request_is_churn",
        near_miss: "observer/src/finding/tests/many.rs::a_connection_for_each_request_is_churn",
    },
};

impl Finding for ConnectionChurn {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Pairs::default()))
    }
}

/// Short connections by client and server.
#[derive(Debug, Default)]
struct Pairs(Bounded<(IpAddr, Endpoint), Pair>);

#[derive(Debug)]
struct Pair {
    lengths: Lengths,
    handshakes: Nanos,
    total: Nanos,
    seen: Span,
}

/// How many connections took how long, by powers of two of microseconds; the last is of all that took longer.
type Lengths = [u32; LONGEST + 1];
const LONGEST: usize = 31;

impl Tally for Pairs {
    fn connection(&mut self, record: &ConnectionRecord) {
        let used =
            [Side::Client, Side::Server].iter().all(|side| record.bytes_of(*side).is_some_and(|bytes| bytes > 0));
        let exchanges =
            record.exchanges.as_deref().map_or(0, |exchanges| exchanges.entries.len() as u64 + exchanges.cut);
        let by_socket = || record.socket(Side::Client)?.connect_ns;
        let Some(connect) = record.handshake.connect_ns.or_else(by_socket).filter(|_| used && exchanges <= 1) else {
            return;
        };
        let pair = self.0.of(&(record.client.ip, record.server));
        let step = (u64::BITS - (record.duration_ns.0 / 1000).leading_zeros()) as usize;
        if let Some(count) = pair.lengths.get_mut(step.min(LONGEST)) {
            *count = count.saturating_add(1);
        }
        let tls = record.tls.as_deref().and_then(|tls| tls.handshake_ns).unwrap_or_default();
        pair.handshakes.0 = pair.handshakes.0.saturating_add(connect.0).saturating_add(tls.0);
        pair.total.0 = pair.total.0.saturating_add(record.duration_ns.0);
        pair.seen.add(record.first_seen, record.id);
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let thresholds = context.thresholds;
        let longest = (thresholds.churn_duration.0 / 1000).max(1).ilog2() as usize;
        let mut verdicts = Vec::new();
        for ((client, server), pair) in self.0.iter() {
            let count: u64 = pair.lengths.iter().take(longest + 1).copied().map(u64::from).sum();
            let span = pair.seen.length();
            let at_a_time = pair.total.0 / span.0.max(1);
            let is_churn = count >= thresholds.churn_connections.saturating_add(at_a_time.saturating_sub(1));
            if !is_churn || span.0 > count.saturating_mul(1_000_000_000) {
                continue;
            }
            let what = format!(
                "{client} opened {} to {} in {} for one exchange each: {} of their {} went into handshakes.",
                units::number_of(count, "connection"),
                units::end(*server),
                units::time(span),
                units::percent(pair.handshakes.0.min(pair.total.0), pair.total.0),
                units::time(pair.total),
            );
            // What costs little may be left as it is.
            let much = pair.handshakes.0.saturating_mul(5) >= pair.total.0;
            let severity = if much { Severity::Warning } else { Severity::Info };
            let evidence = pair.seen.evidence(units::number_of(count, "SYN"));
            let about = About { host: Some(*client), server: Some(*server), ..About::default() };
            verdicts.push((about, Verdict::new(severity, what).by(evidence)));
        }
        verdicts
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self { lengths: [0; _], handshakes: Nanos(0), total: Nanos(0), seen: Span::default() }
    }
}

impl Weigh for Pair {
    fn weight(&self) -> u64 {
        self.lengths.iter().copied().map(u64::from).sum()
    }

    fn merge(&mut self, other: Self) {
        self.lengths.iter_mut().zip(other.lengths).for_each(|(own, other)| *own = own.saturating_add(other));
        self.handshakes.0 = self.handshakes.0.saturating_add(other.handshakes.0);
        self.total.0 = self.total.0.saturating_add(other.total.0);
        self.seen.merge(other.seen);
    }
}
