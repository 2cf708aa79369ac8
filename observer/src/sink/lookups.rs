//! Lookups of names taken together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use observer::record::{DnsService, LookupRecord};
use observer::time::Nanos;

use super::sketch::Top;

/// Lookups that are named as the slowest ones.
const SLOWEST: usize = 3;
/// Names that are told of those with one outcome.
const NAMED: usize = 3;
/// Outcomes that are told apart: codes come from the wire.
const OUTCOMES: usize = 32;

/// What is known of all lookups.
pub struct Lookups {
    /// How many.
    pub all: u64,
    /// Those that failed, by how.
    pub failed: BTreeMap<String, Failed>,
    /// Those that took the longest.
    pub slowest: Top<Slow>,
}

/// Lookups that failed alike.
pub struct Failed {
    pub count: u64,
    /// Some of their names: those that were asked for first.
    pub names: BTreeMap<u64, String>,
    /// There are others.
    pub more: bool,
}

/// A lookup that took its time.
#[derive(Clone, Debug)]
pub struct Slow {
    pub waited: Nanos,
    /// What was asked for: name and type.
    pub what: String,
    /// Who answered.
    pub by: IpAddr,
    /// How often was asked.
    pub asked: u64,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { all: 0, failed: BTreeMap::new(), slowest: Top::new(SLOWEST) }
    }
}

impl Lookups {
    /// Takes in one more.
    pub fn add(&mut self, record: &LookupRecord) {
        let lookup = &record.lookup;
        self.all += 1;
        // An answer without its question says nothing of either.
        if lookup.has_failed() && (lookup.queries > 0 || lookup.code.is_some()) {
            self.failed(lookup.outcome()).add(1, [(record.id, format!("{} {}", lookup.name, lookup.kind))]);
        }
        if let Some(waited) = lookup.waited().filter(|_| lookup.service == DnsService::Dns) {
            self.slowest.offer(waited.0, record.id, || Slow {
                waited,
                what: format!("{} {}", lookup.name, lookup.kind),
                by: record.server.ip,
                asked: lookup.asked(),
            });
        }
    }

    /// Takes in all of another one.
    pub fn merge(&mut self, other: Self) {
        self.all += other.all;
        for (outcome, Failed { count, names, more }) in other.failed {
            let failed = self.failed(&outcome);
            failed.add(count, names);
            failed.more |= more;
        }
        self.slowest.merge(other.slowest);
    }

    fn failed(&mut self, outcome: &str) -> &mut Failed {
        let is_room = self.failed.len() < OUTCOMES || self.failed.contains_key(outcome);
        let outcome = if is_room { outcome } else { "another code" };
        self.failed.entry(outcome.to_string()).or_insert_with(|| Failed {
            count: 0,
            names: BTreeMap::new(),
            more: false,
        })
    }
}

impl Failed {
    fn add(&mut self, count: u64, names: impl IntoIterator<Item = (u64, String)>) {
        self.count += count;
        for (id, name) in names {
            let known = self.names.iter().find(|(_, known)| **known == name).map(|(id, _)| *id);
            if known.is_none_or(|known| id < known) {
                known.map(|known| self.names.remove(&known));
                self.names.insert(id, name);
            }
        }
        while self.names.len() > NAMED {
            self.names.pop_last();
            self.more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use observer::packet::{Address, IpVersion};
    use observer::record::{Endpoint, Lookup, Transport};

    use super::*;

    fn lookup(id: u64, code: Option<&str>, millis: u64) -> LookupRecord {
        let end = |last, port| Endpoint::new(Address::v4([10, 0, 0, last]), IpVersion::V4, port);
        LookupRecord {
            id,
            client: end(1, 40_000),
            server: end(53, 53),
            transport: Transport::Udp,
            netns: None,
            lookup: Lookup {
                name: format!("{}.lab", id % 4),
                kind: "A".to_string(),
                code: code.map(str::to_string),
                latency_ns: code.map(|_| Nanos::from_millis(millis)),
                queries: 1,
                ..Lookup::default()
            },
        }
    }

    #[test]
    fn shards_together_know_what_one_would() {
        let all: Vec<_> =
            (0..40).map(|id| lookup(id, [None, Some("NOERROR"), Some("SERVFAIL")][id as usize % 3], id)).collect();
        let shown = |lookups: Lookups| {
            let failed =
                lookups.failed.iter().map(|(how, failed)| format!("{how} {} {:?}", failed.count, failed.names));
            (lookups.all, failed.collect::<Vec<_>>(), format!("{:?}", lookups.slowest.into_sorted()))
        };
        let mut one = Lookups::default();
        all.iter().for_each(|record| one.add(record));
        let mut shards = [Lookups::default(), Lookups::default()];
        all.iter().for_each(|record| shards[record.id as usize % 2].add(record));
        let [mut first, second] = shards;
        first.merge(second);
        assert_eq!(shown(one), shown(first));
    }

    #[test]
    fn hostile_codes_are_few() {
        let mut lookups = Lookups::default();
        (0..10_000).for_each(|id| lookups.add(&lookup(id, Some(&id.to_string()), 1)));
        assert_eq!((lookups.all, lookups.failed.len()), (10_000, OUTCOMES + 1));
    }
}
