//! Segments are sent again that had arrived.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Doubt, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct SpuriousRetransmission;

const PAGE: Page = Page {
    name: "spurious-retransmission",
    title: "spurious retransmissions",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "One end sent segments again that the other had: nothing was lost, the sender only thought so. It \
              costs bandwidth, and the sender slows down for no reason.",
    causes: &[
        "ACKs are lost or held up on the way back.",
        "The delay jumps: a radio link, a queue that fills at once, a virtual machine that was stopped for a moment.",
        "Strong reordering on the way looks like loss.",
    ],
    rule: &[
        "One end sent spurious_segments or more segments again whose payload the other end had acknowledged before \
         (Wireshark's tcp.analysis.spurious_retransmission), or of which the other end says that it had them (DSACK, \
         RFC 2883, section 4). Where not every segment was seen: of which this host's socket was told so (`dsack_dups` of \
         `struct tcp_sock`, of its `total_retrans`).",
        "That is spurious_percent or more of the segments that it sent.",
    ],
    remedy: &[
        "Look at the way back, from the end that received: `mtr -n {PEER}`",
        "See what the kernel undoes: `nstat -az TcpExtTCPSpuriousRTOs TcpExtTCPDSACKRecv TcpExtTCPDSACKUndo`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::needless_repetitions",
        near_miss: "observer/src/finding/tests/transfer.rs::needless_repetitions",
    },
};

impl Finding for SpuriousRetransmission {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        if record.packets.is_none() {
            return by_sockets(record, context);
        }
        let causes = record.retransmissions?;
        let by = [Side::Client, Side::Server].into_iter().max_by_key(|side| causes.of(*side).spurious)?;
        let again = causes.of(by).spurious;
        let sent = *record.packets?.of(by);
        let thresholds = context.thresholds;
        if again < thresholds.spurious_segments || again * 100 < sent.saturating_mul(thresholds.spurious_percent) {
            return None;
        }
        let who = super::verdict::name(by);
        let what = format!(
            "The {who} sent {} of its {} again ({}) that had arrived already.",
            units::count(again),
            units::number_of(sent, "segment"),
            units::percent(again, sent)
        );
        let verdict = Verdict::new(Severity::Warning, what)
            .by(evidence::notable(record, NotableKind::Spurious, by, "needless retransmission"))
            .by(evidence::notable(record, NotableKind::Dsack, by.other(), "DSACK"))
            .doubt_if(record.duplicates > 0, Doubt::CapturePoint)
            .with("PEER", evidence::address(record, by));
        Some(verdict)
    }
}

/// Where not every packet is seen, by the counters of this host's sockets.
fn by_sockets(record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
    let thresholds = context.thresholds;
    let of = |side: Side| {
        let info = record.socket(side)?.info?;
        let (told, all, sent) = (info.dsack_dups?, info.total_retrans?, u64::from(info.data_segs_out?));
        // The network may double packets as well.
        let again = u64::from(told.min(all));
        let much = again >= thresholds.spurious_segments
            && again.saturating_mul(100) >= sent.saturating_mul(thresholds.spurious_percent);
        much.then_some((again, sent, side, info))
    };
    let (again, sent, side, info) =
        [Side::Client, Side::Server].into_iter().filter_map(of).max_by_key(|(again, ..)| *again)?;
    let what = format!(
        "The {} sent {} of its {} again ({}) that had arrived already.",
        super::verdict::name(side),
        units::count(again),
        units::number_of(sent, "segment"),
        units::percent(again, sent)
    );
    let counters = [
        ("dsack_dups", info.dsack_dups.map(u64::from)),
        ("total_retrans", info.total_retrans.map(u64::from)),
        ("data_segs_out", Some(sent)),
        ("bytes_retrans", info.bytes_retrans),
    ];
    let verdict = Verdict::new(Severity::Warning, what).by([evidence::counters(&counters)]);
    Some(verdict.with("PEER", evidence::address(record, side)))
}
