//! ECN was meant to be used, and something breaks it.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct EcnBroken;

const PAGE: Page = Page {
    name: "ecn-broken",
    title: "ECN broken",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "Explicit congestion notification does not work on this path: either the SYN that asks for it is dropped, which \
              costs a second with every connection, or the receiver does not pass on the marks, so that the sender does not \
              slow down.",
    causes: &[
        "An old firewall drops SYNs with ECE and CWR set.",
        "A device clears or overwrites the ECN field.",
        "The receiver's TCP, or an offload engine, does not echo marks.",
    ],
    rule: &[
        "The SYN that asked for ECN (RFC 3168, section 6.1.1) had no answer, and the same without it had one \
         (tcp_ecn_fallback in the kernel); or",
        "both ends agreed on ECN, packets came marked with congestion experienced, and the receiver never set ECE (RFC \
         3168, section 6.1.3).",
    ],
    remedy: &[
        "Try with and without: `sysctl net.ipv4.tcp_ecn`, then `curl -so /dev/null -w '%{time_connect}\\n' \
         http://{SERVER}:{PORT}/`",
        "See where the marks get lost: `traceroute -T -p {PORT} -t 1 {SERVER}`, with captures on both ends",
        "Until it is mended, do not ask for it: `sysctl -w net.ipv4.tcp_ecn=2`",
    ],
    instead_of: &["slow-handshake"],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_syn_without_ecn_that_gets_through",
        near_miss: "observer/src/finding/tests/transfer.rs::marks_that_the_receiver_keeps_to_itself",
    },
};

impl Finding for EcnBroken {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let handshake = &record.handshake;
        if handshake.gave_up_ecn && handshake.ack.is_some() {
            let connect = handshake.connect_ns.map_or(String::new(), |time| format!(" after {}", units::time(time)));
            let what = format!("The SYN that asks for ECN had no answer; the connection opened without it{connect}.");
            let verdict = Verdict::new(Severity::Warning, what)
                .likely()
                .by([evidence::first(record, Side::Client, "SYN with ECE and CWR")])
                .by(evidence::notable(record, NotableKind::SynAgain, Side::Client, "SYN without them"));
            return Some(verdict);
        }
        let (flow, agreed) = (record.flow?, handshake.agreed?);
        let deaf = |side: &Side| flow.of(*side).ecn.ce > 0 && flow.of(side.other()).ecn.ece == 0;
        let by = [Side::Client, Side::Server].into_iter().filter(|_| agreed.ecn).find(deaf)?;
        let marked = units::number_of(flow.of(by).ecn.ce, "packet");
        let (who, other) = (super::verdict::name(by), super::verdict::name(by.other()));
        let what = format!("{marked} of the {who} came marked with congestion, and the {other} never said so (ECE).");
        Some(Verdict::new(Severity::Warning, what).likely().by([evidence::fact(format!("{marked} marked CE"))]))
    }
}
