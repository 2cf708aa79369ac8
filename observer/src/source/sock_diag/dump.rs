//! The kernel's tables of TCP sockets, by netlink (sock_diag(7), net/ipv4/inet_diag.c).

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use observer::packet::{IpVersion, Tuple};
use observer::record::TcpInfo;
use observer::socket::Diag;

use crate::source::netlink;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// The type of messages (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// `TCPDIAG_GETSOCK` of include/uapi/linux/inet_diag.h: the older question, which is answered with both families in one walk
/// through the table.
const TCPDIAG_GETSOCK: u16 = 18;

/// A socket as the kernel shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its state, as `TCP_*` of include/net/tcp_states.h numbers it.
    pub state: u8,
    /// Its ends, its own as source.
    pub tuple: Tuple,
    /// Its cookie; of what stands for a socket in TIME-WAIT, its own.
    pub cookie: u64,
    /// The inode of its file; 0 where no process has it any more, or not yet.
    pub inode: u32,
    /// The user that opened it.
    pub uid: u32,
    /// Its cgroup (v2); 0 where the kernel does not say.
    pub cgroup: u64,
    /// Its numbers.
    pub info: Option<TcpInfo>,
}

/// Which sockets are asked for, and what of them.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The families, one after the other; none is both in one walk, in no order.
    pub families: &'a [IpVersion],
    /// The states: a bit for each, by the numbers of include/net/tcp_states.h.
    pub states: u32,
    /// What is told beside what all sockets have.
    pub more: More,
    /// Those only whose port the kernel chose; for this, families have to be named.
    pub autobound: bool,
}

/// What is told of each socket beside what all have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// `struct tcp_info` and the congestion control.
    pub info: bool,
    /// Its memory.
    pub memory: bool,
}

impl Query<'_> {
    /// Every socket, and nothing more of it.
    pub const ALL: Query<'static> =
        Query { families: &[], states: u32::MAX, more: More { info: false, memory: false }, autobound: false };
}

/// Where the kernel of one network namespace can be asked.
pub struct Table {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Table {
    /// Opens the tables of the namespace that this thread is in.
    pub fn open() -> Result<Self> {
        Ok(Self::by(Self::socket()?))
    }

    /// A socket for the tables of the namespace that this thread is in.
    pub fn socket() -> Result<OwnedFd> {
        netlink::open(NETLINK_SOCK_DIAG, "NETLINK_SOCK_DIAG")
    }

    /// The tables of the namespace in which the socket was opened.
    pub fn by(socket: OwnedFd) -> Self {
        Self { socket: netlink::from_descriptor(socket), buffer: vec![0; netlink::BUFFER] }
    }

    /// Every TCP socket of the namespace, with its numbers.
    pub fn sockets(&mut self) -> Result<Vec<Shown>> {
        let mut all = Vec::new();
        let query = Query { more: More { info: true, memory: false }, ..Query::ALL };
        self.each(query, |diag| all.push(shown(&diag)))?;
        Ok(all)
    }

    /// Hands over the TCP sockets of the namespace, one after the other.
    pub fn each(&mut self, query: Query<'_>, mut take: impl FnMut(Diag<'_>)) -> Result<()> {
        if query.families.is_empty() {
            return self.dump(&both(query), &mut take);
        }
        for family in query.families {
            self.dump(&by_family(*family, query), &mut take)?;
        }
        Ok(())
    }

    /// The names of the interfaces of that namespace.
    pub fn interfaces(&self) -> Result<Interfaces> {
        let socket = self.socket.as_fd().try_clone_to_owned().context("doubling a socket of NETLINK_SOCK_DIAG")?;
        Ok(Interfaces { socket, names: HashMap::new() })
    }

    fn dump(&mut self, request: &[u8], take: &mut impl FnMut(Diag<'_>)) -> Result<()> {
        let what = "reading the kernel's table of TCP sockets (sock_diag)";
        netlink::dump(&self.socket, &mut self.buffer, request, what, |kind, payload| match kind {
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => {
                take(Diag::parse(payload).context("a socket is cut short")?);
                Ok(())
            }
            other => bail!("the kernel answers with a message of type {other}"),
        })
    }
}

/// The question for the sockets of one family.
fn by_family(family: IpVersion, query: Query<'_>) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let (family, socket_id) = match family {
        IpVersion::V4 => (AF_INET, SocketId::new_v4()),
        IpVersion::V6 => (AF_INET6, SocketId::new_v6()),
    };
    let states = StateFlags::from_bits_retain(query.states);
    let request = InetRequest { family, protocol: IPPROTO_TCP, extensions: query.more.extensions(), states, socket_id };
    let mut request = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    if query.autobound {
        bytes.extend(only_autobound());
        let len = (bytes.len() as u32).to_ne_bytes();
        bytes.iter_mut().zip(len).for_each(|(to, from)| *to = from);
    }
    bytes
}

/// The attribute `INET_DIAG_REQ_BYTECODE` (length, type) with one step (`struct inet_diag_bc_op`): `INET_DIAG_BC_AUTO`, which
/// goes on at the end where the kernel chose the port, and beyond the end, which is to be refused, where it did not.
const fn only_autobound() -> [u8; 8] {
    const INET_DIAG_BC_AUTO: u8 = 6;
    let ([a, b], [c, d], [e, f]) = (8_u16.to_ne_bytes(), 1_u16.to_ne_bytes(), 8_u16.to_ne_bytes());
    [a, b, c, d, INET_DIAG_BC_AUTO, 4, e, f]
}

/// The question for those of both: `struct nlmsghdr` and `struct inet_diag_req`, of which only the extensions and the states
/// are looked at.
fn both(query: Query<'_>) -> Vec<u8> {
    const HEADER: usize = netlink::HEADER;
    const LEN: usize = HEADER + 60;
    let mut bytes = vec![0; LEN];
    let fields: [(usize, &[u8]); 5] = [
        (0, &(LEN as u32).to_ne_bytes()),
        (4, &TCPDIAG_GETSOCK.to_ne_bytes()),
        (6, &(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes()),
        (HEADER + 3, &[query.more.extensions().bits()]),
        (HEADER + 52, &query.states.to_ne_bytes()),
    ];
    for (at, field) in fields {
        if let Some(to) = bytes.get_mut(at..at + field.len()) {
            to.copy_from_slice(field);
        }
    }
    bytes
}

impl More {
    fn extensions(self) -> ExtensionFlags {
        let mut extensions = ExtensionFlags::empty();
        // The last is the word for what any algorithm says of itself.
        let info = ExtensionFlags::INFO | ExtensionFlags::CONG | ExtensionFlags::VEGASINFO;
        extensions.set(info, self.info);
        extensions.set(ExtensionFlags::SKMEMINFO, self.memory);
        extensions
    }
}

/// The names of interfaces, by their indices.
#[derive(Debug)]
pub struct Interfaces {
    /// Of the namespace that they are in.
    socket: OwnedFd,
    names: HashMap<u32, Option<String>>,
}

impl Interfaces {
    /// The name of an interface; `None` for 0, and where there is none any more.
    pub fn name(&mut self, index: u32) -> Option<&str> {
        if index == 0 {
            return None;
        }
        let ask = || rustix::net::netdevice::index_to_name(&self.socket, index).ok();
        self.names.entry(index).or_insert_with(ask).as_deref()
    }
}

fn shown(diag: &Diag<'_>) -> Shown {
    let socket = &diag.socket;
    Shown {
        state: socket.state,
        tuple: socket.tuple(),
        cookie: socket.cookie,
        inode: socket.inode,
        uid: socket.uid,
        cgroup: diag.cgroup().unwrap_or(0),
        info: diag.info().map(|info| info.record()),
    }
}
