//! `tcp:tcp_destroy_sock`: a socket goes away. Its entry is sent, with its last numbers.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::Hook;

use crate::kernel::Struct;
use crate::{book, maps};

/// `TCP_CLOSE` of include/net/tcp_states.h: the numbers were taken when it was reached.
const CLOSE: u8 = 7;

/// `(struct sock *sk)`
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn destroy(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    if let Some(entry) = book::find(sk) {
        if entry.state != CLOSE {
            book::count(entry, sk);
        }
        maps::send_socket(entry, Hook::Destroy);
        let _ = maps::sockets().remove(sk.address());
    }
    0
}
