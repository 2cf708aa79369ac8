//! A socket of this host, as the kernel's tables show it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Endpoint, TcpInfo, TcpState};
use crate::socket::{Diag, SocketMemory, TimerKind};
use crate::time::Nanos;

/// One TCP socket: `observer sockets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SocketRecord {
    /// Inode of its network namespace.
    pub netns: u32,
    /// Its state, by RFC 9293 and `ss`.
    pub state: TcpState,
    /// The family it was opened for, 4 or 6: an IPv6 socket may speak IPv4, and its addresses then begin with `::ffff:`.
    pub family: u8,
    /// Its own end.
    pub local: Endpoint,
    /// The other end; `null` for a listener.
    pub peer: Option<Endpoint>,
    /// Octets received and not yet read (`Recv-Q`); `null` for a listener.
    pub recv_queue: Option<u32>,
    /// Octets sent and not yet acknowledged (`Send-Q`); `null` for a listener.
    pub send_queue: Option<u32>,
    /// Connections that wait to be accepted (`sk_ack_backlog`); `null` but for a listener.
    pub accept_queue: Option<u32>,
    /// How many may wait (`sk_max_ack_backlog`); `null` but for a listener.
    pub backlog: Option<u32>,
    /// The processes that have it open; `null` where that cannot be seen, empty where none has.
    pub processes: Option<Vec<SocketProcess>>,
    /// The user that opened it; `null` where no process has it any more, or not yet.
    pub uid: Option<u32>,
    /// Inode of its file; `null` likewise.
    pub inode: Option<u32>,
    /// Its cookie (`sk_cookie`), as `ss -e` prints it in base 16.
    pub cookie: u64,
    /// Index of the interface that it is bound to; `null` where it is to none.
    pub interface: Option<u32>,
    /// The timer that runs; `null` where none does.
    pub timer: Option<SocketTimer>,
    /// Identifier of its cgroup (v2); `null` where the kernel does not say.
    pub cgroup: Option<u64>,
    /// Whether an IPv6 socket takes IPv6 only; `null` where that is no question.
    pub v6_only: Option<bool>,
    /// Name of its congestion control; `null` where it has none, as in TIME-WAIT.
    pub congestion: Option<String>,
    /// What memory it takes; `null` where it has none, as in TIME-WAIT.
    pub memory: Option<SocketMemory>,
    /// The kernel's numbers; `null` where it has none, as in TIME-WAIT.
    pub info: Option<TcpInfo>,
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct SocketProcess {
    /// Its name (`comm`).
    pub name: String,
    /// Its process identifier.
    pub pid: u32,
    /// The file descriptor.
    pub fd: u32,
}

/// A timer of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SocketTimer {
    /// What it is for.
    pub kind: TimerKind,
    /// How long it still runs, in nanoseconds; the kernel gives milliseconds.
    pub expires_ns: Nanos,
    /// How often it has run out since something was acknowledged.
    pub retransmits: u8,
}

impl SocketRecord {
    /// A socket of the namespace `netns`; `processes` have it open.
    pub fn new(diag: &Diag<'_>, netns: u32, processes: Option<Vec<SocketProcess>>) -> Self {
        let socket = &diag.socket;
        let end = |(ip, port)| Endpoint { ip, port };
        let listens = socket.is_listener();
        let is_open = socket.inode != 0;
        Self {
            netns,
            state: socket.tcp_state(),
            family: socket.family as u8,
            local: end(socket.local),
            peer: (!listens).then_some(end(socket.peer)),
            recv_queue: (!listens).then_some(socket.recv_queue),
            send_queue: (!listens).then_some(socket.send_queue),
            accept_queue: listens.then_some(socket.recv_queue),
            backlog: listens.then_some(socket.send_queue),
            processes,
            uid: is_open.then_some(socket.uid),
            inode: is_open.then_some(socket.inode),
            cookie: socket.cookie,
            interface: (socket.interface != 0).then_some(socket.interface),
            timer: socket.timer.map(|timer| SocketTimer {
                kind: timer.kind,
                expires_ns: timer.expires,
                retransmits: timer.retransmits,
            }),
            cgroup: diag.cgroup().filter(|cgroup| *cgroup != 0),
            v6_only: diag.v6_only(),
            congestion: diag.congestion().map(str::to_string),
            memory: diag.memory(),
            info: diag.info().map(|info| info.record()),
        }
    }
}
