//! PostgreSQL and MySQL, as far as their change to TLS: what they ask and answer is not looked at.

use super::{Arrival, Guess, Next, Protocol, Take};
use crate::record::{Application, ProtocolName, Side};
use crate::time::Timestamp;

/// PostgreSQL's codes in the place of a version (`src/include/libpq/pqcomm.h`).
const SSL_REQUEST: [u8; 4] = [4, 210, 22, 47];
const GSS_REQUEST: [u8; 4] = [4, 210, 22, 48];
const CANCEL_REQUEST: [u8; 4] = [4, 210, 22, 46];
/// Version 3.0 and 3.2.
const VERSIONS: [[u8; 4]; 2] = [[0, 3, 0, 0], [0, 3, 0, 2]];

/// A PostgreSQL client that has said its first word.
#[derive(Debug)]
struct Postgres {
    asks_for_tls: bool,
}

/// A MySQL server that has greeted.
#[derive(Debug)]
struct MySql;

/// Whether these octets are a PostgreSQL client's first message.
pub(super) fn recognise_postgres(octets: &[u8]) -> Guess {
    match *octets {
        [0, 0, a, b, e, f, g, h, ..] => {
            let (length, code) = (u16::from_be_bytes([a, b]), [e, f, g, h]);
            let is_request = length == 8 && [SSL_REQUEST, GSS_REQUEST].contains(&code);
            let is_start = (VERSIONS.contains(&code) && length > 8) || (code == CANCEL_REQUEST && length >= 16);
            let yes = || Guess::Yes(Side::Client, Box::new(Postgres { asks_for_tls: code == SSL_REQUEST }));
            if is_request || is_start { yes() } else { Guess::No }
        }
        [] | [0] | [0, 0, ..] => Guess::Unsure,
        _ => Guess::No,
    }
}

/// Whether these octets are a MySQL server's greeting: a first packet of protocol version 10.
pub(super) fn recognise_mysql(octets: &[u8]) -> Guess {
    match *octets {
        [length, 0, 0, 0, 10, ref version @ ..] if length > 40 => {
            let text: Vec<_> = version.iter().take_while(|octet| **octet != 0).collect();
            let is_version = text.len() < 64
                && text.first().is_some_and(|octet| octet.is_ascii_digit())
                && text.iter().all(|octet| octet.is_ascii_graphic());
            if is_version { Guess::Yes(Side::Server, Box::new(MySql)) } else { Guess::No }
        }
        [] | [_] | [_, 0] | [_, 0, 0] | [_, 0, 0, 0] => Guess::Unsure,
        _ => Guess::No,
    }
}

impl Protocol for Postgres {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        let Arrival::Octets(octets) = arrival else { return Take::nothing() };
        match (from, octets) {
            (Side::Server, [b'S', ..]) if self.asks_for_tls => Take::then(1, Next::Change),
            (Side::Client, [0, 0, 0, 8, code @ ..]) if code.starts_with(&SSL_REQUEST) => {
                self.asks_for_tls = true;
                Take::used(8)
            }
            (Side::Client, [0, 0, 0, 8, code @ ..]) if code.starts_with(&GSS_REQUEST) => Take::used(8),
            (Side::Server, [b'N', ..]) => Take::used(1),
            _ => Take::nothing(),
        }
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Postgresql);
    }
}

impl Protocol for MySql {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        let Arrival::Octets(octets) = arrival else { return Take::nothing() };
        let &[a, b, c, _, low, high, ..] = octets else { return Take::wait_for(6) };
        const CLIENT_SSL: u16 = 0x0800;
        let whole = 4 + u32::from_le_bytes([a, b, c, 0]) as usize;
        if octets.len() < whole && whole < 4096 {
            return Take::wait_for(whole);
        }
        match from {
            // The server waits for what the client wants.
            Side::Server => Take::then(0, Next::Nothing),
            Side::Client if u16::from_le_bytes([low, high]) & CLIENT_SSL != 0 && whole == 36 => {
                Take::then(whole, Next::Change)
            }
            Side::Client => Take::nothing(),
        }
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Mysql);
    }
}
