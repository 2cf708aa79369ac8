//! Sockets that were there before observer was, and the numbers of those that live long: user space reads these iterators
//! at the start and at every interval.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use observer_ebpf::{How, Socket, Task};

use crate::book;
use crate::kernel::{self, Struct};
use crate::maps::field;

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// `struct bpf_iter__tcp`
#[repr(C)]
struct TcpContext {
    meta: *const u8,
    sk_common: *const u8,
    uid: u32,
}

/// `struct bpf_iter__task_file`
#[repr(C)]
struct TaskFileContext {
    meta: *const u8,
    task: *const u8,
    fd: u32,
    file: *const u8,
}

/// Visits every TCP socket of the namespace of who reads: enters those that are new and counts all.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
extern "C" fn existing_sockets(context: *const TcpContext) -> i32 {
    // SAFETY: the program's argument.
    let sk_common = unsafe { core::ptr::read_volatile(&raw const (*context).sk_common) };
    if sk_common.is_null() {
        return 0;
    }
    // SAFETY: the argument is a socket; the helper gives NULL for those that wait in TIME-WAIT or are half open.
    let sk = Struct::new(unsafe { bpf_skc_to_tcp_sock(sk_common as *mut _) } as *const u8);
    if sk.is_null() || !book::is_wanted(sk) {
        return 0;
    }
    let state: u8 = sk.load(field!(skc_state));
    if let Some(entry) = book::make_if_new(sk) {
        entry.marks |= Socket::EXISTED;
        entry.cookie = kernel::cookie(sk);
        book::fill_ends(entry, sk);
        if book::drop_unwanted(entry, sk) {
            return 0;
        }
        entry.state = state;
        book::count(entry, sk);
    } else if let Some(entry) = book::find(sk) {
        book::count(entry, sk);
        // SAFETY: the helper takes nothing.
        entry.visited = unsafe { bpf_ktime_get_ns() };
    }
    0
}

/// Visits every file descriptor of every process: who has one of a socket without an owner is its owner.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn existing_descriptors(context: *const TaskFileContext) -> i32 {
    // SAFETY: the program's argument.
    let (task, file) = unsafe {
        (
            Struct::new(core::ptr::read_volatile(&raw const (*context).task)),
            Struct::new(core::ptr::read_volatile(&raw const (*context).file)),
        )
    };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let mode: u16 = file.follow(field!(file_inode)).load(field!(inode_mode));
    if mode & S_IFMT != S_IFSOCK {
        return 0;
    }
    let Some(sk) = kernel::socket_of(file.load(field!(file_private_data))) else { return 0 };
    if let Some(entry) = book::find(Struct::new(sk as *const u8))
        && entry.owner_how == 0
    {
        entry.owner = Task {
            pid: task.load(field!(task_tgid)),
            uid: task.follow(field!(task_cred)).load(field!(cred_uid)),
            parent: 0,
            started: kernel::started(task.follow(field!(task_group_leader))),
            cgroup: 0,
            comm: task.follow(field!(task_group_leader)).load(field!(task_comm)),
        };
        entry.owner_how = How::Descriptor as u8;
    }
    0
}
