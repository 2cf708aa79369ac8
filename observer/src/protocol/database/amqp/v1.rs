//! AMQP 1.0 (ISO/IEC 19464, <https://docs.oasis-open.org/amqp/core/v1.0/amqp-core-overview-v1.0.html>): connections, sessions
//! and links that are opened and closed, each of which the other end answers with the same, and the errors that end them.
//! Transfers are passed over.

use super::super::{Head, Kind, MOST_NAME, Part};
use crate::protocol::text::clean;
use crate::record::Side;

/// Octets that a frame begins with: its size, where its body begins, its type, its channel.
const FRAME: usize = 8;
/// Octets of the largest frame.
const MOST_FRAME: u32 = 1 << 28;
/// Octets of a frame that are searched for an error.
const MOST_SEARCHED: usize = 4 << 10;
const SASL: u8 = 1;

/// What stands in front of every performative: a described type whose descriptor is a small number.
const DESCRIBED: [u8; 2] = [0x00, 0x53];
const SASL_INIT: u8 = 0x41;
const SASL_OUTCOME: u8 = 0x44;

/// Reads the frame at the front.
pub fn head(from: Side, octets: &[u8]) -> Head {
    let &[a, b, c, d, body, kind, ..] = octets else { return Head::Need(FRAME) };
    let length = u32::from_be_bytes([a, b, c, d]);
    let body = usize::from(body) * 4;
    if !(FRAME as u32..=MOST_FRAME).contains(&length) || body < FRAME || body as u64 > u64::from(length) || kind > SASL
    {
        return Head::Malformed;
    }
    let (whole, length) = (length as usize, u64::from(length));
    // Without a body it says only that the end lives.
    if whole < body + 3 {
        return Head::Part(Part::of(length));
    }
    let Some(&[described, small, performative]) = octets.get(body..).and_then(<[u8]>::first_chunk) else {
        return Head::Need(body + 3);
    };
    let Some(name) = name(performative).filter(|_| [described, small] == DESCRIBED) else {
        return Head::Part(Part::of(length));
    };
    if from == Side::Client {
        let is_answered = performative != SASL_OUTCOME;
        return Head::Part(if is_answered {
            Part::call(length, key(performative), name, Kind::Prompt)
        } else {
            Part::of(length)
        });
    }
    let wanted = whole.min(MOST_SEARCHED);
    let Some(frame) = octets.get(..wanted) else { return Head::Need(wanted) };
    let error = frame.get(body + 3..).and_then(|fields| error(performative, fields));
    Head::Part(Part::answer(length, Some(key(performative)), true).with_error(error))
}

/// A performative that the other end answers.
const fn name(performative: u8) -> Option<&'static str> {
    Some(match performative {
        0x10 => "open",
        0x11 => "begin",
        0x12 => "attach",
        0x16 => "detach",
        0x17 => "end",
        0x18 => "close",
        SASL_INIT | SASL_OUTCOME => "sasl-init",
        _ => return None,
    })
}

/// What an answer is known by: both ends number their channels and handles for themselves.
fn key(performative: u8) -> u64 {
    if performative == SASL_OUTCOME { SASL_INIT.into() } else { performative.into() }
}

/// The condition of the error in the fields of what ends a link, a session or the connection; the code of a login that
/// failed.
fn error(performative: u8, fields: &[u8]) -> Option<String> {
    let before = match performative {
        0x16 => 2,
        0x17 | 0x18 | SASL_OUTCOME => 0,
        _ => return None,
    };
    let mut fields = list(fields)?;
    for _ in 0..before {
        fields = value(fields)?.1;
    }
    if performative == SASL_OUTCOME {
        // ubyte: 0 is ok, 1 is auth (section 5.3.3.6).
        return match fields {
            [0x50, 0, ..] => None,
            [0x50, code, ..] => Some(format!("sasl {code}")),
            _ => None,
        };
    }
    // A described list, of which the condition is the first: a symbol.
    let [0x00, 0x53, 0x1d, rest @ ..] = fields else { return None };
    let condition = list(rest)?;
    match condition.first() {
        Some(0xa3 | 0xb3) => Some(clean(value(condition)?.0, MOST_NAME)),
        _ => Some("error".to_owned()),
    }
}

/// The fields of a list.
fn list(octets: &[u8]) -> Option<&[u8]> {
    let count = match octets.first()? {
        0xc0 => 1,
        0xd0 => 4,
        _ => return None,
    };
    value(octets)?.0.get(count..)
}

/// The octets of the value at the front, and what comes after it (section 1.2: the first digit of its constructor tells how
/// many there are).
fn value(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (constructor, rest) = octets.split_first()?;
    let (length, rest) = match constructor >> 4 {
        0x4 => (0, rest),
        0x5 => (1, rest),
        0x6 => (2, rest),
        0x7 => (4, rest),
        0x8 => (8, rest),
        0x9 => (16, rest),
        0xa | 0xc | 0xe => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0xb | 0xd | 0xf => {
            rest.split_first_chunk().map(|(length, rest)| (u32::from_be_bytes(*length) as usize, rest))?
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
