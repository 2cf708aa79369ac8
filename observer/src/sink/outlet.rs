//! Where the shards' output comes together, in the order of first frames, while the input is still being read.
//!
//! A piece may go out once no shard will have one that belongs before it: until the oldest connection that is open is
//! over, what is younger waits.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use anyhow::{Context as _, Result};

use super::spool::{Key, Sorted, Spool};

/// How many octets of a shard wait before it is worth a look whether they may go out.
const WORTH_A_LOOK: usize = 128 << 10;

/// What the pieces of all shards go out by.
pub struct Outlet {
    waiting: Mutex<Vec<Arc<Mutex<Waiting>>>>,
    out: Mutex<Out>,
}

struct Out {
    to: Box<dyn Write + Send>,
    /// What was seen first before this frame is out.
    before: u64,
}

/// The pieces of one shard.
#[derive(Default)]
struct Waiting {
    spool: Spool,
    /// Nothing more comes that was seen first before this frame.
    settled: u64,
}

impl Outlet {
    /// An outlet to `to`, usually standard output.
    pub fn new(to: Box<dyn Write + Send>) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), out: Mutex::new(Out { to, before: 0 }) })
    }

    /// A place for one more shard: all have one before the first settles anything.
    pub fn slot(self: &Arc<Self>) -> Slot {
        let waiting = Arc::<Mutex<Waiting>>::default();
        lock(&self.waiting).push(Arc::clone(&waiting));
        Slot { outlet: Arc::clone(self), waiting }
    }

    /// Writes what may go out, unless that is being done.
    fn try_to_write(&self) -> Result<()> {
        match self.out.try_lock() {
            Ok(out) => self.write(out),
            Err(TryLockError::Poisoned(poisoned)) => self.write(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    fn write(&self, mut out: MutexGuard<'_, Out>) -> Result<()> {
        let waiting = lock(&self.waiting).clone();
        let mut shards: Vec<_> = waiting.iter().map(|waiting| lock(waiting)).collect();
        let before = shards.iter().map(|shard| shard.settled).min().unwrap_or(0);
        if before <= out.before {
            return Ok(());
        }
        let mut sorted: Vec<_> = shards.iter_mut().map(|shard| shard.spool.take(Some(before))).collect();
        // The others go on while this thread writes.
        drop(shards);
        out.before = before;
        Sorted::write_before(&mut sorted, before, &mut out.to)?;
        for (waiting, sorted) in waiting.iter().zip(sorted) {
            lock(waiting).spool.put_back(sorted);
        }
        out.to.flush().context("writing to standard output")
    }
}

/// Where one shard's pieces wait.
pub struct Slot {
    outlet: Arc<Outlet>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Slot {
    /// Takes in a piece.
    pub fn print(&self, key: Key, piece: Vec<u8>) -> Result<()> {
        let is_full = {
            let mut waiting = lock(&self.waiting);
            debug_assert!(key.0 >= waiting.settled, "a piece of frame {} comes after {}", key.0, waiting.settled);
            waiting.spool.push(key, piece);
            waiting.spool.is_full()
        };
        if is_full {
            // Where whoever takes the output is slow, this is where the reading waits.
            self.outlet.write(lock(&self.outlet.out))?;
            let mut waiting = lock(&self.waiting);
            if waiting.spool.is_full() {
                waiting.spool.put_away()?;
            }
        }
        Ok(())
    }

    /// Nothing more comes from this shard that was seen first before frame `first`.
    pub fn settle(&self, first: u64) -> Result<()> {
        let octets = {
            let mut waiting = lock(&self.waiting);
            waiting.settled = first;
            waiting.spool.octets()
        };
        if octets >= WORTH_A_LOOK { self.outlet.try_to_write() } else { Ok(()) }
    }

    /// What is left at the end.
    pub fn take(self) -> Sorted {
        lock(&self.waiting).spool.take(None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_younger_than_what_is_open_waits() {
        let shared = Shared::default();
        let outlet = Outlet::new(Box::new(shared.clone()));
        let slots = [outlet.slot(), outlet.slot()];
        let print = |slot: &Slot, frame: u64| {
            slot.print((frame, 0), vec![b'a' + frame as u8; WORTH_A_LOOK]).expect("memory can be written to");
        };
        // The octets of each piece are a letter of its own.
        let seen = || lock(&shared.0).chunks(WORTH_A_LOOK).map(|piece| char::from(piece[0])).collect::<String>();
        print(&slots[0], 4);
        print(&slots[0], 1);
        print(&slots[1], 3);
        slots[0].settle(9).expect("memory can be written to");
        assert_eq!(seen(), "", "the other shard may still have something older");
        print(&slots[1], 2);
        slots[1].settle(4).expect("memory can be written to");
        assert_eq!(seen(), "bcd");
        slots[1].settle(5).expect("memory can be written to");
        print(&slots[1], 7);
        slots[1].settle(6).expect("memory can be written to");
        assert_eq!(seen(), "bcde");
        let mut rest = Vec::new();
        let sorted = slots.into_iter().map(Slot::take).collect();
        Sorted::write_first(sorted, usize::MAX, 1, &mut rest).expect("memory can be written to");
        assert_eq!((rest.len(), rest.first()), (WORTH_A_LOOK, Some(&b'h')));
    }
}
