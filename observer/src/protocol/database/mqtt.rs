//! MQTT 3.1, 3.1.1 and 5.0 (OASIS): what clients ask brokers for.

use super::{Calls, Head, Kind, Part, Wire};
use crate::protocol::Guess;
use crate::record::{ProtocolName, Side};

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;

#[derive(Debug)]
struct Mqtt;

/// The length of what stands behind the fixed header, and of that; `None` where there is too little, an error where it is
/// none.
fn remaining(octets: &[u8]) -> Result<Option<(u64, usize)>, ()> {
    let mut length = 0;
    for place in 0..4 {
        let Some(octet) = octets.get(1 + place) else { return Ok(None) };
        length |= u64::from(octet & 0x7f) << (7 * place);
        if octet & 0x80 == 0 {
            return Ok(Some((length, 2 + place)));
        }
    }
    Err(())
}

/// Whether these octets are a client's CONNECT.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    const NAMES: [&[u8]; 3] = [b"\0\x04MQTT\x04", b"\0\x04MQTT\x05", b"\0\x06MQIsdp\x03"];
    if octets.first().is_some_and(|first| *first != CONNECT << 4) {
        return Guess::No;
    }
    let Ok(found) = remaining(octets) else { return Guess::No };
    let name = found.map_or(&[][..], |(_, head)| octets.get(head..).unwrap_or_default());
    match () {
        () if NAMES.iter().any(|known| name.starts_with(known)) => Guess::Yes(Side::Client, Box::new(Calls::new(Mqtt))),
        () if NAMES.iter().any(|known| known.starts_with(name)) => Guess::Unsure,
        () => Guess::No,
    }
}

impl Wire for Mqtt {
    const NAME: ProtocolName = ProtocolName::Mqtt;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        let Ok(found) = remaining(octets) else { return Head::Malformed };
        let Some((behind, head)) = found else { return Head::Need(octets.len() + 1) };
        let Some(first) = octets.first() else { return Head::Need(1) };
        let (kind, flags) = (first >> 4, first & 0xf);
        let whole = head as u64 + behind;
        let body = octets.get(head..).unwrap_or_default();
        let body = body.get(..body.len().min(behind as usize)).unwrap_or(body);
        // Where the packet's identifier stands, and how much is read.
        let (identifier, read) = match (kind, flags >> 1 & 3, body) {
            (PUBLISH, 1 | 2, &[high, low, ..]) => {
                let topic = 2 + usize::from(u16::from_be_bytes([high, low]));
                (Some(topic), topic + 2)
            }
            (PUBLISH, 1 | 2, _) => (None, 2),
            (PUBACK | PUBREC | SUBSCRIBE | SUBACK | UNSUBSCRIBE | UNSUBACK, ..) => (Some(0), 3),
            (CONNACK, ..) => (None, 2),
            _ => (None, 0),
        };
        let least = read.min(usize::try_from(behind).unwrap_or(usize::MAX));
        if body.len() < least || (kind == PUBLISH && read == 2 && body.len() >= 2 && behind > 2) {
            return Head::Need(head + least);
        }
        let number = identifier.and_then(|at| body.get(at..at + 2)?.try_into().ok()).map_or(0, u16::from_be_bytes);
        let key = |asked: u8| u64::from(asked) << 16 | u64::from(number);
        let call = |name: &str| Part::call(whole, key(kind), name, Kind::Prompt);
        // A reason beyond 127 is an error (MQTT 5, section 2.4); of CONNACK before, every one but 0.
        let code =
            |place: usize, least: u8| body.get(place).filter(|code| **code >= least).map(|code| format!("{code:#04x}"));
        let answer = |asked: u8, error: Option<String>| Part::answer(whole, Some(key(asked)), true).with_error(error);
        Head::Part(match (from, kind) {
            (Side::Client, CONNECT) => call("CONNECT"),
            (Side::Client, PUBLISH) if identifier.is_some() => call("PUBLISH"),
            (Side::Client, SUBSCRIBE) => call("SUBSCRIBE"),
            (Side::Client, UNSUBSCRIBE) => call("UNSUBSCRIBE"),
            (Side::Client, PINGREQ) => call("PINGREQ"),
            (Side::Server, CONNACK) => answer(CONNECT, code(1, 1)),
            (Side::Server, PUBACK | PUBREC) => answer(PUBLISH, code(2, 0x80)),
            (Side::Server, SUBACK) => answer(
                SUBSCRIBE,
                body.last()
                    .filter(|_| body.len() as u64 == behind)
                    .and_then(|code| (*code >= 0x80).then(|| format!("{code:#04x}"))),
            ),
            (Side::Server, UNSUBACK) => answer(UNSUBSCRIBE, None),
            (Side::Server, PINGRESP) => answer(PINGREQ, None),
            _ => Part::of(whole),
        })
    }
}
