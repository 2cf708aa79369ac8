//! A packet that the filter passes on.

use crate::Plain;

/// The most octets of a packet that are passed on, from its IP header on.
pub const PACKET_BYTES: usize = 1536;

/// What stands before a packet's first bytes in the ring buffer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PacketHead {
    /// [`crate::tag::PACKET`].
    pub tag: u32,
    /// Inode of the network namespace that the packet was seen in.
    pub netns: u32,
    /// When, in nanoseconds of `bpf_ktime_get_ns`.
    pub at: u64,
    /// Octets of the packet, from its IP header on.
    pub len: u32,
    /// Octets of it that follow this head.
    pub captured: u32,
    /// Index of the network interface.
    pub interface: u32,
    /// The kernel's `pkt_type`: 4 for packets that leave (`PACKET_OUTGOING`).
    pub direction: u32,
}

impl PacketHead {
    /// Whether it was sent from here: what goes over the loopback interface was, too.
    pub const fn is_outbound(&self) -> bool {
        // include/linux/if_packet.h, and the index that the loopback interface of every namespace has.
        const PACKET_OUTGOING: u32 = 4;
        const LOOPBACK: u32 = 1;
        self.direction == PACKET_OUTGOING || self.interface == LOOPBACK
    }
}

const _: () = assert!(size_of::<PacketHead>() == 32 && align_of::<PacketHead>() == 8);

// SAFETY: repr(C) of integers, 32 bytes of fields.
unsafe impl Plain for PacketHead {}
