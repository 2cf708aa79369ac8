//! Who sits where: most sockets' entries are in seats (see [`Seat`]). Who finds the seat taken stands in the map.

use core::arch::asm;

use observer_ebpf::{SOCKET_HEAD, Seat, Socket};

use crate::kernel::Struct;
use crate::maps::{self, setting};

/// The entry of `sk`, where it has a seat.
#[inline(always)]
pub fn find(sk: Struct) -> Option<&'static mut Socket> {
    let seat = seat_of(sk)?;
    if seat.socket.key == sk.address() { Some(&mut seat.socket) } else { None }
}

/// Gives `sk` its seat, unless another has it. What is in the entry is of who had it before.
#[inline(always)]
pub fn take(sk: Struct) -> Option<&'static mut Socket> {
    let seat = seat_of(sk)?;
    if claims(seat) != 0 {
        return None;
    }
    add(seat, 1);
    if claims(seat) == 1 {
        return Some(&mut seat.socket);
    }
    // Another processor wants it at this moment; it may be that neither gets it.
    add(seat, -1);
    None
}

/// Frees the seat of `sk`; `false` where it has none.
#[inline(always)]
pub fn leave(sk: Struct) -> bool {
    let Some(seat) = seat_of(sk) else { return false };
    let had = seat.socket.key == sk.address();
    if had {
        seat.socket.key = 0;
        add(seat, -1);
    }
    had
}

/// Makes an entry one of which nothing is known; what is in its log counts no more.
#[inline(always)]
pub fn wipe(socket: &mut Socket) {
    let words = core::ptr::from_mut(socket).cast::<u64>();
    for word in 0..SOCKET_HEAD / size_of::<u64>() {
        // SAFETY: within the entry, of integers. Volatile, since otherwise it would become a call that zeroes an octet at a
        // time.
        unsafe { words.add(word).write_volatile(0) };
    }
}

#[inline(always)]
fn seat_of(sk: Struct) -> Option<&'static mut Seat> {
    let mut low = sk.address();
    // SAFETY: copies the lower half of a register. The verifier lets no pointer be reckoned with; half of one is a number.
    unsafe { asm!("w1 = w1", inout("r1") low) };
    // SAFETY: a map's value; for who writes to it at once see `book::find`.
    maps::seats().get_ptr_mut(Seat::index(low as u32, setting!(seat_mask))).map(|seat| unsafe { &mut *seat })
}

#[inline(always)]
fn claims(seat: &Seat) -> u64 {
    // SAFETY: a number of ours, which other processors write to.
    unsafe { core::ptr::read_volatile(&raw const seat.claims) }
}

/// Adds to the claims in one go, and does not say what they were: before Linux 5.12 nothing else is atomic.
#[inline(always)]
fn add(seat: &mut Seat, number: i64) {
    // SAFETY: the number is aligned and lies in a map's value.
    unsafe { asm!("lock *(u64 *)({at} + 0) += {number}", at = in(reg) &raw mut seat.claims, number = in(reg) number) };
}
