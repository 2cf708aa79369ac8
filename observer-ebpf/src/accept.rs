//! The end of accept(2) and its kin: a process takes a connection over.

use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};
use observer_ebpf::How;

use crate::book;
use crate::kernel::{self, Struct};
use crate::maps::{field, setting};

/// The end of `inet_csk_accept`, which gives the `struct sock *` that was taken over: `(struct sock *sk, struct
/// proto_accept_arg *arg)`, before Linux 6.10 `(struct sock *sk, int flags, int *err, bool kern)`.
#[fexit(function = "inet_csk_accept")]
fn accepted(context: FExitContext) -> i32 {
    let sk: *const u8 = if setting!(accept_arguments) == 2 { context.arg(2) } else { context.arg(4) };
    if !sk.is_null() {
        take_over(Struct::new(sk));
    }
    0
}

/// Where functions have no ends to attach to. `(struct pt_regs *regs, long ret)`: every system call ends here, so that the
/// first test is what counts, and to all of them it costs something.
#[btf_tracepoint(function = "sys_exit")]
fn accept(context: BtfTracePointContext) -> i32 {
    let call: u64 = Struct::new(context.arg(0)).load(field!(pt_regs_nr));
    if call != setting!(accept4) && call != setting!(accept) {
        return 0;
    }
    let descriptor: i64 = context.arg(1);
    if descriptor < 0 {
        return 0;
    }
    if let Some(sk) = socket_of(descriptor as u64) {
        take_over(Struct::new(sk as *const u8));
    }
    0
}

/// The process at work has `sk` from now on. One that is not in the book is of another protocol, or not wanted.
#[inline(always)]
fn take_over(sk: Struct) {
    if let Some(entry) = book::find(sk) {
        entry.owner = kernel::current();
        entry.owner_how = How::Accept as u8;
    }
}

/// The address of the socket that a file descriptor of the process at work stands for.
#[inline(always)]
fn socket_of(descriptor: u64) -> Option<u64> {
    let descriptors: u64 = if setting!(has_task_btf) != 0 {
        kernel::current_task().follow(field!(task_files)).follow(field!(files_fdt)).load(field!(fdt_fd))
    } else {
        let files: u64 = kernel::read(kernel::task_address() + u64::from(field!(task_files)))?;
        let table: u64 = kernel::read(files + u64::from(field!(files_fdt)))?;
        kernel::read(table + u64::from(field!(fdt_fd)))?
    };
    let file: u64 = kernel::read(descriptors + descriptor * 8)?;
    kernel::socket_of(kernel::read(file + u64::from(field!(file_private_data)))?)
}
