//! MongoDB's wire protocol (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>).

use super::{Calls, Head, Kind, MOST_NAME, Part, Wire};
use crate::protocol::Guess;
use crate::protocol::text::clean;
use crate::record::{ProtocolName, Side};

const HEAD: usize = 16;
/// Octets of the largest message (`maxMessageSizeBytes`).
const MOST_MESSAGE: u32 = 48_000_000;
/// Octets of an answer that is searched for an error.
const MOST_ANSWER: usize = 4 << 10;

const OP_REPLY: u32 = 1;
const OP_QUERY: u32 = 2004;
const OP_COMPRESSED: u32 = 2012;
const OP_MSG: u32 = 2013;

#[derive(Debug)]
struct MongoDb;

/// A message's head: its length, its number, the number of what it answers, what it is.
fn fields(octets: &[u8]) -> Option<[u32; 4]> {
    let (fields, _) = octets.get(..HEAD)?.as_chunks::<4>();
    let fields: [[u8; 4]; 4] = fields.try_into().ok()?;
    Some(fields.map(u32::from_le_bytes))
}

/// Whether these octets are a client's first message.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    match fields(octets) {
        Some([26..=MOST_MESSAGE, _, 0, OP_QUERY | OP_COMPRESSED | OP_MSG]) => {
            Guess::Yes(Side::Client, Box::new(Calls::new(MongoDb)))
        }
        Some(_) => Guess::No,
        None if octets.get(3).is_none_or(|octet| *octet <= 2) => Guess::Unsure,
        None => Guess::No,
    }
}

impl Wire for MongoDb {
    const NAME: ProtocolName = ProtocolName::Mongodb;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        let Some([length, number, to, kind]) = fields(octets) else { return Head::Need(HEAD) };
        if !(HEAD as u32..=MOST_MESSAGE).contains(&length) {
            return Head::Malformed;
        }
        // The name of a command stands at the front; an answer that is short is read to its end.
        let whole = length as usize;
        let wanted = if from == Side::Client { whole.min(HEAD + 512) } else { whole };
        let readable = from == Side::Client || whole <= MOST_ANSWER;
        if readable && octets.len() < wanted {
            return Head::Need(wanted);
        }
        let body = octets.get(HEAD..wanted).unwrap_or_default();
        let document = match (kind, body) {
            // Flags, and a section of the first kind.
            (OP_MSG, [_, _, _, _, 0, document @ ..]) => Some(document),
            // Flags, and the name of a collection, how many to skip and to give.
            (OP_QUERY, [_, _, _, _, rest @ ..]) => {
                rest.iter().position(|octet| *octet == 0).and_then(|end| rest.get(end + 9..))
            }
            (OP_REPLY, _) => body.get(20..),
            _ => None,
        };
        if from == Side::Server {
            let error = document.filter(|_| readable).and_then(error);
            return Head::Part(Part::answer(length.into(), Some(to.into()), true).with_error(error));
        }
        let name = document.and_then(|document| Element::first(document.get(4..)?));
        let name = name.map_or("other".to_owned(), |element| clean(element.name, MOST_NAME));
        const MORE_TO_COME: u8 = 2;
        let is_silent = kind == OP_MSG && body.first().is_some_and(|flags| flags & MORE_TO_COME != 0);
        let kind = match name.as_str() {
            _ if is_silent => Kind::Silent,
            // They wait for a change of the server's state, where the client asks for that.
            "hello" | "isMaster" | "ismaster" | "getMore" => Kind::Patient,
            _ => Kind::Prompt,
        };
        Head::Part(Part::call(length.into(), number.into(), &name, kind))
    }
}

/// The code of the error that an answer tells of: its field `ok` is 0.
fn error(document: &[u8]) -> Option<String> {
    let mut rest = document.get(4..)?;
    let (mut is_error, mut code) = (false, None);
    while let Some(element) = Element::first(rest) {
        match (element.name, element.kind, element.value) {
            (b"ok", 1, value) => is_error = value.iter().all(|octet| *octet == 0),
            (b"code", 0x10, &[a, b, c, d]) => code = Some(i32::from_le_bytes([a, b, c, d])),
            _ => {}
        }
        rest = element.rest;
    }
    is_error.then(|| code.map_or("error".to_owned(), |code| code.to_string()))
}

/// A field of a document (<https://bsonspec.org/spec.html>).
struct Element<'a> {
    kind: u8,
    name: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(octets: &'a [u8]) -> Option<Self> {
        let (kind, rest) = octets.split_first().filter(|(kind, _)| **kind != 0)?;
        let end = rest.iter().position(|octet| *octet == 0)?;
        let (name, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let long = || Some(u32::from_le_bytes(*rest.first_chunk()?) as usize);
        let length = match kind {
            0x01 | 0x09 | 0x11 | 0x12 => 8,
            0x02 | 0x0d | 0x0e => long()?.checked_add(4)?,
            0x03 | 0x04 => long()?,
            0x05 => long()?.checked_add(5)?,
            0x07 => 12,
            0x08 => 1,
            0x0a | 0xff | 0x7f => 0,
            0x10 => 4,
            0x13 => 16,
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        Some(Self { kind: *kind, name, value, rest })
    }
}
