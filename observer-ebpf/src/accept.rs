//! The end of accept(2) and accept4(2): a process takes a connection over.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::debug;
use observer_ebpf::How;

use crate::book;
use crate::kernel::{self, Struct};
use crate::maps::{field, setting};

/// `(struct pt_regs *regs, long ret)`: every system call ends here, so that the first test is what counts.
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
    let entry = socket_of(descriptor as u64).and_then(|sk| book::find(Struct::new(sk as *const u8)));
    match entry {
        Some(entry) => {
            entry.owner = kernel::current();
            entry.owner_how = How::Accept as u8;
        }
        // Of another protocol, or one that this run does not want.
        None => debug!(&context, "process {} accepts a socket that is not followed", kernel::current_pid()),
    }
    0
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
