//! Kafka (<https://kafka.apache.org/protocol>).

mod error;
mod fields;

use std::collections::VecDeque;

use self::error::Api;
use self::fields::{Ends, Fields};
use super::{Calls, Head, Kind, MOST_WAITING, Part, Wire};
use crate::protocol::Guess;
use crate::record::{ProtocolName, Side};

/// Octets of the largest message (`socket.request.max.bytes`).
const MOST_MESSAGE: u32 = 100 << 20;
/// Octets that a request begins with: its length, what it is, its number, the length of the client's name.
const HEAD: usize = 14;
/// Octets that an answer begins with: its length, and the number of the request.
const ANSWER_HEAD: usize = 8;
/// Octets of an answer that are searched for an error, and of a Produce request for whether it is answered.
const MOST_SEARCHED: usize = 4 << 10;
const PRODUCE: u16 = 0;

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

#[derive(Debug, Default)]
struct Kafka {
    /// What was asked and not answered, by the number of the request (`correlation_id`).
    asked: VecDeque<(u32, Api)>,
    /// The answer whose head has gone by.
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    number: u32,
    /// Octets of its body.
    length: u32,
    /// What it answers; `None` where that was not seen.
    api: Option<Api>,
}

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
        true if name.len() >= name_len => Guess::Yes(Side::Client, Box::new(Calls::new(Kafka::default()))),
        true => Guess::Unsure,
        false => Guess::No,
    }
}

impl Wire for Kafka {
    const NAME: ProtocolName = ProtocolName::Kafka;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        match from {
            Side::Client => self.request(octets),
            Side::Server => match self.answer {
                Some(answer) => self.body(answer, octets),
                None => self.answer_head(octets),
            },
        }
    }
}

impl Kafka {
    fn request(&mut self, octets: &[u8]) -> Head {
        let &[a, b, c, d, key, key_low, version, version_low, e, f, g, h, name, name_low, ref rest @ ..] = octets
        else {
            return Head::Need(HEAD);
        };
        let (length, number) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        if !(10..MOST_MESSAGE).contains(&length) {
            return Head::Malformed;
        }
        let (key, version) = (u16::from_be_bytes([key, key_low]), u16::from_be_bytes([version, version_low]));
        let (api, name_len) = (Api { key, version }, i16::from_be_bytes([name, name_low]));
        let name = NAMES.get(usize::from(key)).copied().unwrap_or("other");
        let is_silent = key == PRODUCE
            && match acks(api, name_len, rest) {
                Ok(acks) => acks == 0,
                Err(Ends::Short(least)) if HEAD + least <= MOST_SEARCHED.min(4 + length as usize) => {
                    return Head::Need(HEAD + least);
                }
                Err(_) => false,
            };
        let kind = match name {
            _ if is_silent => Kind::Silent,
            "Fetch" | "JoinGroup" | "SyncGroup" => Kind::Patient,
            _ => Kind::Prompt,
        };
        if !is_silent {
            if self.asked.len() == MOST_WAITING {
                self.asked.pop_front();
            }
            self.asked.push_back((number, api));
        }
        Head::Part(Part::call(4 + u64::from(length), number.into(), name, kind))
    }

    fn answer_head(&mut self, octets: &[u8]) -> Head {
        let &[a, b, c, d, e, f, g, h, ..] = octets else { return Head::Need(ANSWER_HEAD) };
        let (length, number) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        if !(4..MOST_MESSAGE).contains(&length) {
            return Head::Malformed;
        }
        let place = self.asked.iter().position(|(asked, _)| *asked == number);
        let api = place.and_then(|place| self.asked.remove(place)).map(|(_, api)| api);
        let length = length - 4;
        if length > 0 {
            self.answer = Some(Answer { number, length, api });
        }
        Head::Part(Part::answer(ANSWER_HEAD as u64, Some(number.into()), length == 0))
    }

    /// The answer has begun; here stands whether it is an error.
    fn body(&mut self, answer: Answer, octets: &[u8]) -> Head {
        let body = octets.get(..answer.length as usize).unwrap_or(octets);
        let error = match answer.api.map_or(Ok(None), |api| api.error(body)) {
            Ok(error) => error,
            Err(Ends::Short(least)) if least <= MOST_SEARCHED.min(answer.length as usize) => return Head::Need(least),
            Err(_) => None,
        };
        self.answer = None;
        let part = Part::answer(answer.length.into(), Some(answer.number.into()), true);
        Head::Part(part.with_error(error.map(error::name)))
    }
}

/// How many brokers are to have a batch before it is answered (`acks`): with 0 it is not. `rest` stands behind the length of
/// the client's name.
fn acks(api: Api, name_len: i16, rest: &[u8]) -> Result<i16, Ends> {
    let mut fields = Fields::new(rest, api.is_flexible());
    fields.skip(usize::try_from(name_len).unwrap_or(0))?;
    fields.tags()?;
    // The transaction's name.
    if api.version >= 3 {
        fields.string()?;
    }
    fields.int16()
}
