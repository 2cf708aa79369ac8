use std::sync::atomic::{AtomicU64, Ordering};

/// How much of the input has been read; shared with who draws it.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    /// 0 where a pipe or a growing file makes it unknown.
    total: AtomicU64,
}

impl Progress {
    /// Octets of the files that were read, as they are on disk, and how many there are in all; `None` where that is not
    /// known.
    pub fn get(&self) -> Option<(u64, u64)> {
        let (read, total) = (self.read.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        (total > 0).then_some((read.min(total), total))
    }

    pub(super) fn add(&self, octets: usize) {
        self.read.fetch_add(octets as u64, Ordering::Relaxed);
    }

    pub(super) fn set_total(&self, octets: u64) {
        self.total.store(octets, Ordering::Relaxed);
    }
}
