//! What went wrong on a connection, or was out of the ordinary, at one moment each: for traces.

use observer::record::{ConnectionRecord, EntryKind, TimelineEntry};
use observer::tracker::AnalysisSet;

/// What the segment analysis says that is worth a mark of its own; retransmissions have theirs.
const ANALYSIS: [(AnalysisSet, &str); 4] = [
    (AnalysisSet::LOST_SEGMENT, "lost segment"),
    (AnalysisSet::OUT_OF_ORDER, "out of order"),
    (AnalysisSet::ZERO_WINDOW, "zero window"),
    (AnalysisSet::WINDOW_FULL, "window full"),
];

/// The entries of the timeline that tell of one, with what they tell.
pub fn incidents(record: &ConnectionRecord) -> impl Iterator<Item = (&'static str, &TimelineEntry)> {
    let entries = record.timeline.iter().flat_map(|timeline| &timeline.entries);
    entries.filter_map(|entry| Some((name(entry)?, entry)))
}

fn name(entry: &TimelineEntry) -> Option<&'static str> {
    let of_kind = match entry.kind {
        EntryKind::Rst => Some("RST"),
        EntryKind::Fin => Some("FIN"),
        EntryKind::Icmp => Some("ICMP error"),
        EntryKind::Retransmit => Some("retransmission, by the kernel"),
        EntryKind::NotRetransmitted => Some("retransmission failed"),
        EntryKind::SynAckRetransmit => Some("SYN-ACK retransmission, by the kernel"),
        EntryKind::ResetSent => Some("RST sent, by the kernel"),
        EntryKind::ResetReceived => Some("RST received, by the kernel"),
        EntryKind::Drop => Some("drop"),
        EntryKind::Error => Some("error"),
        _ => None,
    };
    let of_analysis = || ANALYSIS.iter().find(|(bit, _)| entry.analysis.contains(*bit)).map(|(_, name)| *name);
    entry.retransmission.map(|_| "retransmission").or(of_kind).or_else(of_analysis)
}
