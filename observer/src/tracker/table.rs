//! The connections that are being followed, found by their key; and which of them has been quiet the longest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashTable;

use super::connection::Connection;
use crate::packet::{Layer, Tuple};

/// Connections by flow hash and key.
///
/// The order of use is kept only once it is asked for: until the bound is reached it costs nothing.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashTable<Entry>,
    /// When each connection was used, as of some time ago: a connection's own stamp is the same or later. Entries of
    /// connections that are gone are skipped when they come up.
    order: Option<BinaryHeap<Reverse<Place>>>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    connection: Box<Connection>,
}

/// What finds a connection again: its last packet's number, its hash, its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    used: u64,
    hash: u64,
    id: u64,
}

/// Which tunnels have to be the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) hash: u64,
    /// Lower end first.
    pub(super) ends: Tuple,
    pub(super) layers: &'a [Layer],
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every connection, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.entries.iter().map(|entry| &*entry.connection)
    }

    /// Touches the connection with the given hash, if there is one.
    pub(super) fn foresee(&self, hash: u64) {
        if let Some(entry) = self.entries.find(hash, |entry| entry.hash == hash) {
            std::hint::black_box(entry.connection.glance());
        }
    }

    pub(super) fn get(&mut self, key: &Key<'_>) -> Option<&mut Connection> {
        let entry = self.entries.find_mut(key.hash, |entry| entry.hash == key.hash && entry.connection.has_key(key))?;
        Some(&mut entry.connection)
    }

    /// Adds a connection whose key is not in the table.
    pub(super) fn insert(&mut self, hash: u64, connection: Box<Connection>) {
        if let Some(order) = &mut self.order {
            order.push(Reverse(Place { used: connection.last_number, hash, id: connection.id }));
        }
        self.entries.insert_unique(hash, Entry { hash, connection }, |entry| entry.hash);
    }

    /// Takes out the connection with the given hash and identifier.
    pub(super) fn remove(&mut self, hash: u64, id: u64) -> Option<Box<Connection>> {
        let entry = self.entries.find_entry(hash, |entry| entry.connection.id == id).ok()?;
        Some(entry.remove().0.connection)
    }

    pub(super) fn by_id(&mut self, hash: u64, id: u64) -> Option<&mut Connection> {
        self.entries.find_mut(hash, |entry| entry.connection.id == id).map(|entry| &mut *entry.connection)
    }

    /// Takes out the connection whose last packet is the longest ago.
    pub(super) fn remove_least_recent(&mut self) -> Option<Box<Connection>> {
        loop {
            let Reverse(place) = self.order_of_use().pop()?;
            let Some(connection) = self.by_id(place.hash, place.id) else { continue };
            let used = connection.last_number;
            if used == place.used {
                return self.remove(place.hash, place.id);
            }
            self.order_of_use().push(Reverse(Place { used, ..place }));
        }
    }

    /// Takes out every connection, in the order of their first packets.
    pub(super) fn drain(&mut self) -> std::vec::IntoIter<Box<Connection>> {
        self.order = None;
        let mut all: Vec<_> = self.entries.drain().map(|entry| entry.connection).collect();
        all.sort_unstable_by_key(|connection| connection.id);
        all.into_iter()
    }

    /// The order of use, made when first asked for, and anew where most of it is of connections that are gone.
    fn order_of_use(&mut self) -> &mut BinaryHeap<Reverse<Place>> {
        let entries = &self.entries;
        let stale = |order: &BinaryHeap<_>| order.len() > 2 * entries.len() + 1024;
        if self.order.as_ref().is_none_or(stale) {
            let place = |entry: &Entry| {
                Reverse(Place { used: entry.connection.last_number, hash: entry.hash, id: entry.connection.id })
            };
            self.order = Some(entries.iter().map(place).collect());
        }
        self.order.get_or_insert_default()
    }
}
