//! A connection ends with a RST though nothing is owed.

use super::{Context, Finding, Page, RestsOn, Verdict, evidence};
use crate::record::{ConnState, ConnectionRecord, NotableKind, Severity, Side};

/// See [`PAGE`].
pub struct AbortiveClose;

const PAGE: Page = Page {
    name: "abortive-close",
    title: "abortive close",
    severity: Severity::Info,
    rests_on: RestsOn::Absence,
    meaning: "One end ended the connection with a RST instead of a FIN when everything had been exchanged. Nothing was lost \
              this time; but a RST overtakes and discards whatever is still on its way, so that it only works by luck.",
    causes: &[
        "The program closes with SO_LINGER set to 0, to avoid TIME-WAIT.",
        "It closes with data unread in its receive buffer (RFC 2525, section 2.17; tcp_close() in the kernel).",
        "It ends without closing, on some systems.",
    ],
    rule: &[
        "The connection was established and carried payload.",
        "One end that had sent no FIN sent a RST (RFC 9293, section 3.5.3).",
        "All payload of both ends had been acknowledged, by the RST at the latest, and no request was without its response.",
    ],
    remedy: &[
        "In the program, read to the end and close without SO_LINGER 0",
        "See whether data was left: `strace -fp PID -e trace=setsockopt,close,read`",
    ],
    instead_of: &[],
};

impl Finding for AbortiveClose {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let by = match record.conn_state {
            ConnState::RSTO => Side::Client,
            ConnState::RSTR => Side::Server,
            _ => return None,
        };
        let reset = record.reset.as_deref().filter(|reset| reset.from == by)?;
        let own = record.close.fin.of(by).is_some_and(|fin| fin <= reset.at);
        let owed = reset.unacknowledged.client + reset.unacknowledged.server > 0;
        let (client, server) = (record.bytes_of(Side::Client)?, record.bytes_of(Side::Server)?);
        let exchanges = record.exchanges.as_deref().map_or(&[][..], |exchanges| &exchanges.entries);
        let open = exchanges.iter().any(|exchange| exchange.request.is_some() && !exchange.complete);
        let answered = by == Side::Client || reset.spoke_last != Some(Side::Client);
        let said_goodbye = record.tls.as_deref().is_some_and(|tls| tls.close_notify.client == Some(true));
        if own || owed || open || !(answered || said_goodbye) || client + server == 0 || client > 0 && server == 0 {
            return None;
        }
        let who = super::verdict::name(by);
        let what = format!("The {who} ended the connection with a RST instead of a FIN; nothing was owed.");
        let rst = evidence::notable(record, NotableKind::Rst, by, "RST");
        Some(Verdict::new(Severity::Info, what).by(rst))
    }
}
