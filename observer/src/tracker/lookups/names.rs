//! Which names gave which clients which addresses.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::record::LookupRecord;
use crate::time::{Nanos, Timestamp};

/// Addresses whose names are known.
const MOST: usize = 4096;

/// How long a name is good for at least: a client may well use an address whose time to live is 0, once.
const LEAST_TTL: u32 = 30;

/// Stands for any client on the host that the lookups were seen on: it may well ask from one of its addresses, of one family,
/// and connect from another.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The names of addresses.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By client and address.
    known: HashMap<(IpAddr, IpAddr), Known>,
    /// Who was given each address.
    clients: HashMap<IpAddr, Clients>,
    /// In the order they were learnt. Some were learnt anew.
    learnt: VecDeque<(IpAddr, IpAddr, Timestamp)>,
}

/// The clients that were given one address.
#[derive(Debug)]
struct Clients {
    /// The last one.
    last: IpAddr,
    until: Timestamp,
    /// Until when the answers to others may be used.
    others_until: Option<Timestamp>,
}

impl Clients {
    /// An answer was given to `client`, which may be used until then.
    fn add(&mut self, client: IpAddr, until: Timestamp) {
        if client != self.last {
            self.others_until = self.others_until.max(Some(self.until));
            (self.last, self.until) = (client, until);
        } else {
            self.until = self.until.max(until);
        }
    }
}

#[derive(Debug)]
struct Known {
    at: Timestamp,
    until: Timestamp,
    lookup: Arc<LookupRecord>,
}

impl Known {
    /// The lookup, where its answer may still be used.
    fn lookup_at(&self, at: Timestamp) -> Option<Arc<LookupRecord>> {
        (self.at <= at && at <= self.until).then(|| Arc::clone(&self.lookup))
    }
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes in the addresses of an answer that came at `at`, to a client that is known to be on this host where `is_here`.
    pub(super) fn learn(&mut self, answered: &LookupRecord, is_here: bool, at: Timestamp) {
        if answered.lookup.addresses.is_empty() {
            return;
        }
        let ttl = answered.lookup.ttl.unwrap_or_default().max(LEAST_TTL);
        let until = at.plus(Nanos::from_secs(ttl.into()));
        let lookup = Arc::new(answered.clone());
        let client = answered.client.ip;
        // Who asks a resolver on the same host connects from another address.
        let here = (is_here || client.is_loopback()).then_some(HERE);
        for address in &answered.lookup.addresses {
            for client in [Some(client).filter(|client| !client.is_loopback()), here].into_iter().flatten() {
                self.known.insert((client, *address), Known { at, until, lookup: Arc::clone(&lookup) });
                self.learnt.push_back((client, *address, at));
            }
            let new = || Clients { last: client, until, others_until: None };
            self.clients.entry(*address).or_insert_with(new).add(client, until);
        }
        while self.learnt.len() > MOST
            && let Some((client, address, learnt)) = self.learnt.pop_front()
        {
            if self.known.get(&(client, address)).is_some_and(|known| known.at == learnt) {
                self.known.remove(&(client, address));
                if self.clients.get(&address).is_some_and(|clients| clients.last == client || client == HERE) {
                    self.clients.remove(&address);
                }
            }
        }
    }

    /// The lookup that gave `client` the address, where its answer may be used at `at`. One on this host is any of its
    /// addresses, where `may_be_here`.
    pub(super) fn of(
        &self,
        client: IpAddr,
        address: IpAddr,
        may_be_here: bool,
        at: Timestamp,
    ) -> Option<Arc<LookupRecord>> {
        let by = |client| self.known.get(&(client, address));
        let known = by(client).or_else(|| by(HERE).filter(|_| may_be_here));
        match known {
            Some(known) => known.lookup_at(at),
            None => by(self.only_client(client, address, at)?)?.lookup_at(at),
        }
    }

    /// The only client that was given the address, where it asked over the other family than `client` is of: hosts ask for
    /// addresses of both over either.
    fn only_client(&self, client: IpAddr, address: IpAddr, at: Timestamp) -> Option<IpAddr> {
        let clients = self.clients.get(&address)?;
        let is_only = clients.others_until.is_none_or(|until| until < at);
        (is_only && clients.last.is_ipv4() != client.is_ipv4()).then_some(clients.last)
    }
}
