//! Segments are lost on the way.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct PacketLoss;

const PAGE: Page = Page {
    name: "packet-loss",
    title: "packet loss",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "A noticeable part of the segments with payload had to be sent again because it was lost. Each loss halves the \
              sender's rate or so, and a loss that only a timeout notices stops it for 200 ms and more. By where the capture \
              was taken it shows on which side of it the loss is: what the capture saw twice was lost after it, what it saw \
              only as a gap was lost before it.",
    causes: &[
        "A queue on the way is full: a slow link, a policer, a shaper without a burst.",
        "A bad cable, optic or radio link.",
        "The receiving host drops: the ring of its network card, its backlog or its socket buffer is full.",
    ],
    rule: &[
        "All segments of the connection were seen; or this host's socket counted those that it took for lost (`lost` of \
         `struct tcp_sock`) and sent again (`total_retrans`), less the SYNs among them and those of which the other end says \
         that it had them (`dsack_dups`), and sent payload again (its `bytes_retrans`).",
        "At least packet_loss_segments segments of one end were sent again after a timeout (RFC 6298), after duplicate \
         ACKs (RFC 5681) or to repair what SACK reports (RFC 6675): needless repetitions do not count.",
        "That is packet_loss_percent or more of the segments that it sent.",
        "They were not all repeats of a FIN that nobody acknowledges: then the other end is gone (stuck-closing).",
        "No ICMP error told it that its segments are too large: to send smaller ones is no loss (RFC 1191).",
    ],
    remedy: &[
        "Find the hop, from the end that sent again: `mtr -n {PEER}`",
        "Look at the drops of the interfaces on both ends: `ip -s link`, `ethtool -S eth0 | grep -iE 'drop|err|miss'`",
        "Look at the queue: `tc -s qdisc`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::loss_says_on_which_side_of_the_capture",
        near_miss: "tests/tests/live/verdicts.rs::a_fin_that_nobody_acknowledges_is_no_loss_of_segments",
    },
};

impl Finding for PacketLoss {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        if record.packets.is_none() {
            return by_sockets(record, context);
        }
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| lost(record, *side).unwrap_or(0))?;
        let again = lost(record, by)?;
        let sent = *record.packets?.of(by);
        let thresholds = context.thresholds;
        let is_much = again >= thresholds.packet_loss_segments
            && again * 100 >= sent.saturating_mul(thresholds.packet_loss_percent);
        let acknowledged = record.packets?.of(by.other()) > &0;
        let closing = evidence::closes_in_vain(record, by);
        if !is_much
            || was_told_to_shrink(record, by)
            || closing
            || !acknowledged
            || record.handshake.syn.is_some() && record.handshake.ack.is_none()
        {
            return None;
        }
        // A gap may also be filled by what was only late.
        let gaps = evidence::of(record, NotableKind::Repair, by).is_some();
        let seen_twice = record.bytes?.of(by) > record.unique_bytes?.of(by);
        let (receiver, sender) = (super::verdict::name(by.other()), super::verdict::name(by));
        let place = match (gaps, seen_twice) {
            (true, true) => "on both sides of the capture".to_string(),
            (true, false) => format!("between the {sender} and the capture"),
            (false, true) => format!("between the capture and the {receiver}"),
            (false, false) => "on the way".to_string(),
        };
        let what = format!(
            "The {sender} sent {} of its {} again ({}): they were lost {place}.",
            units::count(again),
            units::number_of(sent, "segment"),
            units::percent(again, sent)
        );
        let verdict = Verdict::new(Severity::Warning, what)
            .by(evidence::notable(record, NotableKind::LostSegment, by, "segment after a gap").filter(|_| gaps))
            .by(evidence::notable(record, NotableKind::Retransmission, by, "retransmission"))
            .with("PEER", evidence::address(record, by.other()));
        Some(verdict)
    }
}

/// Segments that one end sent again because they were lost.
pub fn lost(record: &ConnectionRecord, side: Side) -> Option<u64> {
    let causes = record.retransmissions?;
    let causes = causes.of(side);
    let all = causes.rto + causes.fast + causes.sack_repaired + causes.tail_loss_probe;
    Some(all.saturating_sub(evidence::syns_again(record, side)))
}

/// Whether an ICMP error told one end that its segments are too large.
fn was_told_to_shrink(record: &ConnectionRecord, side: Side) -> bool {
    record.icmp.iter().any(|error| error.to == side && error.mtu.is_some())
}

/// Where not every packet is seen, by the counters of this host's sockets.
fn by_sockets(record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
    let thresholds = context.thresholds;
    let of = |side: Side| {
        let info = record.socket(side)?.info?;
        let (lost, sent) = (u64::from(info.lost?), u64::from(info.data_segs_out?));
        // What is taken for lost and then acknowledged without having been sent again was only late; and what the other
        // end had already was not lost either. The kernel counts SYNs and FINs as well, which are no segments with payload.
        let again = info.total_retrans.map_or(lost, u64::from);
        let needless = info.dsack_dups.map_or(0, u64::from);
        let lost = lost.min(again).saturating_sub(evidence::syns_again(record, side)).saturating_sub(needless);
        let no_payload = sent == 0 || info.bytes_retrans == Some(0);
        // Where nothing of its payload ever arrived, it is not its FIN alone that nobody acknowledges.
        let nothing_arrived = info.bytes_acked.is_some_and(|acked| acked <= 1);
        let closes_in_vain = evidence::closes_in_vain(record, side) && !nothing_arrived;
        if no_payload || closes_in_vain || was_told_to_shrink(record, side) {
            return None;
        }
        let much = lost >= thresholds.packet_loss_segments
            && lost.saturating_mul(100) >= sent.saturating_mul(thresholds.packet_loss_percent);
        much.then_some((lost, sent, side, info))
    };
    let (lost, sent, side, info) =
        [Side::Client, Side::Server].into_iter().filter_map(of).max_by_key(|(lost, ..)| *lost)?;
    let (sender, receiver) = (super::verdict::name(side), super::verdict::name(side.other()));
    let what = format!(
        "The {sender}'s kernel took {} of its {} for lost ({}), on the way to the {receiver}.",
        units::count(lost),
        units::number_of(sent, "segment"),
        units::percent(lost, sent)
    );
    let counters = [
        ("lost", info.lost.map(u64::from)),
        ("total_retrans", info.total_retrans.map(u64::from)),
        ("dsack_dups", info.dsack_dups.map(u64::from)),
        ("data_segs_out", Some(sent)),
        ("bytes_retrans", info.bytes_retrans),
    ];
    let counters = evidence::counters(&counters);
    Some(Verdict::new(Severity::Warning, what).by([counters]).with("PEER", evidence::address(record, side.other())))
}
