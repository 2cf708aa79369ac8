//! Connections between two network namespaces of one host, which each of them sees.

use foldhash::{HashMap, HashMapExt as _};

use crate::record::{ConnectionRecord, Endpoint};
use crate::time::{Nanos, Timestamp};

/// Connections that are remembered, at most twice as many.
const MOST: usize = 16_384;

/// How much later one namespace may see it than the other: a SYN that is lost between them is sent again after a second.
const LATER: Nanos = Nanos::from_secs(4);

/// What was seen so far, the newest in the first.
#[derive(Debug, Default)]
pub struct Twins {
    seen: [HashMap<(Endpoint, Endpoint), One>; 2],
}

/// A connection as one namespace saw it.
#[derive(Debug)]
struct One {
    netns: u32,
    first_seen: Timestamp,
    findings: Vec<&'static str>,
}

impl Twins {
    /// What was found of the connection as another namespace saw it; `None` where none did.
    pub fn of(&mut self, record: &ConnectionRecord) -> Option<Vec<&'static str>> {
        let netns = record.netns?;
        let ends = (record.client, record.server);
        let apart = |one: &One| one.first_seen.since(record.first_seen).max(record.first_seen.since(one.first_seen));
        let is_it = |one: &&One| one.netns != netns && apart(one) < LATER;
        let twin = self.seen.iter().filter_map(|seen| seen.get(&ends)).find(is_it);
        if let Some(twin) = twin {
            return Some(twin.findings.clone());
        }
        let findings = record.findings.iter().map(|finding| finding.name).collect();
        let [new, old] = &mut self.seen;
        if new.len() >= MOST {
            *old = std::mem::replace(new, HashMap::new());
        }
        new.insert(ends, One { netns, first_seen: record.first_seen, findings });
        None
    }
}
