//! What user space tells the programs before they are loaded.

/// Constants of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Drop reasons below 64 that are no news: bit N stands for reason N of `enum skb_drop_reason`.
    pub quiet_low: u64,
    /// The same for reasons 64 to 127.
    pub quiet_high: u64,
    /// Inode of the one network namespace to observe; 0 for all.
    pub netns: u32,
    /// Whether only connections with a port in the map `PORTS` are observed, which has a bit for each.
    pub by_port: u32,
    /// Whether `kfree_skb` gives a reason (Linux 5.17).
    pub has_drop_reason: u32,
    /// Whether `tcp_send_reset` gives a reason (Linux 6.10).
    pub has_reset_reason: u32,
    /// Octets of payload of each direction that the packet filter passes on.
    pub payload: u32,
    /// Whether `tcp_retransmit_skb` gives an error (Linux 6.14).
    pub has_retransmit_error: u32,
    /// Whether `bpf_get_socket_cookie` is there for programs at tracepoints (Linux 5.12).
    pub has_cookie_helper: u32,
    /// Whether the error of a socket is looked at when it closes: for kernels without `inet_sk_error_report`, which came
    /// with Linux 5.14.
    pub error_at_close: u32,
    /// Whether there is the helper `bpf_get_current_task_btf` (Linux 5.11).
    pub has_task_btf: u32,
    /// Whether what must not be missed has a second program at its tracepoint.
    pub has_second: u32,
    /// How many arguments `inet_csk_accept` has: 2, or 4 before Linux 6.10.
    pub accept_arguments: u32,
    /// One less than how many [`crate::Seat`]s there are, which is a power of two.
    pub seat_mask: u32,
}

impl Settings {
    /// Everything on, nothing known of the machine.
    pub const NONE: Self = Self {
        quiet_low: 0,
        quiet_high: 0,
        netns: 0,
        by_port: 0,
        has_drop_reason: 0,
        has_reset_reason: 0,
        payload: 0,
        has_retransmit_error: 0,
        has_cookie_helper: 0,
        error_at_close: 0,
        has_task_btf: 0,
        has_second: 0,
        accept_arguments: 0,
        seat_mask: 0,
    };
}
