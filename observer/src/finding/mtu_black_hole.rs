//! Large packets vanish without a word.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Evidence, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct MtuBlackHole;

const PAGE: Page = Page {
    name: "mtu-black-hole",
    title: "path MTU black hole",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "Small packets get through, full-sized ones do not, and no ICMP message says so: connections open, requests \
              pass, and the first large response hangs. Somewhere on the way a link has a smaller MTU, and what should tell \
              the sender is dropped (RFC 2923, section 2.1).",
    causes: &[
        "A tunnel on the way (IPsec, WireGuard, VXLAN, PPPoE) takes octets off the MTU.",
        "A firewall drops ICMP \"fragmentation needed\", or ICMPv6 \"packet too big\".",
        "A load balancer or an anycast address takes the ICMP message to another host.",
    ],
    rule: &[
        "The handshake was completed: small packets pass both ways.",
        "One segment of four fifths of the MSS or more was sent again mtu_black_hole_times or more times on timeouts (RFC \
         6298) and never acknowledged.",
        "No segment as large had ever been acknowledged on the connection.",
        "No ICMP message named an MTU (RFC 1191; RFC 8201).",
        "Live, this host's socket tells as much: what it sent again (`total_retrans`, less its SYNs) is so large on average \
         (`bytes_retrans`), and all that was ever acknowledged (`bytes_acked`) would fit into less. What this host dropped of \
         it is evidence.",
        "It had the DF flag (RFC 791, section 3.1), as what looks for the path's MTU has, or is IPv6. Where it had not, and \
         any router may cut it, it must be the pieces that are dropped: the finding is less sure.",
        "The other end was heard after the first of them (duplicate ACKs, SACK): it is there. Where it was not, the finding \
         is less sure.",
    ],
    remedy: &[
        "Find the size that passes: `tracepath -n {PEER}`",
        "Clamp the MSS where the tunnel begins: `nft add rule inet mangle forward tcp flags syn tcp option maxseg size set \
         rt mtu`",
        "At once, on the sender, for every path: `ip route change default via GATEWAY advmss {MSS}` (every path carries 1240 \
         over IPv4 and 1220 over IPv6; it is more where larger segments were acknowledged, less where smaller ones were not)",
        "Let ICMP through: `nft insert rule inet filter forward icmp type destination-unreachable accept`",
        "Let the sender find out by itself: `sysctl -w net.ipv4.tcp_mtu_probing=1`",
    ],
    instead_of: &["packet-loss", "tail-loss"],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::large_segments_without_an_answer_are_a_black_hole",
        near_miss: "observer/src/finding/tests/transfer.rs::large_segments_without_an_answer_are_a_black_hole",
    },
};

/// What every path carries: 1280 octets (RFC 8200, section 5), less the headers, without options.
const SAFE_MSS: (u16, u16) = (1240, 1220);

/// What every host takes (RFC 9293, section 3.7.1).
const LEAST_MSS: u32 = 536;

impl Finding for MtuBlackHole {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let Some(flow) = record.flow else { return by_sockets(record, context) };
        record.handshake.ack?;
        let stuck = |side: &Side| flow.of(*side).unanswered;
        let by =
            [Side::Client, Side::Server].into_iter().max_by_key(|side| stuck(side).map_or(0, |stuck| stuck.times))?;
        let stuck = stuck(&by)?;
        let mss = u32::from(record.handshake.agreed?.mss);
        let few = stuck.times < context.thresholds.mtu_black_hole_times;
        if few || is_small(record, stuck.length, mss) || stuck.as_large_passed || is_explained(record, by) {
            return None;
        }
        let heard = stuck.heard_since > 0 || *record.analysis?.duplicate_ack.of(by.other()) > 0;
        // What is larger than one packet shows nothing: it was captured before segmentation offload.
        let passed = if stuck.acknowledged < stuck.length { stuck.acknowledged } else { 0 };
        let safe = safe_mss(record);
        let clamp = if safe < stuck.length { safe.max(passed) } else { LEAST_MSS.max(passed) };
        let small = match passed {
            0 => "small ones".to_string(),
            octets => format!("those of up to {octets} octets"),
        };
        let who = super::verdict::name(by);
        let marked = match (stuck.dont_fragment, record.client.ip.is_ipv4()) {
            (true, true) => "DF set, ",
            (false, _) => "DF not set, ",
            (true, false) => "",
        };
        let what = format!(
            "The {who}'s segment of {} was sent again {} without an answer, while {small} pass ({marked}MSS {mss}); no ICMP \
             message says why.",
            units::bytes(stuck.length.into()),
            units::number_of(stuck.times, "time"),
        );
        let again =
            format!("a segment of {} sent again, {marked}never acknowledged", units::bytes(stuck.length.into()));
        let evidence = Evidence {
            until: Some(stuck.last),
            last_frame: Some(stuck.last_frame),
            ..evidence::frame(stuck.first, stuck.first_frame, by, again)
        };
        let peer = if by == Side::Client { record.server.ip } else { record.client.ip };
        let verdict = Verdict::new(Severity::Error, what).by([evidence]).with("PEER", peer).with("MSS", clamp);
        Some(if heard && stuck.dont_fragment { verdict } else { verdict.likely() })
    }
}

/// What every path carries, by the connection's version of IP.
fn safe_mss(record: &ConnectionRecord) -> u32 {
    u32::from(if record.client.ip.is_ipv4() { SAFE_MSS.0 } else { SAFE_MSS.1 })
}

/// Whether a segment is one that every path carries, or far from full.
fn is_small(record: &ConnectionRecord, length: u32, mss: u32) -> bool {
    length.saturating_mul(5) < mss.saturating_mul(4) || length <= safe_mss(record) / 2
}

/// Whether something else says why what one end sends is not acknowledged.
fn is_explained(record: &ConnectionRecord, by: Side) -> bool {
    record.icmp.iter().any(|error| error.mtu.is_some()) || record.close.rst.of(by.other()).is_some()
}

/// Where not every packet is seen, by the counters of this host's sockets.
fn by_sockets(record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
    let of = |by: Side| {
        let info = record.socket(by)?.info?;
        let mss = info.mss?;
        let times = u64::from(info.total_retrans?).saturating_sub(evidence::syns_again(record, by));
        let length = u32::try_from(info.bytes_retrans?.checked_div(times)?).ok()?;
        // In the sum of many small ones a large one may be hidden.
        let passed = u32::try_from(info.bytes_acked?).unwrap_or(u32::MAX);
        let is_stuck = times >= context.thresholds.mtu_black_hole_times
            && !is_small(record, length, mss)
            && is_small(record, passed, mss)
            && info.snd_wnd? >= length;
        // Where the other end has to send again as well, small ones do not pass either.
        let other = record.socket(by.other()).and_then(|other| other.info);
        let others_pass = other.is_none_or(|other| other.bytes_retrans == Some(0));
        (is_stuck && others_pass && evidence::went_on(record) && !is_explained(record, by))
            .then_some((times, length, by, info))
    };
    let (times, length, by, info) =
        [Side::Client, Side::Server].into_iter().filter_map(of).max_by_key(|(times, ..)| *times)?;
    let what = format!(
        "The {}'s segments of {} were sent again {} and not acknowledged, while small ones pass (MSS {}); no ICMP message \
         says why.",
        super::verdict::name(by),
        units::bytes(length.into()),
        units::number_of(times, "time"),
        info.mss?,
    );
    let counters = evidence::counters(&[
        ("total_retrans", info.total_retrans.map(u64::from)),
        ("bytes_retrans", info.bytes_retrans),
        ("bytes_acked", info.bytes_acked),
        ("mss", info.mss.map(u64::from)),
    ]);
    let clamp = if safe_mss(record) < length { safe_mss(record) } else { LEAST_MSS };
    let verdict = Verdict::new(Severity::Error, what)
        .by([counters])
        .by(evidence::drops(record, by))
        .with("PEER", evidence::address(record, by.other()))
        .with("MSS", clamp);
    // Who has closed, or is on this host, is there.
    let heard = record.close.fin.of(by.other()).is_some() || record.socket(by.other()).is_some();
    Some(if heard { verdict } else { verdict.likely() })
}
