//! MySQL's client/server protocol (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>).

use super::{Calls, Head, Kind, Part, Wire};
use crate::protocol::Guess;
use crate::record::{ProtocolName, Side};

/// Octets of a packet's head: its length, and its number within the exchange.
const HEAD: usize = 4;
/// Octets of the client's first packet where it asks for TLS.
const SSL_REQUEST: u64 = 36;
const CLIENT_SSL: u16 = 0x0800;

/// What an answer begins with.
const OK: u8 = 0x00;
const ERROR: u8 = 0xff;

#[derive(Debug, Default)]
struct MySql {
    /// The client has said who it is.
    asked: bool,
    /// The server has let it in.
    entered: bool,
    /// The next packet of the server is the first of an answer.
    is_first: bool,
}

/// Whether these octets are a MySQL server's greeting: a first packet of protocol version 10.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    match *octets {
        [length, 0, 0, 0, 10, ref version @ ..] if length > 40 => {
            let text: Vec<_> = version.iter().take_while(|octet| **octet != 0).collect();
            let is_version = text.len() < 64
                && text.first().is_some_and(|octet| octet.is_ascii_digit())
                && text.iter().all(|octet| octet.is_ascii_graphic());
            if is_version { Guess::Yes(Side::Server, Box::new(Calls::new(MySql::default()))) } else { Guess::No }
        }
        [] | [_] | [_, 0] | [_, 0, 0] | [_, 0, 0, 0] => Guess::Unsure,
        _ => Guess::No,
    }
}

impl Wire for MySql {
    const NAME: ProtocolName = ProtocolName::Mysql;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        let &[a, b, c, number, ref body @ ..] = octets else { return Head::Need(HEAD) };
        let length = HEAD as u64 + u64::from(u32::from_le_bytes([a, b, c, 0]));
        if length == HEAD as u64 {
            return Head::Part(Part::of(length));
        }
        match from {
            Side::Client if !self.asked => {
                let &[low, high, ..] = body else { return Head::Need(HEAD + 2) };
                if length == SSL_REQUEST && u16::from_le_bytes([low, high]) & CLIENT_SSL != 0 {
                    let whole = SSL_REQUEST as usize;
                    return if octets.len() < whole { Head::Need(whole) } else { Head::Change(whole) };
                }
                (self.asked, self.is_first) = (true, true);
                Head::Part(Part::call(length, 0, "login", Kind::Prompt))
            }
            // What belongs to the login.
            Side::Client if !self.entered => Head::Part(Part::of(length)),
            Side::Client => {
                let &[command, ..] = body else { return Head::Need(HEAD + 1) };
                if number != 0 {
                    return Head::Part(Part::of(length));
                }
                self.is_first = true;
                let (name, kind) = command_name(command);
                Head::Part(Part::call(length, 0, name, kind))
            }
            // The greeting.
            Side::Server if !self.asked => Head::Part(Part::of(length)),
            Side::Server => {
                let &[first, ref rest @ ..] = body else { return Head::Need(HEAD + 1) };
                if first == ERROR && length >= HEAD as u64 + 3 {
                    let &[low, high, ..] = rest else { return Head::Need(HEAD + 3) };
                    let code = u16::from_le_bytes([low, high]).to_string();
                    return Head::Part(Part::answer(length, None, true).with_error(Some(code)));
                }
                let is_first = std::mem::take(&mut self.is_first);
                // A login goes on until it is let in; other answers may go on behind anything but OK.
                let done = first == OK && (is_first || !self.entered);
                self.entered |= first == OK;
                Head::Part(Part::answer(length, None, done))
            }
        }
    }
}

fn command_name(command: u8) -> (&'static str, Kind) {
    match command {
        0x01 => ("quit", Kind::Silent),
        0x02 => ("init_db", Kind::Prompt),
        0x03 => ("query", Kind::Prompt),
        0x04 => ("field_list", Kind::Prompt),
        0x09 => ("statistics", Kind::Prompt),
        0x0e => ("ping", Kind::Prompt),
        0x11 => ("change_user", Kind::Prompt),
        // A replica waits for what is written.
        0x12 | 0x1e => ("binlog_dump", Kind::Patient),
        0x16 => ("stmt_prepare", Kind::Prompt),
        0x17 => ("stmt_execute", Kind::Prompt),
        0x18 => ("stmt_send_long_data", Kind::Silent),
        0x19 => ("stmt_close", Kind::Silent),
        0x1a => ("stmt_reset", Kind::Prompt),
        0x1c => ("stmt_fetch", Kind::Prompt),
        0x1f => ("reset_connection", Kind::Prompt),
        _ => ("other", Kind::Prompt),
    }
}
