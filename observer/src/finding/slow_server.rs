//! The server takes its time.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Doubt, Exchange, Phase, Severity, Side};
use crate::time::Nanos;
use crate::units;

/// See [`PAGE`].
pub struct SlowServer;

const PAGE: Page = Page {
    name: "slow-server",
    title: "slow server",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The request had arrived, and the first octet of the response was long in coming: the time was spent in the \
              server's program, or in what that asks in turn. The network is not at fault.",
    causes: &[
        "The program computes, or waits for a database, another service or a lock.",
        "All its workers are busy: the request waits for one.",
        "It is meant to wait: long polling, server-sent events.",
    ],
    rule: &[
        "From the last octet of a request to the first of its response slow_server or more went by, less the round trip to \
         the server (RFC 9112, section 9.2, says which response is whose).",
        "The response was not waiting for others on the same connection (see head-of-line).",
        "Nothing that the server sent was lost meanwhile that would explain it.",
    ],
    remedy: &[
        "On {SERVER}, look at the program's own log for this request, and at what it waits for: `perf trace -p PID`, \
         `strace -fp PID`",
        "See whether requests queue: `ss -ltn 'sport = :{PORT}'` (Recv-Q)",
        "See every exchange: `observer replay FILE --connection {ID}`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_server_that_takes_its_time",
        near_miss: "observer/src/finding/tests.rs::a_server_that_takes_its_time",
    },
};

impl Finding for SlowServer {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let path = record.handshake.server_rtt_ns.or(record.rtt.min_path_ns).unwrap_or_default();
        let limit = context.thresholds.slow_server;
        let exchanges = record.exchanges.as_deref().map_or(&[][..], |exchanges| &exchanges.entries);
        // What came with the SYN (RFC 7413) is asked of the server once the handshake is complete.
        let opened = record.handshake.ack.unwrap_or_default();
        let waited = |exchange: &Exchange| {
            let first_byte = exchange.response?.checked_since(exchange.request_end?.max(opened))?;
            Some(Nanos(first_byte.0.saturating_sub(path.0)))
        };
        let slow: Vec<(&Exchange, Nanos)> = exchanges
            .iter()
            .enumerate()
            .filter(|(place, exchange)| !super::head_of_line::is_behind(exchanges, *place, exchange))
            .filter_map(|(_, exchange)| Some((exchange, waited(exchange).filter(|waited| *waited >= limit)?)))
            .collect();
        let lost = record.retransmitted_by(Side::Server) > 0;
        if let Some((exchange, waited)) = slow.iter().max_by_key(|(_, waited)| *waited) {
            let (method, path) = (exchange.method.as_deref().unwrap_or("?"), exchange.path.as_deref().unwrap_or("?"));
            let others = match slow.len() {
                1 => String::new(),
                count => format!(", and {} were as slow", units::number_of(count as u64 - 1, "other")),
            };
            let what =
                format!("The server took {} to begin its answer to {method} {path}{others}.", units::time(*waited));
            let times = [
                exchange.request_end.map(|at| evidence::at(at, Side::Client, format!("end of {method} {path}"))),
                exchange.response.map(|at| evidence::at(at, Side::Server, "first octet of the response")),
            ];
            let verdict = Verdict::new(Severity::Warning, what).by(times.into_iter().flatten());
            return Some(verdict.doubt_if(lost, Doubt::CapturePoint));
        }
        if !exchanges.is_empty() {
            return None;
        }
        let phase = record.phases.iter().find(|phase| phase.phase == Phase::Server && phase.length_ns >= limit)?;
        let end = phase.start.plus(phase.length_ns);
        let what =
            format!("The server took {} to begin its answer to the first request.", units::time(phase.length_ns));
        let times = [
            evidence::at(phase.start, Side::Client, "end of the first request, when it reached the server"),
            evidence::at(end, Side::Server, "first octet of the response"),
        ];
        Some(Verdict::new(Severity::Warning, what).by(times).doubt_if(lost, Doubt::CapturePoint))
    }
}
