//! TCP sockets as the kernel's sock_diag shows them: `struct inet_diag_msg` of include/uapi/linux/inet_diag.h and the
//! attributes behind it, handed in as bytes.

mod congestion;
mod filter;
mod info;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use congestion::Congestion;
pub use filter::{Aside, Filter, FilterError, Names};
pub use info::Info;
use schemars::JsonSchema;
use serde::Serialize;

use crate::kernel;
use crate::packet::{Address, IpVersion, Tuple};
use crate::record::TcpState;
use crate::time::Nanos;

/// A TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The family it was opened for: an IPv6 socket may speak IPv4.
    pub family: IpVersion,
    /// Its state, as `TCP_*` of include/net/tcp_states.h numbers it.
    pub state: u8,
    /// The timer that runs.
    pub timer: Option<Timer>,
    /// Its own address and port.
    pub local: (IpAddr, u16),
    /// The other end's; zeros where there is none.
    pub peer: (IpAddr, u16),
    /// Index of the interface that it is bound to; 0 where it is to none.
    pub interface: u32,
    /// The kernel's cookie of it (`sk_cookie`); of what stands for a socket in TIME-WAIT, its own.
    pub cookie: u64,
    /// Octets received and not yet read; of a listener, connections that wait to be accepted.
    pub recv_queue: u32,
    /// Octets sent and not yet acknowledged; of a listener, how many connections may wait (its backlog).
    pub send_queue: u32,
    /// The user that opened it.
    pub uid: u32,
    /// The inode of its file; 0 where no process has it any more, or not yet.
    pub inode: u32,
}

/// A timer of a socket: `idiag_timer`, `idiag_expires` and `idiag_retrans`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What it is for.
    pub kind: TimerKind,
    /// How long it still runs; the kernel gives milliseconds.
    pub expires: Nanos,
    /// How often it has run out since something was acknowledged.
    pub retransmits: u8,
}

/// What a timer is for, by the words of `ss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimerKind {
    /// Retransmission, reordering or tail loss probe.
    On,
    /// Keep-alive; also the time that a FIN-WAIT-2 has.
    KeepAlive,
    /// The end of TIME-WAIT.
    TimeWait,
    /// Zero window probe.
    Persist,
    /// One this version does not know.
    Unknown,
}

impl TimerKind {
    /// As `ss -o` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::KeepAlive => "keepalive",
            Self::TimeWait => "timewait",
            Self::Persist => "persist",
            Self::Unknown => "unknown",
        }
    }
}

/// A socket and what else the kernel says of it.
#[derive(Clone, Copy, Debug)]
pub struct Diag<'a> {
    /// The socket.
    pub socket: Socket,
    attributes: &'a [u8],
}

/// Octets of `struct inet_diag_msg`.
const HEADER: usize = 72;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `INET_DIAG_*` of include/uapi/linux/inet_diag.h.
mod kind {
    pub const INFO: u16 = 2;
    pub const CONG: u16 = 4;
    pub const SKMEMINFO: u16 = 7;
    pub const SHUTDOWN: u16 = 8;
    pub const DCTCPINFO: u16 = 9;
    pub const SKV6ONLY: u16 = 11;
    pub const MARK: u16 = 15;
    pub const BBRINFO: u16 = 16;
    pub const CGROUP_ID: u16 = 21;
}

impl<'a> Diag<'a> {
    /// Reads the payload of one `SOCK_DIAG_BY_FAMILY` message; `None` where it is none.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let (header, attributes) = message.split_at_checked(HEADER)?;
        let [family, state, timer, retransmits, ends @ ..] = header else { return None };
        let family = match *family {
            AF_INET => IpVersion::V4,
            AF_INET6 => IpVersion::V6,
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes(*ends.get(at..)?.first_chunk()?));
        let number = |at: usize| Some(u32::from_ne_bytes(*ends.get(at..)?.first_chunk()?));
        let address = |at: usize| {
            let octets = ends.get(at..)?;
            Some(match family {
                IpVersion::V4 => IpAddr::V4(Ipv4Addr::from_octets(*octets.first_chunk()?)),
                IpVersion::V6 => IpAddr::V6(Ipv6Addr::from_octets(*octets.first_chunk()?)),
            })
        };
        // `idiag_expires` is not set where no timer runs.
        let expires = Nanos::from_millis(number(48)?.into());
        let kind = match *timer {
            0 => None,
            1 => Some(TimerKind::On),
            2 => Some(TimerKind::KeepAlive),
            3 => Some(TimerKind::TimeWait),
            4 => Some(TimerKind::Persist),
            _ => Some(TimerKind::Unknown),
        };
        let socket = Socket {
            family,
            state: *state,
            timer: kind.map(|kind| Timer { kind, expires, retransmits: *retransmits }),
            local: (address(4)?, port(0)?),
            peer: (address(20)?, port(2)?),
            interface: number(36)?,
            cookie: u64::from(number(40)?) | u64::from(number(44)?) << 32,
            recv_queue: number(52)?,
            send_queue: number(56)?,
            uid: number(60)?,
            inode: number(64)?,
        };
        Some(Self { socket, attributes })
    }

    /// Its numbers (`INET_DIAG_INFO`).
    pub fn info(&self) -> Option<Info<'a>> {
        self.attribute(kind::INFO).map(Info::new)
    }

    /// Its congestion control (`INET_DIAG_CONG`).
    pub fn congestion(&self) -> Option<&'a str> {
        let name = self.attribute(kind::CONG)?;
        let name = name.split(|octet| *octet == 0).next()?;
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// What its congestion control says of itself (`INET_DIAG_BBRINFO`, `INET_DIAG_DCTCPINFO`); most say nothing.
    pub fn congestion_numbers(&self) -> Option<Congestion> {
        let bbr = || Congestion::bbr(self.attribute(kind::BBRINFO)?);
        let dctcp = || Congestion::dctcp(self.attribute(kind::DCTCPINFO)?);
        bbr().or_else(dctcp)
    }

    /// Its mark (`INET_DIAG_MARK`, SO_MARK of socket(7)); `None` where the kernel does not say, which takes CAP_NET_ADMIN.
    pub fn mark(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.attribute(kind::MARK)?.first_chunk()?))
    }

    /// What memory it takes (`INET_DIAG_SKMEMINFO`).
    pub fn memory(&self) -> Option<SocketMemory> {
        let value = self.attribute(kind::SKMEMINFO)?;
        let word = |at: usize| Some(u32::from_ne_bytes(*value.get(4 * at..)?.first_chunk()?));
        Some(SocketMemory {
            rmem_alloc: word(0)?,
            rcvbuf: word(1)?,
            wmem_alloc: word(2)?,
            sndbuf: word(3)?,
            fwd_alloc: word(4)?,
            wmem_queued: word(5)?,
            optmem: word(6)?,
            backlog: word(7).unwrap_or(0),
            drops: word(8).unwrap_or(0),
        })
    }

    /// Which directions were shut down (`INET_DIAG_SHUTDOWN`): bit 0 receiving, bit 1 sending.
    pub fn shutdown(&self) -> Option<u8> {
        self.attribute(kind::SHUTDOWN)?.first().copied()
    }

    /// Whether an IPv6 socket takes IPv6 only (`INET_DIAG_SKV6ONLY`).
    pub fn v6_only(&self) -> Option<bool> {
        self.attribute(kind::SKV6ONLY)?.first().map(|only| *only != 0)
    }

    /// Its cgroup, of cgroup v2 (`INET_DIAG_CGROUP_ID`).
    pub fn cgroup(&self) -> Option<u64> {
        Some(u64::from_ne_bytes(*self.attribute(kind::CGROUP_ID)?.first_chunk()?))
    }

    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        attributes(self.attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }
}

/// Netlink's attributes (`struct nlattr`): kind and value, up to the first that does not fit.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of the kind.
    const KIND: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let [a, b, c, d, ..] = *rest else { return None };
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & KIND, value))
    })
}

/// What memory a socket takes, in octets: `SK_MEMINFO_*` of include/uapi/linux/sock_diag.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SocketMemory {
    /// Received, with what surrounds it (`sk_rmem_alloc`).
    pub rmem_alloc: u32,
    /// The most of that (`sk_rcvbuf`).
    pub rcvbuf: u32,
    /// Handed to the layer below and not yet freed (`sk_wmem_alloc`).
    pub wmem_alloc: u32,
    /// The most that may wait to be sent (`sk_sndbuf`).
    pub sndbuf: u32,
    /// Set aside for later (`sk_forward_alloc`).
    pub fwd_alloc: u32,
    /// What waits to be sent or to be acknowledged (`sk_wmem_queued`).
    pub wmem_queued: u32,
    /// Options (`sk_omem_alloc`).
    pub optmem: u32,
    /// What came while a program held the socket (`sk_backlog.len`).
    pub backlog: u32,
    /// Packets that were dropped before they were taken in (`sk_drops`).
    pub drops: u32,
}

impl Socket {
    /// Its state by name.
    pub const fn tcp_state(&self) -> TcpState {
        kernel::state(self.state)
    }

    /// Whether it waits for connections.
    pub const fn is_listener(&self) -> bool {
        matches!(self.tcp_state(), TcpState::Listen)
    }

    /// Its ends, its own as source; IPv4 spoken by an IPv6 socket is IPv4.
    pub fn tuple(&self) -> Tuple {
        let [src, dst] = [self.local.0, self.peer.0].map(Address::from);
        let is_v4 = |address: &Address| address.0.starts_with(&V4_MAPPED);
        let version = if is_v4(&src) && is_v4(&dst) { IpVersion::V4 } else { IpVersion::V6 };
        Tuple { src, dst, sport: self.local.1, dport: self.peer.1, version }
    }
}

/// How IPv4 addresses begin in the form of IPv6 (RFC 4291 section 2.5.5.2).
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message of the kernel: one socket between 10.0.0.1:`sport` and 10.0.0.2:`dport`.
    pub fn message(state: u8, sport: u16, dport: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![AF_INET, state, 3, 1];
        bytes.extend(sport.to_be_bytes());
        bytes.extend(dport.to_be_bytes());
        for octets in [[10, 0, 0, 1], [10, 0, 0, 2]] {
            bytes.extend(octets);
            bytes.extend([0; 12]);
        }
        let cookie = [7_u32, 1];
        for number in [0, cookie[0], cookie[1], 59_500, 11, 12, 1000, 4711] {
            bytes.extend(number.to_ne_bytes());
        }
        for (kind, value) in attributes {
            bytes.extend((value.len() as u16 + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_socket_is_read_with_its_attributes() {
        let bytes = message(6, 1000, 80, &[(8, &[3]), (21, &9_u64.to_ne_bytes()), (4, b"cubic\0")]);
        let diag = Diag::parse(&bytes).expect("it is one");
        let expected = Socket {
            family: IpVersion::V4,
            state: 6,
            timer: Some(Timer { kind: TimerKind::TimeWait, expires: Nanos::from_millis(59_500), retransmits: 1 }),
            local: (IpAddr::from([10, 0, 0, 1]), 1000),
            peer: (IpAddr::from([10, 0, 0, 2]), 80),
            interface: 0,
            cookie: 1 << 32 | 7,
            recv_queue: 11,
            send_queue: 12,
            uid: 1000,
            inode: 4711,
        };
        assert_eq!(diag.socket, expected);
        assert_eq!((diag.shutdown(), diag.cgroup(), diag.congestion()), (Some(3), Some(9), Some("cubic")));
        assert_eq!((diag.v6_only(), diag.memory(), diag.info().is_none()), (None, None, true));
        assert_eq!(diag.socket.tuple().version, IpVersion::V4);
    }

    #[test]
    fn what_is_cut_short_is_no_socket_and_no_attribute() {
        let bytes = message(1, 1, 2, &[(8, &[3]), (21, &9_u64.to_ne_bytes())]);
        for len in 0..bytes.len() {
            let diag = Diag::parse(&bytes[..len]);
            assert_eq!(diag.is_some(), len >= HEADER);
            assert_eq!(diag.and_then(|diag| diag.shutdown()).is_some(), len >= HEADER + 5, "{len}");
        }
        // An attribute that claims to be shorter than its own header ends the list.
        assert_eq!(attributes(&[3, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
    }
}
