//! Kafka (<https://kafka.apache.org/protocol>): errors stand in the bodies of answers, each kind's in another place, and are
//! not counted.

use super::{Calls, Head, Kind, Part, Wire};
use crate::protocol::Guess;
use crate::record::{ProtocolName, Side};

/// Octets of the largest message (`socket.request.max.bytes`).
const MOST_MESSAGE: u32 = 100 << 20;
/// Octets that a request begins with: its length, what it is, its number, the length of the client's name.
const HEAD: usize = 14;

/// Requests by their keys.
const NAMES: [&str; 38] = [
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "LeaderAndIsr",
    "StopReplica",
    "UpdateMetadata",
    "ControlledShutdown",
    "OffsetCommit",
    "OffsetFetch",
    "FindCoordinator",
    "JoinGroup",
    "Heartbeat",
    "LeaveGroup",
    "SyncGroup",
    "DescribeGroups",
    "ListGroups",
    "SaslHandshake",
    "ApiVersions",
    "CreateTopics",
    "DeleteTopics",
    "DeleteRecords",
    "InitProducerId",
    "OffsetForLeaderEpoch",
    "AddPartitionsToTxn",
    "AddOffsetsToTxn",
    "EndTxn",
    "WriteTxnMarkers",
    "TxnOffsetCommit",
    "DescribeAcls",
    "CreateAcls",
    "DeleteAcls",
    "DescribeConfigs",
    "AlterConfigs",
    "AlterReplicaLogDirs",
    "DescribeLogDirs",
    "SaslAuthenticate",
    "CreatePartitions",
];

#[derive(Debug)]
struct Kafka;

/// Whether these octets are a client's first request: one that connections begin with.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    // Metadata, FindCoordinator, SaslHandshake, ApiVersions.
    const FIRST: [u16; 4] = [3, 10, 17, 18];
    let &[a, b, c, d, key, key_low, version, version_low, ref rest @ ..] = octets else {
        let may_be = octets.first().is_none_or(|octet| *octet == 0);
        return if may_be { Guess::Unsure } else { Guess::No };
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    let (key, version) = (u16::from_be_bytes([key, key_low]), u16::from_be_bytes([version, version_low]));
    if !(10..MOST_MESSAGE).contains(&length) || !FIRST.contains(&key) || version > 20 {
        return Guess::No;
    }
    let &[_, _, _, _, high, low, ref name @ ..] = rest else { return Guess::Unsure };
    let name_len = match i16::from_be_bytes([high, low]) {
        -1 => 0,
        len => usize::try_from(len).unwrap_or(usize::MAX),
    };
    let seen = name.get(..name_len.min(name.len())).unwrap_or_default();
    let is_one = name_len <= 255 && name_len as u32 + 10 <= length && seen.iter().all(u8::is_ascii_graphic);
    match is_one {
        true if name.len() >= name_len => Guess::Yes(Side::Client, Box::new(Calls::new(Kafka))),
        true => Guess::Unsure,
        false => Guess::No,
    }
}

impl Wire for Kafka {
    const NAME: ProtocolName = ProtocolName::Kafka;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        let least = if from == Side::Client { HEAD } else { 8 };
        let Some(head) = octets.get(..least) else { return Head::Need(least) };
        match *head {
            [a, b, c, d, e, f, g, h] => {
                let (length, number) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                if !(4..MOST_MESSAGE).contains(&length) {
                    return Head::Malformed;
                }
                Head::Part(Part::answer(4 + u64::from(length), Some(number.into()), true))
            }
            [a, b, c, d, key, key_low, _, _, e, f, g, h, ..] => {
                let (length, number) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                if !(10..MOST_MESSAGE).contains(&length) {
                    return Head::Malformed;
                }
                let name = NAMES.get(usize::from(u16::from_be_bytes([key, key_low]))).copied().unwrap_or("other");
                let kind = match name {
                    "Fetch" | "JoinGroup" | "SyncGroup" => Kind::Patient,
                    _ => Kind::Prompt,
                };
                Head::Part(Part::call(4 + u64::from(length), number.into(), name, kind))
            }
            _ => Head::Malformed,
        }
    }
}
