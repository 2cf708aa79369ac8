//! Connection tracking, by netlink (ctnetlink, net/netfilter/nf_conntrack_netlink.c): its events, and its entries where they
//! are asked for. Both take CAP_NET_ADMIN when they are begun.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use observer::conntrack::{DST_NAT, Entry, HEADER, SRC_NAT, kind};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::netlink;

/// Types of messages (include/uapi/linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h): `NFNL_SUBSYS_CTNETLINK` above
/// `IPCTNL_MSG_CT_*`.
const NEW: u16 = 0x100;
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;

/// `NFNLGRP_CONNTRACK_NEW` and `NFNLGRP_CONNTRACK_DESTROY`, as bits.
const GROUP_NEW: u32 = 1;
const GROUP_DESTROY: u32 = 1 << 2;

/// Octets of events that wait for us, of those that are larger than their messages by far (`skb->truesize`).
const WAITING: usize = 4 << 20;

/// How many events are taken in at once, at most: where there are more, they are lost, and that is told.
const MOST_EVENTS: usize = 20_000;

/// Which events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Entries that are made.
    New,
    /// Entries with translated addresses, when they are made and when they go.
    Translated,
}

/// Something that happened to an entry.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It was made.
    New(Message<'a>),
    /// It is gone.
    Gone(Message<'a>),
}

/// An entry, still in the form that the kernel gave it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a>(&'a [u8]);

impl Message<'_> {
    /// The entry; `None` where it is none.
    pub fn entry(self) -> Option<Entry> {
        Entry::parse(self.0)
    }
}

/// Events of one network namespace.
pub struct Events {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Events {
    /// A socket that listens in the namespace that this thread is in.
    pub fn socket(wanted: Wanted) -> Result<OwnedFd> {
        let mut socket = Socket::new(NETLINK_NETFILTER).context("opening a socket of NETLINK_NETFILTER")?;
        socket.set_non_blocking(true)?;
        // Where more than the host's limit (net.core.rmem_max) is not allowed, that is what there is.
        if set_socket_recv_buffer_size_force(&socket, WAITING).is_err() {
            let _ = set_socket_recv_buffer_size(&socket, WAITING);
        }
        if wanted == Wanted::Translated {
            keep_translated(&socket).context("having the kernel leave out what is not translated")?;
        }
        let groups = if wanted == Wanted::New { GROUP_NEW } else { GROUP_NEW | GROUP_DESTROY };
        socket
            .bind(&SocketAddr::new(0, groups))
            .context("listening to connection tracking (this takes CAP_NET_ADMIN)")?;
        netlink::into_descriptor(socket)
    }

    /// What such a socket hears.
    pub fn by(socket: OwnedFd) -> Self {
        Self { socket: netlink::from_descriptor(socket), buffer: vec![0; netlink::BUFFER] }
    }

    /// Hands over what has happened; gives how much that was, `None` where some was lost.
    pub fn take(&mut self, mut take: impl FnMut(Event<'_>)) -> Result<Option<u64>> {
        let (mut count, mut is_lost) = (0, false);
        for _ in 0..MOST_EVENTS {
            let received = match self.socket.recv(&mut self.buffer.as_mut_slice(), 0) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    is_lost = true;
                    continue;
                }
                Err(error) => return Err(error).context("listening to connection tracking"),
            };
            netlink::each(self.buffer.get(..received).unwrap_or_default(), |number, payload| {
                match number {
                    NEW => take(Event::New(Message(payload))),
                    DELETE => take(Event::Gone(Message(payload))),
                    _ => return Ok(true),
                }
                count += 1;
                Ok(true)
            })?;
        }
        Ok((!is_lost).then_some(count))
    }
}

/// Where the entries of one network namespace can be asked for.
pub struct Entries {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Entries {
    /// A socket for the entries of the namespace that this thread is in.
    pub fn socket() -> Result<OwnedFd> {
        netlink::open(NETLINK_NETFILTER, "NETLINK_NETFILTER")
    }

    /// The entries of the namespace in which the socket was opened.
    pub fn by(socket: OwnedFd) -> Self {
        Self { socket: netlink::from_descriptor(socket), buffer: vec![0; netlink::BUFFER] }
    }

    /// Hands over every entry.
    pub fn each(&mut self, take: impl FnMut(Entry)) -> Result<()> {
        self.dump(&question(None), take)
    }

    /// Hands over the entries with translated addresses; kernels before 5.15 look at the others too, and we leave them out.
    pub fn each_translated(&mut self, mut take: impl FnMut(Entry)) -> Result<()> {
        for (bits, mask) in [(SRC_NAT, SRC_NAT), (DST_NAT, SRC_NAT | DST_NAT)] {
            self.dump(&question(Some((bits, mask))), |entry| {
                if entry.status & mask == bits {
                    take(entry);
                }
            })?;
        }
        Ok(())
    }

    fn dump(&mut self, question: &[u8], mut take: impl FnMut(Entry)) -> Result<()> {
        let what = "reading the entries of connection tracking (this takes CAP_NET_ADMIN)";
        netlink::dump(&self.socket, &mut self.buffer, question, what, |kind, payload| {
            Some(payload).filter(|_| kind == NEW).and_then(Entry::parse).into_iter().for_each(&mut take);
            Ok(())
        })
    }
}

/// `IPCTNL_MSG_CT_GET` for all entries, or for those whose status has these bits under a mask.
fn question(status: Option<(u32, u32)>) -> Vec<u8> {
    // `struct nfgenmsg`: AF_UNSPEC, version 0, no resource.
    let mut body = vec![0; HEADER];
    if let Some((bits, mask)) = status {
        for (kind, value) in [(kind::STATUS, bits), (kind::STATUS_MASK, mask)] {
            body.extend(8_u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value.to_be_bytes());
        }
    }
    netlink::dump_of(GET, &body)
}

/// Has the kernel drop what is not about a translated connection before it is queued for us: a filter on the socket that
/// looks for the status among the attributes (`SKF_AD_NLATTR`).
fn keep_translated(socket: &Socket) -> io::Result<()> {
    let code = |code: u32| code as u16;
    let step = |code: u16, k: u32, jt: u8, jf: u8| libc::sock_filter { code, jt, jf, k };
    let load_attribute = (libc::SKF_AD_OFF + libc::SKF_AD_NLATTR).cast_unsigned();
    let program = [
        step(code(libc::BPF_LD | libc::BPF_IMM), (netlink::HEADER + HEADER) as u32, 0, 0),
        step(code(libc::BPF_LDX | libc::BPF_IMM), kind::STATUS.into(), 0, 0),
        step(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), load_attribute, 0, 0),
        step(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), 0, 4, 0),
        step(code(libc::BPF_MISC | libc::BPF_TAX), 0, 0, 0),
        step(code(libc::BPF_LD | libc::BPF_W | libc::BPF_IND), 4, 0, 0),
        step(code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K), SRC_NAT | DST_NAT, 0, 1),
        step(code(libc::BPF_RET | libc::BPF_K), u32::MAX, 0, 0),
        step(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the call, and writes nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
