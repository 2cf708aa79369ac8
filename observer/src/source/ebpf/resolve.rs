//! What the programs have to be told of this kernel before they are loaded, and which hooks can work on it.

use observer_ebpf::{ABSENT, Fields, Hook, PATHS, Settings};

use super::btf::Btf;
use crate::source::rights;

/// What was found out about the running kernel.
#[derive(Debug)]
pub struct Resolved {
    /// Offsets in the order of [`PATHS`].
    offsets: Vec<u32>,
    /// What holds for this kernel; the wishes of the run are still to be set.
    pub settings: Settings,
}

/// A hook's program: its name in the object, the tracepoint or iterator it goes to, and the fields without which it
/// cannot work.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub hook: Hook,
    pub name: &'static str,
    pub kind: Kind,
    needs: &'static [&'static str],
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tracepoint whose arguments the kernel describes (`tp_btf`).
    Tracepoint(&'static str),
    /// The same a second time: for what the kernel does not show the first.
    Second(&'static str),
    /// The end of a function (`fexit`).
    Exit(&'static str),
    /// An iterator over the kernel's objects.
    Iterator(&'static str),
    /// A filter on packet sockets.
    SocketFilter,
    /// What leaves the processes of every cgroup.
    Egress,
    /// Questions for the peer of a socket, by the processes of every cgroup.
    PeerName,
}

const SOCKET: [&str; 10] = [
    "skc_family",
    "skc_state",
    "skc_num",
    "skc_dport",
    "skc_daddr",
    "skc_rcv_saddr",
    "skc_net",
    "net_inum",
    "sk_protocol",
    "sk_err",
];
const PACKET: [&str; 10] = [
    "skb_head",
    "skb_network_header",
    "skb_protocol",
    "skb_dev",
    "skb_sk",
    "dev_net",
    "net_inum",
    "skc_net",
    "skc_daddr",
    "skc_rcv_saddr",
];
const OF_TASK: [&str; 9] = [
    "sk_protocol",
    "task_group_leader",
    "file_inode",
    "inode_mode",
    "file_private_data",
    "socket_sk",
    "task_tgid",
    "task_comm",
    "task_cred",
];

const OF_COMMAND: [&str; 7] =
    ["task_mm", "mm_arg_start", "mm_arg_end", "task_boottime", "task_group_leader", "task_tgid", "task_comm"];

/// The tracepoint of errors.
const ERROR_REPORT: &str = "inet_sk_error_report";

/// The function that ends every accept(2).
const ACCEPT: &str = "inet_csk_accept";

/// The program at its end, beside those that its hook has where cgroups are asked.
pub const ACCEPTED: Program =
    Program { hook: Hook::Accept, name: "accepted", kind: Kind::Exit(ACCEPT), needs: &["skc_net", "net_inum"] };

/// The program for packets that leave, which its hook can do without.
pub const LEAVING: Program = Program { hook: Hook::Packets, name: "leaving", kind: Kind::Egress, needs: &[] };

/// The packet filter, and the one that does without the program for packets that leave.
pub const PACKETS: &str = "packets";
pub const PACKETS_ALONE: Program =
    Program { hook: Hook::Packets, name: "packets_alone", kind: Kind::SocketFilter, needs: &[] };

/// Every program.
pub const PROGRAMS: [Program; 18] = [
    Program { hook: Hook::State, name: "state", kind: Kind::Tracepoint("inet_sock_set_state"), needs: &SOCKET },
    Program { hook: Hook::State, name: "state_again", kind: Kind::Second("inet_sock_set_state"), needs: &SOCKET },
    Program { hook: Hook::Destroy, name: "destroy", kind: Kind::Tracepoint("tcp_destroy_sock"), needs: &SOCKET },
    Program { hook: Hook::Destroy, name: "destroy_again", kind: Kind::Second("tcp_destroy_sock"), needs: &SOCKET },
    Program {
        hook: Hook::Retransmit,
        name: "retransmit",
        kind: Kind::Tracepoint("tcp_retransmit_skb"),
        needs: &SOCKET,
    },
    Program { hook: Hook::SynAck, name: "synack", kind: Kind::Tracepoint("tcp_retransmit_synack"), needs: &SOCKET },
    Program { hook: Hook::ResetSent, name: "reset_sent", kind: Kind::Tracepoint("tcp_send_reset"), needs: &PACKET },
    Program {
        hook: Hook::ResetReceived,
        name: "reset_received",
        kind: Kind::Tracepoint("tcp_receive_reset"),
        needs: &SOCKET,
    },
    Program { hook: Hook::Drop, name: "drop", kind: Kind::Tracepoint("kfree_skb"), needs: &PACKET },
    Program { hook: Hook::Error, name: "error", kind: Kind::Tracepoint(ERROR_REPORT), needs: &SOCKET },
    Program { hook: Hook::Accept, name: "peer4", kind: Kind::PeerName, needs: &["sk_protocol"] },
    Program { hook: Hook::Accept, name: "peer6", kind: Kind::PeerName, needs: &["sk_protocol"] },
    Program {
        hook: Hook::Congestion,
        name: "congestion",
        kind: Kind::Tracepoint("tcp_cong_state_set"),
        needs: &SOCKET,
    },
    Program {
        hook: Hook::Packets,
        name: PACKETS,
        kind: Kind::SocketFilter,
        needs: &["skb_dev", "dev_net", "net_inum"],
    },
    Program { hook: Hook::Existing, name: "existing_sockets", kind: Kind::Iterator("tcp"), needs: &SOCKET },
    Program { hook: Hook::Existing, name: "existing_descriptors", kind: Kind::Iterator("task_file"), needs: &OF_TASK },
    Program { hook: Hook::Exec, name: "executed", kind: Kind::Tracepoint("sched_process_exec"), needs: &OF_COMMAND },
    Program { hook: Hook::Exec, name: "forked", kind: Kind::Tracepoint("sched_process_fork"), needs: &OF_COMMAND },
];

impl Resolved {
    /// Asks the kernel's types.
    pub fn new(btf: &Btf) -> Self {
        let offsets = PATHS
            .iter()
            .map(|path| path.paths.iter().find_map(|path| btf.offset(path)).unwrap_or(ABSENT))
            .collect::<Vec<_>>();
        let has = |tracepoint, arguments| u32::from(btf.arguments(tracepoint).is_some_and(|count| count >= arguments));
        let helpers = btf.enumerators("bpf_func_id");
        let has_helper = |wanted| helpers.iter().any(|(name, _)| *name == wanted);
        // Since then SRCU guards tracepoints: while a program is at work there, another task may come in between, for which
        // the kernel leaves the program out. Before, only interrupts may, for a moment.
        let tracepoints_are_preemptible = rights::version(&rights::release()).is_some_and(|version| version >= (7, 0));
        let settings = Settings {
            has_drop_reason: has("kfree_skb", 3),
            has_reset_reason: has("tcp_send_reset", 3),
            has_retransmit_error: has("tcp_retransmit_skb", 3),
            error_at_close: u32::from(btf.arguments(ERROR_REPORT).is_none()),
            has_cookie_helper: u32::from(btf.function("bpf_get_socket_ptr_cookie").is_some()),
            accept_arguments: btf.function(ACCEPT).unwrap_or(0) as u32,
            has_second: tracepoints_are_preemptible.into(),
            has_task_btf: u32::from(has_helper("BPF_FUNC_get_current_task_btf")),
            ..quiet(btf)
        };
        Self { offsets, settings }
    }

    /// The offsets as the programs' global has them.
    pub fn fields(&self) -> &[u32] {
        debug_assert_eq!(size_of_val(self.offsets.as_slice()), size_of::<Fields>());
        &self.offsets
    }

    /// What this kernel does not tell at a hook, a word each.
    pub fn lacks(&self, hook: Hook) -> Vec<&'static str> {
        let lack = match hook {
            Hook::Drop if self.settings.has_drop_reason == 0 => "reason",
            Hook::ResetSent if self.settings.has_reset_reason == 0 => "reason",
            Hook::Retransmit if self.settings.has_retransmit_error == 0 => "error",
            _ => return Vec::new(),
        };
        vec![lack]
    }

    /// Whether a program is worth its price on this kernel.
    pub fn wants(&self, program: &Program) -> bool {
        !matches!(program.kind, Kind::Second(_)) || self.settings.has_second != 0
    }

    /// Why a program cannot work on this kernel; `None` where it can.
    pub fn obstacle(&self, program: &Program, btf: &Btf) -> Option<String> {
        if let Kind::Tracepoint(name) | Kind::Second(name) = program.kind
            && btf.arguments(name).is_none()
        {
            let instead =
                if name == ERROR_REPORT { "; errors that end a connection are seen by its state" } else { "" };
            return Some(format!("this kernel has no tracepoint {name}{instead}"));
        }
        if let Kind::Exit(name) = program.kind
            && btf.function(name).is_none()
        {
            return Some(format!("this kernel has no function {name}"));
        }
        let is_absent = |name: &&&str| {
            let at = PATHS.iter().position(|path| path.name == **name);
            at.and_then(|at| self.offsets.get(at)).is_none_or(|offset| *offset == ABSENT)
        };
        let missing = program.needs.iter().find(is_absent)?;
        let path =
            PATHS.iter().find(|path| path.name == *missing).and_then(|path| path.paths.first()).unwrap_or(missing);
        Some(format!("this kernel's types have no {path}"))
    }
}

/// Reasons to free a packet that are no loss: it was handed on, or its socket closed with it still queued.
const QUIET: [&str; 7] = [
    "SKB_NOT_DROPPED_YET",
    "SKB_CONSUMED",
    "SKB_DROP_REASON_NOT_SPECIFIED",
    "SKB_DROP_REASON_QUEUE_PURGE",
    "SKB_DROP_REASON_SOCKET_CLOSE",
    "SKB_DROP_REASON_SKB_CONSUMED",
    "SKB_DROP_REASON_TCP_OLD_DATA",
];

/// The numbers of [`QUIET`] on this kernel.
fn quiet(btf: &Btf) -> Settings {
    let mut settings = Settings::NONE;
    for (name, number) in btf.enumerators("skb_drop_reason") {
        if QUIET.contains(&name) {
            match number {
                0..64 => settings.quiet_low |= 1 << number,
                64..128 => settings.quiet_high |= 1 << (number - 64),
                _ => {}
            }
        }
    }
    settings
}
