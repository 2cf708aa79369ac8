//! The kernel's fields that the programs read. Where they lie differs from kernel to kernel: user space finds them in the
//! kernel's own type information (BTF) before the programs are loaded.

/// What a field's offset is where this kernel does not have it.
pub const ABSENT: u32 = u32::MAX;

/// Where to look for a field: a path through members, and the structs it may begin at, newest kernel first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The name of the field in [`Fields`].
    pub name: &'static str,
    /// `struct.member.member`; members of anonymous structs and unions are found by themselves. Kernels that name it
    /// otherwise are asked for the next.
    pub paths: &'static [&'static str],
}

macro_rules! fields {
    ($($name:ident: $($path:literal)|+;)*) => {
        /// Offsets in octets from the start of the struct that the path of the same name begins at; [`ABSENT`] where this
        /// kernel has no such field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        #[expect(missing_docs, reason = "each field is named as the kernel names it, and PATHS says where")]
        pub struct Fields {
            $(pub $name: u32,)*
        }

        impl Fields {
            /// No field is known.
            pub const NONE: Self = Self { $($name: ABSENT,)* };
        }

        /// Where each field of [`Fields`] is found, in the order they lie there.
        pub const PATHS: &[Path] = &[$(Path { name: stringify!($name), paths: &[$($path),+] },)*];
    };
}

fields! {
    skc_family: "sock_common.skc_family";
    skc_state: "sock_common.skc_state";
    skc_num: "sock_common.skc_num";
    skc_dport: "sock_common.skc_dport";
    skc_daddr: "sock_common.skc_daddr";
    skc_rcv_saddr: "sock_common.skc_rcv_saddr";
    skc_v6_daddr: "sock_common.skc_v6_daddr";
    skc_v6_rcv_saddr: "sock_common.skc_v6_rcv_saddr";
    skc_net: "sock_common.skc_net.net";
    skc_cookie: "sock_common.skc_cookie";
    net_inum: "net.ns.inum";
    sk_protocol: "sock.sk_protocol";
    sk_err: "sock.sk_err";
    sk_cgroup: "sock.sk_cgrp_data.cgroup";
    sk_cgroup_val: "sock.sk_cgrp_data.val";
    cgroup_kn: "cgroup.kn";
    kn_id: "kernfs_node.id";
    mptcp_first: "mptcp_sock.first";
    inet_sport: "tcp_sock.inet_conn.icsk_inet.inet_sport";
    total_retrans: "tcp_sock.total_retrans";
    bytes_sent: "tcp_sock.bytes_sent";
    bytes_acked: "tcp_sock.bytes_acked";
    bytes_received: "tcp_sock.bytes_received";
    bytes_retrans: "tcp_sock.bytes_retrans";
    segs_in: "tcp_sock.segs_in";
    segs_out: "tcp_sock.segs_out";
    data_segs_in: "tcp_sock.data_segs_in";
    data_segs_out: "tcp_sock.data_segs_out";
    srtt_us: "tcp_sock.srtt_us";
    mdev_us: "tcp_sock.mdev_us";
    rtt_min: "tcp_sock.rtt_min";
    snd_cwnd: "tcp_sock.snd_cwnd";
    snd_ssthresh: "tcp_sock.snd_ssthresh";
    mss_cache: "tcp_sock.mss_cache";
    advmss: "tcp_sock.advmss";
    lost: "tcp_sock.lost";
    delivered: "tcp_sock.delivered";
    delivered_ce: "tcp_sock.delivered_ce";
    reord_seen: "tcp_sock.reord_seen";
    dsack_dups: "tcp_sock.dsack_dups";
    rcv_ooopack: "tcp_sock.rcv_ooopack";
    snd_wnd: "tcp_sock.snd_wnd";
    rcv_wnd: "tcp_sock.rcv_wnd";
    skb_head: "sk_buff.head";
    skb_network_header: "sk_buff.network_header";
    skb_protocol: "sk_buff.protocol";
    skb_sk: "sk_buff.sk";
    skb_dev: "sk_buff.dev";
    dev_net: "net_device.nd_net.net";
    file_private_data: "file.private_data";
    file_inode: "file.f_inode";
    inode_mode: "inode.i_mode";
    socket_sk: "socket.sk";
    task_tgid: "task_struct.tgid";
    task_real_parent: "task_struct.real_parent";
    task_group_leader: "task_struct.group_leader";
    task_comm: "task_struct.comm";
    task_cred: "task_struct.real_cred";
    task_boottime: "task_struct.start_boottime";
    task_mm: "task_struct.mm";
    mm_arg_start: "mm_struct.arg_start";
    mm_arg_end: "mm_struct.arg_end";
    cred_uid: "cred.uid.val";
}
