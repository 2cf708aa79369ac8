//! `skb:kfree_skb`: a packet is dropped.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{Hook, Kind};

use crate::kernel::Struct;
use crate::maps::setting;
use crate::stray;

/// `(struct sk_buff *skb, void *location, enum skb_drop_reason reason)`; without a reason before Linux 5.17.
#[btf_tracepoint(function = "kfree_skb")]
fn drop(context: BtfTracePointContext) -> i32 {
    let reason = if setting!(has_drop_reason) != 0 { context.arg::<i32>(2) } else { -1 };
    if is_quiet(reason) {
        return 0;
    }
    let skb = Struct::new(context.arg(0));
    if !skb.is_null() {
        stray::of_packet(skb, Kind::Drop, reason, context.arg::<u64>(1), Hook::Drop);
    }
    0
}

/// Whether packets with this reason are no news.
#[inline(always)]
fn is_quiet(reason: i32) -> bool {
    let bit = 1u64 << (reason & 63);
    match reason {
        0..64 => setting!(quiet_low) & bit != 0,
        64..128 => setting!(quiet_high) & bit != 0,
        _ => false,
    }
}
