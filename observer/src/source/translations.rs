//! Which connections have their addresses translated on this host, and how: told by connection tracking as it happens, and
//! what was there before from its entries.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::Result;
use foldhash::HashMap;
use observer::conntrack::Entry;
use observer::record::{Endpoint, NatRecord, NatTuple};

use super::conntrack::{Entries, Event, Events, Wanted};
use super::namespace;

/// The most translations that are kept; the oldest go first.
const MOST: usize = 1 << 16;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The translations of some network namespaces.
#[derive(Default)]
pub struct Translations {
    lanes: Vec<(u32, Events)>,
    /// By the ends of a connection as a socket on either side has them, client and server. A container's connection is often
    /// translated in the namespace of the host: that of the translation is no part of the key.
    known: HashMap<(Endpoint, Endpoint), NatRecord>,
    /// The keys, the oldest first; some may be gone.
    order: VecDeque<(Endpoint, Endpoint)>,
}

impl Translations {
    /// Listens in each of the namespaces, and reads what is translated there: inode, and where to enter those that are not
    /// ours. Gives why it cannot be listened, too.
    pub fn open(namespaces: &[(u32, Option<PathBuf>)]) -> (Self, Option<String>) {
        let (mut all, mut why) = (Self::default(), None);
        for (netns, path) in namespaces {
            let opened = match path {
                None => open(),
                Some(path) => namespace::within(path, open),
            };
            match opened {
                Ok((events, entries)) => {
                    all.lanes.push((*netns, events));
                    entries.into_iter().for_each(|entry| all.add(*netns, &entry));
                }
                Err(error) => why = Some(format!("{error:#}")),
            }
        }
        (all, why)
    }

    /// Takes in what has happened since.
    pub fn listen(&mut self) {
        let mut lanes = std::mem::take(&mut self.lanes);
        lanes.retain_mut(|(netns, events)| {
            let heard = events.take(|event| match event {
                Event::New(message) => message.entry().into_iter().for_each(|entry| self.add(*netns, &entry)),
                Event::Gone(message) => message.entry().into_iter().for_each(|entry| self.remove(&entry)),
            });
            heard.is_ok()
        });
        self.lanes = lanes;
    }

    /// The translation of a connection; `None` where there is none.
    pub fn of(&self, client: Endpoint, server: Endpoint) -> Option<NatRecord> {
        self.known.get(&(client, server)).copied()
    }

    fn add(&mut self, netns: u32, entry: &Entry) {
        if !entry.is_translated() || !matches!(entry.protocol, TCP | UDP) {
            return;
        }
        let of = |(source, destination)| NatTuple { source, destination };
        let (original, reply) = (of(Entry::ends(&entry.original)), of(Entry::ends(&entry.reply)));
        for key in keys(entry) {
            if self.known.insert(key, NatRecord { netns, original, reply }).is_none() {
                self.order.push_back(key);
            }
        }
        while self.known.len() > MOST || self.order.len() > 2 * MOST {
            let Some(oldest) = self.order.pop_front() else { return };
            self.known.remove(&oldest);
        }
    }

    fn remove(&mut self, entry: &Entry) {
        for key in keys(entry) {
            self.known.remove(&key);
        }
    }
}

/// The ends of a connection as its client has them, and as its server has them.
fn keys(entry: &Entry) -> [(Endpoint, Endpoint); 2] {
    let (source, destination) = Entry::ends(&entry.reply);
    [Entry::ends(&entry.original), (destination, source)]
}

/// What is to be heard, and what there is, in the namespace that this thread is in.
fn open() -> Result<(Events, Vec<Entry>)> {
    let events = Events::by(Events::socket(Wanted::Translated)?);
    let mut there = Vec::new();
    Entries::by(Entries::socket()?).each_translated(|entry| {
        if there.len() < MOST {
            there.push(entry);
        }
    })?;
    Ok((events, there))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use observer::conntrack::DST_NAT;
    use observer::packet::{Address, IpVersion, Tuple};

    use super::*;

    fn entry(number: u16) -> Entry {
        let end = |last: u8| Address::from(IpAddr::from([10, 0, 0, last]));
        let tuple = |src, sport, dst, dport| Tuple { src, dst, sport, dport, version: IpVersion::V4 };
        Entry {
            protocol: TCP,
            original: tuple(end(1), number, end(2), 80),
            reply: tuple(end(3), 8080, end(1), number),
            status: DST_NAT,
            tcp_state: None,
        }
    }

    #[test]
    fn a_translation_is_found_from_both_sides_until_it_is_gone() {
        let mut all = Translations::default();
        let end = |last: u8, port| Endpoint { ip: IpAddr::from([10, 0, 0, last]), port };
        all.add(7, &entry(1000));
        let nat = all.of(end(1, 1000), end(2, 80)).expect("as the client has it");
        assert_eq!(all.of(end(1, 1000), end(3, 8080)), Some(nat));
        assert_eq!((nat.netns, nat.reply.source, nat.translates_source()), (7, end(3, 8080), false));
        assert!(nat.translates_destination() && all.of(end(1, 1001), end(2, 80)).is_none());
        all.remove(&entry(1000));
        assert_eq!(all.of(end(1, 1000), end(2, 80)), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut all = Translations::default();
        for round in 0..3 {
            for number in 0..u16::MAX {
                all.add(1, &entry(number));
                if round == 1 {
                    all.remove(&entry(number));
                }
            }
        }
        assert!(all.known.len() <= MOST && all.order.len() <= 2 * MOST, "{} {}", all.known.len(), all.order.len());
    }
}
