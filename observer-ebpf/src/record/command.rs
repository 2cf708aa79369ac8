//! What a process was started with.

use crate::Plain;

/// The most octets of a command line that are passed on.
pub const COMMAND_BYTES: usize = 1024;

/// Nanoseconds in a unit of `starttime` of proc_pid_stat(5): `USER_HZ` is 100 wherever these programs run.
pub const TICK: u64 = 10_000_000;

/// A process begins as a copy of another (fork), or begins to run a program (exec).
///
/// In its ring buffer, the command line follows: the arguments, each ended by a NUL. A copy has that of its parent, and
/// nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CommandHead {
    /// [`crate::tag::FORKED`] or [`crate::tag::EXECUTED`].
    pub tag: u32,
    /// Process identifier (`tgid`).
    pub pid: u32,
    /// When the process began, as [`crate::Task::started`].
    pub started: u32,
    /// Process identifier of whose copy it is; 0 at exec.
    pub parent: u32,
    /// When that one began.
    pub parent_started: u32,
    /// Octets of the command line.
    pub len: u32,
    /// Octets of it that follow this head; 0 where they could not be read.
    pub captured: u32,
    /// Always 0.
    pub padding: u32,
    /// When, in nanoseconds of `bpf_ktime_get_ns`.
    pub at: u64,
    /// Its name (`comm`) from now on, ended by a NUL.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<CommandHead>() == 56 && align_of::<CommandHead>() == 8);

// SAFETY: repr(C) of integers; 56 bytes are the sum of the fields.
unsafe impl Plain for CommandHead {}
