//! The connections that are being followed, found by their key; and which of them has been quiet the longest.
//!
//! A connection that has been quiet while many packets of others came by is put to rest: it is kept in short form until its
//! next packet, or until its record is made. Nothing else tells the difference.

use hashbrown::HashTable;

use super::connection::Connection;
use super::opened::Opened;
use super::pack::Packer;
use super::rest::Resting;
use super::usage::{Place, Usage};
use crate::nearby::fetch;
use crate::packet::{Layer, Tuple};

/// Connections by flow hash and key.
///
/// The order of use is kept only once it is asked for: until the bound is reached it costs nothing.
#[derive(Debug)]
pub(super) struct Table {
    awake: HashTable<Entry<Box<Connection>>>,
    resting: HashTable<Entry<Resting>>,
    /// How many connections may be awake without regard to how quiet they are.
    least_awake: usize,
    /// How many connections are awake when the quiet ones are looked for. That takes a look at each, and so is not done
    /// before many have been added.
    most_awake: usize,
    /// When each connection was used, as of some time ago: a connection's own stamp is the same or later. Entries of
    /// connections that are gone are skipped when they come up.
    order: Option<Usage>,
    /// Their hashes in the order in which they were opened.
    opened: Opened<u64>,
    packer: Packer,
    /// In which buckets of `awake` connections were found lately, by the last bits of their hashes. What is there now may
    /// be another.
    lately: [usize; LATELY],
}

/// How many places are remembered: more than there are packets that are foreseen together.
const LATELY: usize = 256;

#[derive(Debug)]
struct Entry<T> {
    hash: u64,
    connection: T,
}

impl Entry<Box<Connection>> {
    #[inline]
    fn is_of(&self, key: &Key<'_>) -> bool {
        self.hash == key.hash && self.connection.has_key(key)
    }
}

/// What makes a packet one of a connection. It is looked at where it stands: a copy for each packet would cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) hash: u64,
    tuple: &'a Tuple,
    /// The direction of the tuple.
    pub(super) from: u8,
    /// Its tunnels have to be the same.
    pub(super) layers: &'a [Layer],
}

impl<'a> Key<'a> {
    pub(super) fn new(hash: u64, tuple: &'a Tuple, layers: &'a [Layer]) -> Self {
        Self { hash, tuple, from: u8::from(!tuple.is_canonical()), layers }
    }

    /// Lower end first.
    pub(super) fn ends(&self) -> Tuple {
        if self.from == 0 { *self.tuple } else { self.tuple.reversed() }
    }

    /// Whether these ends, lower one first, are the same.
    #[inline]
    pub(super) fn is_of(&self, ends: &Tuple) -> bool {
        let tuple = self.tuple;
        let [low, high] = [(&tuple.src, tuple.sport), (&tuple.dst, tuple.dport)];
        let [low, high] = if self.from == 0 { [low, high] } else { [high, low] };
        (&ends.src, ends.sport) == low && (&ends.dst, ends.dport) == high && ends.version == tuple.version
    }
}

/// A connection that was taken out of the table, in the form it had there.
#[derive(Debug)]
pub(super) enum Taken {
    Awake(Box<Connection>),
    Resting(Resting),
}

impl Taken {
    pub(super) fn wake(self) -> Box<Connection> {
        match self {
            Self::Awake(connection) => connection,
            Self::Resting(resting) => resting.wake(),
        }
    }
}

impl Table {
    /// An empty table. Beyond `least_awake` connections, it puts to rest those that were quiet for twice as many packets.
    pub(super) fn new(least_awake: usize) -> Self {
        Self {
            awake: HashTable::new(),
            resting: HashTable::new(),
            least_awake,
            most_awake: least_awake,
            order: None,
            opened: Opened::default(),
            packer: Packer::default(),
            lately: [0; LATELY],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.awake.len() + self.resting.len()
    }

    /// Shows every connection, in no order.
    pub(super) fn each(&mut self, mut see: impl FnMut(&Connection)) {
        self.awake.iter().for_each(|entry| see(&entry.connection));
        self.resting.iter_mut().for_each(|entry| entry.connection.show(&mut see));
    }

    /// Has the connection with the given hash fetched, if there is one.
    pub(super) fn foresee(&mut self, hash: u64) {
        if let Some(bucket) = self.awake.find_bucket_index(hash, |entry| entry.hash == hash) {
            self.awake.get_bucket(bucket).into_iter().for_each(|entry| fetch(&*entry.connection));
            if let Some(place) = self.lately.get_mut(hash as usize % LATELY) {
                *place = bucket;
            }
        } else if let Some(entry) = self.resting.find(hash, |entry| entry.hash == hash) {
            entry.connection.foresee();
        }
    }

    /// The same for what the connection leads to, its payload only where some `is_brought`: once it has been foreseen
    /// itself, for a while.
    pub(super) fn foresee_more(&self, hash: u64, is_brought: bool) {
        let bucket = self.lately.get(hash as usize % LATELY).copied().unwrap_or_default();
        if let Some(entry) = self.awake.get_bucket(bucket).filter(|entry| entry.hash == hash) {
            let Connection { sent, conversation, .. } = &*entry.connection;
            sent.iter().filter_map(|end| end.data.as_deref()).for_each(fetch);
            conversation.as_deref().into_iter().filter(|_| is_brought).for_each(fetch);
        }
    }

    /// The same for what only the connection's record needs: once it has been foreseen with what it leads to.
    pub(super) fn foresee_end(&self, hash: u64) {
        let bucket = self.lately.get(hash as usize % LATELY).copied().unwrap_or_default();
        if let Some(entry) = self.awake.get_bucket(bucket).filter(|entry| entry.hash == hash) {
            let data = entry.connection.sent.iter().filter_map(|end| end.data.as_deref());
            data.for_each(|data| data.round_trips.foresee());
        }
    }

    /// Puts to rest what is quiet, where much is awake, before the packet with the given number is taken in.
    pub(super) fn pass(&mut self, number: u64) {
        if self.awake.len() >= self.most_awake {
            self.rest_the_quiet(number);
        }
    }

    #[cold]
    fn rest_the_quiet(&mut self, now: u64) {
        let quiet = self.least_awake as u64 * 2;
        let is_quiet =
            |connection: &Connection| connection.last_number.saturating_add(quiet) <= now && connection.may_rest();
        let mut quiet: Vec<_> = self.awake.extract_if(|entry| is_quiet(&entry.connection)).collect();
        // What was opened together often wakes together, and then leaves memory that fits together again.
        quiet.sort_unstable_by_key(|entry| entry.connection.id);
        for Entry { hash, connection } in quiet {
            let connection = Resting::new(connection, &mut self.packer);
            self.resting.insert_unique(hash, Entry { hash, connection }, |entry| entry.hash);
        }
        self.most_awake = self.least_awake.max(self.awake.len() + self.awake.len() / 2);
    }

    #[inline]
    pub(super) fn get(&mut self, key: &Key<'_>) -> Option<&mut Connection> {
        let bucket = self.lately.get(key.hash as usize % LATELY).copied().unwrap_or_default();
        if self.awake.get_bucket(bucket).is_some_and(|entry| entry.is_of(key)) {
            return self.awake.get_bucket_mut(bucket).map(|entry| &mut *entry.connection);
        }
        self.look_for(key)
    }

    /// The long way of [`get`](Self::get), which finds what was not foreseen.
    #[inline(never)]
    fn look_for(&mut self, key: &Key<'_>) -> Option<&mut Connection> {
        let is_same = |entry: &Entry<Box<Connection>>| entry.is_of(key);
        match self.awake.find_entry(key.hash, is_same) {
            Ok(entry) => Some(&mut *entry.into_mut().connection),
            Err(absent) => {
                let (awake, hash) = (absent.into_table(), key.hash);
                // Hardly ever do two connections have the same hash; if so, the other one wakes for nothing.
                while let Ok(entry) = self.resting.find_entry(hash, |entry| entry.hash == hash) {
                    let connection = entry.remove().0.connection.wake();
                    awake.insert_unique(hash, Entry { hash, connection }, |entry| entry.hash);
                }
                awake.find_mut(hash, is_same).map(|entry| &mut *entry.connection)
            }
        }
    }

    /// Adds a connection whose key is not in the table.
    pub(super) fn insert(&mut self, hash: u64, connection: Box<Connection>) {
        if let Some(order) = &mut self.order {
            order.push(Place { used: connection.last_number, hash, id: connection.id });
        }
        let Self { awake, resting, opened, .. } = self;
        opened.push(connection.id, hash, awake.len() + resting.len(), |id, hash| {
            last_number((awake, resting), *hash, id).is_some()
        });
        let entry = awake.insert_unique(hash, Entry { hash, connection }, |entry| entry.hash);
        if let Some(place) = self.lately.get_mut(hash as usize % LATELY) {
            *place = entry.bucket_index();
        }
    }

    /// The identifier of the connection that was opened first.
    pub(super) fn first_open(&mut self) -> Option<u64> {
        let Self { awake, resting, opened, .. } = self;
        let all = awake.iter().map(|entry| (entry.connection.id, entry.hash));
        let all = all.chain(resting.iter().map(|entry| (entry.connection.id_and_last_number().0, entry.hash)));
        opened.first(all, |id, hash| last_number((awake, resting), *hash, id).is_some())
    }

    /// Takes out the connection with the given hash and identifier.
    pub(super) fn remove(&mut self, hash: u64, id: u64) -> Option<Box<Connection>> {
        if let Ok(entry) = self.awake.find_entry(hash, |entry| entry.connection.id == id) {
            return Some(entry.remove().0.connection);
        }
        let is_same = |entry: &Entry<Resting>| entry.hash == hash && entry.connection.id_and_last_number().0 == id;
        let entry = self.resting.find_entry(hash, is_same).ok()?;
        Some(entry.remove().0.connection.wake())
    }

    /// The connection with the given hash and identifier, if it is not at rest.
    pub(super) fn by_id(&mut self, hash: u64, id: u64) -> Option<&mut Connection> {
        self.awake.find_mut(hash, |entry| entry.connection.id == id).map(|entry| &mut *entry.connection)
    }

    /// Takes out the connection whose last packet is the longest ago.
    pub(super) fn remove_least_recent(&mut self) -> Option<Box<Connection>> {
        loop {
            let place = self.order_of_use().pop()?;
            let known = last_number((&self.awake, &self.resting), place.hash, place.id);
            let Some(used) = known else { continue };
            if used == place.used {
                return self.remove(place.hash, place.id);
            }
            self.order_of_use().push(Place { used, ..place });
        }
    }

    /// How many octets the connections at rest take.
    #[cfg(test)]
    pub(super) fn resting_octets(&self) -> usize {
        self.resting.iter().map(|entry| entry.connection.len()).sum()
    }

    /// Takes out every connection, in the order of their first packets.
    pub(super) fn drain(&mut self) -> std::vec::IntoIter<(u64, Taken)> {
        let (awake, resting) = (std::mem::take(&mut self.awake), std::mem::take(&mut self.resting));
        *self = Self::new(self.least_awake);
        let mut all = Vec::with_capacity(awake.len() + resting.len());
        all.extend(awake.into_iter().map(|entry| (entry.connection.id, Taken::Awake(entry.connection))));
        let resting = resting.into_iter().map(|entry| (entry.connection.id_and_last_number().0, entry.connection));
        all.extend(resting.map(|(id, resting)| (id, Taken::Resting(resting))));
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter()
    }

    /// The order of use, made when first asked for, and anew where most of it is of connections that are gone.
    fn order_of_use(&mut self) -> &mut Usage {
        let most = 2 * self.len() + 1024;
        let is_stale = |order: &Usage| order.len() > most;
        if self.order.as_ref().is_none_or(is_stale) {
            let place = |hash, (id, used)| Place { used, hash, id };
            let awake =
                self.awake.iter().map(|entry| (entry.hash, (entry.connection.id, entry.connection.last_number)));
            let resting = self.resting.iter().map(|entry| (entry.hash, entry.connection.id_and_last_number()));
            self.order = Some(awake.chain(resting).map(|(hash, known)| place(hash, known)).collect());
        }
        self.order.get_or_insert_default()
    }
}

/// The number of the last packet of the connection with the given hash and identifier, if there is one.
fn last_number(
    (awake, resting): (&HashTable<Entry<Box<Connection>>>, &HashTable<Entry<Resting>>),
    hash: u64,
    id: u64,
) -> Option<u64> {
    let awake = awake.find(hash, |entry| entry.connection.id == id);
    awake.map(|entry| entry.connection.last_number).or_else(|| {
        let same_hash = resting.iter_hash(hash).filter(|entry| entry.hash == hash);
        let mut known = same_hash.map(|entry| entry.connection.id_and_last_number());
        known.find(|known| known.0 == id).map(|(_, last_number)| last_number)
    })
}
