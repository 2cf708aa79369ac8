//! Nothing at all answers the SYN.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::gauge::FIREWALL_DROPPED;
use crate::record::{ConnectionRecord, Doubt, NotableKind, Severity, Side, Source, TcpState};
use crate::units;

/// See [`PAGE`].
pub struct UnansweredSyn;

const PAGE: Page = Page {
    name: "unanswered-syn",
    title: "no answer to the SYN",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "The client's SYN, and those that it sent after it, had no answer of any kind: no SYN-ACK, no reset, no ICMP \
              error. connect(2) fails with ETIMEDOUT after tcp_syn_retries (two minutes by default), or when the program \
              gives up. This is no refusal: a host that is there and has nobody listening answers with a reset.",
    causes: &[
        "A firewall or a security group drops the SYN, or the answer on its way back.",
        "The address belongs to nobody, or the host is down, and no router says so.",
        "The route back is another one and ends somewhere (asymmetric routing, a strict reverse path filter).",
        "The server drops SYNs itself: its accept queue or SYN backlog is full, or conntrack is.",
    ],
    rule: &[
        "The client sent a SYN (RFC 9293, section 3.5).",
        "The other end sent nothing, no ICMP error quotes the SYN, and the client sent nothing but SYNs: else an answer was \
         only not captured.",
        "The SYN was sent again (RFC 6298, section 5), or the input goes on for unanswered_after: then only a warning, as \
         every TCP sends a SYN again that it means.",
        "Where the kernel says NETFILTER_DROP and the SYN was not sent again, a rule may have rejected it with a reset: live, \
         only who receives that sees it.",
        "Live, drops that this host counts meanwhile are evidence: those of its firewall and stack by the kernel's reason \
         (enum skb_drop_reason), and what grew of conntrack's `drop` and `insert_failed`, of the listeners' counters \
         (LINUX_MIB_LISTENDROPS), and of rules of nf_tables that drop and count (`counter`, NFTA_COUNTER_PACKETS).",
        "Where it was sent again once, and the input ends before a third would have been sent (the timeout doubles: RFC 6298, \
         section 5.5), the finding is less sure: two may be lost by chance.",
    ],
    remedy: &[
        "See where the way ends: `traceroute -T -p {PORT} {SERVER}`",
        "On {SERVER}, see whether the SYN arrives: `tcpdump -ni any 'tcp port {PORT} and host {CLIENT}'`",
        "On {SERVER}, see what drops it: `observer watch --port {PORT}`, `nft list ruleset`, `nstat -az TcpExtListenDrops \
         TcpExtIPReversePathFilter`",
    ],
    instead_of: &["dropped-by-host"],
    proof: Proof {
        shown: "tests/tests/live/verdicts.rs::refused_and_unanswered_are_two_things",
        near_miss: "observer/src/finding/tests.rs::a_syn_has_a_second_to_be_answered",
    },
};

impl Finding for UnansweredSyn {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn counters(&self) -> &'static [&'static str] {
        &[
            FIREWALL_DROPPED,
            "conntrack_drop",
            "conntrack_insert_failed",
            "listen_drops",
            "listen_overflows",
            "syn_queue_dropped",
        ]
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let syn = record.handshake.syn.or_else(|| Some(record.socket(Side::Client)?.first_seen))?;
        let handshake = &record.handshake;
        let reset = record.close.rst;
        let answered = record.packets_of(Side::Server).is_some_and(|packets| packets > 0)
            || handshake.syn_ack.is_some()
            || handshake.ack.is_some()
            || reset.server.is_some()
            || evidence::went_on(record);
        if answered || !record.icmp.is_empty() || handshake.simultaneous_open {
            return None;
        }
        // The kernel's word counts where not every SYN is seen.
        let told = evidence::told(record, Side::Client, &["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"]).is_some();
        let seen = u64::from(handshake.syn_retransmissions) + 1;
        // A socket that was there before has sent some that were not seen, and so has one whose own firewall drops them; it
        // sends nothing else.
        let socket = record.socket(Side::Client);
        // Where its changes of state are not seen, it may have been open in between.
        let is_known = record.tcp_state.client == TcpState::SynSent || record.sources.contains(&Source::State);
        let counted = socket.filter(|_| is_known).and_then(|socket| socket.info?.segs_out);
        let sent = counted.map_or(seen, |sent| seen.max(sent.into()));
        let again = sent - 1;
        // Who takes the SYN back, or closes the socket, has not waited for an answer.
        let gone = record.socket(Side::Client).and_then(|socket| socket.gone);
        let waited = gone.map_or_else(|| context.waited(syn), |gone| gone.since(syn)).max(record.duration_ns);
        let given_up = reset.client.is_some_and(|reset| reset.since(syn) < context.thresholds.unanswered_after);
        if told || given_up || (again == 0 && waited < context.thresholds.unanswered_after) {
            return None;
        }
        // Who asks once only may not have meant it.
        let (severity, time) = if again == 0 {
            (Severity::Warning, waited)
        } else {
            (Severity::Error, if seen == 1 { waited } else { record.duration_ns })
        };
        // Seen from the server's side, a client that does not ask again was most likely rejected by that rule.
        let by_rule = evidence::firewalled(record, Side::Client);
        if socket.is_none() && again == 0 && by_rule.is_some() {
            return None;
        }
        let dropped = record.drops.iter().find(|drop| drop.from == Side::Client);
        let it = if again == 0 { "it" } else { "them" };
        let dropped = dropped.map_or(String::new(), |drop| match (&drop.reason, by_rule) {
            // The reset of a rule (`reject with tcp reset`) is seen by its receiver alone, who does not ask again.
            (Some(reason), Some(_)) if again == 0 => {
                format!(": this host's firewall dropped or rejected it ({reason})")
            }
            (Some(reason), Some(_)) => format!(": this host's firewall dropped {it} ({reason})"),
            (Some(reason), None) => format!(": this host dropped {it} ({reason})"),
            (None, _) => format!(": this host dropped {it}"),
        });
        let is_all = socket.is_none_or(|socket| !socket.existed) || sent == seen;
        let (syns, time) = match is_all {
            true => (units::number_of(sent, "SYN"), units::time(time)),
            false => (
                format!("{}, {} of them", units::number_of(sent, "SYN"), units::count(seen)),
                format!("the {} that it was watched", units::time(time)),
            ),
        };
        let server = units::end(record.server);
        let what = match evidence::firewalled(record, Side::Server).and_then(|drop| drop.reason.as_deref()) {
            Some(reason) => {
                format!("{server} answered {syns} in {time}, and this host's firewall dropped the answers ({reason}).")
            }
            None => format!("{server} did not answer {syns} in {time}{dropped}."),
        };
        let verdict = Verdict::new(severity, what)
            .by([evidence::first(record, Side::Client, "SYN")])
            .by(evidence::notable(record, NotableKind::SynAgain, Side::Client, "SYN sent again"))
            .by(evidence::drops(record, Side::Client))
            .by(evidence::drops(record, Side::Server));
        // Of a socket that has gone it is known that nothing came.
        let waits = gone.is_none() && reset.client.is_none();
        let third = context.thresholds.unanswered_after.0.saturating_mul(2);
        let ends = again == 1 && waits && context.waited(record.last_seen).0 < third;
        Some(verdict.doubt_if(again == 0, Doubt::FewSamples).doubt_if(ends, Doubt::InputEnds))
    }
}
