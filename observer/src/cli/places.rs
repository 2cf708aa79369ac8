//! What network namespaces are called in text.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::live::Netns;
use crate::source::namespace;

/// How long names are believed: a namespace that comes may have the inode of one that has gone.
const FRESH: Duration = Duration::from_secs(1);

/// The namespaces other than the one that needs no saying: that which was asked for, or this process's own.
pub struct Places {
    home: Option<u32>,
    names: BTreeMap<u32, String>,
    read: Option<Instant>,
}

impl Places {
    pub fn new(observed: Netns) -> Self {
        let home = match observed {
            Netns::One(inode) => Some(inode),
            Netns::Own | Netns::All => namespace::own().ok(),
        };
        Self { home, names: BTreeMap::new(), read: None }
    }

    /// `netns blue`, as ip-netns(8) calls it, or `netns 4026532260` by its inode where it has no name.
    pub fn name(&mut self, netns: Option<u32>) -> Option<String> {
        let netns = netns.filter(|netns| Some(*netns) != self.home)?;
        if self.read.is_none_or(|read| read.elapsed() > FRESH) {
            self.names = namespace::names();
            self.read = Some(Instant::now());
        }
        let name = self.names.get(&netns).cloned().unwrap_or_else(|| netns.to_string());
        Some(format!("netns\u{a0}{name}"))
    }
}
