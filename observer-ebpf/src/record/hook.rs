//! The hooks: what in the kernel is listened to.

/// A place in the kernel that observer listens to. Its number is the index of its counter of lost records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Hook {
    /// `sock:inet_sock_set_state`: a socket goes from one state to another.
    State,
    /// `tcp:tcp_destroy_sock`: a socket goes away; its last counters.
    Destroy,
    /// `tcp:tcp_retransmit_skb`: a segment is sent again.
    Retransmit,
    /// `tcp:tcp_retransmit_synack`: a SYN-ACK is sent again.
    SynAck,
    /// `tcp:tcp_send_reset`: a RST is sent.
    ResetSent,
    /// `tcp:tcp_receive_reset`: a RST arrives.
    ResetReceived,
    /// `skb:kfree_skb`: a packet is dropped.
    Drop,
    /// `sock:inet_sk_error_report`: a socket is told an error.
    Error,
    /// The end of `inet_csk_accept`, or else the programs of cgroups at `getpeername`: a process takes a connection over.
    Accept,
    /// A filter on packet sockets: flags, and the first bytes of each direction.
    Packets,
    /// `iter/tcp` and `iter/task_file`: sockets that were there before.
    Existing,
    /// `tcp:tcp_cong_state_set`: a sender's congestion control goes from one state to another.
    Congestion,
    /// `sched:sched_process_exec` and `sched:sched_process_fork`: what processes were started with.
    Exec,
}

/// Every hook, in the order of their numbers.
pub const HOOKS: [Hook; 13] = [
    Hook::State,
    Hook::Destroy,
    Hook::Retransmit,
    Hook::SynAck,
    Hook::ResetSent,
    Hook::ResetReceived,
    Hook::Drop,
    Hook::Error,
    Hook::Accept,
    Hook::Packets,
    Hook::Existing,
    Hook::Congestion,
    Hook::Exec,
];

impl Hook {
    /// Its name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Destroy => "destroy",
            Self::Retransmit => "retransmit",
            Self::SynAck => "synack",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::Drop => "drop",
            Self::Error => "error",
            Self::Accept => "accept",
            Self::Packets => "packets",
            Self::Existing => "existing",
            Self::Congestion => "congestion",
            Self::Exec => "exec",
        }
    }

    /// Whether it is used where it is not asked for by name. A sender that loses much changes its congestion state for
    /// every loss.
    pub const fn is_default(self) -> bool {
        !matches!(self, Self::Congestion)
    }
}
