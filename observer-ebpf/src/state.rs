//! `sock:inet_sock_set_state`: a socket goes from one state to another.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::{debug, warn};
use observer_ebpf::{Event, Hook, How, Kind, Socket};

use crate::book;
use crate::kernel::{self, Struct};
use crate::maps::{self, field, setting};

// include/net/tcp_states.h
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const FIN_WAIT1: u8 = 4;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;

/// `(const struct sock *sk, const int oldstate, const int newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
fn state(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    let (from, to) = (context.arg::<i32>(1) as u8, context.arg::<i32>(2) as u8);
    maps::set_taken(sk, to);
    if book::is_tcp(sk) && book::is_wanted(sk) {
        change(&context, sk, from, to);
    }
    0
}

/// The same, where the kernel has left that out.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn state_again(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    let (from, to) = (context.arg::<i32>(1) as u8, context.arg::<i32>(2) as u8);
    if maps::is_taken(sk, to) || book::find(sk).is_some_and(|entry| entry.state == to) {
        return 0;
    }
    maps::make_up(Hook::State);
    if book::is_tcp(sk) && book::is_wanted(sk) {
        change(&context, sk, from, to);
    }
    0
}

#[inline(always)]
fn change(context: &BtfTracePointContext, sk: Struct, from: u8, to: u8) {
    let is_new = from == CLOSE || to == SYN_RECV;
    let entry = if is_new { book::make(sk, Hook::State) } else { book::find(sk) };
    let Some(entry) = entry else {
        // Told once; how many there are is counted.
        if is_new && maps::lost(Hook::State) == 1 {
            warn!(context, "no place for another socket, whose owner and numbers will lack: --max-sockets makes more");
        }
        return;
    };
    if is_new {
        entry.cookie = kernel::cookie(sk);
    }
    debug!(context, "socket {}: state {} to {}", entry.cookie, from, to);
    match (from, to) {
        // These two happen in system calls only, so that `current` is who asked for them.
        (CLOSE, SYN_SENT) => {
            entry.owner = kernel::current();
            entry.owner_how = How::Connect as u8;
        }
        (CLOSE, LISTEN) => {
            entry.owner = kernel::current();
            entry.owner_how = How::Listen as u8;
        }
        (_, SYN_RECV) => entry.marks |= Socket::PASSIVE,
        // Its number begins with the SYN-ACKs that were sent again before it was there.
        (SYN_RECV, ESTABLISHED) => {
            book::count_again(entry, sk);
        }
        // tcp_close_state, from close(2), shutdown(2) or the end of the process.
        (ESTABLISHED | SYN_RECV, FIN_WAIT1) | (CLOSE_WAIT, LAST_ACK) => {
            let pid = kernel::current_pid();
            entry.closer = if pid == entry.owner.pid { entry.owner } else { kernel::current() };
            entry.closer_how = How::Close as u8;
        }
        _ => {}
    }
    // Addresses and ports are complete once the first state after the handshake's first is reached; they stay.
    if entry.remote_port == 0 || entry.local_port == 0 {
        book::fill_ends(entry, sk);
        if book::drop_unwanted(entry, sk) {
            return;
        }
    }
    // The last moment at which all is there: a program that tries again resets the numbers, and the socket goes on.
    if to == CLOSE {
        book::count(entry, sk);
    }
    entry.state = to;
    // The clock is read once for what makes the entry.
    // SAFETY: the helper takes nothing.
    let at = if is_new { entry.born } else { unsafe { bpf_ktime_get_ns() } };
    book::note_event(entry, Event { at, kind: Kind::State as u8, from, to, times: 1, value: 0 }, Hook::State);
    if to == CLOSE && setting!(error_at_close) != 0 {
        let error: i32 = sk.load(field!(sk_err));
        if error != 0 {
            book::note(entry, Kind::Error, (to, to), error, Hook::Error);
        }
    }
}
