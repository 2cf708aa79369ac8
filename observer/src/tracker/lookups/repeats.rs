//! What is asked again: who waits in vain asks the next resolver, and mostly from another port and with another identifier.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::PATIENCE;
use crate::record::Repeats;
use crate::time::Timestamp;

/// Questions that may be asked again.
const MOST: usize = 4096;

/// What a client asked for, in short: its address, the name whichever way it is written, and the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Topic(u64);

impl Topic {
    pub(super) fn new(client: IpAddr, name: &str, kind: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        kind.hash(&mut hasher);
        name.bytes().for_each(|octet| hasher.write_u8(octet.to_ascii_lowercase()));
        Self(hasher.finish())
    }
}

/// Everything that was asked lately, and has not been answered for good.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    chains: HashMap<Topic, Chain>,
    /// The last query of each, the first one first. Some were repeated since, or are settled.
    order: VecDeque<(Timestamp, Topic)>,
}

/// One question, however often and of whomever it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// The lookup that it was last part of.
    last: u64,
    /// When it was first asked, and of whom.
    since: Timestamp,
    server: IpAddr,
    /// Queries in all.
    pub(super) queries: u64,
    /// When it was last asked.
    at: Timestamp,
}

impl Unsettled {
    /// Lookup `id` asks `server`: what it repeats, if anything.
    pub(super) fn ask(&mut self, topic: Topic, id: u64, server: IpAddr, at: Timestamp) -> Option<Repeats> {
        let known = self.chains.get(&topic).copied().filter(|chain| at.since(chain.at) <= PATIENCE);
        let repeats = known.map(|Chain { last, since, server, queries, .. }| Repeats {
            after: last,
            since,
            server,
            queries: queries + 1,
            waited_ns: None,
        });
        let (since, server, before) = known.map_or((at, server, 0), |chain| (chain.since, chain.server, chain.queries));
        self.chains.insert(topic, Chain { last: id, since, server, queries: before + 1, at });
        self.note(topic, at);
        repeats
    }

    /// A lookup that is known sends its query again.
    pub(super) fn ask_again(&mut self, topic: Topic, at: Timestamp) {
        if let Some(chain) = self.chains.get_mut(&topic) {
            chain.queries += 1;
            chain.at = at;
            self.note(topic, at);
        }
    }

    /// What is known of a question whose answer is at hand. Unless it is to be asked again, over TCP, it is settled.
    pub(super) fn answer(&mut self, topic: Topic, truncated: bool) -> Option<Chain> {
        if truncated { self.chains.get(&topic).copied() } else { self.chains.remove(&topic) }
    }

    fn note(&mut self, topic: Topic, at: Timestamp) {
        self.order.push_back((at, topic));
        if self.order.len() > MOST
            && let Some((at, topic)) = self.order.pop_front()
            && self.chains.get(&topic).is_some_and(|chain| chain.at == at)
        {
            self.chains.remove(&topic);
        }
    }
}
