//! The end of accept(2) and its kin: a process takes a connection over.

use aya_ebpf::macros::{cgroup_sock_addr, fexit};
use aya_ebpf::programs::{FExitContext, SockAddrContext};
use observer_ebpf::{How, Socket};

use crate::kernel::{self, Struct};
use crate::maps::setting;
use crate::{book, seats};

/// The end of `inet_csk_accept`, which gives the `struct sock *` that was taken over: `(struct sock *sk, struct
/// proto_accept_arg *arg)`, before Linux 6.10 `(struct sock *sk, int flags, int *err, bool kern)`.
#[fexit(function = "inet_csk_accept")]
fn accepted(context: FExitContext) -> i32 {
    let sk: *const u8 = if setting!(accept_arguments) == 2 { context.arg(2) } else { context.arg(4) };
    // One that is not in the book is of another protocol, or not wanted.
    if !sk.is_null()
        && let Some(entry) = book::find(Struct::new(sk))
    {
        take_over(entry);
    }
    0
}

/// Where functions have no ends to attach to, and of an accept(2) that had begun before: it asks who the peer is where it is
/// given room for an address, on behalf of who called it. getpeername(2) does so as well; of those who ask, the first is who
/// accepted.
#[cgroup_sock_addr(getpeername4)]
fn peer4(context: SockAddrContext) -> i32 {
    asked_for_peer(&context)
}

/// The same of IPv6 sockets.
#[cgroup_sock_addr(getpeername6)]
fn peer6(context: SockAddrContext) -> i32 {
    asked_for_peer(&context)
}

/// Lets every question through.
#[inline(always)]
fn asked_for_peer(context: &SockAddrContext) -> i32 {
    // SAFETY: the program's argument; the verifier knows its fields.
    let sk = unsafe { (*context.sock_addr).__bindgen_anon_1.sk } as *const u8;
    let sits = seats::find(Struct::new(sk));
    let entry = if sits.is_some() {
        sits
    } else {
        // Read from where it lies, the pointer is a number, which the verifier lets be reckoned with.
        let sk = kernel::read(&raw const sk as u64).and_then(kernel::tcp_of);
        sk.and_then(|sk: u64| book::find(Struct::new(sk as *const u8)))
    };
    if let Some(entry) = entry
        && entry.owner_how == 0
        && entry.marks & Socket::PASSIVE != 0
    {
        take_over(entry);
    }
    1
}

/// The process at work has the socket from now on.
#[inline(always)]
fn take_over(entry: &mut Socket) {
    entry.owner = kernel::current();
    entry.owner_how = How::Accept as u8;
}
