//! observer's eBPF programs: one file a hook.
//!
//! A connection's life is gathered in a map, a [`observer_ebpf::Socket`] for each socket, and sent when the socket goes
//! away. User space drains the ring buffer on a timer: no program wakes it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod accept;
mod book;
mod congestion;
mod destroy;
mod drop;
mod error;
mod exec;
mod existing;
mod kernel;
mod maps;
mod packets;
mod reset;
mod retransmit;
mod seats;
mod state;
mod stray;

/// The kernel lends some of its helpers only to programs under the GPL, and reads here whether this is one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier refuses programs that can panic: this is never reached.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
