//! `tcp:tcp_cong_state_set`: a sender goes from one state of its congestion control to another.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{Hook, Kind};

use crate::book;
use crate::kernel::Struct;
use crate::maps::field;

/// `(struct sock *sk, const u8 ca_state)`
#[btf_tracepoint(function = "tcp_cong_state_set")]
fn congestion(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    let to = context.arg::<i32>(1) as u8;
    if let Some(entry) = book::find(sk) {
        let state: u8 = sk.load(field!(skc_state));
        book::note(entry, Kind::Congestion, (state, state), to.into(), Hook::Congestion);
    }
    0
}
