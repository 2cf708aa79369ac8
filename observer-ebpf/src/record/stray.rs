//! Something that happened to no socket that is known.

use crate::{Event, Plain};

/// An event of a connection that has no socket on this host, or none that was seen: a RST in answer to a SYN for a closed
/// port, a packet that the firewall dropped, a SYN-ACK sent again by a listening socket.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stray {
    /// [`crate::tag::STRAY`].
    pub tag: u32,
    /// Inode of the network namespace; 0 where not known.
    pub netns: u32,
    /// Where in the kernel the packet was dropped: an address for `/proc/kallsyms`; 0 for other events.
    pub location: u64,
    /// Source address of the packet, or local address of the socket; IPv4 as `::ffff:a.b.c.d`.
    pub source: [u8; 16],
    /// The other address.
    pub destination: [u8; 16],
    /// Port of [`Self::source`], in host order.
    pub source_port: u16,
    /// Port of [`Self::destination`].
    pub destination_port: u16,
    /// TCP flags of the packet, as in its header; 0 where there is none.
    pub flags: u8,
    /// 6 for an IPv6 packet or socket, 4 for IPv4.
    pub version: u8,
    /// Always 0.
    pub padding: [u8; 2],
    /// What happened.
    pub event: Event,
}

const _: () = assert!(size_of::<Stray>() == 72 && align_of::<Stray>() == 8);

// SAFETY: repr(C) of integers; 72 bytes are the sum of the fields.
unsafe impl Plain for Stray {}
