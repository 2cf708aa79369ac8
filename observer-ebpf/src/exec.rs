//! `sched:sched_process_exec` and `sched:sched_process_fork`: a process begins to run a program, or begins as a copy of
//! another. What it was started with is passed on, for it may be gone when its connections are told of.
//!
//! Nothing is left out here: who it is that will have a connection, or be at its other end, is not known yet, nor in which
//! namespace. The records have a ring of their own, so that a host that starts many processes loses none of connections.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{COMMAND_BYTES, CommandHead, Hook, tag};

use crate::kernel::{self, Struct};
use crate::maps::{self, field};

/// `(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, in the process, which has its new memory: the
/// arguments have just been written there.
#[btf_tracepoint(function = "sched_process_exec")]
fn executed(context: BtfTracePointContext) -> i32 {
    let task = Struct::new(context.arg(0));
    let memory = task.follow(field!(task_mm));
    let start: u64 = memory.load(field!(mm_arg_start));
    let end: u64 = memory.load(field!(mm_arg_end));
    let len = end.wrapping_sub(start) as u32;
    let head = CommandHead { len, ..head(tag::EXECUTED, task) };
    // The ring gives out room in sizes that are known beforehand.
    if len <= SHORT as u32 {
        send::<SHORT>(head, start, len);
    } else {
        send::<COMMAND_BYTES>(head, start, len.min(COMMAND_BYTES as u32));
    }
    0
}

/// `(struct task_struct *parent, struct task_struct *child)`, in the parent.
#[btf_tracepoint(function = "sched_process_fork")]
fn forked(context: BtfTracePointContext) -> i32 {
    let (parent, child) = (Struct::new(context.arg(0)), Struct::new(context.arg(1)));
    let head = head(tag::FORKED, child);
    let parent_pid: u32 = parent.load(field!(task_tgid));
    // A thread is no process, and what has no memory of its own is the kernel's.
    if head.pid != parent_pid && !child.follow(field!(task_mm)).is_null() {
        let parent_started = kernel::started(parent.follow(field!(task_group_leader)));
        maps::send_command(&CommandHead { parent: parent_pid, parent_started, ..head });
    }
    0
}

/// What is known of a process at any of its beginnings: it has one thread then.
#[inline(always)]
fn head(tag: u32, task: Struct) -> CommandHead {
    CommandHead {
        tag,
        pid: task.load(field!(task_tgid)),
        started: kernel::started(task),
        parent: 0,
        parent_started: 0,
        len: 0,
        captured: 0,
        padding: 0,
        // SAFETY: the helper takes nothing.
        at: unsafe { bpf_ktime_get_ns() },
        comm: task.load(field!(task_comm)),
    }
}

/// Octets of most command lines.
const SHORT: usize = 200;

/// A command line on its way to user space.
#[repr(C)]
struct Sent<const BYTES: usize> {
    head: CommandHead,
    bytes: [u8; BYTES],
}

#[inline(always)]
fn send<const BYTES: usize>(head: CommandHead, from: u64, wanted: u32) {
    let Some(mut entry) = maps::commands().reserve::<Sent<BYTES>>(0) else {
        maps::lose(Hook::Exec);
        return;
    };
    let sent = entry.as_mut_ptr();
    // SAFETY: the ring's memory, which is this program's until it is submitted. The helper checks what it is given; what
    // lies beyond `captured` is not looked at.
    unsafe {
        (*sent).head = CommandHead { captured: wanted.wrapping_sub(1), ..head };
        // One less, and read back: as for packets.
        let less = core::ptr::read_volatile(&raw const (*sent).head.captured);
        let is_read = less < BYTES as u32
            && bpf_probe_read_user((&raw mut (*sent).bytes).cast(), less + 1, from as *const _) == 0;
        (*sent).head.captured = if is_read { less + 1 } else { 0 };
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}
