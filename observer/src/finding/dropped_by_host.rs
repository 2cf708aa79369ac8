//! This host itself drops what a connection needs.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnState, ConnectionRecord, DropRecord, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct DroppedByHost;

const PAGE: Page = Page {
    name: "dropped-by-host",
    title: "this host drops its packets",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "Packets of the connection were dropped on this host, on purpose or because something was full, and the kernel \
              says which: what looks like a silent peer or a bad network is neither. What a packet filter showed as arrived \
              (tcpdump sees packets before the firewall does) did not reach the program.",
    causes: &[
        "A rule of nftables or iptables: often one that lets the handshake pass and not what follows, or that takes packets \
         for invalid.",
        "A filter of tc, XDP or a cgroup's BPF program: a service mesh, a container network, a rate limit.",
        "Signatures of TCP MD5 (RFC 2385) or TCP-AO (RFC 5925) that are missing or wrong, as between BGP routers.",
        "A strict reverse path filter: the answer comes in by another interface than it would go out by.",
        "A queue or a buffer of this host is full: its receive buffer, a socket's backlog, the CPU's backlog, a shaper.",
        "Packets were damaged on the way, and their checksum does not fit.",
    ],
    rule: &[
        "The kernel freed at least dropped_packets packets of one end with one reason (`enum skb_drop_reason`; before Linux \
         5.17 the function where it did) that is none of TCP's own: a rule, a filter, a full queue, a checksum.",
        "They are not SYNs that nothing answers: that is unanswered-syn. But one SYN that this host's own firewall drops, whose \
         socket is closed within unanswered_after, was rejected: connect(2) failed.",
        "An error where a rule or a filter did it, unless both ends closed in good order all the same; else a warning.",
    ],
    remedy: &[
        "See the rules and which of them count: `nft list ruleset`, `iptables-save -c`",
        "See which rule a packet meets: `nft add rule inet filter input tcp dport {PORT} meta nftrace set 1`, then `nft \
         monitor trace`",
        "See other filters: `tc filter show dev eth0 ingress`, `bpftool net`, `bpftool cgroup tree`",
        "See what is full: `nstat -az | grep -iE 'drop|prune|rcvq'`, `ip -s link`, `tc -s qdisc`",
    ],
    instead_of: &["packet-loss", "tail-loss", "half-open"],
    proof: Proof {
        shown: "tests/tests/live/verdicts.rs::what_this_host_drops_is_no_fault_of_the_peer",
        near_miss: "observer/src/finding/tests/sockets.rs::what_tcp_itself_drops_is_no_drop_by_the_host",
    },
};

/// Who drops packets, by the beginning of the kernel's reason, or of the function where there is none.
const WHO: &[(&str, Who)] = &[
    ("NETFILTER_DROP", Who::Rule("firewall")),
    ("nf_hook_slow", Who::Rule("firewall")),
    ("IP_RPFILTER", Who::Rule("reverse path filter")),
    ("XFRM_POLICY", Who::Rule("IPsec policy")),
    ("TC_INGRESS", Who::Rule("tc filter")),
    ("TC_EGRESS", Who::Rule("tc filter")),
    ("XDP", Who::Rule("XDP program")),
    ("BPF_CGROUP_EGRESS", Who::Rule("cgroup's BPF program")),
    ("SOCKET_FILTER", Who::Rule("socket filter")),
    ("SECURITY_HOOK", Who::Rule("security module")),
    ("TCP_MD5", Who::Rule("check of TCP MD5 signatures")),
    ("TCP_AO", Who::Rule("check of TCP-AO")),
    ("QDISC_", Who::Full("queueing discipline")),
    ("FQ_", Who::Full("queueing discipline")),
    ("CAKE_", Who::Full("queueing discipline")),
    ("NOMEM", Who::Full("memory")),
    ("CPU_BACKLOG", Who::Full("CPU's backlog")),
    ("FULL_RING", Who::Full("ring of the network device")),
    ("SOCKET_BACKLOG", Who::Full("socket's backlog")),
    ("SOCKET_RCVBUFF", Who::Full("receive buffer")),
    ("PROTO_MEM", Who::Full("memory for TCP")),
    ("TCP_CSUM", Who::Damaged),
    ("IP_CSUM", Who::Damaged),
];

/// What drops packets.
#[derive(Clone, Copy)]
enum Who {
    /// A rule that was made.
    Rule(&'static str),
    /// Something that has no room.
    Full(&'static str),
    /// They were damaged.
    Damaged,
}

impl Finding for DroppedByHost {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        // What passes before an answer are SYNs.
        let answered = evidence::went_on(record) || record.handshake.syn_ack.is_some();
        if !answered && let Some(verdict) = rejected(record, context) {
            return Some(verdict);
        }
        let is_meant = |drop: &&DropRecord| {
            drop.count >= context.thresholds.dropped_packets && (answered || drop.from == Side::Server)
        };
        let by_someone = record.drops.iter().filter(is_meant).filter_map(|drop| Some((drop, who(drop)?)));
        let (drop, who) = by_someone.max_by_key(|(drop, _)| drop.count)?;
        let packets = units::number_of(drop.count, "packet");
        let sender = super::verdict::name(drop.from);
        let reason = drop.reason.as_deref().unwrap_or_default();
        let what = match who {
            Who::Rule(who) => format!("This host's {who} dropped {packets} of the {sender} ({reason})."),
            Who::Full(what) => {
                format!("This host dropped {packets} of the {sender}: no room in its {what} ({reason}).")
            }
            Who::Damaged => format!("This host dropped {packets} of the {sender} with a wrong checksum ({reason})."),
        };
        let in_order = record.conn_state == ConnState::SF;
        let severity = if matches!(who, Who::Rule(_)) && !in_order { Severity::Error } else { Severity::Warning };
        Some(Verdict::new(severity, what).by(evidence::drops(record, drop.from)))
    }
}

/// A SYN that this host's own firewall rejects before it has left: connect(2) fails at once.
fn rejected(record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
    let socket = record.socket(Side::Client)?;
    let gave_up = socket.gone?.since(socket.first_seen) < context.thresholds.unanswered_after;
    let reason = evidence::firewalled(record, Side::Client)?.reason.as_deref()?;
    let what = format!("This host's firewall rejected the SYN to {} ({reason}).", units::end(record.server));
    (gave_up && socket.error.is_none() && record.icmp.is_empty())
        .then(|| Verdict::new(Severity::Error, what).by(evidence::drops(record, Side::Client)))
}

fn who(drop: &DropRecord) -> Option<Who> {
    let reason = drop.reason.as_deref()?;
    WHO.iter().find(|(start, _)| reason.starts_with(start)).map(|(_, who)| *who)
}
