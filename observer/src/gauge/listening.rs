//! Which listener a connection came to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::{HashMap, HashSet};

use super::Seen;
use crate::record::Endpoint;

/// What is listened on in a namespace: addresses by port. Most sockets have a port that nobody listens on.
#[derive(Debug, Default)]
pub(super) struct Listening(HashMap<u16, HashSet<IpAddr>>);

impl Listening {
    /// The listeners among sockets.
    pub fn among(sockets: &[Seen]) -> Self {
        let mut all = Self::default();
        for listener in sockets.iter().filter(|seen| seen.socket.is_listener()).map(end) {
            all.0.entry(listener.port).or_default().insert(listener.ip);
        }
        all
    }

    /// The listener that takes what comes to an own end, as __inet_lookup_listener finds it: that of the address before
    /// that of any address. One of IPv6 takes IPv4 too, where nobody else does.
    pub fn at(&self, end: Endpoint) -> Option<Endpoint> {
        let addresses = self.0.get(&end.port)?;
        let of = |ip: IpAddr| addresses.contains(&ip).then_some(Endpoint { ip, port: end.port });
        let of_any_v4 = || of(Ipv4Addr::UNSPECIFIED.into()).filter(|_| end.ip.is_ipv4());
        of(end.ip).or_else(of_any_v4).or_else(|| of(Ipv6Addr::UNSPECIFIED.into()))
    }
}

/// A socket's own end, IPv4 as IPv4.
pub(super) fn end(seen: &Seen) -> Endpoint {
    let (ip, port) = seen.socket.local;
    Endpoint { ip: ip.to_canonical(), port }
}
