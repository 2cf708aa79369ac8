//! The seats of sockets, as they lie in our memory too.

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use observer_ebpf::{Seat, Socket};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// How often a socket is read that changes meanwhile.
const TRIES: usize = 3;

/// The map of seats, which programs write to as we read.
#[derive(Debug)]
pub struct Seats {
    first: NonNull<Seat>,
    count: u32,
}

// SAFETY: the memory is the kernel's, mapped until the end; nothing of it belongs to a thread.
unsafe impl Send for Seats {}

impl Seats {
    /// The seats of a map of `count` [`Seat`]s, a power of two.
    ///
    /// # Errors
    /// When the kernel does not map them.
    pub fn new(map: impl AsFd, count: u32) -> Result<Self> {
        let length = count as usize * size_of::<Seat>();
        // SAFETY: the kernel chooses where; nothing else is there.
        let first =
            unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map, 0) };
        let first = first.map_err(io::Error::from).context("mapping the seats of sockets (this takes Linux 5.5)")?;
        let first = NonNull::new(first.cast()).context("the seats of sockets are mapped nowhere")?;
        Ok(Self { first, count })
    }

    /// Adds every socket that has a seat.
    pub fn read(&self, all: &mut Vec<Socket>) {
        all.extend((0..self.count).filter_map(|index| self.at(index).read()));
    }

    /// Takes a socket out of its seat; `false` where it has none.
    pub fn remove(&self, key: u64) -> bool {
        let shared = self.at(Seat::index(key as u32, self.count - 1));
        // Its number was 0 already where the programs were faster.
        let had = shared.key().compare_exchange(key, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if had {
            shared.claims().fetch_sub(1, Ordering::AcqRel);
        }
        had
    }

    fn at(&self, index: u32) -> Shared {
        debug_assert!(index < self.count);
        // SAFETY: within what is mapped.
        Shared(unsafe { self.first.as_ptr().add(index as usize) })
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, in this length; nothing that points there is left.
        let result = unsafe { munmap(self.first.as_ptr().cast(), self.count as usize * size_of::<Seat>()) };
        debug_assert!(result.is_ok());
    }
}

/// A seat that programs write to meanwhile.
struct Shared(*mut Seat);

impl Shared {
    /// Who sits there, unless nobody does, or all the time somebody else.
    fn read(&self) -> Option<Socket> {
        for _ in 0..TRIES {
            let before = self.key().load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            // SAFETY: mapped, aligned, and any octets make a socket. What is written meanwhile may be in it or not.
            let socket = unsafe { ptr::read_volatile(&raw const (*self.0).socket) };
            // SAFETY: as above.
            let born = unsafe { ptr::read_volatile(&raw const (*self.0).socket.born) };
            if self.key().load(Ordering::Acquire) == before && socket.key == before && socket.born == born {
                return Some(socket);
            }
        }
        None
    }

    fn key(&self) -> &AtomicU64 {
        // SAFETY: mapped as long as `Seats` is; the programs write it whole.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).socket.key) }
    }

    fn claims(&self) -> &AtomicU64 {
        // SAFETY: as above; the programs add to it atomically.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).claims) }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    const COUNT: u32 = 4;

    /// What the programs do when a socket comes.
    fn sit(seats: &Seats, key: u64, cookie: u64) {
        let seat = seats.at(Seat::index(key as u32, COUNT - 1));
        seat.claims().fetch_add(1, Ordering::AcqRel);
        // SAFETY: mapped, and nobody else is at it.
        unsafe { (*seat.0).socket = Socket { key, cookie, ..Socket::NONE } };
    }

    #[test]
    fn who_sits_is_read_and_taken_out_once() {
        let memory = memfd_create("seats", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&memory, u64::from(COUNT) * size_of::<Seat>() as u64).expect("room");
        let (ours, theirs) = (Seats::new(&memory, COUNT).expect("mapped"), Seats::new(&memory, COUNT).expect("mapped"));
        let keys: Vec<u64> = {
            let own_seat = |index| move |key: &u64| Seat::index(*key as u32, COUNT - 1) == index;
            (0..2)
                .filter_map(|index| (1..u64::MAX).map(|nth| 0xffff_8881_0000_0000 + nth * 2432).find(own_seat(index)))
                .collect()
        };
        let [one, other] = keys[..] else { panic!("two seats") };
        sit(&theirs, one, 7);
        sit(&theirs, other, 8);
        let read = || {
            let mut all = Vec::new();
            ours.read(&mut all);
            all.iter().map(|socket| (socket.key, socket.cookie)).collect::<Vec<_>>()
        };
        assert_eq!(read(), [(one, 7), (other, 8)]);
        assert!(ours.remove(one));
        assert!(!ours.remove(one), "it was taken out");
        assert_eq!(read(), [(other, 8)]);
        let claims = (0..COUNT).map(|index| theirs.at(index).claims().load(Ordering::Acquire)).collect::<Vec<_>>();
        assert_eq!(claims, [0, 1, 0, 0], "the seat can be had again");
    }
}
