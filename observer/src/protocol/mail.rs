//! SMTP (RFC 5321), IMAP (RFC 9051), POP3 (RFC 1939) and FTP (RFC 959): lines that may ask for TLS (STARTTLS, STLS,
//! AUTH TLS; RFC 3207, RFC 2595, RFC 4217). What else they hold is not looked at.

use super::text::clean;
use super::{Arrival, Guess, Next, Protocol, Take};
use crate::record::{Application, ProtocolName, Side};
use crate::time::Timestamp;

/// Octets of a line.
const MOST_LINE: usize = 4096;
/// Lines of one end, after which TLS is not waited for any more.
const MOST_LINES: u32 = 200;

/// A connection whose server greets with a line.
#[derive(Debug)]
struct Mail {
    kind: Option<ProtocolName>,
    lines: u32,
    /// The client has asked for TLS, and how the answer begins that grants it.
    asked: Option<String>,
    malformed: u64,
}

/// Whether these octets are a server's greeting.
pub(super) fn recognise(octets: &[u8]) -> Guess {
    const GREETINGS: [(&[u8], Option<ProtocolName>); 6] = [
        (b"220 ", None),
        (b"220-", None),
        (b"* OK", Some(ProtocolName::Imap)),
        (b"* PREAUTH", Some(ProtocolName::Imap)),
        (b"* BYE", Some(ProtocolName::Imap)),
        (b"+OK", Some(ProtocolName::Pop3)),
    ];
    if octets.len() < 4 {
        let is_start = GREETINGS.iter().any(|(greeting, _)| greeting.starts_with(octets));
        return if is_start { Guess::Unsure } else { Guess::No };
    }
    let greeting = GREETINGS.into_iter().find(|(greeting, _)| octets.starts_with(greeting));
    let yes = |(_, kind)| Guess::Yes(Side::Server, Box::new(Mail { kind, lines: 0, asked: None, malformed: 0 }));
    greeting.map_or(Guess::No, yes)
}

impl Protocol for Mail {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        let octets = match arrival {
            Arrival::Octets(octets) => octets,
            Arrival::Passed(_) => return Take::used(0),
            Arrival::Gap(_) | Arrival::End => return Take::nothing(),
        };
        let Some(end) = octets.iter().position(|octet| *octet == b'\n') else {
            if octets.len() <= MOST_LINE {
                return Take::wait_for(octets.len() + 1);
            }
            self.malformed += 1;
            return Take::nothing();
        };
        let line = clean(octets.get(..end).unwrap_or_default().trim_ascii_end(), MOST_LINE);
        self.lines += 1;
        if self.lines > MOST_LINES {
            return Take::nothing();
        }
        let next = match from {
            Side::Client => self.command(&line),
            Side::Server => self.reply(&line),
        };
        Take::then(end + 1, next)
    }

    fn record(&self, into: &mut Application) {
        into.speaks(self.kind.unwrap_or(ProtocolName::Smtp));
        into.malformed += self.malformed;
    }
}

impl Mail {
    fn command(&mut self, line: &str) -> Next {
        let upper = line.to_ascii_uppercase();
        let (first, rest) = upper.split_once(' ').unwrap_or((&upper, ""));
        self.kind = self.kind.or(match first {
            "EHLO" | "HELO" => Some(ProtocolName::Smtp),
            "USER" | "AUTH" | "FEAT" | "SYST" => Some(ProtocolName::Ftp),
            _ => None,
        });
        match (first, rest) {
            ("STARTTLS", "") => self.asked = Some("220".to_string()),
            ("STLS", "") => self.asked = Some("+OK".to_string()),
            ("AUTH", "TLS" | "SSL" | "TLS-C" | "TLS-P") => self.asked = Some("234".to_string()),
            (tag, "STARTTLS") => self.asked = Some(format!("{tag} OK")),
            // What follows is no line.
            ("DATA" | "BDAT" | "RETR", _) => return Next::Nothing,
            _ => {}
        }
        Next::Octets
    }

    fn reply(&mut self, line: &str) -> Next {
        let upper = line.to_ascii_uppercase();
        if self.kind.is_none() {
            let names = [("SMTP", ProtocolName::Smtp), ("FTP", ProtocolName::Ftp)];
            self.kind = names.iter().find(|(name, _)| upper.contains(name)).map(|(_, kind)| *kind);
        }
        match &self.asked {
            Some(granted) if upper.starts_with(granted.as_str()) => Next::Change,
            // An untagged line, or one of several.
            Some(_) if upper.starts_with("* ") || upper.get(3..4) == Some("-") => Next::Octets,
            Some(_) => {
                self.asked = None;
                Next::Octets
            }
            None => Next::Octets,
        }
    }
}
