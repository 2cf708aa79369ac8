//! `tcp:tcp_retransmit_skb` and `tcp:tcp_retransmit_synack`: a segment is sent again.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{Hook, Kind};

use crate::kernel::Struct;
use crate::maps::{field, setting};
use crate::{book, stray};

/// `(const struct sock *sk, const struct sk_buff *skb, int err)`; without `err` before Linux 6.14.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
fn retransmit(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    if let Some(entry) = book::find(sk) {
        let error = if setting!(has_retransmit_error) != 0 { context.arg::<i32>(2) } else { 0 };
        if entry.remote_port == 0 || entry.local_port == 0 {
            book::fill_ends(entry, sk);
        }
        let state: u8 = sk.load(field!(skc_state));
        // The kernel comes here with segments, too, that it could not even try to send: it counts those that it did.
        let kind = if book::count_again(entry, sk) { Kind::Retransmit } else { Kind::NotRetransmitted };
        book::note(entry, kind, (state, state), error, Hook::Retransmit);
    }
    0
}

/// `(const struct sock *sk, const struct request_sock *req)`: `sk` listens, the connection has no socket yet.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
fn synack(context: BtfTracePointContext) -> i32 {
    let request = Struct::new(context.arg(1));
    if !request.is_null() {
        stray::of_sock(request, Kind::SynAckRetransmit, 0, Hook::SynAck);
    }
    0
}
