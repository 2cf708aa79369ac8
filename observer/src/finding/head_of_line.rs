//! A request waits for the response to another one.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Exchange, ProtocolName, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct HeadOfLine;

const PAGE: Page = Page {
    name: "head-of-line",
    title: "head-of-line blocking",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "Requests were pipelined on one connection, and one that was answered slowly held up all those behind it: HTTP/1.1 \
              answers in order (RFC 9112, section 9.3.2).",
    causes: &[
        "The client pipelines, or a proxy puts several clients' requests on one connection.",
        "One of the requests is slow.",
    ],
    rule: &[
        "A request was sent before the response to the one before it had ended (HTTP/1.x: pipelining, RFC 9112, section \
         9.3.2).",
        "From its end to the end of the response before it head_of_line or more went by.",
        "Its own response began only then.",
    ],
    remedy: &[
        "Use HTTP/2 or HTTP/3, or several connections",
        "Turn pipelining off at the client or proxy",
        "See what was slow: `observer replay FILE --connection {ID}`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_request_behind_a_slow_one",
        near_miss: "observer/src/finding/tests.rs::a_request_behind_a_slow_one",
    },
};

impl Finding for HeadOfLine {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        if record.protocol != Some(ProtocolName::Http) {
            return None;
        }
        let exchanges = &record.exchanges.as_deref()?.entries;
        let blocked = exchanges.iter().zip(exchanges.iter().skip(1)).filter_map(|(before, exchange)| {
            let (sent, freed, answered) = (exchange.request_end?, before.response_end?, exchange.response?);
            let waited = freed.checked_since(sent)?;
            (answered >= freed && waited >= context.thresholds.head_of_line).then_some((waited, before, exchange))
        });
        let blocked: Vec<_> = blocked.collect();
        let (waited, before, exchange) = blocked.iter().max_by_key(|(waited, ..)| *waited)?;
        let name = |exchange: &Exchange| {
            let (method, path) = (exchange.method.as_deref().unwrap_or("?"), exchange.path.as_deref().unwrap_or("?"));
            format!("{method} {path}")
        };
        let what = format!(
            "{} waited {} for the response to {} on the same connection.",
            name(exchange),
            units::time(*waited),
            name(before)
        );
        let times = [
            exchange.request_end.map(|at| evidence::at(at, Side::Client, format!("end of {}", name(exchange)))),
            before
                .response_end
                .map(|at| evidence::at(at, Side::Server, format!("end of the response to {}", name(before)))),
        ];
        Some(Verdict::new(Severity::Warning, what).by(times.into_iter().flatten()))
    }
}

/// Whether the response to the exchange at `place` had to wait for the one before it.
pub fn is_behind(exchanges: &[Exchange], place: usize, exchange: &Exchange) -> bool {
    let before = place.checked_sub(1).and_then(|place| exchanges.get(place));
    let freed = before.and_then(|before| before.response_end);
    freed.zip(exchange.request_end).is_some_and(|(freed, sent)| freed > sent)
}
