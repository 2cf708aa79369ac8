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

/// The names of addresses.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By client and address; 127.0.0.1 stands for any client on the host that the lookups were seen on.
    known: HashMap<(IpAddr, IpAddr), Known>,
    /// In the order they were learnt. Some were learnt anew.
    learnt: VecDeque<(IpAddr, IpAddr, Timestamp)>,
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

    /// Takes in the addresses of an answer that came at `at`.
    pub(super) fn learn(&mut self, answered: &LookupRecord, at: Timestamp) {
        if answered.lookup.addresses.is_empty() {
            return;
        }
        let ttl = answered.lookup.ttl.unwrap_or_default().max(LEAST_TTL);
        let lookup = Arc::new(answered.clone());
        for address in &answered.lookup.addresses {
            // Who asks a resolver on the same host connects from another address.
            let asked_here = answered.client.ip.is_loopback();
            let client = if asked_here { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { answered.client.ip };
            let until = at.plus(Nanos::from_secs(ttl.into()));
            self.known.insert((client, *address), Known { at, until, lookup: Arc::clone(&lookup) });
            self.learnt.push_back((client, *address, at));
        }
        while self.learnt.len() > MOST
            && let Some((client, address, learnt)) = self.learnt.pop_front()
        {
            if self.known.get(&(client, address)).is_some_and(|known| known.at == learnt) {
                self.known.remove(&(client, address));
            }
        }
    }

    /// The lookup that gave `client` the address, where its answer may be used at `at`.
    pub(super) fn of(&self, client: IpAddr, address: IpAddr, at: Timestamp) -> Option<Arc<LookupRecord>> {
        let of_any = || self.known.get(&(IpAddr::V4(Ipv4Addr::LOCALHOST), address));
        self.known.get(&(client, address)).or_else(of_any)?.lookup_at(at)
    }
}
