//! What the eBPF programs and user space agree on: the records that cross, and the kernel's fields that the programs
//! read.
//!
//! The programs write the records in the layout of C, every gap named, and user space reads them back from the bytes of
//! the ring buffer, the map of sockets and the seats.
#![no_std]

mod record;

pub use record::bytes::{Plain, TooShort};
pub use record::command::{COMMAND_BYTES, CommandHead, TICK};
pub use record::fields::{ABSENT, Fields, PATHS, Path};
pub use record::hook::{HOOKS, Hook};
pub use record::packet::{PACKET_BYTES, PacketHead};
pub use record::seat::Seat;
pub use record::settings::Settings;
pub use record::socket::{Counters, EVENTS, Event, How, Kind, SOCKET_HEAD, Socket, Task};
pub use record::stray::Stray;

/// What a record in the ring buffer is: its first four bytes, in the byte order of the machine.
pub mod tag {
    /// A [`super::Socket`] that is gone: the last that is said of it.
    pub const GONE: u32 = 1;
    /// A [`super::Socket`] whose log of events was full; it begins anew.
    pub const CHAPTER: u32 = 2;
    /// A [`super::Stray`].
    pub const STRAY: u32 = 3;
    /// A [`super::PacketHead`], and the packet's first bytes.
    pub const PACKET: u32 = 4;
    /// A [`super::CommandHead`] of a process that is the copy of another. This and the next have a ring buffer of their own.
    pub const FORKED: u32 = 5;
    /// A [`super::CommandHead`] of a process that begins to run a program, and its command line.
    pub const EXECUTED: u32 = 6;
}
