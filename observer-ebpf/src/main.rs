//! observer's eBPF programs.
#![no_std]
#![no_main]

use aya_ebpf::macros::socket_filter;
use aya_ebpf::programs::SkBuffContext;

/// Keeps no packet: nothing is queued on the socket it is attached to.
#[socket_filter]
fn packets(_packet: SkBuffContext) -> i64 {
    0
}

/// The kernel lends some of its helpers only to programs under the GPL, and reads here whether this is one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier refuses programs that can panic: this is never reached.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
