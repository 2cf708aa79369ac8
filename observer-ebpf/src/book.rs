//! Keeping the book of sockets.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_ktime_get_ns, generated};
use observer_ebpf::{ABSENT, Counters, EVENTS, Event, Hook, Kind, Socket, tag};

use crate::kernel::{self, Struct};
use crate::maps::{self, field, setting};
use crate::seats;

const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// What a new entry is made from.
static BLANK: Socket = Socket::NONE;

/// The entry of `sk`.
#[inline(always)]
pub fn find(sk: Struct) -> Option<&'static mut Socket> {
    let sits = seats::find(sk);
    if sits.is_some() { sits } else { find_standing(sk) }
}

/// The entry of `sk` that is in the map.
#[inline(always)]
fn find_standing(sk: Struct) -> Option<&'static mut Socket> {
    // SAFETY: a map's value. Programs on several processors may write to it at once, each to its own fields: the
    // socket's lock keeps the hooks apart that add events, all but drops.
    maps::sockets().get_ptr_mut(sk.address()).map(|socket| unsafe { &mut *socket })
}

/// Makes an entry for `sk`, in place of one that was left over.
#[inline(always)]
pub fn make(sk: Struct, hook: Hook) -> Option<&'static mut Socket> {
    let left_over = find(sk);
    let used = if left_over.is_some() { left_over } else { seats::take(sk) };
    if let Some(socket) = used {
        seats::wipe(socket);
        begin(socket, sk);
        return Some(socket);
    }
    if maps::sockets().insert(sk.address(), &BLANK, 0).is_err() {
        maps::lose(hook);
        return None;
    }
    let socket = find_standing(sk)?;
    begin(socket, sk);
    Some(socket)
}

/// As [`make`], but leaves an entry alone that is there. The seats are for those that come and go: what was there before
/// stays for long.
#[inline(always)]
pub fn make_if_new(sk: Struct) -> Option<&'static mut Socket> {
    if seats::find(sk).is_some() || maps::sockets().insert(sk.address(), &BLANK, u64::from(BPF_NOEXIST)).is_err() {
        return None;
    }
    let socket = find_standing(sk)?;
    begin(socket, sk);
    Some(socket)
}

#[inline(always)]
fn begin(socket: &mut Socket, sk: Struct) {
    socket.tag = tag::GONE;
    socket.key = sk.address();
    socket.netns = kernel::netns(sk);
    // SAFETY: the helper takes nothing.
    socket.born = unsafe { bpf_ktime_get_ns() };
    socket.cgroup = cgroup(sk);
}

/// Identifier of the control group that `sk` was made in; 0 where it is not known.
#[inline(always)]
fn cgroup(sk: Struct) -> u64 {
    if field!(sk_cgroup) != ABSENT {
        return sk.follow(field!(sk_cgroup)).follow(field!(cgroup_kn)).load(field!(kn_id));
    }
    if field!(sk_cgroup_val) == ABSENT {
        return 0;
    }
    // Before Linux 5.15 a number: a pointer where neither of its two lowest bits is set.
    let cgroup: u64 = sk.load(field!(sk_cgroup_val));
    let node = if cgroup & 3 == 0 { kernel::read::<u64>(cgroup + u64::from(field!(cgroup_kn))) } else { None };
    node.and_then(|node| kernel::read(node + u64::from(field!(kn_id)))).unwrap_or(0)
}

/// Whether `sk` is one that this run wants.
#[inline(always)]
pub fn is_wanted(sk: Struct) -> bool {
    let netns = setting!(netns);
    netns == 0 || kernel::netns(sk) == netns
}

/// Whether `socket` is between ports that this run does not want; takes it out of the book then. As long as it is not bound
/// and connected, that is not known.
#[inline(always)]
pub fn drop_unwanted(socket: &mut Socket, sk: Struct) -> bool {
    let (local, remote) = (socket.local_port, socket.remote_port);
    let unwanted = local != 0 && remote != 0 && !maps::wants_ports(local, remote);
    if unwanted {
        take_out(socket, sk);
    }
    unwanted
}

/// Takes the entry of `sk` out of the book. Where this interrupts what is at work on the same bucket of the map, the kernel
/// refuses it; user space does it then.
#[inline(always)]
pub fn take_out(socket: &mut Socket, sk: Struct) {
    if !seats::leave(sk) && maps::sockets().remove(sk.address()).is_err() {
        socket.marks |= Socket::OVER;
    }
}

/// Fills in what is known of the ends only after the socket is bound and connected.
#[inline(always)]
pub fn fill_ends(socket: &mut Socket, sk: Struct) {
    let port: u16 = sk.load(field!(skc_num));
    if port != 0 {
        socket.local_port = port;
    } else if let Some(tcp) = tcp_sock(sk)
        && field!(inet_sport) != ABSENT
    {
        // A socket that has just been closed has given its port up, and still says which it was.
        socket.local_port = u16::from_be(tcp.load(field!(inet_sport)));
    }
    let port: u16 = sk.load(field!(skc_dport));
    if port != 0 {
        socket.remote_port = u16::from_be(port);
    }
    let (local, remote) = addresses(sk);
    socket.local = local;
    socket.remote = remote;
    let family: u16 = sk.load(field!(skc_family));
    if family == AF_INET6 {
        socket.marks |= Socket::V6;
    }
}

/// Local and remote address.
#[inline(always)]
pub fn addresses(sk: Struct) -> ([u8; 16], [u8; 16]) {
    let family: u16 = sk.load(field!(skc_family));
    let (local, remote) = if family == AF_INET6 && field!(skc_v6_daddr) != ABSENT {
        (words(sk, field!(skc_v6_rcv_saddr)), words(sk, field!(skc_v6_daddr)))
    } else {
        (kernel::mapped(sk.load(field!(skc_rcv_saddr))), kernel::mapped(sk.load(field!(skc_daddr))))
    };
    // SAFETY: both are 16 bytes of integers.
    unsafe { (core::mem::transmute(local), core::mem::transmute(remote)) }
}

#[inline(always)]
fn words(sk: Struct, offset: u32) -> [u32; 4] {
    [sk.load(offset), sk.load(offset + 4), sk.load(offset + 8), sk.load(offset + 12)]
}

/// Adds an event to the log of `socket`; sends the log and begins anew where it is full.
#[inline(always)]
pub fn note(socket: &mut Socket, kind: Kind, states: (u8, u8), value: i32, hook: Hook) {
    note_times(socket, kind, 1, states, value, hook);
}

/// As [`note`], of what happened as many times at once.
#[inline(always)]
pub fn note_times(socket: &mut Socket, kind: Kind, times: u8, states: (u8, u8), value: i32, hook: Hook) {
    // SAFETY: the helper takes nothing.
    let at = unsafe { bpf_ktime_get_ns() };
    note_event(socket, Event { at, kind: kind as u8, from: states.0, to: states.1, times, value }, hook);
}

/// As [`note`], of an event whose time is known.
#[inline(always)]
pub fn note_event(socket: &mut Socket, event: Event, hook: Hook) {
    if socket.filled as usize >= EVENTS {
        socket.tag = tag::CHAPTER;
        maps::send_socket(socket, hook);
        socket.tag = tag::GONE;
        socket.sent += socket.events.iter().map(|event| u32::from(event.times)).sum::<u32>();
        socket.filled = 0;
    }
    // SAFETY: a number of ours. Read anew, the compiler knows nothing of it and leaves the mask alone, which shows the
    // verifier that the event lies within the log: it forgets what a register was compared to.
    let index = unsafe { core::ptr::read_volatile(&raw const socket.filled) } as usize & (EVENTS - 1);
    // SAFETY: within the log, as the mask says.
    unsafe { socket.events.as_mut_ptr().add(index).write_volatile(event) };
    socket.filled = index as u32 + 1;
}

/// Copies the numbers of the connection.
#[inline(always)]
pub fn count(socket: &mut Socket, sk: Struct) {
    let Some(tcp) = tcp_sock(sk) else { return };
    socket.counters = Counters {
        bytes_sent: tcp.load_u64(field!(bytes_sent)),
        bytes_acked: tcp.load_u64(field!(bytes_acked)),
        bytes_received: tcp.load_u64(field!(bytes_received)),
        bytes_retrans: tcp.load_u64(field!(bytes_retrans)),
        segs_in: tcp.load_u32(field!(segs_in)),
        segs_out: tcp.load_u32(field!(segs_out)),
        data_segs_in: tcp.load_u32(field!(data_segs_in)),
        data_segs_out: tcp.load_u32(field!(data_segs_out)),
        total_retrans: tcp.load_u32(field!(total_retrans)),
        srtt_us: tcp.load_u32(field!(srtt_us)),
        mdev_us: tcp.load_u32(field!(mdev_us)),
        // A struct minmax: the first sample's time, then its value.
        rtt_min: if field!(rtt_min) == ABSENT { u32::MAX } else { tcp.load(field!(rtt_min) + 4) },
        snd_cwnd: tcp.load_u32(field!(snd_cwnd)),
        snd_ssthresh: tcp.load_u32(field!(snd_ssthresh)),
        mss_cache: tcp.load_u32(field!(mss_cache)),
        advmss: if field!(advmss) == ABSENT { u32::MAX } else { u32::from(tcp.load::<u16>(field!(advmss))) },
        lost: tcp.load_u32(field!(lost)),
        delivered: tcp.load_u32(field!(delivered)),
        delivered_ce: tcp.load_u32(field!(delivered_ce)),
        reord_seen: tcp.load_u32(field!(reord_seen)),
        dsack_dups: tcp.load_u32(field!(dsack_dups)),
        rcv_ooopack: tcp.load_u32(field!(rcv_ooopack)),
        snd_wnd: tcp.load_u32(field!(snd_wnd)),
        rcv_wnd: tcp.load_u32(field!(rcv_wnd)),
    };
    socket.marks |= Socket::COUNTED;
}

/// How many segments the kernel says it has sent again since it was last asked; 1 where it does not say.
#[inline(always)]
pub fn count_again(socket: &mut Socket, sk: Struct) -> u32 {
    let Some(tcp) = tcp_sock(sk) else { return 1 };
    let (before, now) = (socket.counters.total_retrans, tcp.load_u32(field!(total_retrans)));
    socket.counters.total_retrans = now;
    if now == u32::MAX { 1 } else { now.wrapping_sub(before) }
}

/// `sk` as the larger struct that it is a part of.
#[inline(always)]
fn tcp_sock(sk: Struct) -> Option<Struct> {
    // SAFETY: the argument is a socket; the helper gives NULL for one that is not TCP's.
    let tcp = Struct::new(unsafe { generated::bpf_skc_to_tcp_sock(sk.pointer() as *mut _) } as *const u8);
    (!tcp.is_null()).then_some(tcp)
}

/// Whether `sk` is TCP's; MPTCP's own sockets have their subflows observed.
#[inline(always)]
pub fn is_tcp(sk: Struct) -> bool {
    sk.load::<u16>(field!(sk_protocol)) == IPPROTO_TCP
}
