//! What rules point at.

use std::net::IpAddr;

use crate::record::{ConnectionRecord, DropRecord, Evidence, Notable, NotableKind, Side, TcpState};
use crate::time::Timestamp;
use crate::units;

/// The first packet of a connection, which is `what`.
pub fn first(record: &ConnectionRecord, from: Side, what: impl Into<String>) -> Evidence {
    Evidence {
        at: Some(record.first_seen),
        frame: record.first_frame(),
        from: Some(from),
        what: what.into(),
        ..Evidence::default()
    }
}

/// Something that happened at a time, of which no frame is known.
pub fn at(time: Timestamp, from: Side, what: impl Into<String>) -> Evidence {
    Evidence { at: Some(time), from: Some(from), what: what.into(), ..Evidence::default() }
}

/// The same of which the frame is known.
pub fn frame(time: Timestamp, frame: u64, from: Side, what: impl Into<String>) -> Evidence {
    Evidence { frame: Some(frame), ..at(time, from, what) }
}

/// What was counted and has neither time nor sender.
pub fn fact(what: impl Into<String>) -> Evidence {
    Evidence { what: what.into(), ..Evidence::default() }
}

/// What a socket's counters say, of those that are known, each with the kernel's name.
pub fn counters(counters: &[(&str, Option<u64>)]) -> Evidence {
    let known = counters.iter().filter_map(|(name, count)| Some(format!("{name} {}", (*count)?)));
    fact(format!("tcp_info: {}", known.collect::<Vec<_>>().join(", ")))
}

/// Where one end is.
pub fn address(record: &ConnectionRecord, side: Side) -> IpAddr {
    let end = if side == Side::Client { record.client } else { record.server };
    end.ip
}

/// Segments of one kind that one end sent; `None` where there were none. `one` says what a segment of them is.
pub fn notable(record: &ConnectionRecord, kind: NotableKind, from: Side, one: &str) -> Option<Evidence> {
    let notable = of(record, kind, from)?;
    let Notable { count, first, first_frame, last, last_frame, .. } = *notable;
    let several = count > 1;
    Some(Evidence {
        until: several.then_some(last),
        last_frame: several.then_some(last_frame),
        ..frame(first, first_frame, from, if several { number_of(count, one) } else { one.to_string() })
    })
}

/// So many of what `one` is: `3 SYNs sent again`.
fn number_of(count: u64, one: &str) -> String {
    const AFTER_NOUNS: [&str; 6] = [" sent again", " after ", " out of ", " that ", " without ", " with "];
    let end = AFTER_NOUNS.iter().filter_map(|words| one.find(words)).min().unwrap_or(one.len());
    let (noun, rest) = one.split_at(end);
    format!("{}{rest}", units::number_of(count, noun))
}

/// How often one end sent its SYN or SYN-ACK again.
pub fn syns_again(record: &ConnectionRecord, side: Side) -> u64 {
    let handshake = &record.handshake;
    let again = if side == Side::Client { handshake.syn_retransmissions } else { handshake.syn_ack_retransmissions };
    again.into()
}

/// What is known of the segments of one kind that one end sent.
pub fn of(record: &ConnectionRecord, kind: NotableKind, from: Side) -> Option<&Notable> {
    record.notable.iter().find(|notable| notable.kind == kind && notable.from == from)
}

/// Packets of one end that this host's firewall dropped or rejected: the kernel's reason (enum skb_drop_reason); before Linux
/// 5.17, where.
pub fn firewalled(record: &ConnectionRecord, from: Side) -> Option<&DropRecord> {
    const FIREWALL: [&str; 2] = ["NETFILTER_DROP", "nf_hook_slow"];
    let is_firewalls = |reason: &str| FIREWALL.iter().any(|known| reason.starts_with(known));
    record.drops.iter().find(|drop| drop.from == from && drop.reason.as_deref().is_some_and(is_firewalls))
}

/// What this host dropped of one end's packets.
pub fn drops(record: &ConnectionRecord, from: Side) -> Vec<Evidence> {
    let drops = record.drops.iter().filter(|drop| drop.from == from);
    let evidence = |drop: &DropRecord| {
        let reason = drop.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
        Evidence {
            until: (drop.count > 1).then_some(drop.last),
            ..at(drop.first, from, format!("{} dropped by this host{reason}", units::number_of(drop.count, "packet")))
        }
    };
    drops.map(evidence).collect()
}

/// What the program at one end was told by its socket, where it was one of `errors`.
pub fn told<'a>(record: &'a ConnectionRecord, side: Side, errors: &[&str]) -> Option<&'a str> {
    let error = record.socket(side)?.error.as_deref()?;
    errors.contains(&error).then_some(error)
}

/// Whether all that one end sent again was its FIN, with what stood before it, which nobody acknowledges: the other end is
/// gone, or the way to it (stuck-closing). Where not every packet is seen, a socket that waits for that ACK is taken for
/// one: what it sent again before is not told apart.
pub fn closes_in_vain(record: &ConnectionRecord, side: Side) -> bool {
    let waits = matches!(record.tcp_state.of(side), TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck);
    if record.packets.is_none() {
        return waits;
    }
    let again = of(record, NotableKind::Retransmission, side).map(|again| again.first);
    waits && record.close.fin.of(side).zip(again).is_some_and(|(fin, again)| fin < again)
}

/// Whether the capture holds one direction of a connection only: what the other end did is not known. An attempt that
/// nobody answers looks alike, but its client does not go on.
pub fn is_one_way(record: &ConnectionRecord) -> bool {
    let silent = record.packets.is_some_and(|packets| packets.client == 0 || packets.server == 0);
    silent && (record.handshake.syn.is_none() || went_on(record))
}

/// Whether a client went on after its SYN: then it had an answer, seen or not.
pub fn went_on(record: &ConnectionRecord) -> bool {
    let syns = u64::from(record.handshake.syn_retransmissions) + 1;
    let resets = of(record, NotableKind::Rst, Side::Client).map_or(0, |resets| resets.count);
    let more = record.packets.is_some_and(|packets| packets.client > syns + resets);
    let opened = [Side::Client, Side::Server].iter().filter_map(|side| record.socket(*side));
    // Of a socket that was there before, it is not known since when it stands.
    let before = [TcpState::SynSent, TcpState::SynRecv, TcpState::Listen, TcpState::Closed, TcpState::Unknown];
    let opened = opened.into_iter().any(|socket| socket.established.is_some() || !before.contains(&socket.state));
    more || opened || record.handshake.ack.is_some()
}
