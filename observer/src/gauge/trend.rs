//! How fast something grows, from readings one after the other.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

use crate::time::{Nanos, Timestamp};

/// Growth is taken over this time, or up to twice of it.
const WINDOW: Nanos = Nanos::from_secs(30);

/// Readings of many values.
#[derive(Clone, Debug)]
pub struct Trends<K> {
    all: HashMap<K, Trend>,
}

#[derive(Clone, Copy, Debug)]
struct Trend {
    /// What growth is measured from.
    from: (Timestamp, f64),
    /// What it will be measured from next.
    next: (Timestamp, f64),
    last: Timestamp,
}

impl<K> Default for Trends<K> {
    fn default() -> Self {
        Self { all: HashMap::new() }
    }
}

impl<K: Eq + Hash> Trends<K> {
    /// Takes a reading; gives how much the value grows by in a second, below zero where it shrinks. `None` at the first
    /// reading.
    pub fn rate(&mut self, key: K, at: Timestamp, value: f64) -> Option<f64> {
        let trend = self.all.entry(key).or_insert(Trend { from: (at, value), next: (at, value), last: at });
        trend.last = at;
        if at.since(trend.next.0) >= WINDOW {
            (trend.from, trend.next) = (trend.next, (at, value));
        }
        let (since, before) = trend.from;
        let passed = at.since(since).as_secs_f64();
        (passed > 0.0).then(|| (value - before) / passed)
    }

    /// The same for what only counts up: `None` too where it was counted anew.
    pub fn rate_of_counter(&mut self, key: K, at: Timestamp, value: u64) -> Option<f64> {
        self.rate(key, at, value as f64).filter(|rate| *rate >= 0.0)
    }

    /// Forgets what had no reading at `at`.
    pub fn forget(&mut self, at: Timestamp) {
        self.all.retain(|_, trend| trend.last == at);
    }
}

/// How long until a value that grows so fast reaches the limit; `None` where it does not.
pub fn time_left(value: f64, limit: u64, rate: Option<f64>) -> Option<Nanos> {
    let rate = rate.filter(|rate| *rate > 0.0)?;
    let seconds = (limit as f64 - value).max(0.0) / rate;
    // As a float, a length of time can be longer than all others; then it is no answer.
    (seconds < 1e9).then_some(Nanos((seconds * 1e9) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_by_the_second_and_forgets_what_was_long_ago() {
        let at = |secs: u64| Timestamp::from_nanos(secs * 1_000_000_000);
        let mut trends = Trends::default();
        assert_eq!(trends.rate("a", at(100), 10.0), None);
        assert_eq!(trends.rate("a", at(110), 30.0), Some(2.0));
        assert_eq!(trends.rate("a", at(110), 30.0), Some(2.0));
        // From here on it stands still; a minute and a half later that is all there is to say.
        let rates: Vec<_> = (0..10).filter_map(|step| trends.rate("a", at(120 + 10 * step), 30.0)).collect();
        assert!(rates.windows(2).all(|two| two[1] <= two[0]) && rates.last() == Some(&0.0), "{rates:?}");
        trends.forget(at(210));
        assert_eq!(trends.rate("a", at(211), 30.0), Some(0.0));
        trends.forget(at(999));
        assert_eq!(trends.rate("a", at(1000), 30.0), None);
        assert_eq!(trends.rate_of_counter("a", at(1001), 3), None);
    }

    #[test]
    fn time_left_is_told_of_what_grows() {
        assert_eq!(time_left(80.0, 100, Some(2.0)), Some(Nanos::from_secs(10)));
        assert_eq!(time_left(120.0, 100, Some(2.0)), Some(Nanos(0)));
        assert_eq!((time_left(80.0, 100, Some(0.0)), time_left(80.0, 100, None)), (None, None));
        assert_eq!(time_left(0.0, u64::MAX, Some(1e-300)), None);
    }
}
