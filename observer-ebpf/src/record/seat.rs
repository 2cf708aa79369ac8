//! A seat: where the programs keep a socket that comes while they are at work.

use crate::Socket;

/// A place for one socket. Which of the seats is a socket's follows from the kernel's address of it.
///
/// The kernel makes a new socket where one has just gone, so that the new one finds the seat of the old one free and still
/// in the processor's cache; a map's entry is made, found and taken out by many more instructions.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Seat {
    /// Its [`Socket::key`] is 0 where the seat is free.
    pub socket: Socket,
    /// Zeros: a seat begins where a line of the cache does.
    pub padding: [u64; 4],
}

impl Seat {
    /// The seat of the socket whose address ends with the 32 bits `low`, of `mask + 1` seats, which is a power of two.
    #[inline(always)]
    pub const fn index(low: u32, mask: u32) -> u32 {
        // Neighbours in memory have seats far from each other (Knuth's multiplicative hash).
        ((low as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 & mask
    }
}

const _: () = assert!(size_of::<Seat>() == 576 && size_of::<Seat>().is_multiple_of(64));
const _: () = assert!(core::mem::offset_of!(Seat, socket) == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_side_by_side_have_seats_of_their_own() {
        const SOCKETS: u32 = 1 << 10;
        let mut taken = [false; 1 << 13];
        let mut is_first = |nth: u32| {
            // As far from each other as `struct tcp_sock`s are in their slab.
            let seat = Seat::index(0x8123_4000 + nth * 2432, (1 << 13) - 1);
            !core::mem::replace(&mut taken[seat as usize], true)
        };
        let seats = (0..SOCKETS).filter(|nth| is_first(*nth)).count();
        assert!(seats > SOCKETS as usize * 9 / 10, "{seats} seats for {SOCKETS} sockets");
        assert_eq!(Seat::index(u32::MAX, 0), 0);
    }
}
