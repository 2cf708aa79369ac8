//! Reading the kernel's structs.

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_get_socket_cookie};
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    bpf_probe_read_kernel,
};
use observer_ebpf::{ABSENT, TICK, Task};

use crate::maps::{field, setting};

/// A kernel's struct, as a program's argument or a pointer that was followed from one: the verifier knows its type and
/// lets its fields be loaded.
#[derive(Clone, Copy)]
pub struct Struct(*const u8);

impl Struct {
    #[inline(always)]
    pub const fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    pub fn pointer(self) -> *const u8 {
        self.0
    }

    /// Loads the field at `offset`.
    #[inline(always)]
    pub fn load<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier checks that the struct has such a field there; a load from a bad address gives 0.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast::<T>()) }
    }

    /// Loads the field at `offset`; all bits set where this kernel has none.
    #[inline(always)]
    pub fn load_u32(self, offset: u32) -> u32 {
        if offset == ABSENT { u32::MAX } else { self.load(offset) }
    }

    /// As [`Self::load_u32`].
    #[inline(always)]
    pub fn load_u64(self, offset: u32) -> u64 {
        if offset == ABSENT { u64::MAX } else { self.load(offset) }
    }

    /// Follows the pointer at `offset` to another struct.
    #[inline(always)]
    pub fn follow(self, offset: u32) -> Self {
        Self(self.load(offset))
    }
}

/// Reads from an address of which the verifier knows nothing.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// Process identifier of the process at work.
#[inline(always)]
pub fn current_pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

const IPPROTO_MPTCP: u16 = 262;

/// The address of the TCP socket behind a `struct socket`; of MPTCP's that of its first subflow.
#[inline(always)]
pub fn socket_of(socket: u64) -> Option<u64> {
    tcp_of(read(socket + u64::from(field!(socket_sk)))?)
}

/// The address of a TCP socket for that of a `struct sock`; of MPTCP's that of its first subflow.
#[inline(always)]
pub fn tcp_of(sk: u64) -> Option<u64> {
    if field!(mptcp_first) == ABSENT {
        return Some(sk);
    }
    let protocol: u16 = read(sk + u64::from(field!(sk_protocol)))?;
    if protocol == IPPROTO_MPTCP { read(sk + u64::from(field!(mptcp_first))) } else { Some(sk) }
}

/// The process at work. Right only where the kernel works on its behalf.
#[inline(always)]
pub fn current() -> Task {
    let mut task = Task {
        pid: current_pid(),
        uid: bpf_get_current_uid_gid() as u32,
        parent: parent(),
        started: own_start(),
        // SAFETY: the helper takes nothing.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        comm: [0; 16],
    };
    if let Some(comm) = process_name().or_else(|| bpf_get_current_comm().ok()) {
        task.comm = comm;
    }
    task
}

/// When a process began, of which this is the first thread; 0 where this kernel does not say.
#[inline(always)]
pub fn started(leader: Struct) -> u32 {
    if field!(task_boottime) == ABSENT { 0 } else { (leader.load::<u64>(field!(task_boottime)) / TICK) as u32 }
}

/// When the process at work began, likewise.
#[inline(always)]
fn own_start() -> u32 {
    if field!(task_group_leader) == ABSENT || field!(task_boottime) == ABSENT {
        return 0;
    }
    if setting!(has_task_btf) != 0 {
        return started(current_task().follow(field!(task_group_leader)));
    }
    let leader: Option<u64> = read(task_address() + u64::from(field!(task_group_leader)));
    let nanoseconds: Option<u64> = leader.and_then(|leader| read(leader + u64::from(field!(task_boottime))));
    nanoseconds.map_or(0, |nanoseconds| (nanoseconds / TICK) as u32)
}

/// The name of the process, which is that of its first thread: others are often named after what they do.
#[inline(always)]
fn process_name() -> Option<[u8; 16]> {
    if field!(task_group_leader) == ABSENT || field!(task_comm) == ABSENT {
        return None;
    }
    if setting!(has_task_btf) != 0 {
        return Some(current_task().follow(field!(task_group_leader)).load(field!(task_comm)));
    }
    let leader: u64 = read(task_address() + u64::from(field!(task_group_leader)))?;
    read(leader + u64::from(field!(task_comm)))
}

/// Process identifier of the parent of the process at work.
#[inline(always)]
fn parent() -> u32 {
    if field!(task_real_parent) == ABSENT || field!(task_tgid) == ABSENT {
        return 0;
    }
    if setting!(has_task_btf) != 0 {
        return current_task().follow(field!(task_real_parent)).load(field!(task_tgid));
    }
    let parent: Option<u64> = read(task_address() + u64::from(field!(task_real_parent)));
    parent.and_then(|parent| read(parent + u64::from(field!(task_tgid)))).unwrap_or(0)
}

/// The cookie of a socket; 0 where it has none yet and the kernel lends no helper that would give it one.
#[inline(always)]
pub fn cookie(sk: Struct) -> u64 {
    if setting!(has_cookie_helper) != 0 {
        // SAFETY: a socket is what the helper takes.
        return unsafe { bpf_get_socket_cookie(sk.pointer() as *mut _) };
    }
    if field!(skc_cookie) == ABSENT { 0 } else { sk.load(field!(skc_cookie)) }
}

/// The thread at work, where `has_task_btf` says that this kernel gives it so: its fields are loaded without a helper.
#[inline(always)]
pub fn current_task() -> Struct {
    // SAFETY: the helper takes nothing.
    Struct::new(unsafe { bpf_get_current_task_btf() } as *const u8)
}

/// Address of the thread at work.
#[inline(always)]
pub fn task_address() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_current_task() }
}

/// Inode of a socket's network namespace.
#[inline(always)]
pub fn netns(sk: Struct) -> u32 {
    sk.follow(field!(skc_net)).load(field!(net_inum))
}

/// An IPv4 address as `::ffff:a.b.c.d`, from the bytes as they are on the wire.
#[inline(always)]
pub fn mapped(address: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), address]
}
