//! A socket's life, gathered in the kernel and sent once.

use crate::{Plain, TooShort};

/// How many events a socket's log holds before it is sent as a chapter and begins anew; a power of two.
pub const EVENTS: usize = 16;

/// Octets of a [`Socket`] before its log: of the log, those events are sent that are filled.
pub const SOCKET_HEAD: usize = core::mem::offset_of!(Socket, events);

/// A TCP socket, from the first that was seen of it.
///
/// The programs keep one for each socket in a map, write to it as things happen, and send it when the socket goes away:
/// a connection costs a record for each of its sockets on this host, and not one for each event.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Socket {
    /// [`crate::tag::GONE`] or [`crate::tag::CHAPTER`].
    pub tag: u32,
    /// Inode of its network namespace (`net.ns.inum`).
    pub netns: u32,
    /// The kernel's address of it: tells it from others as long as it lives. Never printed.
    pub key: u64,
    /// From `bpf_get_socket_cookie`: names the socket for as long as the machine runs; 0 where the kernel has not given
    /// one.
    pub cookie: u64,
    /// When it was first seen, in nanoseconds of `bpf_ktime_get_ns` (CLOCK_MONOTONIC).
    pub born: u64,
    /// Local address; IPv4 as `::ffff:a.b.c.d`. From `skc_v6_rcv_saddr` or `skc_rcv_saddr`.
    pub local: [u8; 16],
    /// Remote address, likewise. From `skc_v6_daddr` or `skc_daddr`.
    pub remote: [u8; 16],
    /// Local port, in host order. From `skc_num`; 0 where not yet bound.
    pub local_port: u16,
    /// Remote port, in host order. From `skc_dport`.
    pub remote_port: u16,
    /// Its state now, as `TCP_*` of `include/net/tcp_states.h` numbers it.
    pub state: u8,
    /// Bits: [`Self::PASSIVE`], [`Self::EXISTED`], [`Self::COUNTED`], [`Self::V6`], [`Self::OVER`].
    pub marks: u8,
    /// What [`Self::owner`] is known from: a [`How`] as a number, 0 where it is not known.
    pub owner_how: u8,
    /// What [`Self::closer`] is known from.
    pub closer_how: u8,
    /// Cgroup of the socket (`sk_cgrp_data`, cgroup v2): its `kernfs_node.id`; 0 where not known.
    pub cgroup: u64,
    /// The process that opened or accepted it.
    pub owner: Task,
    /// The process that closed it.
    pub closer: Task,
    /// The connection's numbers when it was last looked at.
    pub counters: Counters,
    /// When it was last found in the kernel's tables, as [`Self::born`]; 0 where it was not yet.
    pub visited: u64,
    /// How many events were sent in chapters before [`Self::events`], each as often as its [`Event::times`] says.
    pub sent: u32,
    /// How many of [`Self::events`] are filled.
    pub filled: u32,
    /// What happened, in order.
    pub events: [Event; EVENTS],
}

impl Socket {
    /// It came out of a listening socket.
    pub const PASSIVE: u8 = 1;
    /// It was there before observer was.
    pub const EXISTED: u8 = 2;
    /// [`Self::counters`] were filled.
    pub const COUNTED: u8 = 4;
    /// It is an IPv6 socket; its addresses may still be IPv4's.
    pub const V6: u8 = 8;
    /// It is to go out of the map, which could not be done at once.
    pub const OVER: u8 = 16;

    /// Nothing known.
    pub const NONE: Self = Self {
        tag: 0,
        netns: 0,
        key: 0,
        cookie: 0,
        born: 0,
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        state: 0,
        marks: 0,
        owner_how: 0,
        closer_how: 0,
        cgroup: 0,
        owner: Task::NONE,
        closer: Task::NONE,
        counters: Counters::NONE,
        visited: 0,
        sent: 0,
        filled: 0,
        events: [Event::NONE; EVENTS],
    };
}

impl Socket {
    /// Reads a record whose log ends where it is filled.
    ///
    /// # Errors
    /// When `bytes` ends before the log does.
    pub fn read(bytes: &[u8]) -> Result<Self, TooShort> {
        let mut whole = [0; size_of::<Self>()];
        let got = bytes.len().min(whole.len());
        let (room, _) = whole.split_at_mut(got);
        room.copy_from_slice(bytes.split_at(got).0);
        let socket = Self::parse(&whole)?;
        let need = SOCKET_HEAD + (socket.filled as usize).min(EVENTS) * size_of::<Event>();
        if got < need { Err(TooShort { need, got }) } else { Ok(socket) }
    }
}

/// A process, as `current` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Task {
    /// Process identifier (`tgid`); 0 where not known.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// Process identifier of its parent; 0 where not known.
    pub parent: u32,
    /// When it began after the machine did, in units of [`crate::TICK`]: tells it from others that had its identifier before or
    /// after. 0 where not known.
    pub started: u32,
    /// Its cgroup, from `bpf_get_current_cgroup_id`; 0 where not known.
    pub cgroup: u64,
    /// Its name (`comm`), ended by a NUL.
    pub comm: [u8; 16],
}

impl Task {
    /// Not known.
    pub const NONE: Self = Self { pid: 0, uid: 0, parent: 0, started: 0, cgroup: 0, comm: [0; 16] };
}

/// How it is known which process a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum How {
    /// It called connect(2): the socket left CLOSED in its own context.
    Connect = 1,
    /// It called listen(2).
    Listen = 2,
    /// accept(2) gave it the socket.
    Accept = 3,
    /// It had a file descriptor of the socket when observer began.
    Descriptor = 4,
    /// It closed the socket: the state left ESTABLISHED or CLOSE-WAIT in its own context.
    Close = 5,
}

impl How {
    /// From the number that a record holds; `None` for "not known".
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Listen,
            3 => Self::Accept,
            4 => Self::Descriptor,
            5 => Self::Close,
            _ => return None,
        })
    }
}

/// Fields of `struct tcp_sock`, named as there; of those that a kernel lacks, all bits are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "each field is named as in struct tcp_sock")]
pub struct Counters {
    pub bytes_sent: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub bytes_retrans: u64,
    pub segs_in: u32,
    pub segs_out: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub total_retrans: u32,
    pub srtt_us: u32,
    pub mdev_us: u32,
    pub rtt_min: u32,
    pub snd_cwnd: u32,
    pub snd_ssthresh: u32,
    pub mss_cache: u32,
    pub advmss: u32,
    pub lost: u32,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub reord_seen: u32,
    pub dsack_dups: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
}

impl Counters {
    /// Nothing counted.
    pub const NONE: Self = Self {
        bytes_sent: 0,
        bytes_acked: 0,
        bytes_received: 0,
        bytes_retrans: 0,
        segs_in: 0,
        segs_out: 0,
        data_segs_in: 0,
        data_segs_out: 0,
        total_retrans: 0,
        srtt_us: 0,
        mdev_us: 0,
        rtt_min: 0,
        snd_cwnd: 0,
        snd_ssthresh: 0,
        mss_cache: 0,
        advmss: 0,
        lost: 0,
        delivered: 0,
        delivered_ce: 0,
        reord_seen: 0,
        dsack_dups: 0,
        rcv_ooopack: 0,
        snd_wnd: 0,
        rcv_wnd: 0,
    };
}

/// One thing that happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When, in nanoseconds of `bpf_ktime_get_ns`.
    pub at: u64,
    /// What: a [`Kind`] as a number.
    pub kind: u8,
    /// The state before, for [`Kind::State`]; for others, the state at that moment.
    pub from: u8,
    /// The state after.
    pub to: u8,
    /// How many times: as many as segments were sent again at once, 255 for those and more; 1 for all other kinds.
    pub times: u8,
    /// The kernel's reason for a reset or a drop; the error (an errno); what sending again gave; the congestion state.
    pub value: i32,
}

impl Event {
    /// Nothing.
    pub const NONE: Self = Self { at: 0, kind: 0, from: 0, to: 0, times: 0, value: 0 };
}

/// What an [`Event`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The state changed.
    State = 1,
    /// Segments were sent again, as one packet of the kernel's; the value is what the layer below gave back (1 dropped by
    /// the local queue, −1 by the firewall), where the kernel says.
    Retransmit = 2,
    /// A SYN-ACK was sent again.
    SynAckRetransmit = 3,
    /// A RST was sent, for a reason of `enum sk_rst_reason`; −1 where the kernel gives none.
    ResetSent = 4,
    /// A RST arrived.
    ResetReceived = 5,
    /// A packet was dropped, for a reason of `enum skb_drop_reason`; −1 where the kernel gives none.
    Drop = 6,
    /// The socket was told an error, an errno.
    Error = 7,
    /// A segment was to be sent again, and could not even be tried; the value says why (−16, `EBUSY`: it has not left this
    /// host since the last time).
    NotRetransmitted = 8,
    /// The sender's congestion control went to the state of `enum tcp_ca_state` that is the value.
    Congestion = 9,
}

impl Kind {
    /// From the number that a record holds.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::State,
            2 => Self::Retransmit,
            3 => Self::SynAckRetransmit,
            4 => Self::ResetSent,
            5 => Self::ResetReceived,
            6 => Self::Drop,
            7 => Self::Error,
            8 => Self::NotRetransmitted,
            9 => Self::Congestion,
            _ => return None,
        })
    }
}

const _: () = assert!(size_of::<Event>() == 16 && align_of::<Event>() == 8);
const _: () = assert!(size_of::<Task>() == 40 && align_of::<Task>() == 8);
const _: () = assert!(size_of::<Counters>() == 112 && align_of::<Counters>() == 8);
const _: () = assert!(size_of::<Socket>() == 544 && align_of::<Socket>() == 8);
const _: () = assert!(core::mem::offset_of!(Socket, local_port) == 64);
const _: () = assert!(core::mem::offset_of!(Socket, events) == 288);

// SAFETY: repr(C) of integers; the size asserted above is the sum of the fields.
unsafe impl Plain for Event {}
// SAFETY: as above.
unsafe impl Plain for Socket {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let mut socket = Socket { cookie: 7, local_port: 443, filled: 1, ..Socket::NONE };
        socket.events[0] = Event { at: 1 << 40, kind: Kind::Drop as u8, value: -1, ..Event::NONE };
        let bytes = socket.bytes();
        assert_eq!(bytes.len(), 544);
        let read = Socket::parse(bytes).expect("it is whole");
        assert_eq!((read.cookie, read.local_port, read.events[0]), (7, 443, socket.events[0]));
        for cut in 0..bytes.len() {
            assert_eq!(Socket::parse(&bytes[..cut]).map(|_| ()), Err(TooShort { need: 544, got: cut }));
            assert_eq!(Socket::read(&bytes[..cut]).is_ok(), cut >= 288 + 16, "one event is filled");
        }
    }
}
