//! `tcp:tcp_destroy_sock`: a socket goes away. Its entry is sent, with its last numbers.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::Hook;

use crate::kernel::Struct;
use crate::{book, maps};

/// `TCP_CLOSE` of include/net/tcp_states.h: the numbers were taken when it was reached.
const CLOSE: u8 = 7;

/// No state of TCP: what comes after them.
const DESTROYED: u8 = u8::MAX;

/// `(struct sock *sk)`
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn destroy(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    maps::set_taken(sk, DESTROYED);
    send(sk);
    0
}

/// The same, where the kernel has left that out.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn destroy_again(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    if !maps::is_taken(sk, DESTROYED) {
        maps::make_up(Hook::Destroy);
        send(sk);
    }
    0
}

#[inline(always)]
fn send(sk: Struct) {
    if let Some(entry) = book::find(sk) {
        if entry.state != CLOSE {
            book::count(entry, sk);
        }
        maps::send_socket(entry, Hook::Destroy);
        book::take_out(entry, sk);
    }
}
