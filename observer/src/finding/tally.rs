//! What looks at many connections: in bounded memory, and with the same result however often the input is read.

use std::any::Any;
use std::cmp::Reverse;
use std::hash::Hash;

use foldhash::HashMap;

use super::{Context, Readings, Verdict};
use crate::record::{About, ConnectionRecord, LookupRecord};

/// Sees connections and lookups go by. Each shard has one, which are merged in the order of the shards.
pub trait Tally: Any + Send {
    /// Takes in a connection.
    fn connection(&mut self, _: &ConnectionRecord) {}

    /// Whether it takes in what another network namespace of this host saw of the same connection, too.
    fn compares_namespaces(&self) -> bool {
        false
    }

    /// Takes in a lookup.
    fn lookup(&mut self, _: &LookupRecord) {}

    /// Takes in what gauges show in the end.
    fn gauges(&mut self, _: Readings<'_>) {}

    /// Takes in all that another one of its kind has seen.
    fn merge(&mut self, other: Box<dyn Any>);

    /// What was found.
    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)>;
}

/// Values by key, of which those of least weight make room where there are too many. What it holds does not depend on the
/// order in which a hash table has it.
#[derive(Clone, Debug)]
pub struct Bounded<K, V> {
    values: HashMap<K, V>,
    /// Some have made room.
    has_forgotten: bool,
}

/// Different values in their order, up to `MOST`: mostly there are one or two.
#[derive(Clone, Debug)]
pub struct Few<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Default for Few<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord, const MOST: usize> Few<T, MOST> {
    /// Takes in one, where it is new and there is room.
    pub fn add(&mut self, one: T) {
        if let Err(place) = self.0.binary_search(&one)
            && !self.is_full()
        {
            self.0.insert(place, one);
        }
    }

    /// Takes in another one's.
    pub fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|one| self.add(one));
    }

    /// Those from `from` to `until`, which count.
    pub fn between(&self, from: &T, until: &T) -> &[T] {
        let (start, end) = (self.0.partition_point(|one| one < from), self.0.partition_point(|one| one <= until));
        self.0.get(start..end).unwrap_or_default()
    }

    /// All of them.
    pub fn all(&self) -> &[T] {
        &self.0
    }

    /// Whether there may be more.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }
}

/// How many keys are kept at least.
const MOST: usize = 2048;

/// What can be told to be worth more or less, and be put together.
pub trait Weigh: Default {
    /// How much it would be missed.
    fn weight(&self) -> u64;

    /// Takes in another one's facts.
    fn merge(&mut self, other: Self);
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { values: HashMap::default(), has_forgotten: false }
    }
}

impl<K: Ord + Hash + Clone, V: Weigh> Bounded<K, V> {
    /// The value of a key, to change it.
    pub fn of(&mut self, key: &K) -> &mut V {
        if self.values.len() >= 2 * MOST && !self.values.contains_key(key) {
            self.make_room();
        }
        self.values.entry(key.clone()).or_default()
    }

    /// Whether there may have been values that are there no more: what is not known may have been.
    pub fn has_forgotten(&self) -> bool {
        self.has_forgotten
    }

    /// The value of a key, where there is one.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// Takes in another one's values.
    pub fn merge(&mut self, other: Self) {
        self.has_forgotten |= other.has_forgotten;
        let mut others: Vec<_> = other.values.into_iter().collect();
        others.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (key, value) in others {
            self.of(&key).merge(value);
        }
    }

    /// All that is kept, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut all: Vec<_> = self.values.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    /// Leaves those of the highest weight, of equals the lowest keys.
    fn make_room(&mut self) {
        self.has_forgotten = true;
        let mut all: Vec<_> = self.values.drain().collect();
        let rank = |(key, value): &(K, V), (other_key, other): &(K, V)| {
            Reverse(value.weight()).cmp(&Reverse(other.weight())).then_with(|| key.cmp(other_key))
        };
        if all.len() > MOST {
            all.select_nth_unstable_by(MOST, rank);
            all.truncate(MOST);
        }
        self.values.extend(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for u64 {
        fn weight(&self) -> u64 {
            *self
        }

        fn merge(&mut self, other: Self) {
            *self += other;
        }
    }

    #[test]
    fn what_weighs_most_stays_and_the_rest_is_bounded() {
        let mut counts = Bounded::<u64, u64>::default();
        (0..MOST as u64).for_each(|key| *counts.of(&key) += 1);
        assert!(!counts.has_forgotten(), "there is room for all");
        for round in 0..100_000_u64 {
            *counts.of(&(1_000_000 + round % 10)) += 1;
            *counts.of(&round) += 1;
        }
        assert!(counts.values.len() <= 2 * MOST, "{}", counts.values.len());
        for heavy in 1_000_000..1_000_010 {
            assert_eq!(counts.values.get(&heavy), Some(&10_000), "{heavy}");
        }
        assert!(counts.has_forgotten() && counts.get(&50_000).is_none());
    }

    #[test]
    fn few_are_kept_in_their_order() {
        let mut few = Few::<u64, 4>::default();
        [5, 1, 5, 3].into_iter().for_each(|one| few.add(one));
        assert_eq!((few.all(), few.is_full()), (&[1, 3, 5][..], false));
        assert_eq!(few.between(&2, &5), [3, 5]);
        assert_eq!(few.between(&6, &2), [0; 0]);
        few.merge(few.clone());
        (7..9).for_each(|one| few.add(one));
        assert_eq!((few.all(), few.is_full()), (&[1, 3, 5, 7][..], true));
    }
}
