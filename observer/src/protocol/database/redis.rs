//! Redis: RESP 2 and 3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use super::{Ask, Calls, Head, Kind, MOST_NAME, Part, Wire, line, number};
use crate::protocol::Guess;
use crate::protocol::text::clean;
use crate::record::{ProtocolName, Side, Sides};

/// Values of one command or answer, and how deep they may lie in each other.
const MOST_VALUES: u64 = 1 << 20;

/// Commands that wait for what others do.
const PATIENT: [&str; 13] = [
    "BLPOP",
    "BRPOP",
    "BLMOVE",
    "BLMPOP",
    "BRPOPLPUSH",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    "XREAD",
    "XREADGROUP",
    "WAIT",
    "SUBSCRIBE",
    "PSUBSCRIBE",
];

#[derive(Debug, Default)]
struct Redis {
    ends: Sides<Values>,
}

/// Where an end is in a value that holds others.
#[derive(Clone, Copy, Debug, Default)]
struct Values {
    /// Values still to come; 0 between two of the outermost.
    left: u64,
    /// The next one is the command's name.
    is_first: bool,
    /// It is no answer (RESP 3's push).
    is_push: bool,
}

/// Whether these octets are a client's first command.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    let digits = octets.iter().skip(1).take_while(|octet| octet.is_ascii_digit()).count();
    match octets.get(1 + digits..) {
        Some([b'\r', b'\n', b'$', b'0'..=b'9', ..]) if octets.first() == Some(&b'*') && (1..=7).contains(&digits) => {
            Guess::Yes(Side::Client, Box::new(Calls::new(Redis::default())))
        }
        _ if octets.is_empty() => Guess::Unsure,
        Some(rest) if octets.first() == Some(&b'*') && digits <= 7 && b"\r\n$".starts_with(rest) => Guess::Unsure,
        _ => Guess::No,
    }
}

impl Wire for Redis {
    const NAME: ProtocolName = ProtocolName::Redis;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        let Some((text, length)) = line(octets) else { return Head::Need(octets.len() + 1) };
        let Some((kind, value)) = text.split_first() else { return Head::Malformed };
        let end = self.ends.of_mut(from);
        let is_outermost = end.left == 0;
        // How many octets stand behind the line, and how many values.
        let (octets_behind, values) = match (kind, count(value)) {
            (b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(', _) => (0, 0),
            (b'$' | b'=' | b'!', Some(length)) => (length.map_or(0, |length| length.saturating_add(2)), 0),
            (b'*' | b'~' | b'>', Some(values)) => (0, values.unwrap_or(0)),
            (b'%' | b'|', Some(pairs)) => (0, pairs.unwrap_or(0).saturating_mul(2)),
            // A command as people type it.
            (b'a'..=b'z' | b'A'..=b'Z', _) if from == Side::Client && is_outermost => {
                let name = text.split(|octet| *octet == b' ').next().unwrap_or_default();
                return Head::Part(call(name, length as u64, true));
            }
            _ => return Head::Malformed,
        };
        if values > MOST_VALUES || end.left > MOST_VALUES {
            return Head::Malformed;
        }
        if is_outermost {
            (end.is_first, end.is_push) = (true, *kind == b'>');
        }
        // What belongs to the value behind an attribute (`|`) is that value's.
        let is_attribute = *kind == b'|';
        end.left = end.left.saturating_sub(u64::from(!is_outermost)) + values + u64::from(is_attribute);
        let (is_last, is_push) = (end.left == 0, end.is_push);
        let whole = (length as u64).saturating_add(octets_behind);
        if from == Side::Server {
            if is_push {
                return Head::Part(Part::of(whole));
            }
            let word = || clean(value.split(|octet| *octet == b' ').next().unwrap_or_default(), MOST_NAME);
            let error = match kind {
                b'-' if is_outermost => Some(word()),
                b'!' if is_outermost => Some("error".to_owned()),
                _ => None,
            };
            return Head::Part(Part::answer(whole, None, is_last).with_error(error));
        }
        if !is_outermost && std::mem::take(&mut end.is_first) {
            let Some(name) = octets.get(length..length + octets_behind.min(MOST_NAME as u64 + 2) as usize) else {
                end.is_first = true;
                end.left += 1;
                return Head::Need(length + octets_behind.min(MOST_NAME as u64 + 2) as usize);
            };
            return Head::Part(call(name.trim_ascii_end(), whole, is_last));
        }
        Head::Part(Part { asked: is_last, ..Part::of(whole) })
    }
}

/// A length or a number of values: `Some(None)` for RESP 2's null, `None` for what is neither.
fn count(value: &[u8]) -> Option<Option<u64>> {
    if value == b"-1" { Some(None) } else { number(value).map(Some) }
}

fn call(name: &[u8], length: u64, asked: bool) -> Part {
    let name = clean(name, MOST_NAME).to_ascii_uppercase();
    let kind = if PATIENT.contains(&name.as_str()) { Kind::Patient } else { Kind::Prompt };
    Part { ask: Some(Ask { key: 0, name, kind }), asked, ..Part::of(length) }
}
