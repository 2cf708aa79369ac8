//! An ICMP error ends the attempt.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::gauge::FIREWALL_REJECTED;
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct RejectedByIcmp;

const PAGE: Page = Page {
    name: "rejected-by-icmp",
    title: "rejected by an ICMP error",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "A router, a firewall or the server itself answered the SYN with an ICMP error. connect(2) fails with \
              EHOSTUNREACH, ENETUNREACH or ECONNREFUSED, by the kind of error. Who sent it stands in the evidence: that \
              is where to look.",
    causes: &[
        "net unreachable, host unreachable: a router has no route, or the host does not answer to ARP or neighbour \
         discovery.",
        "admin prohibited, host prohibited: a firewall rejects it on purpose (nft `reject with icmpx admin-prohibited`).",
        "port unreachable, for TCP: a firewall rejects it (the default of `reject`).",
        "time exceeded: a routing loop.",
        "Host unreachable from the client itself, or EHOSTUNREACH without an ICMP error: nobody answers to ARP or neighbour \
         discovery on its own network (without any route, connect(2) fails with ENETUNREACH before there is a packet: \
         nothing is seen of that).",
    ],
    rule: &[
        "The client sent a SYN, and no SYN-ACK came.",
        "The client's socket was told EHOSTUNREACH or ENETUNREACH (tcp_v4_err() in the kernel); or",
        "an ICMP error quotes the SYN: destination unreachable other than \"fragmentation needed\", or time exceeded \
         (RFC 792; RFC 4443).",
        "Live, rules of nf_tables on this host that reject and count, and did so meanwhile, are evidence.",
    ],
    remedy: &[
        "Look at {FROM}, which sent it: its routes and its firewall",
        "On the client, see whether the next hop answers: `ip neigh show`",
        "See the route that is taken: `ip route get {SERVER}` and `traceroute -T -p {PORT} {SERVER}`",
        "Where {FROM} runs nftables, find the rule: `nft list ruleset | grep -n reject`",
    ],
    instead_of: &["unanswered-syn", "dropped-by-host"],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::an_icmp_error_ends_an_attempt",
        near_miss: "observer/src/finding/tests/many.rs::an_icmp_error_ends_an_attempt",
    },
};

/// Destination unreachable and time exceeded, of ICMP and of ICMPv6.
const fn rejects(v4: bool, kind: u8, code: u8) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4;
    match (v4, kind) {
        (true, 3) => code != FRAGMENTATION_NEEDED,
        (true, 11) | (false, 1 | 3) => true,
        _ => false,
    }
}

/// Host unreachable, and what ICMPv6 calls address unreachable.
const fn is_host(v4: bool, kind: u8, code: u8) -> bool {
    matches!((v4, kind, code), (true, 3, 1) | (false, 1, 3))
}

impl Finding for RejectedByIcmp {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn counters(&self) -> &'static [&'static str] {
        &[FIREWALL_REJECTED]
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let handshake = &record.handshake;
        if handshake.syn_ack.is_some() || handshake.ack.is_some() {
            return None;
        }
        if let Some(error) = evidence::told(record, Side::Client, &["EHOSTUNREACH", "ENETUNREACH"]) {
            let what = format!("{} cannot be reached: connect(2) failed with {error}.", units::end(record.server));
            let told = evidence::fact(format!("the client's socket was told {error}"));
            let from = record.icmp.first().map_or_else(|| record.client.ip, |error| error.from);
            return Some(Verdict::new(Severity::Error, what).by([told]).with("FROM", from));
        }
        handshake.syn?;
        let v4 = record.client.ip.is_ipv4();
        let error = record
            .icmp
            .iter()
            .find(|error| error.to == Side::Client && rejects(v4, error.icmp_type, error.icmp_code))?;
        let (name, from) = (error.name, error.from);
        let whose = match from {
            _ if from == record.server.ip => "the server itself",
            _ if from == record.client.ip => "the client itself",
            _ => "on the way",
        };
        let icmp = evidence::notable(record, NotableKind::Icmp, Side::Client, "ICMP error");
        let gone = record.socket(Side::Client).and_then(|socket| socket.gone);
        let is_late = gone.is_some_and(|gone| error.at > gone);
        let late = if is_late { ", after its program had given up" } else { "" };
        let server = units::end(record.server);
        let what = if from == record.client.ip && is_host(v4, error.icmp_type, error.icmp_code) {
            format!(
                "Nobody on the client's own network answers for the way to {server}: ICMP {name} from itself{late}."
            )
        } else {
            format!("{from} ({whose}) answered the SYN to {server} with ICMP {name}{late}.")
        };
        let icmp = icmp.map(|mut icmp| {
            // The other end's segment is quoted; neither end sent it.
            icmp.from = None;
            icmp.what = format!("ICMP {name} from {from}");
            icmp
        });
        let syn = evidence::first(record, Side::Client, "SYN");
        Some(Verdict::new(Severity::Error, what).by([syn]).by(icmp).with("FROM", from))
    }
}
