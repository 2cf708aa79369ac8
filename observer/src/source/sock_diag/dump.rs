//! The kernel's tables of TCP sockets, by netlink (sock_diag(7), net/ipv4/inet_diag.c).

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use observer::packet::{Address, IpVersion, Tuple};
use observer::record::TcpInfo;

use super::tcp_info;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// `INET_DIAG_CGROUP_ID` of include/uapi/linux/inet_diag.h.
const CGROUP_ID: u16 = 21;

/// Larger than what the kernel puts into one message of a dump.
const BUFFER: usize = 1 << 16;

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

/// Where the kernel of one network namespace can be asked.
pub struct Table {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Table {
    /// Opens the tables of the namespace that this thread is in.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("opening a socket of NETLINK_SOCK_DIAG")?;
        socket.bind_auto().context("binding a socket of NETLINK_SOCK_DIAG")?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Every TCP socket of the namespace.
    pub fn sockets(&mut self) -> Result<Vec<Shown>> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            self.dump(family, &mut all).context("reading the kernel's table of TCP sockets (sock_diag)")?;
        }
        Ok(all)
    }

    fn dump(&mut self, family: u8, all: &mut Vec<Shown>) -> Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            states: StateFlags::all(),
            socket_id,
        };
        let mut request = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let received = self.socket.recv(&mut self.buffer.as_mut_slice(), 0)?;
            let mut rest = self.buffer.get(..received).unwrap_or_default();
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => all.push(shown(&socket)),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                    other => bail!("the kernel answers with something else: {other:?}"),
                }
                // Messages stand at multiples of 4 octets.
                let len = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(len.max(1)..).unwrap_or_default();
            }
        }
    }
}

fn shown(socket: &InetResponse) -> Shown {
    let header = &socket.header;
    let ends = &header.socket_id;
    let [src, dst] = [ends.source_address, ends.destination_address].map(address);
    let is_v4 = [src, dst].iter().all(|address| address.0.starts_with(&V4_MAPPED));
    let mut shown = Shown {
        state: header.state,
        tuple: Tuple {
            src,
            dst,
            sport: ends.source_port,
            dport: ends.destination_port,
            version: if is_v4 { IpVersion::V4 } else { IpVersion::V6 },
        },
        cookie: u64::from_ne_bytes(ends.cookie),
        inode: header.inode,
        uid: header.uid,
        cgroup: 0,
        info: None,
    };
    for attribute in &socket.nlas {
        match attribute {
            Nla::TcpInfo(bytes) => shown.info = Some(tcp_info::read(bytes)),
            Nla::Other(other) => {
                use netlink_packet_core::Nla as _;
                let mut value = [0; 8];
                if other.kind() == CGROUP_ID && other.value_len() == value.len() {
                    other.emit_value(&mut value);
                    shown.cgroup = u64::from_ne_bytes(value);
                }
            }
            _ => {}
        }
    }
    shown
}

/// How IPv4 addresses begin in the form of IPv6 (RFC 4291 section 2.5.5.2).
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

fn address(address: IpAddr) -> Address {
    Address(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    })
}
