//! Every TLS handshake is a full one.

use std::any::Any;
use std::net::IpAddr;

use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Span, Tally, Verdict};
use crate::record::{About, ConnectionRecord, Endpoint, Severity};
use crate::time::Nanos;
use crate::units;

/// See [`PAGE`].
pub struct NoResumption;

const PAGE: Page = Page {
    name: "no-resumption",
    title: "TLS sessions are not resumed",
    severity: Severity::Info,
    rests_on: RestsOn::Absence,
    meaning: "One client made TLS handshakes with the same server again and again, and every one was a full one. A resumed \
              session saves certificates and signatures, and with TLS 1.2 a round trip.",
    causes: &[
        "The client's program makes a new TLS context for each connection, or has no session cache.",
        "The server gives no tickets, or several servers behind one address do not share their ticket keys.",
    ],
    rule: &[
        "One client completed full_handshakes or more TLS handshakes with one server and port.",
        "None of them resumed a session (RFC 8446, section 2.2; RFC 5077), and of each that could be told.",
    ],
    remedy: &[
        "See whether the server resumes: `openssl s_client -connect {SERVER}:{PORT} -reconnect </dev/null | grep -E \
         'Reused|New'`",
        "At the server: nginx `ssl_session_cache shared:SSL:10m; ssl_session_tickets on;`, with the same ticket key on all \
         of them",
        "At the client, use one TLS context for all connections; better still, use connections again",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::handshakes_that_are_all_full",
        near_miss: "observer/src/finding/tests/many.rs::handshakes_that_are_all_full",
    },
};

impl Finding for NoResumption {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Pairs::default()))
    }
}

/// Handshakes by client and server.
#[derive(Debug, Default)]
struct Pairs(Bounded<(IpAddr, Endpoint), Pair>);

#[derive(Debug, Default)]
struct Pair {
    full: u64,
    resumed: u64,
    took: Nanos,
    seen: Span,
}

impl Tally for Pairs {
    fn connection(&mut self, record: &ConnectionRecord) {
        let Some(tls) = record.tls.as_deref().filter(|tls| tls.established) else { return };
        let Some(resumed) = tls.resumed else { return };
        let pair = self.0.of(&(record.client.ip, record.server));
        if resumed {
            pair.resumed += 1;
            return;
        }
        pair.full += 1;
        pair.took.0 = pair.took.0.saturating_add(tls.handshake_ns.unwrap_or_default().0);
        pair.seen.add(record.first_seen, record.id);
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for ((client, server), pair) in self.0.iter() {
            if pair.resumed > 0 || pair.full < context.thresholds.full_handshakes {
                continue;
            }
            let count = units::number_of(pair.full, "full handshake");
            let what = format!(
                "{client} made {count} with {} and resumed none; they took {} together.",
                units::end(*server),
                units::time(pair.took)
            );
            let evidence = pair.seen.evidence(count);
            let about = About { host: Some(*client), server: Some(*server), ..About::default() };
            verdicts.push((about, Verdict::new(Severity::Info, what).by(evidence)));
        }
        verdicts
    }
}

impl Weigh for Pair {
    fn weight(&self) -> u64 {
        self.full + self.resumed
    }

    fn merge(&mut self, other: Self) {
        self.full += other.full;
        self.resumed += other.resumed;
        self.took.0 = self.took.0.saturating_add(other.took.0);
        self.seen.merge(other.seen);
    }
}
