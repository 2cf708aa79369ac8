//! The kernel's clock on the wall.

use observer::time::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// What turns the kernel's monotonic time into the time of day.
///
/// The rule: the difference between the two clocks is taken once, at the start, as the best of a few readings, and holds
/// for the whole run. So events and packets of one run keep their order and their distances, whatever is done to the wall
/// clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset: i128,
}

impl WallClock {
    /// Reads both clocks.
    pub fn new() -> Self {
        let reading = || {
            let before = monotonic();
            let wall = nanos(clock_gettime(ClockId::Realtime));
            let after = monotonic();
            (after - before, wall - (before + after) / 2)
        };
        let best = (0..16).map(|_| reading()).min().unwrap_or_default();
        Self { offset: best.1 }
    }

    /// The time of day at a moment of the kernel's clock (`bpf_ktime_get_ns`).
    pub fn at(&self, ktime: u64) -> Timestamp {
        Timestamp::from_nanos(u64::try_from(i128::from(ktime) + self.offset).unwrap_or(0))
    }

    /// The kernel's clock now.
    pub fn ktime() -> u64 {
        u64::try_from(monotonic()).unwrap_or(0)
    }
}

fn monotonic() -> i128 {
    nanos(clock_gettime(ClockId::Monotonic))
}

fn nanos(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}
