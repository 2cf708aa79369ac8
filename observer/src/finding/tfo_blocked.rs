//! Fast Open that does not get through.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct TfoBlocked;

const PAGE: Page = Page {
    name: "tfo-blocked",
    title: "TCP Fast Open blocked",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The SYN with the Fast Open option or with data in it had no answer, and the same without it had one: what should \
              save a round trip costs a retransmission timeout.",
    causes: &[
        "A firewall drops SYNs with data, or with an option that it does not know.",
        "The SYN was lost by chance.",
    ],
    rule: &[
        "The first SYN had the Fast Open option or payload (RFC 7413).",
        "It had no answer, and was sent again without (RFC 7413, section 4.2.1; tcp_fastopen_blackhole_timeout_sec in the \
         kernel).",
        "The handshake was then completed.",
    ],
    remedy: &[
        "See how often: `nstat -az TcpExtTCPFastOpenActiveFail TcpExtTCPFastOpenBlackhole`",
        "On this path do without: `sysctl -w net.ipv4.tcp_fastopen=0`",
    ],
    instead_of: &["slow-handshake"],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_syn_with_data_that_does_not_get_through",
        near_miss: "observer/src/finding/tests.rs::a_syn_with_data_that_does_not_get_through",
    },
};

impl Finding for TfoBlocked {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let handshake = &record.handshake;
        if !handshake.gave_up_fast_open || handshake.ack.is_none() {
            return None;
        }
        let connect = handshake.connect_ns.map_or(String::new(), |time| format!(" after {}", units::time(time)));
        let what = format!("The SYN with Fast Open had no answer; the connection opened without it{connect}.");
        let verdict = Verdict::new(Severity::Warning, what)
            .likely()
            .by([evidence::first(record, Side::Client, "SYN with Fast Open")])
            .by(evidence::notable(record, NotableKind::SynAgain, Side::Client, "SYN without it"));
        Some(verdict)
    }
}
