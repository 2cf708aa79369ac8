//! PostgreSQL's frontend/backend protocol, version 3 (<https://www.postgresql.org/docs/current/protocol.html>).

use super::{Ask, Calls, Head, Kind, Part, Wire};
use crate::protocol::Guess;
use crate::protocol::text::clean;
use crate::record::{ProtocolName, Side};

/// Codes in the place of a version (`src/include/libpq/pqcomm.h`).
const SSL_REQUEST: [u8; 4] = [4, 210, 22, 47];
const GSS_REQUEST: [u8; 4] = [4, 210, 22, 48];
const CANCEL_REQUEST: [u8; 4] = [4, 210, 22, 46];
/// Version 3.0 and 3.2.
const VERSIONS: [[u8; 4]; 2] = [[0, 3, 0, 0], [0, 3, 0, 2]];

/// Octets of an error that are searched for its code.
const MOST_ERROR: usize = 4 << 10;

#[derive(Debug, Default)]
struct Postgres {
    /// The client has asked for TLS, and for the encryption of GSSAPI.
    asks_for: Option<[u8; 4]>,
    started: bool,
    /// A call has begun and is not sent as a whole.
    is_asking: bool,
}

/// Whether these octets are a PostgreSQL client's first message.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    match *octets {
        [0, 0, a, b, e, f, g, h, ..] => {
            let (length, code) = (u16::from_be_bytes([a, b]), [e, f, g, h]);
            let is_request = length == 8 && [SSL_REQUEST, GSS_REQUEST].contains(&code);
            let is_start = (VERSIONS.contains(&code) && length > 8) || (code == CANCEL_REQUEST && length >= 16);
            let yes = || Guess::Yes(Side::Client, Box::new(Calls::new(Postgres::default())));
            if is_request || is_start { yes() } else { Guess::No }
        }
        [] | [0] | [0, 0, ..] => Guess::Unsure,
        _ => Guess::No,
    }
}

impl Wire for Postgres {
    const NAME: ProtocolName = ProtocolName::Postgresql;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        if !self.started {
            return self.before_start(from, octets);
        }
        let &[kind, a, b, c, d, ref body @ ..] = octets else { return Head::Need(5) };
        let length = 1 + u64::from(u32::from_be_bytes([a, b, c, d]));
        if length < 5 || !kind.is_ascii_alphanumeric() {
            return Head::Malformed;
        }
        match from {
            Side::Client => Head::Part(self.request(kind, length)),
            Side::Server => match kind {
                // Notices, parameters and notifications come when they like.
                b'N' | b'S' | b'A' => Head::Part(Part::of(length)),
                b'E' => {
                    let wanted = (length as usize).min(MOST_ERROR);
                    let Some(message) = body.get(..wanted - 5) else { return Head::Need(wanted) };
                    let field =
                        |kind: &[u8]| message.split(|octet| *octet == 0).find_map(|field| field.strip_prefix(kind));
                    let code = field(b"C").map_or("error".to_owned(), |code| clean(code, 8));
                    // Nothing comes behind one that ends the session.
                    let is_last = matches!(field(b"V"), Some(b"FATAL" | b"PANIC"));
                    Head::Part(Part::answer(length, None, is_last).with_error(Some(code)))
                }
                // Ready for the next call.
                kind => Head::Part(Part::answer(length, None, kind == b'Z')),
            },
        }
    }
}

impl Postgres {
    fn before_start(&mut self, from: Side, octets: &[u8]) -> Head {
        if from == Side::Server {
            return match (octets.first(), self.asks_for.take()) {
                (Some(b'S'), Some(SSL_REQUEST)) => Head::Change(1),
                (Some(b'N'), Some(_)) => Head::Part(Part::of(1)),
                _ => Head::Over,
            };
        }
        let &[a, b, c, d, ref code @ ..] = octets else { return Head::Need(8) };
        let Some(code) = code.first_chunk::<4>() else { return Head::Need(8) };
        let length = u32::from_be_bytes([a, b, c, d]).into();
        match *code {
            SSL_REQUEST | GSS_REQUEST => {
                self.asks_for = Some(*code);
                Head::Part(Part::of(8))
            }
            code if VERSIONS.contains(&code) => {
                self.started = true;
                Head::Part(Part::call(length, 0, "startup", Kind::Prompt))
            }
            CANCEL_REQUEST => Head::Part(Part::call(length, 0, "cancel", Kind::Silent)),
            _ => Head::Over,
        }
    }

    /// Messages of the client: a call is a query, or everything up to a Sync.
    fn request(&mut self, kind: u8, length: u64) -> Part {
        let name = match kind {
            b'Q' => "query",
            b'F' => "function_call",
            b'P' => "parse",
            b'B' => "bind",
            b'E' => "execute",
            b'D' => "describe",
            b'C' => "close",
            b'S' => "sync",
            // Terminate, passwords, and data of a COPY.
            _ => return Part::of(length),
        };
        let asked = matches!(kind, b'Q' | b'F' | b'S');
        let ask = Ask { key: 0, name: name.to_owned(), kind: Kind::Prompt };
        let begins = !std::mem::replace(&mut self.is_asking, !asked);
        Part { length, ask: begins.then_some(ask), asked, ..Part::default() }
    }
}
