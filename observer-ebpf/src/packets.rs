//! Packets, as they arrive and as they leave. What is wanted of them goes to the ring buffer.
//!
//! Segments with SYN, FIN or RST are passed on, those with a window of 0, and the first octets of payload of each direction
//! whose SYN was seen; bulk data costs a look at its headers. ICMP errors that quote a segment are passed on, too. Of datagrams, those of this
//! host's own lookups of names are passed on, and those with which connections of QUIC and DTLS begin.
//!
//! Those that arrive are seen by a filter on packet sockets, which queues nothing there; those that leave by a program on
//! the root of the cgroups, because a packet socket would have each of them cloned. What goes over the loopback interface
//! would have to pass both: of IPv4 it is seen as it leaves, and no packet socket has it; of IPv6 as it arrives, since the
//! kernel sends an RST, and before Linux 6.10 a SYN-ACK, past the cgroups there. Where there are no cgroups of version 2
//! the packet sockets do it alone. Either program finds the IP header at the packet's start: the sockets are of kind
//! SOCK_DGRAM.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::macros::{cgroup_skb, map, socket_filter};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::SkBuffContext;
use observer_ebpf::{Hook, PACKET_BYTES, PacketHead, tag};

use crate::kernel::{self, Struct};
use crate::maps::{self, field, setting};
use crate::seats;

/// Sets of slots for directions that are being passed on; a power of two.
pub const FLOWS: u32 = 1 << 15;

/// Slots of directions that have the same set. A direction takes one with its SYN, from the one that needs it less: else
/// those of a busy host would take them from each other within a round trip.
pub type Slots = [u64; 2];

const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u8 = 58;
const LOOPBACK: u32 = 1;
const PACKET_HOST: u32 = 0;
const PACKET_OUTGOING: u32 = 4;

/// In a slot, beside the direction's name and how many octets were passed on: nothing came after the SYN yet.
const FRESH: u64 = 1 << 31;
/// In a slot: the direction was closed.
const OVER: u64 = 1 << 30;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Queues nothing, whatever it sees. `leaving` sees the rest.
#[socket_filter]
fn packets(context: SkBuffContext) -> i64 {
    // SAFETY: the program's argument; the verifier knows its fields.
    let (interface, direction) = unsafe { ((*context.skb.skb).ifindex, (*context.skb.skb).pkt_type) };
    if !is_seen_leaving(&context) {
        look(&context, interface, direction, || Passage::of(&context));
    }
    0
}

/// The same where there is no `leaving`. What goes over the loopback interface is seen as it arrives.
#[socket_filter]
fn packets_alone(context: SkBuffContext) -> i64 {
    // SAFETY: as above.
    let (interface, direction) = unsafe { ((*context.skb.skb).ifindex, (*context.skb.skb).pkt_type) };
    if interface != LOOPBACK || direction != PACKET_OUTGOING {
        look(&context, interface, direction, || Passage::of(&context));
    }
    0
}

/// Lets every packet go.
#[cgroup_skb(egress)]
fn leaving(context: SkBuffContext) -> i32 {
    // SAFETY: as above.
    let interface = unsafe { (*context.skb.skb).ifindex };
    let is_loopback = interface == LOOPBACK;
    if is_loopback && !is_seen_leaving(&context) {
        return 1;
    }
    // On the loopback interface it arrives as well.
    let direction = if is_loopback { PACKET_HOST } else { PACKET_OUTGOING };
    // The cgroups do not divide at namespaces.
    let passage = if setting!(netns) == 0 { None } else { Some(Passage::of_sender(&context)) };
    if passage.as_ref().is_none_or(|passage| passage.netns == setting!(netns)) {
        look(&context, interface, direction, || passage.unwrap_or_else(|| Passage::of_sender(&context)));
    }
    1
}

/// Whether a packet is one of the loopback interface that is seen as it leaves.
#[inline(always)]
fn is_seen_leaving(context: &SkBuffContext) -> bool {
    // SAFETY: as above.
    let (interface, protocol) = unsafe { ((*context.skb.skb).ifindex, (*context.skb.skb).protocol) };
    interface == LOOPBACK && protocol != ETH_P_IPV6
}

/// When and in which namespace a packet passes.
struct Passage {
    at: u64,
    netns: u32,
}

impl Passage {
    #[inline(always)]
    fn of(context: &SkBuffContext) -> Self {
        // SAFETY: the helper takes nothing.
        let at = unsafe { bpf_ktime_get_ns() };
        Self { at, netns: netns(context, at) }
    }

    /// The same of what its sender's socket lets go. (What arrives over a pair of veth may have it still, from elsewhere.)
    #[inline(always)]
    fn of_sender(context: &SkBuffContext) -> Self {
        // SAFETY: as above.
        let at = unsafe { bpf_ktime_get_ns() };
        Self { at, netns: netns_of_sender(context).unwrap_or_else(|| netns(context, at)) }
    }
}

/// Looks at a packet and passes on what is wanted of it.
#[inline(always)]
fn look(context: &SkBuffContext, interface: u32, direction: u32, passage: impl FnOnce() -> Passage) {
    // SAFETY: as above.
    let (protocol, len) = unsafe { ((*context.skb.skb).protocol, (*context.skb.skb).len) };
    let wanted = match Headers::of(context, protocol) {
        Some(Headers::Tcp(headers)) => match headers.wanted(len, interface, direction) {
            0 if headers.is_full => headers.len,
            wanted => wanted,
        },
        Some(Headers::Error) => len.min(HEADERS as u32),
        Some(Headers::Udp(message)) if message.is_wanted(interface, direction) => len,
        _ => 0,
    };
    if wanted != 0 {
        let Passage { at, netns } = passage();
        let head = PacketHead { tag: tag::PACKET, netns, at, len, captured: 0, interface, direction };
        pass_on(context, wanted.min(len), head);
    }
}

/// Inode of the namespace of the socket that a packet leaves, where that is in its seat: it takes no dearer way then.
#[inline(always)]
fn netns_of_sender(context: &SkBuffContext) -> Option<u32> {
    // SAFETY: as above.
    let sk = unsafe { (*context.skb.skb).__bindgen_anon_2.sk } as *const u8;
    if sk.is_null() {
        return None;
    }
    seats::find(Struct::new(sk)).map(|entry| entry.netns)
}

/// Which namespace a device was in, a moment ago: a word of [`Place::word`], and the device's address mixed with that word.
/// An interrupt that writes here in between leaves what does not fit together.
#[repr(C)]
struct Place {
    mixed: u64,
    word: u64,
}

#[map]
static PLACES: PerCpuArray<Place> = PerCpuArray::with_max_entries(1, 0);

impl Place {
    /// The namespace, and until when it is believed: for about a millisecond, in which the kernel neither moves nor frees a
    /// device.
    #[inline(always)]
    fn word(netns: u32, now: u64) -> u64 {
        u64::from(netns) << 32 | now >> 20 & 0xffff_ffff
    }
}

/// Inode of the namespace of the device that the packet is at. The context is the kernel's own `struct sk_buff`, though the
/// verifier shows a part of it only.
#[inline(always)]
fn netns(context: &SkBuffContext, now: u64) -> u32 {
    let skb = context.as_ptr() as u64;
    let Some(device) = kernel::read::<u64>(skb + u64::from(field!(skb_dev))) else { return 0 };
    let Some(place) = PLACES.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map's value; see above for who else writes.
    let (mixed, word) = unsafe { ((*place).mixed, (*place).word) };
    let known = (word >> 32) as u32;
    if word == Place::word(known, now) && mixed == device ^ word {
        return known;
    }
    let net = kernel::read::<u64>(device + u64::from(field!(dev_net)));
    let netns = net.and_then(|net| kernel::read(net + u64::from(field!(net_inum)))).unwrap_or(0);
    let word = Place::word(netns, now);
    // SAFETY: as above.
    unsafe {
        (*place).word = word;
        (*place).mixed = device ^ word;
    }
    netns
}

/// What has to be known of a packet to decide about it.
enum Headers {
    Tcp(Segment),
    Udp(Message),
    /// An ICMP error that quotes a segment.
    Error,
}

/// What has to be known of a segment.
struct Segment {
    /// Octets before the payload.
    len: u32,
    flags: u8,
    /// Its sender has no room for data (RFC 9293, section 3.8.6).
    is_full: bool,
    /// Of addresses and ports, in their order.
    hash: u64,
    /// Of the addresses, whichever is whose.
    pair: u32,
    /// Of its source and of its destination.
    ports: [u16; 2],
}

impl Headers {
    #[inline(always)]
    fn of(context: &SkBuffContext, protocol: u32) -> Option<Self> {
        // Most headers have no options between them and are loaded at once.
        let (next, transport, ends, words) = match protocol {
            ETH_P_IP => {
                let [ip @ .., a, b, c, d]: [u32; 9] = load(context, 0)?;
                let (first, fragment, next) = (ip[0] as u8, u16::from_be((ip[1] >> 16) as u16), (ip[2] >> 8) as u8);
                if fragment & 0x1fff != 0 {
                    return None;
                }
                let transport = u32::from(first & 15) * 4;
                let words = if transport == 20 { [a, b, c, d] } else { load(context, transport)? };
                (next, transport, [mix(u64::from(ip[3])), mix(u64::from(ip[4]))], words)
            }
            ETH_P_IPV6 => {
                let [ip @ .., a, b, c, d]: [u32; 14] = load(context, 0)?;
                let word = |at: usize| u64::from(ip[at]) << 32 | u64::from(ip[at + 1]);
                let end = |at: usize| mix(mix(word(at)) ^ word(at + 2));
                ((ip[1] >> 16) as u8, 40, [end(2), end(6)], [a, b, c, d])
            }
            _ => return None,
        };
        match next {
            IPPROTO_TCP => Segment::of(transport, ends, words).map(Self::Tcp),
            IPPROTO_UDP => Some(Self::Udp(Message { ports: words[0], start: [words[2], words[3]] })),
            IPPROTO_ICMP if matches!(words[0] as u8, 3 | 11 | 12) => quotes(context, transport, false),
            IPPROTO_ICMPV6 if matches!(words[0] as u8, 1..=4) => quotes(context, transport, true),
            _ => None,
        }
    }
}

/// Whether the packet that an ICMP error quotes, behind eight octets of its own (RFC 792; RFC 4443, section 3), is a segment
/// that this run wants. Most quotes have no options between their headers.
#[inline(always)]
fn quotes(context: &SkBuffContext, icmp: u32, is_v6: bool) -> Option<Headers> {
    let quoted = icmp + 8;
    let (next, transport) = if is_v6 {
        let words: [u32; 2] = load(context, quoted)?;
        ((words[1] >> 16) as u8, quoted + 40)
    } else {
        let words: [u32; 3] = load(context, quoted)?;
        ((words[2] >> 8) as u8, quoted + u32::from(words[0] as u8 & 15) * 4)
    };
    if next != IPPROTO_TCP {
        return None;
    }
    let ports: u32 = load(context, transport)?;
    maps::wants_ports(u16::from_be(ports as u16), u16::from_be((ports >> 16) as u16)).then_some(Headers::Error)
}

impl Segment {
    /// `ends`: hashes of the source's address and of the destination's.
    #[inline(always)]
    fn of(transport: u32, ends: [u64; 2], tcp: [u32; 4]) -> Option<Self> {
        let ports = [u16::from_be(tcp[0] as u16), u16::from_be((tcp[0] >> 16) as u16)];
        if !maps::wants_ports(ports[0], ports[1]) {
            return None;
        }
        let hash = mix(ends[0]) ^ ends[1] ^ u64::from(tcp[0]).rotate_left(32);
        let pair = (ends[0].wrapping_add(ends[1]) >> 32) as u32;
        let [offset, flags, window @ ..] = tcp[3].to_ne_bytes();
        Some(Self { len: transport + u32::from(offset >> 4) * 4, flags, is_full: window == [0, 0], hash, pair, ports })
    }

    /// Its set of slots at an interface. A connection's directions have neighbouring sets, and so have connections that are
    /// made one after another, whose ports are taken in turn (every other of them): memory that is at hand already.
    #[inline(always)]
    fn set(&self, interface: u32) -> u32 {
        let [from, to] = self.ports;
        let connection =
            (self.pair ^ mix(interface.into()) as u32).wrapping_add((u32::from(from) + u32::from(to)) >> 1);
        (connection << 1 | u32::from(from < to)) & (FLOWS - 1)
    }

    /// How many octets of a packet of `len` octets are to be passed on.
    ///
    /// Where it passes is a part of its direction's name, as far as that tells the namespaces of one host apart that it goes
    /// through: what is passed on is counted anew in each.
    #[inline(always)]
    fn wanted(&self, len: u32, interface: u32, direction: u32) -> u32 {
        let place = u64::from(interface) << 1 | u64::from(direction == PACKET_OUTGOING);
        let hash = mix(self.hash ^ place);
        let name = hash >> 32 << 32;
        let payload = len.saturating_sub(self.len).min(1 << 24);
        let mut wanted = if self.flags & (SYN | FIN | RST) != 0 { self.len } else { 0 };
        let Some(slots) = maps::passed().get_ptr_mut(self.set(interface)) else { return wanted };
        // SAFETY: a map's value. Two processors may race for it: then some payload is passed on twice, or not.
        let [one, other] = unsafe { &mut *slots };
        let begins = self.flags & SYN != 0;
        let is_own = |slot: &u64| slot >> 32 << 32 == name;
        let slot = if is_own(one) {
            one
        } else if is_own(other) {
            other
        } else if !begins {
            return wanted;
        } else {
            let (first, second) = (need(*one), need(*other));
            if first < second || first == second && hash & u64::from(FLOWS) != 0 { one } else { other }
        };
        let before = if begins {
            0
        } else {
            // The first segment after the SYN completes the handshake.
            if *slot & FRESH != 0 {
                wanted = self.len;
            }
            *slot as u32 & (OVER as u32 - 1)
        };
        if payload > 0 && before < setting!(payload) {
            wanted = self.len + payload.min(setting!(payload) - before);
        }
        if wanted != 0 {
            let fresh = if begins { FRESH } else { 0 };
            let over = if self.flags & (FIN | RST) != 0 { OVER } else { 0 };
            *slot = name | fresh | over | u64::from(before + payload).min(OVER - 1);
        }
        wanted
    }
}

/// How much the direction that has a slot needs it: not at all once it was closed or enough was passed on, little where
/// something was, more where its handshake is not complete (of which there are many in a flood of SYNs), most where it waits
/// for its first octets.
#[inline(always)]
fn need(slot: u64) -> u32 {
    let passed = slot as u32 & (OVER as u32 - 1);
    if slot == 0 || slot & OVER != 0 {
        0
    } else if slot & FRESH != 0 {
        2
    } else if passed >= setting!(payload) {
        0
    } else if passed > 0 {
        1
    } else {
        3
    }
}

/// What has to be known of a datagram.
struct Message {
    ports: u32,
    /// The first octets of its payload.
    start: [u32; 2],
}

/// Ports of DNS and of its multicast kind (RFC 1035, RFC 6762).
const DNS: [u16; 2] = [53_u16.to_be(), 5353_u16.to_be()];

impl Message {
    /// Whether it is a question of this host, or an answer to it. What arrives as a question may be for another host, whose
    /// answer is not seen.
    #[inline(always)]
    fn is_own_lookup(&self, interface: u32, direction: u32) -> bool {
        let [from, to] = [self.ports as u16, (self.ports >> 16) as u16];
        let by_port = DNS.contains(&from) || DNS.contains(&to);
        // RFC 1035, section 4.1.1: the identifier, the flags, how many questions.
        let (flags, questions) = ((self.start[0] >> 16) as u8, self.start[1] as u16);
        let by_content = flags & OPCODE == 0 && questions == 1_u16.to_be();
        let answers = flags & RESPONSE != 0;
        (by_port || by_content) && (interface == LOOPBACK || answers == (direction != PACKET_OUTGOING))
    }

    #[inline(always)]
    fn is_wanted(&self, interface: u32, direction: u32) -> bool {
        self.begins_quic() || self.begins_dtls() || self.is_own_lookup(interface, direction)
    }

    /// Whether it begins with a record of DTLS that is a part of a handshake in the clear (RFC 6347, section 4.1): its
    /// content type, the version 1.0 or 1.2, which 1.3 says as well, and the epoch 0.
    #[inline(always)]
    fn begins_dtls(&self) -> bool {
        const HANDSHAKE: u8 = 22;
        let [kind, major, minor, epoch] = self.start[0].to_ne_bytes();
        kind == HANDSHAKE && major == 0xfe && matches!(minor, 0xff | 0xfd) && epoch == 0
    }

    /// Whether it begins with a long header of QUIC (RFC 9000, section 17.2), of version 1 or 2 (RFC 9369) or of version
    /// negotiation: what a handshake is made of. A server that has been told it may clears the fixed bit in its first answer
    /// already (RFC 9287), but not in version negotiation.
    #[inline(always)]
    fn begins_quic(&self) -> bool {
        let [first, version @ ..] = self.start[0].to_ne_bytes();
        let version = [version[0], version[1], version[2], self.start[1].to_ne_bytes()[0]];
        match u32::from_be_bytes(version) {
            1 | 0x6b33_43cf => first & LONG != 0,
            0 => first & (LONG | FIXED) == LONG | FIXED,
            _ => false,
        }
    }
}

/// In the first octet of a datagram of QUIC: that its header is a long one, and the bit that is set where it was not agreed
/// upon that it may be anything.
const LONG: u8 = 0x80;
const FIXED: u8 = 0x40;

/// In the flags of a message of DNS: which kind of query it is, and that it is an answer.
const OPCODE: u8 = 0x78;
const RESPONSE: u8 = 0x80;

/// A packet on its way to user space.
#[repr(C)]
struct Sent<const BYTES: usize> {
    head: PacketHead,
    bytes: [u8; BYTES],
}

/// Octets of the headers of IPv4 and TCP at their longest, most often: without options of IPv4.
const USUAL: usize = 60;
/// Octets of the headers of IPv6 and TCP at their longest, without extensions; and of an ICMP error with those that it
/// quotes, as far as the ports and the sequence number.
const HEADERS: usize = 104;
/// Octets of a short request or answer.
const SHORT: usize = 480;

#[inline(always)]
fn pass_on(context: &SkBuffContext, wanted: u32, head: PacketHead) {
    // The ring gives out room in sizes that are known beforehand.
    if wanted <= USUAL as u32 {
        send::<USUAL>(context, wanted, head);
    } else if wanted <= HEADERS as u32 {
        send::<HEADERS>(context, wanted, head);
    } else if wanted <= SHORT as u32 {
        send::<SHORT>(context, wanted, head);
    } else {
        send::<PACKET_BYTES>(context, wanted.min(PACKET_BYTES as u32), head);
    }
}

#[inline(always)]
fn send<const BYTES: usize>(context: &SkBuffContext, wanted: u32, head: PacketHead) {
    let Some(mut entry) = maps::records().reserve::<Sent<BYTES>>(0) else {
        maps::lose(Hook::Packets);
        return;
    };
    let sent = entry.as_mut_ptr();
    // SAFETY: the ring's memory, which is this program's until it is submitted. The helper checks what it is given; what
    // lies beyond `captured` is not looked at.
    let loaded = unsafe {
        (*sent).head = PacketHead { captured: wanted.wrapping_sub(1), ..head };
        // Read back, the number is new to the compiler, which would else leave out the bounds that the verifier wants. One
        // less than it is to be, it needs no test for 0, which verifiers before Linux 6.8 make nothing of.
        let less = core::ptr::read_volatile(&raw const (*sent).head.captured);
        if less >= BYTES as u32 {
            false
        } else {
            let captured = less + 1;
            (*sent).head.captured = captured;
            bpf_skb_load_bytes(context.as_ptr().cast(), 0, (&raw mut (*sent).bytes).cast(), captured) == 0
        }
    };
    if loaded {
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
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
