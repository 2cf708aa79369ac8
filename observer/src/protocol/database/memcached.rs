//! Memcached: its text protocol and its binary one (`doc/protocol.txt`, `doc/protocol-binary.txt` of memcached).

use super::{Calls, Head, Kind, Part, Wire, line, number};
use crate::protocol::Guess;
use crate::record::{ProtocolName, Side};

/// Octets of the binary protocol's head.
const HEAD: usize = 24;
const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;
/// Octets of a line.
const MOST_LINE: usize = 8 << 10;

/// Commands with the fewest words that stand behind them.
const COMMANDS: [(&str, usize); 22] = [
    ("get", 1),
    ("gets", 1),
    ("gat", 2),
    ("gats", 2),
    ("set", 4),
    ("add", 4),
    ("replace", 4),
    ("append", 4),
    ("prepend", 4),
    ("cas", 5),
    ("delete", 1),
    ("incr", 2),
    ("decr", 2),
    ("touch", 2),
    ("mg", 1),
    ("ms", 2),
    ("md", 1),
    ("ma", 1),
    ("mn", 0),
    ("stats", 0),
    ("version", 0),
    ("flush_all", 0),
];

#[derive(Debug)]
struct Text;

#[derive(Debug)]
struct Binary;

/// Whether these octets are a client's first command.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    if let &[REQUEST, operation, key, key_low, extras, 0, ..] = octets {
        let (Some(&[_, _, a, b, c, d]), true) = (octets.get(6..12), octets.len() >= HEAD) else { return Guess::Unsure };
        let body = u32::from_be_bytes([a, b, c, d]);
        let inner = u32::from(u16::from_be_bytes([key, key_low])) + u32::from(extras);
        let is_one = operation <= 0x48 && extras <= 20 && inner <= body && body <= 1 << 26;
        return if is_one { Guess::Yes(Side::Client, Box::new(Calls::new(Binary))) } else { Guess::No };
    }
    // What does not begin as a command is not looked through for the end of a line.
    let is_behind = |known: &[u8]| {
        let rest = octets.strip_prefix(known);
        rest.is_some_and(|rest| matches!(rest, [b' ' | b'\r' | b'\n', ..]))
    };
    // Nearly always the first octet is enough to tell.
    let begins_so = octets.first().is_none_or(u8::is_ascii_lowercase);
    let may_be = |(known, _): &(&str, usize)| known.as_bytes().starts_with(octets) || is_behind(known.as_bytes());
    if !begins_so || !COMMANDS.iter().any(may_be) {
        let is_begun = octets.first().is_none_or(|first| *first == REQUEST && octets.len() < 6);
        return if is_begun { Guess::Unsure } else { Guess::No };
    }
    let Some((text, _)) = line(octets) else { return Guess::Unsure };
    let mut words = words(text);
    let name = words.next().unwrap_or_default();
    let least = COMMANDS.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, least)| *least);
    let is_one = least.is_some_and(|least| (least..=250).contains(&words.count()));
    if is_one { Guess::Yes(Side::Client, Box::new(Calls::new(Text))) } else { Guess::No }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| *octet == b' ').filter(|word| !word.is_empty())
}

impl Wire for Text {
    const NAME: ProtocolName = ProtocolName::Memcached;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        let Some((text, length)) = line(octets) else {
            return if octets.len() > MOST_LINE { Head::Malformed } else { Head::Need(octets.len() + 1) };
        };
        let mut words = words(text);
        let name = words.next().unwrap_or_default();
        let rest: Vec<_> = words.take(8).collect();
        // The data that stands behind the line, and the end of its line.
        let data = |place: usize| rest.get(place).and_then(|word| number(word)).unwrap_or(0).saturating_add(2);
        let line = length as u64;
        if from == Side::Server {
            return Head::Part(match name {
                b"VALUE" => Part::answer(line.saturating_add(data(2)), None, false),
                b"VA" => Part::answer(line.saturating_add(data(0)), None, true),
                b"STAT" | b"ITEM" => Part::answer(line, None, false),
                b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => {
                    let code = String::from_utf8_lossy(name).into_owned();
                    Part::answer(line, None, true).with_error(Some(code))
                }
                _ => Part::answer(line, None, true),
            });
        }
        let behind = match name {
            b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => data(3),
            b"ms" => data(1),
            _ => 0,
        };
        let is_silent = rest.last().is_some_and(|last| *last == b"noreply") || name == b"quit";
        let kind = if is_silent { Kind::Silent } else { Kind::Prompt };
        let name = String::from_utf8_lossy(name);
        Head::Part(Part::call(line.saturating_add(behind), 0, &name, kind))
    }
}

impl Wire for Binary {
    const NAME: ProtocolName = ProtocolName::Memcached;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        const NAMES: [&str; 30] = [
            "get",
            "set",
            "add",
            "replace",
            "delete",
            "increment",
            "decrement",
            "quit",
            "flush",
            "getq",
            "noop",
            "version",
            "getk",
            "getkq",
            "append",
            "prepend",
            "stat",
            "setq",
            "addq",
            "replaceq",
            "deleteq",
            "incrementq",
            "decrementq",
            "quitq",
            "flushq",
            "appendq",
            "prependq",
            "verbosity",
            "touch",
            "gat",
        ];
        let &[magic, operation, _, _, _, _, high, low, a, b, c, d, e, f, g, h, ..] = octets else {
            return Head::Need(HEAD);
        };
        let length = HEAD as u64 + u64::from(u32::from_be_bytes([a, b, c, d]));
        let opaque = u64::from(u32::from_be_bytes([e, f, g, h]));
        match (from, magic) {
            (Side::Client, REQUEST) => {
                let name = NAMES.get(usize::from(operation)).copied().unwrap_or("other");
                // Quiet ones are answered in case of trouble only.
                let kind = if name.ends_with('q') { Kind::Silent } else { Kind::Prompt };
                Head::Part(Part::call(length, opaque, name, kind))
            }
            (Side::Server, RESPONSE) => {
                let status = u16::from_be_bytes([high, low]);
                // Not found, exists, not stored: answers like others.
                let error = (!matches!(status, 0 | 1 | 2 | 5)).then(|| format!("{status:#06x}"));
                Head::Part(Part::answer(length, Some(opaque), true).with_error(error))
            }
            _ => Head::Malformed,
        }
    }
}
