//! The server answers the SYN with a RST: nobody listens there.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::gauge::FIREWALL_REJECTED;
use crate::record::{ConnState, ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct Refused;

const PAGE: Page = Page {
    name: "refused",
    title: "connection refused",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "The server, or something in front of it, answered the SYN with a reset. connect(2) fails with ECONNREFUSED \
              at once. The host is reachable and the network carries packets both ways: this is no timeout and no filter \
              that drops.",
    causes: &[
        "Nobody listens on the port: the service is down, still starts, or listens on another address (127.0.0.1 alone).",
        "The client has the wrong address or port.",
        "A firewall rejects with a reset (nft `reject with tcp reset`), or a load balancer has no healthy backend.",
    ],
    rule: &[
        "The client sent a SYN (RFC 9293, section 3.5), or its socket was told ECONNREFUSED (tcp_reset() in the kernel).",
        "No SYN-ACK came.",
        "The server sent a RST that acknowledges the SYN (RFC 9293, section 3.10.7.3).",
        "Live, rules of nf_tables on this host that reject and count, and did so meanwhile, are evidence.",
    ],
    remedy: &[
        "On {SERVER}, see who listens: `ss -ltnp 'sport = :{PORT}'`",
        "See whether the service runs and why it ended: `systemctl status` and `journalctl -e` of its unit",
        "See whether a rule rejects it: `nft list ruleset | grep -n reject`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/live/verdicts.rs::refused_and_unanswered_are_two_things",
        near_miss: "observer/src/finding/tests.rs::a_rst_to_the_syn_is_refused_and_no_timeout",
    },
};

impl Finding for Refused {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn counters(&self) -> &'static [&'static str] {
        &[FIREWALL_REJECTED]
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let told = record.socket(Side::Client).and_then(|socket| socket.error.as_deref()) == Some("ECONNREFUSED");
        let reset = record.close.rst.server.filter(|_| record.handshake.syn.is_some());
        let by_packets = record.conn_state == ConnState::REJ && reset.is_some();
        if !(by_packets || told) || record.handshake.syn_ack.is_some() || !record.icmp.is_empty() {
            return None;
        }
        let answered = reset.map(|reset| reset.since(record.handshake.syn.unwrap_or(record.first_seen)));
        let after = answered.map_or(String::new(), |after| format!(" after {}", units::time(after)));
        let server = units::end(record.server);
        let by_rule = evidence::firewalled(record, Side::Client).filter(|_| record.socket(Side::Client).is_some());
        let drops = by_rule.map_or_else(Vec::new, |_| evidence::drops(record, Side::Client));
        let what = match by_rule {
            Some(_) => format!("This host's firewall refused the connection to {server}{after}."),
            None => format!("{server} refused the connection{after}."),
        };
        let answer = evidence::notable(record, NotableKind::Rst, Side::Server, "RST");
        let answer = answer.or_else(|| Some(evidence::at(reset?, Side::Server, "RST")));
        let told = told.then(|| evidence::fact("the client's socket was told ECONNREFUSED"));
        let syn = evidence::first(record, Side::Client, "SYN");
        Some(Verdict::new(Severity::Error, what).by([syn]).by(answer).by(told).by(drops))
    }
}
