//! Round-trip times between the capture point and one end, measured on what the other end sends.
//!
//! Two clocks run in each direction, one sample at a time each:
//!
//! By acknowledgment:
//! 1. A segment with payload that was not sent before and is no probe starts the clock, unless it runs.
//! 2. An ACK at or after the segment's end stops it: a sample.
//! 3. A segment that starts before that end cancels it: what the ACK covers would be ambiguous (Karn's algorithm, RFC 6298,
//!    section 3), or waits for a hole to be filled.
//!
//! By timestamps (RFC 7323, section 4.1):
//! 1. Payload or SYN with a TSval later than any before it starts the clock, unless it runs: such segments are answered
//!    soon (a FIN may wait for the application to close), and the first with its TSval is the one that is echoed.
//! 2. A segment of the other end whose TSecr is that TSval stops it: a sample.
//! 3. A later TSecr cancels it: the echo was not captured.

use smallvec::SmallVec;

use super::analysis::AnalysisSet;
use super::pack::{Pack, Packer, Unpacker, pack_fields, pack_flags};
use crate::nearby::fetch;
use crate::packet::{Flags, Segment};
use crate::record::RttStats;
use crate::sequence::Seq;
use crate::tcp_options::TcpOptions;
use crate::time::{Nanos, Timestamp};

/// What is said of segments that hold nothing new, or that may be left unanswered.
const NOT_NEW: AnalysisSet = AnalysisSet::RETRANSMISSION
    .union(AnalysisSet::OUT_OF_ORDER)
    .union(AnalysisSet::KEEP_ALIVE)
    .union(AnalysisSet::ZERO_WINDOW_PROBE);

/// The round-trip times of what one end sends.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips {
    running: Running,
    /// The end of the segment that is timed.
    end: Seq,
    /// The TSval that is timed.
    value: Seq,
    /// The latest TSval seen.
    latest: Seq,
    end_sent_at: Timestamp,
    value_sent_at: Timestamp,
    by_ack: Distribution,
    by_timestamps: Distribution,
}

bitflags::bitflags! {
    /// Which clocks run, and what is known.
    #[derive(Clone, Copy, Debug, Default)]
    struct Running: u8 {
        const ACK = 1;
        const TIMESTAMP = 1 << 1;
        /// A TSval was seen.
        const LATEST = 1 << 2;
    }
}

impl RoundTrips {
    /// Takes in a segment of this end; `set` is what the analysis says of it.
    pub fn sent(&mut self, segment: &Segment, set: AnalysisSet, options: &TcpOptions, at: Timestamp) {
        if segment.len > 0 {
            if !set.intersects(NOT_NEW) && !self.running.contains(Running::ACK) {
                self.running.insert(Running::ACK);
                (self.end, self.end_sent_at) = (segment.end(), at);
            } else if segment.seq.before(self.end) {
                self.running.remove(Running::ACK);
            }
        }
        let Some((value, _)) = options.timestamps else { return };
        let value = Seq(value);
        if self.running.contains(Running::LATEST) && !value.after(self.latest) {
            return;
        }
        self.latest = value;
        self.running.insert(Running::LATEST);
        let answered = segment.len > 0 || segment.flags.contains(Flags::SYN);
        if answered && !self.running.contains(Running::TIMESTAMP) {
            self.running.insert(Running::TIMESTAMP);
            (self.value, self.value_sent_at) = (value, at);
        }
    }

    /// Takes in a segment of the other end. Gives the round trip by acknowledgment that it completes.
    pub fn answered(&mut self, segment: &Segment, options: &TcpOptions, at: Timestamp) -> Option<Nanos> {
        if !segment.flags.contains(Flags::ACK) {
            return None;
        }
        let mut sample = None;
        if self.running.contains(Running::ACK) && segment.ack.at_or_after(self.end) {
            self.running.remove(Running::ACK);
            sample = at.checked_since(self.end_sent_at);
            self.by_ack.add(sample);
        }
        if self.running.contains(Running::TIMESTAMP)
            && let Some((_, echo)) = options.timestamps
            && Seq(echo).at_or_after(self.value)
        {
            self.running.remove(Running::TIMESTAMP);
            if Seq(echo) == self.value {
                self.by_timestamps.add(at.checked_since(self.value_sent_at));
            }
        }
        sample
    }

    /// Has what was measured fetched.
    pub fn foresee(&self) {
        for distribution in [&self.by_ack, &self.by_timestamps] {
            if let Distribution::Many(histogram) = distribution {
                fetch(&**histogram);
            }
        }
    }

    /// What a round trip usually takes; `None` where none was measured.
    pub fn typical(&self) -> Option<Nanos> {
        self.by_ack().or_else(|| self.by_timestamps()).map(|stats| stats.median_ns)
    }

    /// Of the samples by acknowledgment.
    pub fn by_ack(&self) -> Option<RttStats> {
        self.by_ack.stats()
    }

    /// Of the samples by timestamps.
    pub fn by_timestamps(&self) -> Option<RttStats> {
        self.by_timestamps.stats()
    }
}

/// Lengths of time, counted so that quantiles can be told within 6 %.
///
/// The first few stand for themselves, without heap; more are sorted into [`Bucket`]s.
#[derive(Clone, Debug)]
pub(super) enum Distribution {
    /// `count` of the lengths are used, in nanoseconds.
    Few {
        count: u8,
        nanos: [u32; 3],
    },
    Many(Box<Histogram>),
}

#[derive(Clone, Debug)]
pub(super) struct Histogram {
    count: u64,
    min: Nanos,
    max: Nanos,
    /// Those that hold something, in order. The first few are in the same piece of memory: what is far away is waited for
    /// once.
    buckets: SmallVec<[Bucket; 6]>,
}

/// How many lengths fell into one eighth of an octave.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Its number, see [`bucket_of`].
    index: u8,
    count: u32,
}

impl Default for Distribution {
    fn default() -> Self {
        Self::Few { count: 0, nanos: [0; 3] }
    }
}

impl Distribution {
    /// Counts a length; none where the clock ran backwards.
    pub(super) fn add(&mut self, length: Option<Nanos>) {
        let Some(length) = length else { return };
        match self {
            Self::Few { count, nanos } => {
                if let (Some(slot), Ok(short)) = (nanos.get_mut(usize::from(*count)), u32::try_from(length.0)) {
                    *slot = short;
                    *count += 1;
                    return;
                }
                let mut many = Histogram { count: 0, min: length, max: length, buckets: SmallVec::new() };
                nanos.iter().take(usize::from(*count)).for_each(|&nanos| many.add(Nanos(nanos.into())));
                many.add(length);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(histogram) => histogram.add(length),
        }
    }

    pub(super) fn stats(&self) -> Option<RttStats> {
        match self {
            Self::Few { count: 0, .. } => None,
            Self::Few { count, nanos } => {
                let mut nanos = *nanos;
                let used = nanos.get_mut(..usize::from(*count))?;
                used.sort_unstable();
                let at = |quantile: u64| {
                    let rank = rank(quantile, u64::from(*count)) as usize - 1;
                    used.get(rank).map(|&nanos| Nanos(nanos.into()))
                };
                Some(RttStats {
                    samples: u64::from(*count),
                    min_ns: at(0)?,
                    median_ns: at(50)?,
                    p99_ns: at(99)?,
                    max_ns: at(100)?,
                })
            }
            Self::Many(histogram) => Some(RttStats {
                samples: histogram.count,
                min_ns: histogram.min,
                median_ns: histogram.quantile(50),
                p99_ns: histogram.quantile(99),
                max_ns: histogram.max,
            }),
        }
    }
}

impl Histogram {
    fn add(&mut self, length: Nanos) {
        self.count += 1;
        self.min = self.min.min(length);
        self.max = self.max.max(length);
        let index = bucket_of(length);
        match self.buckets.binary_search_by_key(&index, |bucket| bucket.index) {
            Ok(place) => {
                if let Some(bucket) = self.buckets.get_mut(place) {
                    bucket.count = bucket.count.saturating_add(1);
                }
            }
            Err(place) => self.buckets.insert(place, Bucket { index, count: 1 }),
        }
    }

    /// The length that `percent` of a hundred are at or below.
    fn quantile(&self, percent: u64) -> Nanos {
        let rank = rank(percent, self.count);
        let mut below = 0;
        for bucket in &self.buckets {
            below += u64::from(bucket.count);
            if below >= rank {
                return middle_of(bucket.index).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

/// The place, from 1, of the value that `percent` of `count` values are at or below.
const fn rank(percent: u64, count: u64) -> u64 {
    let rank = (count * percent).div_ceil(100);
    if rank == 0 { 1 } else { rank }
}

/// Buckets of an octave.
const PER_OCTAVE: u64 = 8;

/// The first octave that is divided starts at 2¹⁰ ns; what is shorter falls into the first bucket.
const FIRST_OCTAVE: u32 = 10;

/// The last octave ends at 2⁴¹ ns, 37 minutes; what is longer falls into the last bucket.
const OCTAVES: u64 = 31;

/// The bucket of a length: eight to an octave, all of an octave's equally wide.
const fn bucket_of(length: Nanos) -> u8 {
    let nanos = if length.0 >> FIRST_OCTAVE == 0 { 1 << FIRST_OCTAVE } else { length.0 };
    let exponent = nanos.ilog2();
    let eighth = (nanos >> (exponent - PER_OCTAVE.ilog2())) % PER_OCTAVE;
    let index = (exponent - FIRST_OCTAVE) as u64 * PER_OCTAVE + eighth;
    if index < OCTAVES * PER_OCTAVE { index as u8 } else { (OCTAVES * PER_OCTAVE - 1) as u8 }
}

/// The harmonic mean of a bucket's two edges: of all single values the one nearest, in proportion, to both.
const fn middle_of(index: u8) -> Nanos {
    let (octave, eighth) = (index as u64 / PER_OCTAVE, index as u64 % PER_OCTAVE);
    let step = 1 << (FIRST_OCTAVE as u64 + octave - PER_OCTAVE.ilog2() as u64);
    let (low, high) = (PER_OCTAVE + eighth, PER_OCTAVE + eighth + 1);
    Nanos(2 * low * high * step / (low + high))
}

impl Pack for Distribution {
    fn pack(&self, to: &mut Packer) {
        match self {
            Self::Few { count, nanos } => {
                (true, *count).pack(to);
                nanos.pack(to);
            }
            Self::Many(histogram) => {
                false.pack(to);
                histogram.pack(to);
            }
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        if bool::unpack(from) {
            Self::Few { count: Pack::unpack(from), nanos: Pack::unpack(from) }
        } else {
            Self::Many(Pack::unpack(from))
        }
    }
}

pack_fields! {
    RoundTrips { running, end, value, latest, end_sent_at, value_sent_at, by_ack, by_timestamps }
    Histogram { count, min, max, buckets }
    Bucket { index, count }
}

pack_flags!(Running);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: AnalysisSet = AnalysisSet::empty();
    const MILLI: u64 = 1_000_000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * MILLI)
    }

    fn data(seq: u32, len: u32) -> Segment {
        Segment { seq: Seq(seq), flags: Flags::ACK, len, ..Segment::default() }
    }

    fn ack(ack: u32) -> Segment {
        Segment { ack: Seq(ack), flags: Flags::ACK, ..Segment::default() }
    }

    fn stamps(value: u32, echo: u32) -> TcpOptions {
        TcpOptions { timestamps: Some((value, echo)), ..TcpOptions::default() }
    }

    const NO_OPTIONS: TcpOptions = TcpOptions {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        fast_open: None,
        mptcp: None,
        mptcp_operations: 0,
        sack: [(Seq(0), Seq(0)); 4],
        sack_begins: None,
        sack_blocks: 0,
        malformed: false,
        cut: false,
    };

    #[test]
    fn times_a_segment_to_the_ack_that_covers_it() {
        let mut trips = RoundTrips::default();
        trips.sent(&data(1, 100), NEW, &NO_OPTIONS, at(0));
        trips.sent(&data(101, 100), NEW, &NO_OPTIONS, at(1));
        trips.answered(&ack(50), &NO_OPTIONS, at(10));
        trips.answered(&ack(201), &NO_OPTIONS, at(30));
        trips.answered(&ack(201), &NO_OPTIONS, at(40));
        let stats = trips.by_ack().expect("one was measured");
        assert_eq!((stats.samples, stats.min_ns, stats.max_ns), (1, Nanos(30 * MILLI), Nanos(30 * MILLI)));
    }

    #[test]
    fn a_retransmission_is_not_timed() {
        let mut trips = RoundTrips::default();
        trips.sent(&data(1, 100), NEW, &NO_OPTIONS, at(0));
        trips.sent(&data(1, 100), AnalysisSet::RETRANSMISSION, &NO_OPTIONS, at(200));
        trips.answered(&ack(101), &NO_OPTIONS, at(230));
        assert_eq!(trips.by_ack(), None);
        trips.sent(&data(101, 100), NEW, &NO_OPTIONS, at(240));
        trips.answered(&ack(201), &NO_OPTIONS, at(270));
        assert_eq!(trips.by_ack().map(|stats| stats.max_ns), Some(Nanos(30 * MILLI)));
    }

    #[test]
    fn times_a_timestamp_to_its_first_echo() {
        let mut trips = RoundTrips::default();
        // An ACK is not answered, and takes its TSval with it.
        trips.sent(&data(1, 0), NEW, &stamps(7, 1), at(0));
        trips.sent(&data(1, 10), NEW, &stamps(7, 1), at(1));
        trips.answered(&ack(11), &stamps(1, 7), at(5));
        assert_eq!(trips.by_timestamps(), None);
        trips.sent(&data(11, 10), NEW, &stamps(8, 1), at(10));
        trips.sent(&data(21, 10), NEW, &stamps(9, 1), at(11));
        trips.answered(&ack(21), &stamps(2, 8), at(30));
        trips.answered(&ack(31), &stamps(2, 8), at(31));
        assert_eq!(trips.by_timestamps().map(|stats| (stats.samples, stats.max_ns)), Some((1, Nanos(20 * MILLI))));
        // The echo of 10 is missing.
        trips.sent(&data(31, 10), NEW, &stamps(10, 2), at(40));
        trips.sent(&data(41, 10), NEW, &stamps(11, 2), at(50));
        trips.answered(&ack(51), &stamps(3, 11), at(70));
        assert_eq!(trips.by_timestamps().map(|stats| stats.samples), Some(1));
    }

    #[test]
    fn an_idle_connection_pays_no_heap() {
        assert!(size_of::<RoundTrips>() <= 72, "{} octets", size_of::<RoundTrips>());
        assert!(matches!(RoundTrips::default().by_ack, Distribution::Few { .. }));
    }

    proptest! {
        /// Held against all lengths, sorted.
        #[test]
        fn quantiles_are_within_six_percent(
            lengths in prop::collection::vec((10u32..40, 0.0f64..1.0), 1..300)
        ) {
            let mut lengths: Vec<u64> = lengths
                .into_iter()
                .map(|(exponent, part)| (f64::from(exponent) + part).exp2() as u64)
                .collect();
            let mut distribution = Distribution::default();
            lengths.iter().for_each(|&nanos| distribution.add(Some(Nanos(nanos))));
            let stats = distribution.stats().expect("there is at least one");
            lengths.sort_unstable();
            prop_assert_eq!(stats.samples, lengths.len() as u64);
            prop_assert_eq!(Some(&stats.min_ns.0), lengths.first());
            prop_assert_eq!(Some(&stats.max_ns.0), lengths.last());
            for (percent, got) in [(50, stats.median_ns), (99, stats.p99_ns)] {
                let exact = lengths[rank(percent, lengths.len() as u64) as usize - 1];
                let error = (got.0 as f64 - exact as f64).abs() / exact as f64;
                prop_assert!(error <= 0.06, "{percent} %: {} for {exact}", got.0);
            }
        }
    }
}
