//! `tcp:tcp_send_reset` and `tcp:tcp_receive_reset`.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{Hook, Kind};

use crate::kernel::Struct;
use crate::maps::{field, setting};
use crate::{book, stray};

/// `(const struct sock *sk, const struct sk_buff *skb, const enum sk_rst_reason reason)`; without a reason before Linux
/// 6.10. `sk` is NULL where no socket is at the port, `skb` where the reset answers none.
#[btf_tracepoint(function = "tcp_send_reset")]
fn reset_sent(context: BtfTracePointContext) -> i32 {
    let reason = if setting!(has_reset_reason) != 0 { context.arg::<i32>(2) } else { -1 };
    let sk = Struct::new(context.arg(0));
    if !sk.is_null() {
        if let Some(entry) = book::find(sk) {
            let state: u8 = sk.load(field!(skc_state));
            book::note(entry, Kind::ResetSent, (state, state), reason, Hook::ResetSent);
            return 0;
        }
    }
    let skb = Struct::new(context.arg(1));
    if !skb.is_null() {
        stray::of_packet(skb, Kind::ResetSent, reason, 0, Hook::ResetSent);
    } else if !sk.is_null() {
        stray::of_sock(sk, Kind::ResetSent, reason, Hook::ResetSent);
    }
    0
}

/// `(struct sock *sk)`
#[btf_tracepoint(function = "tcp_receive_reset")]
fn reset_received(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    if let Some(entry) = book::find(sk) {
        if entry.remote_port == 0 || entry.local_port == 0 {
            book::fill_ends(entry, sk);
        }
        let state: u8 = sk.load(field!(skc_state));
        book::note(entry, Kind::ResetReceived, (state, state), 0, Hook::ResetReceived);
    }
    0
}
