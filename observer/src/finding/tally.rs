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
}

/// How many keys are kept at least.
const MOST: usize = 512;

/// What can be told to be worth more or less, and be put together.
pub trait Weigh: Default {
    /// How much it would be missed.
    fn weight(&self) -> u64;

    /// Takes in another one's facts.
    fn merge(&mut self, other: Self);
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { values: HashMap::default() }
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

    /// The value of a key, where there is one.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// Takes in another one's values.
    pub fn merge(&mut self, other: Self) {
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
        for round in 0..100_000_u64 {
            *counts.of(&(1_000_000 + round % 10)) += 1;
            *counts.of(&round) += 1;
        }
        assert!(counts.values.len() <= 2 * MOST, "{}", counts.values.len());
        for heavy in 1_000_000..1_000_010 {
            assert_eq!(counts.values.get(&heavy), Some(&10_000), "{heavy}");
        }
    }
}
