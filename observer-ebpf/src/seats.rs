//! Who sits where: most sockets' entries are in seats (see [`Seat`]). Who finds the seat taken stands in the map.

use core::arch::asm;

use observer_ebpf::{SOCKET_HEAD, Seat, Socket};

use crate::kernel::Struct;
use crate::maps::{self, setting};

/// The entry of `sk`, where it has a seat.
#[inline(always)]
pub fn find(sk: Struct) -> Option<&'static mut Socket> {
    let seat = at(index_of(sk))?;
    if seat.socket.key == sk.address() { Some(&mut seat.socket) } else { None }
}

/// Gives `sk` its seat, unless another has it. What is in the entry is of who had it before.
#[inline(always)]
pub fn take(sk: Struct) -> Option<&'static mut Socket> {
    let index = index_of(sk);
    let claims = maps::claims().get_ptr_mut(index)?;
    if read(claims) != 0 {
        return None;
    }
    add(claims, 1);
    if read(claims) == 1 {
        return at(index).map(|seat| &mut seat.socket);
    }
    // Another processor wants it at this moment; it may be that neither gets it.
    add(claims, -1);
    None
}

/// Frees the seat of `sk`; `false` where it has none.
#[inline(always)]
pub fn leave(sk: Struct) -> bool {
    let index = index_of(sk);
    let Some(seat) = at(index) else { return false };
    if seat.socket.key != sk.address() {
        return false;
    }
    seat.socket.key = 0;
    if let Some(claims) = maps::claims().get_ptr_mut(index) {
        add(claims, -1);
    }
    true
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
fn index_of(sk: Struct) -> u32 {
    let mut low = sk.address();
    // SAFETY: copies the lower half of a register. The verifier lets no pointer be reckoned with; half of one is a number.
    unsafe { asm!("w1 = w1", inout("r1") low) };
    Seat::index(low as u32, setting!(seat_mask))
}

#[inline(always)]
fn at(index: u32) -> Option<&'static mut Seat> {
    // SAFETY: a map's value; for who writes to it at once see `book::find`.
    maps::seats().get_ptr_mut(index).map(|seat| unsafe { &mut *seat })
}

#[inline(always)]
fn read(claims: *const u64) -> u64 {
    // SAFETY: a map's value, which other processors write to.
    unsafe { claims.read_volatile() }
}

/// Adds to the claims in one go, and does not say what they were: before Linux 5.12 nothing else is atomic.
#[inline(always)]
fn add(claims: *mut u64, number: i64) {
    // SAFETY: a map's value, aligned.
    unsafe { asm!("lock *(u64 *)({claims} + 0) += {number}", claims = in(reg) claims, number = in(reg) number) };
}
