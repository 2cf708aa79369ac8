//! TCP options as tcpdump 4.99 prints them, malformed and cut off ones included.
//!
//! tcpdump reads most options by the size their kind should have and only then compares it with the length octet, so
//! that a wrong length shows as `[len N]` or makes it read into the next option. This prints what it prints.

use observer::packet::Flags;
use observer::sequence::Seq;
use observer::tcp_options::{FAST_OPEN_EXPERIMENT, kind};

use super::mptcp;
use super::text::{decimal, hex, hex_octets};

/// The options of one segment.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Octets of options by the header's data offset.
    pub declared: usize,
    /// Those that were captured.
    pub octets: &'a [u8],
    /// The segment's flags: the meaning of Multipath TCP options depends on them.
    pub flags: Flags,
    /// What is to be taken off the edges of SACK blocks.
    pub sack_base: Seq,
    /// Octets of payload on the wire.
    pub payload: u32,
    /// Those that were captured.
    pub payload_captured: u32,
}

/// What ends the printing of a line early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// An option that cannot be.
    Bad,
    /// What an option should hold was not captured.
    Cut,
    /// Kind or length octet was not captured.
    CutBefore,
}

impl Options<'_> {
    /// Appends the options with their brackets; false where they end in error, after which tcpdump prints no more.
    pub fn write(self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b", options [");
        let mut cursor = Cursor { left: self.declared, octets: self.octets };
        let (mut first, mut layer) = (true, &b" [|tcp]"[..]);
        while cursor.left > 0 {
            if !first {
                out.push(b',');
            }
            let kind = match self.option(out, &mut cursor) {
                Ok(kind) => kind,
                Err(stop) => {
                    match stop {
                        Stop::Bad => out.extend_from_slice(b"[bad opt]"),
                        Stop::Cut | Stop::CutBefore => out.extend_from_slice(layer),
                    }
                    match stop {
                        Stop::Bad if !first => out.push(b']'),
                        Stop::Cut if !first => out.push(b'>'),
                        _ => {}
                    }
                    return false;
                }
            };
            match kind {
                kind::EOL => break,
                // tcpdump names the protocol that it printed last.
                kind::MPTCP => layer = b" [|mptcp]",
                _ => {}
            }
            first = false;
        }
        out.push(b']');
        true
    }

    /// Prints the option at `cursor`, moves on to the next and returns the kind.
    fn option(&self, out: &mut Vec<u8>, cursor: &mut Cursor<'_>) -> Result<u8, Stop> {
        let kind = cursor.octet()?;
        let name = NAMES.get(usize::from(kind)).copied().flatten();
        let Some(length) = self.length(kind, cursor)? else {
            out.extend_from_slice(name.unwrap_or_default());
            return Ok(kind);
        };
        match (name, kind) {
            (Some(name), _) => out.extend_from_slice(name),
            (None, kind::EXPERIMENT) => out.extend_from_slice(b"exp"),
            (None, _) => {
                out.extend_from_slice(b"unknown-");
                decimal(out, kind);
            }
        }
        let data = length - 2;
        let taken = match kind {
            kind::MSS => {
                number(out, u16::from_be_bytes(cursor.array()?));
                2
            }
            kind::WINDOW_SCALE => {
                let [shift] = cursor.array()?;
                number(out, shift);
                1
            }
            kind::SACK_PERMITTED => 0,
            kind::SACK => self.sack(out, cursor, data)?,
            ECHO | ECHO_REPLY | CC | CC_NEW | CC_ECHO => {
                number(out, u32::from_be_bytes(cursor.array()?));
                4
            }
            kind::TIMESTAMPS => {
                let [a, b, c, d, rest @ ..]: [u8; 8] = cursor.array()?;
                out.extend_from_slice(b" val");
                number(out, u32::from_be_bytes([a, b, c, d]));
                out.extend_from_slice(b" ecr");
                number(out, u32::from_be_bytes(rest));
                8
            }
            MD5 => self.md5(out, cursor)?,
            SCPS => {
                let [capabilities, id] = cursor.array()?;
                out.extend_from_slice(b" cap ");
                hex_octets(out, &[capabilities]);
                out.extend_from_slice(b" id");
                number(out, id);
                2
            }
            USER_TIMEOUT => user_timeout(out, cursor)?,
            AUTHENTICATION => authentication(out, cursor, data)?,
            kind::MPTCP => {
                if !mptcp::write(out, cursor.take(data)?, self.flags) {
                    return Err(Stop::Bad);
                }
                data
            }
            kind::FAST_OPEN => {
                let cookie = cursor.take(data)?;
                out.push(b' ');
                fast_open(out, cookie);
                data
            }
            kind::EXPERIMENT => experiment(out, cursor.take(data)?)?,
            _ => unknown(out, cursor, data)?,
        };
        cursor.skip(taken);
        if taken != data {
            out.extend_from_slice(b"[len");
            number(out, length);
            out.push(b']');
        }
        Ok(kind)
    }

    /// The length octet; `None` for the kinds that have none.
    fn length(&self, kind: u8, cursor: &mut Cursor<'_>) -> Result<Option<usize>, Stop> {
        if matches!(kind, kind::EOL | kind::NOP) {
            return Ok(None);
        }
        if cursor.left == 0 && self.payload_captured > 0 {
            // tcpdump takes the first octet of payload for the length, and whatever it says is too long.
            return Err(Stop::Bad);
        }
        let left = cursor.left + 1;
        let length = usize::from(cursor.octet()?);
        if length < 2 || length > left { Err(Stop::Bad) } else { Ok(Some(length)) }
    }

    fn sack(&self, out: &mut Vec<u8>, cursor: &Cursor<'_>, data: usize) -> Result<usize, Stop> {
        if !data.is_multiple_of(8) {
            out.extend_from_slice(b" invalid sack");
            return Ok(data);
        }
        number(out, data / 8);
        out.push(b' ');
        for end in (8..=data).step_by(8) {
            let Some((_, &[a, b, c, d, ref rest @ ..])) = cursor.take(end)?.split_last_chunk::<8>() else {
                return Err(Stop::Cut);
            };
            out.push(b'{');
            decimal(out, Seq(u32::from_be_bytes([a, b, c, d])).offset_from(self.sack_base));
            out.push(b':');
            decimal(out, Seq(u32::from_be_bytes(*rest)).offset_from(self.sack_base));
            out.push(b'}');
        }
        Ok(data)
    }

    /// What tcpdump says of a signature (RFC 2385) when it was not given the secret.
    fn md5(&self, out: &mut Vec<u8>, cursor: &Cursor<'_>) -> Result<usize, Stop> {
        let digest: [u8; 16] = cursor.array()?;
        out.extend_from_slice(match self.payload_captured >= self.payload {
            true => b" shared secret not supplied with -M, can't check - ",
            false => b" snaplen too short, can't check - ",
        });
        hex_octets(out, &digest);
        Ok(digest.len())
    }
}

/// RFC 1072.
const ECHO: u8 = 6;
/// RFC 1072.
const ECHO_REPLY: u8 = 7;
/// RFC 1644.
const CC: u8 = 11;
/// RFC 1644.
const CC_NEW: u8 = 12;
/// RFC 1644.
const CC_ECHO: u8 = 13;
/// RFC 2385.
const MD5: u8 = 19;
/// Space communications protocol capabilities (CCSDS 714.0-B-2).
const SCPS: u8 = 20;
/// RFC 5482.
const USER_TIMEOUT: u8 = 28;
/// RFC 5925.
const AUTHENTICATION: u8 = 29;

/// tcpdump's name of each kind; it has an empty one for `ccecho`.
const NAMES: [Option<&[u8]>; 35] = {
    let mut names: [Option<&[u8]>; 35] = [None; 35];
    names[kind::EOL as usize] = Some(b"eol");
    names[kind::NOP as usize] = Some(b"nop");
    names[kind::MSS as usize] = Some(b"mss");
    names[kind::WINDOW_SCALE as usize] = Some(b"wscale");
    names[kind::SACK_PERMITTED as usize] = Some(b"sackOK");
    names[kind::SACK as usize] = Some(b"sack");
    names[ECHO as usize] = Some(b"echo");
    names[ECHO_REPLY as usize] = Some(b"echoreply");
    names[kind::TIMESTAMPS as usize] = Some(b"TS");
    names[CC as usize] = Some(b"cc");
    names[CC_NEW as usize] = Some(b"ccnew");
    names[CC_ECHO as usize] = Some(b"");
    names[MD5 as usize] = Some(b"md5");
    names[SCPS as usize] = Some(b"scps");
    names[USER_TIMEOUT as usize] = Some(b"uto");
    names[AUTHENTICATION as usize] = Some(b"tcp-ao");
    names[kind::MPTCP as usize] = Some(b"mptcp");
    names[kind::FAST_OPEN as usize] = Some(b"tfo");
    names
};

/// Where the reading is: what the header says is left, and what the capture holds of it.
struct Cursor<'a> {
    left: usize,
    octets: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The kind octet.
    fn octet(&mut self) -> Result<u8, Stop> {
        let (&octet, rest) = self.octets.split_first().ok_or(Stop::CutBefore)?;
        (self.octets, self.left) = (rest, self.left.saturating_sub(1));
        Ok(octet)
    }

    /// The next `count` octets.
    fn take(&self, count: usize) -> Result<&'a [u8], Stop> {
        if count > self.left {
            return Err(Stop::Bad);
        }
        self.octets.get(..count).ok_or(Stop::Cut)
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], Stop> {
        self.take(N)?.try_into().or(Err(Stop::Cut))
    }

    fn skip(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.octets = self.octets.get(count..).unwrap_or_default();
    }
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.push(b' ');
    decimal(out, number);
}

fn user_timeout(out: &mut Vec<u8>, cursor: &Cursor<'_>) -> Result<usize, Stop> {
    let value = u16::from_be_bytes(cursor.array()?);
    out.extend_from_slice(b" 0x");
    hex(out, u64::from(value));
    // The lowest bit says whether the others count minutes or seconds.
    let seconds = u32::from(value >> 1) * if value & 1 == 1 { 60 } else { 1 };
    number(out, seconds);
    Ok(2)
}

fn authentication(out: &mut Vec<u8>, cursor: &Cursor<'_>, data: usize) -> Result<usize, Stop> {
    if data < 2 {
        out.extend_from_slice(b" (invalid)");
        return Ok(data);
    }
    let [key] = cursor.array()?;
    out.extend_from_slice(b" keyid");
    number(out, key);
    let [_, next] = cursor.array()?;
    out.extend_from_slice(b" rnextkeyid");
    number(out, next);
    if data > 2 {
        out.extend_from_slice(b" mac 0x");
        octets(out, cursor, 2, data)?;
    }
    Ok(data)
}

/// A Fast Open cookie (RFC 7413).
fn fast_open(out: &mut Vec<u8>, cookie: &[u8]) {
    match cookie.len() {
        0 => out.extend_from_slice(b" cookiereq"),
        length if (4..=16).contains(&length) && length.is_multiple_of(2) => {
            out.extend_from_slice(b" cookie ");
            hex_octets(out, cookie);
        }
        _ => out.extend_from_slice(b" (invalid)"),
    }
}

fn experiment(out: &mut Vec<u8>, data: &[u8]) -> Result<usize, Stop> {
    let (id, cookie) = data.split_first_chunk().ok_or(Stop::Bad)?;
    out.push(b'-');
    if *id == FAST_OPEN_EXPERIMENT {
        out.extend_from_slice(b"tfo");
        fast_open(out, cookie);
    } else {
        hex_octets(out, id);
    }
    Ok(data.len())
}

fn unknown(out: &mut Vec<u8>, cursor: &Cursor<'_>, data: usize) -> Result<usize, Stop> {
    if data > 0 {
        out.extend_from_slice(b" 0x");
        octets(out, cursor, 0, data)?;
    }
    Ok(data)
}

/// Octets `from..to` in hexadecimal, as far as captured.
fn octets(out: &mut Vec<u8>, cursor: &Cursor<'_>, from: usize, to: usize) -> Result<(), Stop> {
    let captured = to.min(cursor.octets.len());
    hex_octets(out, cursor.octets.get(from..captured).unwrap_or_default());
    cursor.take(to).map(|_| ())
}
