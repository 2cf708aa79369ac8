//! A filter on a packet socket. It queues nothing there: what is wanted goes to the ring buffer.
//!
//! Segments with SYN, FIN or RST are passed on, and the first octets of payload of each direction whose SYN was seen;
//! bulk data costs a look at its headers. The socket is one of kind SOCK_DGRAM: what it shows begins with the IP header.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_skb_load_bytes};
use aya_ebpf::macros::{map, socket_filter};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::SkBuffContext;
use aya_ebpf::{EbpfContext as _, maps::RingBuf};
use observer_ebpf::{Hook, PACKET_BYTES, PacketHead, tag};

use crate::kernel;
use crate::maps::{self, field, setting};

/// Slots for directions that are being passed on; a power of two.
pub const FLOWS: u32 = 1 << 16;

const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
const IPPROTO_TCP: u8 = 6;
const LOOPBACK: u32 = 1;
const PACKET_OUTGOING: u32 = 4;

/// In a slot: nothing came after the SYN yet.
const FRESH: u64 = 1 << 31;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// A packet in the making.
#[repr(C)]
struct Scratch {
    head: PacketHead,
    /// Larger than needed: what the verifier can be shown by a mask is a power of two.
    bytes: [u8; ROOM],
}

const ROOM: usize = PACKET_BYTES.next_power_of_two();

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[socket_filter]
fn packets(context: SkBuffContext) -> i64 {
    let skb = context.skb.skb;
    // SAFETY: the program's argument; the verifier knows its fields.
    let (protocol, interface, direction, len) =
        unsafe { ((*skb).protocol, (*skb).ifindex, (*skb).pkt_type, (*skb).len) };
    // What goes over the loopback interface is seen twice, leaving and arriving.
    if interface == LOOPBACK && direction == PACKET_OUTGOING {
        return 0;
    }
    if let Some(headers) = Headers::of(&context, protocol) {
        let wanted = headers.wanted(len);
        if wanted != 0 {
            pass_on(
                &context,
                wanted.min(len),
                PacketHead { tag: tag::PACKET, netns: netns(&context), at: 0, len, captured: 0, interface, direction },
            );
        }
    }
    0
}

/// Inode of the namespace of the device that the packet is at. The context is the kernel's own `struct sk_buff`, though the
/// verifier shows a part of it only.
#[inline(always)]
fn netns(context: &SkBuffContext) -> u32 {
    let skb = context.as_ptr() as u64;
    let device = kernel::read::<u64>(skb + u64::from(field!(skb_dev)));
    let net = device.and_then(|device| kernel::read::<u64>(device + u64::from(field!(dev_net))));
    net.and_then(|net| kernel::read(net + u64::from(field!(net_inum)))).unwrap_or(0)
}

/// What has to be known of a packet to decide about it.
struct Headers {
    /// Octets before the payload.
    len: u32,
    flags: u8,
    /// Of addresses and ports.
    hash: u64,
}

impl Headers {
    #[inline(always)]
    fn of(context: &SkBuffContext, protocol: u32) -> Option<Self> {
        let (transport, mut hash) = match protocol {
            ETH_P_IP => {
                let ip: [u32; 5] = load(context, 0)?;
                let (first, fragment, next) = (ip[0] as u8, u16::from_be((ip[1] >> 16) as u16), (ip[2] >> 8) as u8);
                if next != IPPROTO_TCP || fragment & 0x1fff != 0 {
                    return None;
                }
                (u32::from(first & 15) * 4, mix(u64::from(ip[3]) << 32 | u64::from(ip[4])))
            }
            ETH_P_IPV6 => {
                let ip: [u32; 10] = load(context, 0)?;
                if (ip[1] >> 16) as u8 != IPPROTO_TCP {
                    return None;
                }
                let word = |at: usize| u64::from(ip[at]) << 32 | u64::from(ip[at + 1]);
                (40, mix(mix(mix(word(2)) ^ word(4)) ^ word(6)) ^ word(8))
            }
            _ => return None,
        };
        let tcp: [u32; 4] = load(context, transport)?;
        if !maps::wants_ports(u16::from_be(tcp[0] as u16), u16::from_be((tcp[0] >> 16) as u16)) {
            return None;
        }
        hash = mix(hash ^ u64::from(tcp[0]));
        let [offset, flags, ..] = tcp[3].to_ne_bytes();
        Some(Self { len: transport + u32::from(offset >> 4) * 4, flags, hash })
    }

    /// How many octets of a packet of `len` octets are to be passed on.
    #[inline(always)]
    fn wanted(&self, len: u32) -> u32 {
        let name = self.hash >> 32 << 32;
        let payload = len.saturating_sub(self.len).min(1 << 24);
        let mut wanted = if self.flags & (SYN | FIN | RST) != 0 { self.len } else { 0 };
        let Some(slot) = maps::passed().get_ptr_mut(self.hash as u32 & (FLOWS - 1)) else { return wanted };
        // SAFETY: a map's value. Two processors may race for it: then some payload is passed on twice, or not.
        let passed = unsafe { *slot };
        let before = if self.flags & SYN != 0 {
            0
        } else if passed & !0xffff_ffff == name {
            // The first segment after the SYN completes the handshake.
            if passed & FRESH != 0 {
                wanted = self.len;
            }
            passed as u32 & !(FRESH as u32)
        } else {
            return wanted;
        };
        if payload > 0 && before < setting!(payload) {
            wanted = self.len + payload.min(setting!(payload) - before);
        }
        if wanted != 0 {
            let fresh = if self.flags & SYN != 0 { FRESH } else { 0 };
            // SAFETY: as above.
            unsafe { *slot = name | fresh | u64::from(before + payload) };
        }
        wanted
    }
}

#[inline(always)]
fn pass_on(context: &SkBuffContext, wanted: u32, head: PacketHead) {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return };
    let wanted = wanted.min(PACKET_BYTES as u32);
    // SAFETY: a map's value that this program has to itself: filters run with preemption off. The helpers check what they
    // are given; the verifier sees that `captured` is at most what the scratch holds.
    unsafe {
        (*scratch).head = PacketHead { at: bpf_ktime_get_ns(), captured: wanted, ..head };
        // Read back, the number is new to the compiler, which would else leave out the bounds that the verifier wants.
        let captured = core::ptr::read_volatile(&raw const (*scratch).head.captured);
        let captured = (captured.wrapping_sub(1) & (ROOM as u32 - 1)) + 1;
        let bytes = (&raw mut (*scratch).bytes).cast();
        if bpf_skb_load_bytes(context.as_ptr().cast(), 0, bytes, captured) != 0 {
            return;
        }
        let ring = core::ptr::from_ref::<RingBuf>(maps::records()).cast_mut().cast();
        let size = u64::from(captured) + size_of::<PacketHead>() as u64;
        if bpf_ringbuf_output(ring, scratch.cast(), size, u64::from(BPF_RB_NO_WAKEUP)) != 0 {
            maps::lose(Hook::Packets);
        }
    }
}

/// Loads from `offset` octets after the start of the IP header, wherever the packet keeps its octets.
#[inline(always)]
fn load<T>(context: &SkBuffContext, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper fills all of the value or fails.
    unsafe {
        let (skb, to) = (context.as_ptr().cast(), value.as_mut_ptr().cast());
        let result = bpf_skb_load_bytes(skb, offset, to, size_of::<T>() as u32);
        (result == 0).then(|| value.assume_init())
    }
}

#[inline(always)]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^ value >> 32
}
