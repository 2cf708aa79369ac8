//! The client takes its time over a small request.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Exchange, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct SlowClient;

const PAGE: Page = Page {
    name: "slow-client",
    title: "slow client",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The client sent a small request in pieces, with long pauses: the server has to wait for the rest, and a worker \
              or a connection of its pool with it.",
    causes: &[
        "The client's program writes the request piece by piece and computes in between.",
        "A slow device or link at the client.",
        "Somebody holds connections open on purpose (Slowloris).",
    ],
    rule: &[
        "From the first octet of a request to its last slow_client or more went by, for which a server may give up (408: RFC \
         9110, section 15.5.9).",
        "Its body has no more than 16 KiB: larger ones may take their time.",
        "The server did not answer before that, nor did the client go on to another request.",
        "The client sent nothing again, and the server's window was never closed: nothing else held the request back.",
    ],
    remedy: &[
        "On {SERVER}, bound the time for a request: nginx `client_header_timeout 10s; client_body_timeout 10s;`",
        "See which clients do so: `observer replay FILE --output json | jq 'select(.findings[].name == \"slow-client\") | \
         .client.ip' | sort | uniq -c`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_client_that_takes_its_time",
        near_miss: "observer/src/finding/tests.rs::a_client_that_takes_its_time",
    },
};

/// Octets of a body that may be sent at once.
const SMALL: u64 = 16 << 10;

impl Finding for SlowClient {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let held = record.retransmitted_by(Side::Client) > 0 || record.flow?.server.zero_window_ns.0 > 0;
        let exchanges = record.exchanges.as_deref().map_or(&[][..], |exchanges| &exchanges.entries);
        let last = exchanges.last();
        // Where frames are cut, the end of a request only shows with the next one: who was answered, or asks again, had asked.
        let took = |exchange: &Exchange| {
            let end = exchange.request_end?;
            let is_open = exchange.response.is_none() && last.is_some_and(|last| std::ptr::eq(last, exchange));
            let had_asked = !is_open && exchange.response.is_none_or(|answer| answer < end);
            if had_asked { None } else { end.checked_since(exchange.request?) }
        };
        let slow = exchanges
            .iter()
            .filter(|exchange| exchange.request_bytes <= SMALL && !exchange.continued)
            .filter_map(|exchange| Some((took(exchange)?, exchange)))
            .filter(|(took, _)| *took >= context.thresholds.slow_client)
            .max_by_key(|(took, _)| *took);
        let (took, exchange) = slow.filter(|_| !held)?;
        let (method, path) = (exchange.method.as_deref().unwrap_or("?"), exchange.path.as_deref().unwrap_or("?"));
        let what = format!("The client took {} to send its request {method} {path}.", units::time(took));
        let times = [
            exchange.request.map(|at| evidence::at(at, Side::Client, "first octet of the request")),
            exchange.request_end.map(|at| evidence::at(at, Side::Client, "last octet of the request")),
        ];
        Some(Verdict::new(Severity::Warning, what).by(times.into_iter().flatten()))
    }
}
