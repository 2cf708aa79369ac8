//! A RST ends a connection that was in use.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, abortive_close, evidence};
use crate::record::{ConnState, ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct ResetMidStream;

const PAGE: Page = Page {
    name: "reset-mid-stream",
    title: "reset in the middle of an exchange",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "One end aborted an established connection while something was still owed: data was on its way, or a request \
              had no complete response. The other end's program gets ECONNRESET, and what was on its way is lost.",
    causes: &[
        "The program crashed or was killed, or closed the socket with data unread or with SO_LINGER 0.",
        "A proxy or load balancer took its backend out of service.",
        "A firewall or an intrusion prevention system injected the RST: its TTL then differs from that of its alleged \
         sender.",
        "One end restarted and knows nothing of the connection.",
    ],
    rule: &[
        "The connection was established, and neither end had sent a FIN before the RST (RFC 9293, section 3.5.3).",
        "Payload of either end was not acknowledged when the first RST came, or by it; or a request had no complete \
         response; or the client had sent payload and the server none.",
        "Or the kernel told the other end's program ECONNRESET or EPIPE, where not every packet is seen (tcp_reset()): what \
         was owed is not known then.",
        "Or the client had spoken last when the server reset: less sure, as some messages are not answered.",
    ],
    remedy: &[
        "On the end that reset, look at why: `journalctl -e`, `dmesg | grep -iE 'oom|segfault'`",
        "Live, see which process reset and why the kernel did: `observer watch --port {PORT}`",
        "Look at the proxies between both for timeouts and health checks",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_reset_with_something_owed_is_in_mid_stream",
        near_miss: "observer/src/finding/tests.rs::a_reset_with_something_owed_is_in_mid_stream",
    },
};

impl Finding for ResetMidStream {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let by = match record.conn_state {
            ConnState::RSTO => Side::Client,
            ConnState::RSTR => Side::Server,
            _ => return None,
        };
        let mut closed = [record.close.fin.client, record.close.fin.server].into_iter().flatten();
        if record.packets.is_none() {
            return if closed.next().is_some() { None } else { by_socket(record, by) };
        }
        let reset = record.reset.as_deref().filter(|reset| reset.from == by)?;
        let established = record.handshake.ack.is_some() || record.handshake.syn.is_none();
        if !established || closed.any(|fin| fin <= reset.at) {
            return None;
        }
        let (client, server) = (record.unique_bytes_of(Side::Client)?, record.unique_bytes_of(Side::Server)?);
        let owed = reset.unacknowledged;
        let exchanges = record.exchanges.as_deref().map_or(&[][..], |exchanges| &exchanges.entries);
        let said_goodbye = record.tls.as_deref().is_some_and(|tls| tls.close_notify.client == Some(true));
        let mut likely = false;
        let unanswered = exchanges.iter().find(|exchange| exchange.request.is_some() && !exchange.complete);
        let why = if let Some(exchange) = unanswered {
            let path = exchange.path.as_deref().unwrap_or("?");
            let method = exchange.method.as_deref().unwrap_or("?");
            match exchange.response {
                None => format!("before the response to {method} {path}"),
                Some(_) => format!("within the response to {method} {path}"),
            }
        } else if client > 0 && server == 0 {
            format!("before the server had answered {}", units::bytes(client))
        } else if *owed.of(by.other()) > 0 {
            format!("with {} of the other end on their way to it", units::bytes(*owed.of(by.other())))
        } else if *owed.of(by) > 0 {
            format!("with {} of its own not yet acknowledged", units::bytes(*owed.of(by)))
        } else if by == Side::Server && reset.spoke_last == Some(Side::Client) && !said_goodbye {
            likely = true;
            "without an answer to what the client had sent last".to_string()
        } else {
            return None;
        };
        // Who has its answer and goes is in the right, however rude; and not every message is answered.
        let severity = if by == Side::Client || likely { Severity::Warning } else { Severity::Error };
        let who = super::verdict::name(by);
        let what = format!("The {who} reset the connection after {}, {why}.", units::time(record.duration_ns));
        let rst = evidence::notable(record, NotableKind::Rst, by, "RST");
        let verdict = Verdict::new(severity, what).by(rst);
        Some(if likely { verdict.likely() } else { verdict })
    }
}

/// Where not every packet is seen, the kernel tells what the program at the other end was told. That is told as well where
/// nothing was owed any more.
fn by_socket(record: &ConnectionRecord, by: Side) -> Option<Verdict> {
    if abortive_close::by_socket(record, by).is_some() {
        return None;
    }
    let error = evidence::told(record, by.other(), &["ECONNRESET", "EPIPE"])?;
    let (who, other) = (super::verdict::name(by), super::verdict::name(by.other()));
    let what = format!(
        "The {who} reset the connection after {}: the {other} was told {error}.",
        units::time(record.duration_ns)
    );
    let told = evidence::fact(format!("the {other}'s socket was told {error}"));
    Some(Verdict::new(Severity::Warning, what).likely().by([told]))
}
