//! Hosts as `ss` writes them: an address, a prefix or a name, of one family where that is said.

use std::net::{IpAddr, Ipv4Addr};

use crate::packet::{Address, IpVersion};
use crate::socket::Socket;

/// The addresses that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Sockets of this family only.
    family: Option<IpVersion>,
    /// Any of these; all where there are none.
    prefixes: Vec<Prefix>,
}

/// The first bits of an address; an IPv4 one counts as `::ffff:0:0/96`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    address: u128,
    bits: u32,
}

impl Host {
    /// Reads a host, and the port behind it. `resolve` tells the addresses of a name. `None` where it is no host.
    pub fn parse<'w>(word: &'w str, resolve: &dyn Fn(&str) -> Vec<IpAddr>) -> Option<(Self, Option<&'w str>)> {
        let (all, family, word) = if let Some(rest) = word.strip_prefix("inet6:") {
            (None, Some(IpVersion::V6), rest)
        } else if let Some(rest) = word.strip_prefix("inet:") {
            (Prefix::of(Ipv4Addr::UNSPECIFIED.into(), Some("0")), Some(IpVersion::V4), rest)
        } else {
            (None, None, word)
        };
        let (address, bits, port) = split(word)?;
        let is_meant = |prefix: &Prefix| family.is_none_or(|family| prefix.is_v4() == (family == IpVersion::V4));
        let prefixes = match (address, bits) {
            ("" | "*", None) => all.into_iter().collect(),
            _ => {
                let addresses = address.parse().map_or_else(|_| resolve(address), |address| vec![address]);
                let prefixes = addresses.into_iter().map(|address| Prefix::of(address, bits));
                let prefixes: Vec<_> = prefixes.collect::<Option<Vec<_>>>()?.into_iter().filter(is_meant).collect();
                if prefixes.is_empty() {
                    return None;
                }
                prefixes
            }
        };
        // What speaks IPv4 over a socket of IPv6 is among the addresses of IPv4.
        let family = family.filter(|family| *family == IpVersion::V6);
        Some((Self { family, prefixes }, port))
    }

    /// Whether it is this end of a socket.
    pub fn is(&self, socket: &Socket, address: IpAddr) -> bool {
        self.family.is_none_or(|family| family == socket.family)
            && (self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| prefix.contains(address)))
    }
}

impl Prefix {
    fn of(address: IpAddr, bits: Option<&str>) -> Option<Self> {
        let (most, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
        Some(Self { address: number(address), bits: before + bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        // A shift by all 128 bits is what an empty prefix takes.
        let rest = |address: u128| address.checked_shr(128 - self.bits).unwrap_or(0);
        rest(number(address)) == rest(self.address)
    }

    /// Whether it is one of IPv4: `::ffff:0:0/96`, or a part of it.
    const fn is_v4(&self) -> bool {
        self.bits >= 96 && self.address >> 32 == 0xffff
    }
}

fn number(address: IpAddr) -> u128 {
    u128::from_be_bytes(Address::from(address).0)
}

/// Address, bits and port of a host: IPv6 addresses stand in brackets where a port follows.
fn split(word: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let end_of = |sign: &[char]| word.find(sign).unwrap_or(word.len());
    let (address, behind) = match word.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None if word.matches(':').count() > 1 => word.split_at(end_of(&['/'])),
        None => word.split_at(end_of(&['/', ':'])),
    };
    let (bits, port) = behind.split_once(':').map_or((behind, None), |(bits, port)| (bits, Some(port)));
    let bits = if bits.is_empty() { None } else { Some(bits.strip_prefix('/')?) };
    Some((address, bits, port))
}
