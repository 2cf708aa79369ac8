//! Arbitrary datagrams from both ends of a connection over QUIC, some of them cut by the capture: nothing panics, what is
//! kept stays within bounds, and what is learnt can be told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::protocol::quic::{Quic, opener};
use observer::record::{Application, Side};
use observer::time::Timestamp;
use observer_fuzz::Bytes;

/// Handshake messages of both ends, twice over for what their vectors hold besides.
const MOST_HELD: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let mut quic = Quic::new();
    let mut at = 0;
    while !bytes.is_empty() {
        at += 1;
        let what = bytes.u8();
        let from = if what & 1 == 0 { Side::Client } else { Side::Server };
        let missing = if what & 2 == 0 { 0 } else { usize::from(bytes.u8()) };
        let len = usize::from(bytes.u16() % 2048);
        let datagram = bytes.slice(len);
        let len = datagram.len() + missing;
        let _ = opener(datagram, len);
        let _ = quic.is_succeeded_by(from, datagram, len);
        quic.datagram(from, datagram, len, Timestamp::from_nanos(at));
        assert!(quic.held() <= MOST_HELD, "{} octets are kept", quic.held());
        if what >> 2 == 63 {
            quic.give_up(Timestamp::from_nanos(at));
        }
    }
    quic.record(&mut Application::default());
});
