//! Waiting for something to pass on a wire, so that a script goes on when the network has got there and not after a
//! while.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::wire::{Passing, Watch};

/// How often something was seen on a wire.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    shared: Arc<(Mutex<usize>, Condvar)>,
}

impl Sighting {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until it was seen `times` times.
    pub fn wait_for(&self, times: usize) -> Result<()> {
        const DEADLINE: Duration = Duration::from_secs(30);
        let (count, changed) = &*self.shared;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, _) =
            changed.wait_timeout_while(count, DEADLINE, |count| *count < times).unwrap_or_else(PoisonError::into_inner);
        ensure!(*count >= times, "waited for something to pass on a wire {times} times, and saw it {count} times");
        Ok(())
    }

    /// The watch to hang on a wire: counts the frames for which `wanted` holds.
    pub fn watch(&self, mut wanted: impl FnMut(&Passing<'_>) -> bool + Send + 'static) -> Watch {
        let shared = Arc::clone(&self.shared);
        Box::new(move |passing| {
            if wanted(passing) {
                let (count, changed) = &*shared;
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                changed.notify_all();
            }
        })
    }
}
