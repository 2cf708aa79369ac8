//! `sock:inet_sk_error_report`: a socket is told an error.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{Hook, Kind};

use crate::book;
use crate::kernel::Struct;
use crate::maps::field;

/// `(const struct sock *sk)`
#[btf_tracepoint(function = "inet_sk_error_report")]
fn error(context: BtfTracePointContext) -> i32 {
    let sk = Struct::new(context.arg(0));
    if let Some(entry) = book::find(sk) {
        let error: i32 = sk.load(field!(sk_err));
        // The kernel calls it once more when the error is taken.
        if error == 0 {
            return 0;
        }
        let state: u8 = sk.load(field!(skc_state));
        book::note(entry, Kind::Error, (state, state), error, Hook::Error);
    }
    0
}
