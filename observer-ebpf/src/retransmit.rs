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
        // The kernel comes here once for a packet of several segments, and with what it could not even try to send. It
        // counts the segments that it did send.
        match book::count_again(entry, sk) {
            0 => book::note(entry, Kind::NotRetransmitted, (state, state), error, Hook::Retransmit),
            segments => {
                let times = segments.min(u8::MAX.into()) as u8;
                book::note_times(entry, Kind::Retransmit, times, (state, state), error, Hook::Retransmit);
            }
        }
    }
    0
}

/// `(const struct sock *sk, const struct request_sock *req)`: `sk` listens, the connection has no socket yet; but with TCP
/// Fast Open (RFC 7413) it has one, and `sk` is it.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
fn synack(context: BtfTracePointContext) -> i32 {
    let request = Struct::new(context.arg(1));
    if !request.is_null() {
        let sk = Struct::new(context.arg(0));
        if let Some(entry) = book::find(sk) {
            // Counted there as well, and told here.
            book::count_again(entry, sk);
        }
        stray::of_sock(request, Kind::SynAckRetransmit, 0, Hook::SynAck);
    }
    0
}
