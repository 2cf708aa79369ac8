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

/// The maps of seats and of the claims to them, which programs write to as we read.
#[derive(Debug)]
pub struct Seats {
    seats: Mapped<Seat>,
    claims: Mapped<u64>,
}

/// An array that is in the memory of others too.
#[derive(Debug)]
struct Mapped<T> {
    first: NonNull<T>,
    count: u32,
}

// SAFETY: the memory is the kernel's, mapped until the end; nothing of it belongs to a thread.
unsafe impl<T> Send for Mapped<T> {}

impl<T> Mapped<T> {
    /// `count` of them, which `map` holds from its start.
    fn new(map: impl AsFd, count: u32) -> Result<Self> {
        let length = count as usize * size_of::<T>();
        // SAFETY: the kernel chooses where; nothing else is there.
        let first =
            unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map, 0) };
        let first = first.map_err(io::Error::from).context("mapping the seats of sockets (this takes Linux 5.5)")?;
        let first = NonNull::new(first.cast()).context("the seats of sockets are mapped nowhere")?;
        Ok(Self { first, count })
    }

    fn at(&self, index: u32) -> *mut T {
        debug_assert!(index < self.count);
        // SAFETY: within what is mapped.
        unsafe { self.first.as_ptr().add(index as usize) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, in this length; nothing that points there is left.
        let result = unsafe { munmap(self.first.as_ptr().cast(), self.count as usize * size_of::<T>()) };
        debug_assert!(result.is_ok());
    }
}

impl Seats {
    /// From a map of `count` [`Seat`]s, a power of two, and one of as many numbers.
    ///
    /// # Errors
    /// When the kernel does not map them.
    pub fn new(seats: impl AsFd, claims: impl AsFd, count: u32) -> Result<Self> {
        Ok(Self { seats: Mapped::new(seats, count)?, claims: Mapped::new(claims, count)? })
    }

    /// Adds every socket that has a seat.
    pub fn read(&self, all: &mut Vec<Socket>) {
        let taken = (0..self.claims.count).filter(|index| self.claims(*index).load(Ordering::Acquire) != 0);
        all.extend(taken.filter_map(|index| self.socket(index)));
    }

    /// Takes a socket out of its seat; `false` where it has none.
    pub fn remove(&self, key: u64) -> bool {
        let index = Seat::index(key as u32, self.seats.count - 1);
        // Another's, or 0 already, where the programs were faster.
        let had = self.key(index).compare_exchange(key, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if had {
            self.claims(index).fetch_sub(1, Ordering::AcqRel);
        }
        had
    }

    /// Who sits there, unless nobody does, or all the time somebody else.
    fn socket(&self, index: u32) -> Option<Socket> {
        let (seat, key) = (self.seats.at(index), self.key(index));
        for _ in 0..TRIES {
            let before = key.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            // SAFETY: mapped, aligned, and any octets make a socket. What is written meanwhile may be in it or not.
            let socket = unsafe { ptr::read_volatile(&raw const (*seat).socket) };
            // SAFETY: as above.
            let born = unsafe { ptr::read_volatile(&raw const (*seat).socket.born) };
            if key.load(Ordering::Acquire) == before && socket.key == before && socket.born == born {
                return Some(socket);
            }
        }
        None
    }

    fn key(&self, index: u32) -> &AtomicU64 {
        // SAFETY: mapped as long as `self` is; the programs write it whole.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.seats.at(index)).socket.key) }
    }

    fn claims(&self, index: u32) -> &AtomicU64 {
        // SAFETY: as above; the programs add to it atomically.
        unsafe { AtomicU64::from_ptr(self.claims.at(index)) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    const COUNT: u32 = 4;

    /// What the programs do when a socket comes.
    fn sit(seats: &Seats, key: u64, cookie: u64) {
        let index = Seat::index(key as u32, COUNT - 1);
        seats.claims(index).fetch_add(1, Ordering::AcqRel);
        // SAFETY: mapped, and nobody else is at it.
        unsafe { (*seats.seats.at(index)).socket = Socket { key, cookie, ..Socket::NONE } };
    }

    /// The address of a socket that has this seat.
    fn key_of(index: u32) -> u64 {
        let mut keys = (1..u64::MAX).map(|nth| 0xffff_8881_0000_0000 + nth * 2432);
        keys.find(|key| Seat::index(*key as u32, COUNT - 1) == index).expect("one of them")
    }

    fn memory<T>() -> OwnedFd {
        let memory = memfd_create("seats", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&memory, u64::from(COUNT) * size_of::<T>() as u64).expect("room");
        memory
    }

    #[test]
    fn who_sits_is_read_and_taken_out_once() {
        let (seats, claims) = (memory::<Seat>(), memory::<u64>());
        let [ours, theirs] = [(); 2].map(|()| Seats::new(&seats, &claims, COUNT).expect("mapped"));
        let (one, other) = (key_of(0), key_of(1));
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
        let claims = (0..COUNT).map(|index| theirs.claims(index).load(Ordering::Acquire)).collect::<Vec<_>>();
        assert_eq!(claims, [0, 1, 0, 0], "the seat can be had again");
    }
}
