//! Distributions and rankings in constant memory, which come out alike however the input was divided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::{HashMap, HashMapExt};
use observer::record::Endpoint;
use observer::time::Nanos;

/// A distribution of times: percentiles within 3 %, and exact counts in the ranges 1, 2, 5, 10, 20, … µs.
#[derive(Clone, Debug)]
pub struct Distribution {
    fine: Vec<u64>,
    coarse: [u64; RANGES],
    count: u64,
}

/// Buckets for each doubling.
const PER_DOUBLING: u64 = 32;
const DOUBLING: u32 = PER_DOUBLING.ilog2();
/// Buckets for every number of 64 bits.
const BUCKETS: usize = ((64 - DOUBLING as usize) + 1) * PER_DOUBLING as usize;
/// Ranges from "under 1 µs" to "100 s and over".
const RANGES: usize = 26;

impl Distribution {
    /// An empty one.
    pub fn new() -> Self {
        Self { fine: vec![0; BUCKETS], coarse: [0; RANGES], count: 0 }
    }

    /// Takes in one time.
    pub fn add(&mut self, time: Nanos) {
        if let Some(count) = self.fine.get_mut(bucket(time.0)) {
            *count += 1;
        }
        if let Some(count) = self.coarse.get_mut(range(time)) {
            *count += 1;
        }
        self.count += 1;
    }

    /// Takes in all of another one.
    pub fn merge(&mut self, other: &Self) {
        self.fine.iter_mut().zip(&other.fine).for_each(|(own, other)| *own += other);
        self.coarse.iter_mut().zip(&other.coarse).for_each(|(own, other)| *own += other);
        self.count += other.count;
    }

    /// How many times there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The time that so many of 100 do not exceed; `None` where there are none.
    pub fn percentile(&self, percent: u64) -> Option<Nanos> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.fine.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Nanos(middle(bucket as u64)))
    }

    /// The ranges from the first to the last that hold any: lower bound (`None` for "under"), upper bound (`None` for
    /// "and over"), count.
    pub fn ranges(&self) -> Vec<(Option<Nanos>, Option<Nanos>, u64)> {
        let held = |count: &u64| *count > 0;
        let (Some(first), Some(last)) = (self.coarse.iter().position(held), self.coarse.iter().rposition(held)) else {
            return Vec::new();
        };
        let bound = |number: usize| number.checked_sub(1).and_then(|number| BOUNDS.get(number)).copied();
        let counts = self.coarse.iter().enumerate().take(last + 1).skip(first);
        counts.map(|(number, count)| (bound(number), bound(number + 1), *count)).collect()
    }
}

fn bucket(value: u64) -> usize {
    if value < PER_DOUBLING {
        return value as usize;
    }
    let shift = value.ilog2() - DOUBLING;
    ((u64::from(shift) + 1) * PER_DOUBLING + (value >> shift) - PER_DOUBLING) as usize
}

/// The middle of a bucket.
fn middle(bucket: u64) -> u64 {
    if bucket < PER_DOUBLING {
        return bucket;
    }
    let shift = bucket / PER_DOUBLING - 1;
    let low = (bucket % PER_DOUBLING + PER_DOUBLING) << shift;
    low + (1 << shift) / 2
}

/// The lower bounds of the ranges, but for the first, which has none.
const BOUNDS: [Nanos; RANGES - 1] = {
    let mut bounds = [Nanos::from_micros(1); RANGES - 1];
    let mut range = 0;
    while range < bounds.len() {
        let step = [1, 2, 5][range % 3];
        bounds[range] = Nanos::from_micros(10u64.pow(range as u32 / 3) * step);
        range += 1;
    }
    bounds
};

fn range(time: Nanos) -> usize {
    BOUNDS.partition_point(|bound| *bound <= time)
}

/// Who sent most: exact sums by address and port while there are not too many of them, and by ever shorter prefixes of
/// the address beyond.
///
/// Invariant: `level` is the first at which all that was seen makes at most [`MOST`] keys. That depends on what was seen
/// only, not on the order or on how it was divided.
#[derive(Clone, Debug)]
pub struct Talkers {
    level: usize,
    loads: HashMap<Talker, Load>,
    /// What came last. It is added together: the places of several come from memory at once, where each alone would be
    /// waited for.
    latest: Vec<(Talker, Load)>,
}

/// Keys that are kept apart.
const MOST: usize = 1 << 12;

/// How many are added together.
const LATEST: usize = 64;

/// How many bits of an IPv4 and of an IPv6 address are kept at each level, and whether the port is.
const LEVELS: [(u32, u32, bool); 6] =
    [(32, 128, true), (32, 128, false), (24, 48, false), (16, 32, false), (8, 16, false), (0, 0, false)];

/// An end of connections, or a network of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Talker {
    /// The address, or the first of the network.
    pub ip: IpAddr,
    /// Bits of the network's prefix; all of them for one address.
    pub prefix: u32,
    /// The port, where only one is meant.
    pub port: Option<u16>,
}

/// What talkers are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// Octets of payload, both directions.
    pub bytes: u64,
    /// How many connections.
    pub connections: u64,
    /// Segments, both directions.
    pub packets: u64,
    /// Segments sent again, both directions.
    pub retransmitted: u64,
}

impl Talkers {
    /// Keeps addresses apart, and their ports as well where `ports` is set.
    pub fn new(ports: bool) -> Self {
        Self { level: usize::from(!ports), loads: HashMap::new(), latest: Vec::with_capacity(LATEST) }
    }

    /// Takes in one connection of `end`.
    pub fn add(&mut self, end: Endpoint, load: Load) {
        self.latest.push((Talker { ip: end.ip, prefix: 0, port: Some(end.port) }, load));
        if self.latest.len() == LATEST {
            self.add_latest();
        }
    }

    fn add_latest(&mut self) {
        for (talker, load) in self.latest.drain(..) {
            self.loads.entry(talker.at(self.level)).or_default().add(load);
        }
        self.shorten();
    }

    /// Takes in all of another one.
    pub fn merge(&mut self, mut other: Self) {
        self.add_latest();
        other.add_latest();
        if other.level > self.level {
            self.level = other.level;
            self.regroup();
        }
        for (talker, load) in other.loads {
            self.loads.entry(talker.at(self.level)).or_default().add(load);
        }
        self.shorten();
    }

    /// The `count` of most octets.
    pub fn into_top(mut self, count: usize) -> Vec<(Talker, Load)> {
        self.add_latest();
        let mut all: Vec<_> = self.loads.into_iter().collect();
        all.sort_unstable_by_key(|(talker, load)| (Reverse(*load), *talker));
        all.truncate(count);
        all
    }

    fn shorten(&mut self) {
        while self.loads.len() > MOST && self.level + 1 < LEVELS.len() {
            self.level += 1;
            self.regroup();
        }
    }

    fn regroup(&mut self) {
        for (talker, load) in std::mem::take(&mut self.loads) {
            self.loads.entry(talker.at(self.level)).or_default().add(load);
        }
    }
}

/// In one step, where the derived one takes one for each field.
impl Hash for Talker {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (version, ip) = match self.ip {
            IpAddr::V4(ip) => (0, ip.to_bits().into()),
            IpAddr::V6(ip) => (1, ip.to_bits()),
        };
        let port = self.port.map_or(0, |port| u64::from(port) << 1 | 1);
        state.write_u128(ip);
        state.write_u64(u64::from(self.prefix) << 32 | port << 1 | version);
    }
}

impl Talker {
    fn at(self, level: usize) -> Self {
        let (v4, v6, port) = LEVELS.get(level).copied().unwrap_or_default();
        let (ip, prefix) = match self.ip {
            IpAddr::V4(ip) => (Ipv4Addr::from(ip.to_bits() & !u32::MAX.checked_shr(v4).unwrap_or(0)).into(), v4),
            IpAddr::V6(ip) => (Ipv6Addr::from(ip.to_bits() & !u128::MAX.checked_shr(v6).unwrap_or(0)).into(), v6),
        };
        Self { ip, prefix, port: self.port.filter(|_| port) }
    }
}

impl std::fmt::Display for Talker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.port, self.ip.is_ipv4(), self.prefix) {
            (Some(port), ..) => std::net::SocketAddr::new(self.ip, port).fmt(f),
            (None, true, 32) | (None, false, 128) => self.ip.fmt(f),
            _ => write!(f, "{}/{}", self.ip, self.prefix),
        }
    }
}

impl Load {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.connections += other.connections;
        self.packets += other.packets;
        self.retransmitted += other.retransmitted;
    }
}

/// The few largest of many, the earlier one among equals.
#[derive(Clone, Debug)]
pub struct Top<T> {
    limit: usize,
    /// The smallest of what is kept comes first.
    kept: BinaryHeap<Reverse<Ranked<T>>>,
}

#[derive(Clone, Debug)]
struct Ranked<T> {
    rank: (u64, Reverse<u64>),
    what: T,
}

impl<T> Top<T> {
    /// Keeps at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: BinaryHeap::new() }
    }

    /// Takes in what `what` makes, if its weight puts it among the largest; `id` tells equals apart.
    pub fn offer(&mut self, weight: u64, id: u64, what: impl FnOnce() -> T) {
        let rank = (weight, Reverse(id));
        if self.kept.len() >= self.limit {
            match self.kept.peek() {
                Some(Reverse(least)) if least.rank < rank => self.kept.pop(),
                _ => return,
            };
        }
        self.kept.push(Reverse(Ranked { rank, what: what() }));
    }

    /// Takes in all of another one.
    pub fn merge(&mut self, other: Self) {
        for Reverse(Ranked { rank: (weight, Reverse(id)), what }) in other.kept {
            self.offer(weight, id, || what);
        }
    }

    /// What was kept, the largest first.
    pub fn into_sorted(self) -> Vec<T> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.what).collect()
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_follow_1_2_5() {
        let mut times = Distribution::new();
        for micros in [0, 1, 2, 4, 5, 10, 150_000_000] {
            times.add(Nanos::from_micros(micros));
        }
        let ranges = times.ranges();
        assert_eq!(ranges.first(), Some(&(None, Some(Nanos(1_000)), 1)));
        assert_eq!(ranges.get(2), Some(&(Some(Nanos(2_000)), Some(Nanos(5_000)), 2)));
        assert_eq!(ranges.last(), Some(&(Some(Nanos::from_secs(100)), None, 1)));
    }

    #[test]
    fn talkers_fall_back_on_networks() {
        let mut talkers = Talkers::new(true);
        for number in 0..200_000u32 {
            let end = Endpoint { ip: Ipv4Addr::from(0x0a00_0000 + number).into(), port: 80 };
            talkers.add(end, Load { bytes: 1, connections: 1, packets: 1, retransmitted: 0 });
        }
        let top = talkers.into_top(1);
        let (talker, load) = top.first().expect("a talker");
        assert_eq!((talker.to_string().as_str(), load.bytes), ("10.0.0.0/24", 256));
    }

    proptest! {
        #[test]
        fn percentiles_are_within_three_percent(mut times in prop::collection::vec(0u64..u64::MAX / 2, 1..200)) {
            let mut distribution = Distribution::new();
            times.iter().for_each(|time| distribution.add(Nanos(*time)));
            times.sort_unstable();
            for percent in [50, 90, 99] {
                let exact = times[(times.len() * percent as usize).div_ceil(100).max(1) - 1];
                let close = distribution.percentile(percent).expect("times").0;
                prop_assert!(exact.abs_diff(close) <= exact / 32, "{exact} {close}");
            }
        }

        #[test]
        fn the_largest_are_kept_however_divided(weights in prop::collection::vec(0u64..9, 0..60), limit in 0usize..9, shards in 1usize..4) {
            let mut tops = vec![Top::new(limit); shards];
            for (id, weight) in weights.iter().enumerate() {
                tops[id * 7 % shards].offer(*weight, id as u64, || id);
            }
            let merged = tops.into_iter().reduce(|mut one, other| { one.merge(other); one }).expect("a shard");
            let mut expected: Vec<_> = (0..weights.len()).collect();
            expected.sort_by_key(|id| Reverse(weights[*id]));
            expected.truncate(limit);
            prop_assert_eq!(merged.into_sorted(), expected);
        }
    }
}
