//! A connection ends with a RST though nothing is owed.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnState, ConnectionRecord, NotableKind, Severity, Side};

/// See [`PAGE`].
pub struct AbortiveClose;

const PAGE: Page = Page {
    name: "abortive-close",
    title: "abortive close",
    severity: Severity::Info,
    rests_on: RestsOn::Absence,
    meaning: "One end ended the connection with a RST instead of a FIN when everything had been exchanged. The other end \
              misses nothing this time; but a RST overtakes and discards whatever is still on its way, so that it only works \
              by luck. A capture does not tell whether data was left unread or SO_LINGER was 0: live, on the host that sent \
              the RST, the kernel does (Linux 6.10 and later).",
    causes: &[
        "The program closes with SO_LINGER set to 0, to avoid TIME-WAIT (TCP_STATE of enum sk_rst_reason in the kernel: \
         tcp_disconnect()).",
        "It closes with data unread in its receive buffer (RFC 2525, section 2.17; TCP_ABORT_ON_CLOSE: tcp_close()).",
        "It ends without closing, on some systems.",
    ],
    rule: &[
        "The connection was established and carried payload.",
        "One end that had sent no FIN sent a RST (RFC 9293, section 3.5.3).",
        "All payload of both ends had been acknowledged, by the RST at the latest, and no request was without its response. \
         Where not every packet is seen: the kernel says that its socket was closed with data unread or with SO_LINGER 0, \
         and, by its counters, nothing that it had sent was without its ACK.",
    ],
    remedy: &[
        "In the program, read to the end and close without SO_LINGER 0",
        "See whether data was left: `strace -fp PID -e trace=setsockopt,close,read`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/live/verdicts.rs::a_close_with_data_unread_and_one_without_lingering_are_told_apart",
        near_miss: "tests/tests/live/verdicts.rs::a_close_with_data_unread_and_one_without_lingering_are_told_apart",
    },
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
        let (client, server) = (record.bytes_of(Side::Client)?, record.bytes_of(Side::Server)?);
        if record.packets.is_none() {
            return by_socket(record, by);
        }
        let reset = record.reset.as_deref().filter(|reset| reset.from == by)?;
        let own = record.close.fin.of(by).is_some_and(|fin| fin <= reset.at);
        let owed = reset.unacknowledged.client + reset.unacknowledged.server > 0;
        let answered = by == Side::Client || reset.spoke_last != Some(Side::Client);
        let said_goodbye = record.tls.as_deref().is_some_and(|tls| tls.close_notify.client == Some(true));
        let open = has_open_exchange(record);
        if own || owed || open || !(answered || said_goodbye) || client + server == 0 || client > 0 && server == 0 {
            return None;
        }
        let who = super::verdict::name(by);
        let what = format!("The {who} ended the connection with a RST instead of a FIN; nothing was owed.");
        let rst = evidence::notable(record, NotableKind::Rst, by, "RST");
        Some(Verdict::new(Severity::Info, what).by(rst))
    }
}

fn has_open_exchange(record: &ConnectionRecord) -> bool {
    let exchanges = record.exchanges.as_deref().map_or(&[][..], |exchanges| &exchanges.entries);
    exchanges.iter().any(|exchange| exchange.request.is_some() && !exchange.complete)
}

/// Where not every packet is seen, what the kernel says of the socket that sent the RST.
pub fn by_socket(record: &ConnectionRecord, by: Side) -> Option<Verdict> {
    let socket = record.socket(by)?;
    let reason = socket.reset_reason.as_deref()?;
    let why = match reason {
        "TCP_ABORT_ON_CLOSE" => "closed the connection with data unread",
        "TCP_STATE" => "closed the connection with SO_LINGER 0",
        _ => return None,
    };
    let (client, server) = (record.bytes_of(Side::Client)?, record.bytes_of(Side::Server)?);
    let owed = socket.info.is_some_and(|info| {
        let once = info.bytes_sent.unwrap_or(0).saturating_sub(info.bytes_retrans.unwrap_or(0));
        // That of the SYN is among those acknowledged.
        info.bytes_acked.is_some_and(|acked| acked < once)
    });
    let closed = record.close.fin.of(by).is_some();
    if closed || owed || has_open_exchange(record) || client + server == 0 || client > 0 && server == 0 {
        return None;
    }
    let who = super::verdict::name(by);
    let what = format!("The {who} {why}: its kernel sent a RST instead of a FIN ({reason}).");
    let told = evidence::fact(format!("the {who}'s kernel sent the RST for {reason} (enum sk_rst_reason)"));
    Some(Verdict::new(Severity::Info, what).by([told]))
}
