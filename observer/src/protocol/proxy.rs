//! What stands in front of another protocol: the PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), SOCKS 4, 4a and 5 (RFC 1928, RFC 1929).

use std::net::IpAddr;

use super::text::clean;
use super::{Arrival, Guess, Next, Protocol, Take};
use crate::record::{Application, NameRecord, NameSource, ProtocolName, Side};
use crate::time::Timestamp;

const PROXY_1: &[u8] = b"PROXY ";
const PROXY_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of version 1's line, its end included.
const MOST_PROXY_1: usize = 107;
const MOST_NAME: usize = 255;

/// A PROXY header, sent by the client's proxy before all else.
#[derive(Debug, Default)]
struct ProxyHeader {
    malformed: u64,
}

/// A client that asks a SOCKS server for a connection.
#[derive(Debug)]
struct Socks {
    version: u8,
    state: State,
    target: Option<String>,
    malformed: u64,
}

/// What the client's next octets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// SOCKS 5's methods, or SOCKS 4's request.
    Hello,
    /// The server chooses a method.
    Method,
    /// User and password.
    Login,
    /// What is asked for.
    Request,
    /// The server's last word.
    Reply,
}

/// Whether these octets begin a connection through a proxy.
pub(super) fn recognise(octets: &[u8]) -> Guess {
    let is_start = |signature: &[u8]| octets.starts_with(signature) || signature.starts_with(octets);
    if is_start(PROXY_2) || is_start(PROXY_1) {
        let is_whole = octets.len() >= PROXY_2.len() || (octets.len() >= PROXY_1.len() && octets.starts_with(PROXY_1));
        return if is_whole { Guess::Yes(Side::Client, Box::new(ProxyHeader::default())) } else { Guess::Unsure };
    }
    let socks = |version| {
        Guess::Yes(Side::Client, Box::new(Socks { version, state: State::Hello, target: None, malformed: 0 }))
    };
    match *octets {
        // All methods that are in use are below 10.
        [5, count @ 1..=9, ref methods @ ..]
            if methods.len() == usize::from(count) && methods.iter().all(|method| *method < 10) =>
        {
            socks(5)
        }
        [4, 1 | 2, _, _, _, _, _, _, ref rest @ ..] if rest.len() < 512 && rest.last() == Some(&0) => socks(4),
        _ => Guess::No,
    }
}

impl Protocol for ProxyHeader {
    fn take(&mut self, _: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        let Arrival::Octets(octets) = arrival else { return Take::nothing() };
        let length = if octets.starts_with(PROXY_1) {
            match octets.iter().position(|octet| *octet == b'\n') {
                Some(end) => end + 1,
                None if octets.len() < MOST_PROXY_1 => return Take::wait_for(octets.len() + 1),
                None => {
                    self.malformed += 1;
                    return Take::nothing();
                }
            }
        } else {
            let Some(&[a, b]) = octets.get(14..16) else { return Take::wait_for(16) };
            16 + usize::from(u16::from_be_bytes([a, b]))
        };
        if octets.len() < length { Take::wait_for(length) } else { Take::then(length, Next::Change) }
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Proxy);
        into.malformed += self.malformed;
    }
}

impl Protocol for Socks {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        let octets = match arrival {
            Arrival::Octets(octets) => octets,
            Arrival::Passed(_) => return Take::used(0),
            Arrival::Gap(_) | Arrival::End => return Take::nothing(),
        };
        let taken = match from {
            Side::Client => self.client(octets),
            Side::Server => self.server(octets),
        };
        taken.unwrap_or_else(|| Take::wait_for(octets.len() + 1))
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Socks);
        into.malformed += self.malformed;
        if let Some(target) = &self.target {
            into.name = Some(NameRecord { name: target.clone(), from: NameSource::Proxy });
        }
    }
}

impl Socks {
    /// What the client says; `None` where there is more to come.
    fn client(&mut self, octets: &[u8]) -> Option<Take> {
        match (self.state, octets) {
            (State::Hello, [4, _, _, _, address @ ..]) => {
                let (&[a, b, c, d], rest) = address.split_first_chunk()?;
                let end = rest.iter().position(|octet| *octet == 0)?;
                let mut length = 8 + end + 1;
                self.target = Some(IpAddr::from([a, b, c, d]).to_string());
                // SOCKS 4a: no address, a name behind the user.
                if [a, b, c] == [0; 3] && d != 0 {
                    let name = rest.get(end + 1..)?;
                    let end = name.iter().position(|octet| *octet == 0)?;
                    self.target = Some(clean(name.get(..end)?, MOST_NAME));
                    length += end + 1;
                }
                self.state = State::Reply;
                Some(Take::used(length))
            }
            (State::Hello, [5, count, ..]) => {
                let length = 2 + usize::from(*count);
                octets.get(..length)?;
                self.state = State::Method;
                Some(Take::used(length))
            }
            (State::Login, [1, user, rest @ ..]) => {
                let password = *rest.get(usize::from(*user))?;
                let length = 3 + usize::from(*user) + usize::from(password);
                octets.get(..length)?;
                self.state = State::Method;
                Some(Take::used(length))
            }
            (State::Request, [5, _, _, kind @ (IPV4 | NAME | IPV6), rest @ ..]) => {
                let (target, length) = address(*kind, rest)?;
                self.target = Some(target);
                self.state = State::Reply;
                Some(Take::used(4 + length))
            }
            // It speaks before it is its turn: its words wait for the server's.
            (State::Method | State::Reply, _) => None,
            (State::Login, [1]) | (State::Request, [5] | [5, _] | [5, _, _]) | (_, []) => None,
            _ => Some(self.give_up()),
        }
    }

    fn server(&mut self, octets: &[u8]) -> Option<Take> {
        const GRANTED_4: u8 = 0x5a;
        const LOGIN: u8 = 2;
        const NO_METHOD: u8 = 0xff;
        match (self.state, self.version, octets) {
            (State::Reply, 4, [0, code, ..]) => {
                octets.get(..8)?;
                Some(if *code == GRANTED_4 { Take::then(8, Next::Change) } else { Take::nothing() })
            }
            (State::Method, 5, [5, NO_METHOD, ..]) => Some(Take::nothing()),
            (State::Method, 5, [5, method, ..]) => {
                self.state = if *method == LOGIN { State::Login } else { State::Request };
                Some(Take::used(2))
            }
            (State::Method, 5, [1, 0, ..]) => {
                self.state = State::Request;
                Some(Take::used(2))
            }
            (State::Reply, 5, [5, 0, _, kind @ (IPV4 | NAME | IPV6), rest @ ..]) => {
                let (_, length) = address(*kind, rest)?;
                Some(Take::then(4 + length, Next::Change))
            }
            // It refuses.
            (State::Method, 5, [1, _, ..]) | (State::Reply, 5, [5, 1..=u8::MAX, ..]) => Some(Take::nothing()),
            (_, _, [] | [_]) | (State::Reply, 5, [5, 0] | [5, 0, _]) => None,
            _ => Some(self.give_up()),
        }
    }

    fn give_up(&mut self) -> Take {
        self.malformed += 1;
        Take::nothing()
    }
}

/// Kinds of addresses of SOCKS 5 (RFC 1928, section 5).
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// An address of SOCKS 5 and its port, and how many octets they take.
fn address(kind: u8, octets: &[u8]) -> Option<(String, usize)> {
    let (text, length) = match kind {
        IPV4 => (IpAddr::from(*octets.first_chunk::<4>()?).to_string(), 4),
        IPV6 => (IpAddr::from(*octets.first_chunk::<16>()?).to_string(), 16),
        NAME => {
            let (length, name) = octets.split_first()?;
            (clean(name.get(..usize::from(*length))?, MOST_NAME), 1 + usize::from(*length))
        }
        _ => return None,
    };
    octets.get(..length + 2)?;
    Some((text, length + 2))
}
