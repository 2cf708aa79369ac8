//! A request is sent on a connection that the server has closed.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::time::Nanos;
use crate::units;

/// See [`PAGE`].
pub struct StalePooledConnection;

const PAGE: Page = Page {
    name: "stale-pooled-connection",
    title: "pooled connection gone stale",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "The client sent a request on a connection that the server had closed before: the request is answered with a RST, \
              and the program sees \"connection reset\" or \"broken pipe\" although the server is well. Mostly the FIN came \
              while the connection lay in a pool, and nobody looked.",
    causes: &[
        "The server closes idle connections earlier than the client's pool does.",
        "The pool does not look whether a connection was closed before it hands it out.",
        "Bad luck: FIN and request crossed each other.",
    ],
    rule: &[
        "The server sent a FIN, and the client had not sent one.",
        "The client sent payload afterwards that the server did not acknowledge: a request, or where the protocol is not \
         known 100 octets or more, so that the RST came 100 ms or more after the FIN. What is less is a goodbye (TLS \
         close_notify, QUIT).",
        "The server answered with a RST (RFC 9293, section 3.10.7.1).",
    ],
    remedy: &[
        "Let the client give up idle connections before the server does: its pool's idle timeout under the server's (nginx \
         `keepalive_timeout 75s;`)",
        "Let the pool test a connection before it is used, and try again once what can safely be repeated",
    ],
    instead_of: &["reset-mid-stream", "abortive-close"],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_request_after_the_servers_fin_is_stale",
        near_miss: "observer/src/finding/tests.rs::a_request_after_the_servers_fin_is_stale",
    },
};

/// Octets that a goodbye stays under.
const GOODBYE: u64 = 100;

/// How soon after the FIN something may come that had been sent before it was seen.
const CROSSED: Nanos = Nanos::from_millis(100);

impl Finding for StalePooledConnection {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let reset = record.reset.as_deref().filter(|reset| reset.from == Side::Server)?;
        let fin = record.close.fin.server.filter(|fin| *fin < reset.at)?;
        let open = record.close.fin.client.is_none_or(|client| client > fin);
        let lost = reset.unacknowledged.client;
        let after = reset.at.since(fin);
        // What is shorter is TLS's or the program's own goodbye.
        let exchanges = record.exchanges.as_deref().map_or(&[][..], |exchanges| &exchanges.entries);
        let asked = exchanges.iter().any(|exchange| exchange.request > Some(fin) && exchange.response.is_none());
        if !open || lost == 0 || !asked && (lost < GOODBYE || after < CROSSED) {
            return None;
        }
        let what = format!(
            "The client sent {} up to {} after the server had closed, and had a RST for an answer.",
            units::bytes(lost),
            units::time(after)
        );
        let verdict = Verdict::new(Severity::Error, what)
            .by([evidence::at(fin, Side::Server, "FIN")])
            .by(evidence::notable(record, NotableKind::Rst, Side::Server, "RST"));
        Some(verdict)
    }
}
