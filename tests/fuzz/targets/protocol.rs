//! Arbitrary octets from both ends of a connection, in arbitrary order, through the protocols: nothing panics, what is kept
//! stays within bounds, and what is learnt can be told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::protocol::{Conversation, Payload, dns};
use observer::sequence::Seq;
use observer::time::Timestamp;
use observer_fuzz::{Bytes, plain_packet};

/// Two streams with what they may keep, twice over for what their vectors hold besides, and two handshake messages.
const MOST_HELD: usize = 4 << 20;

fuzz_target!(|data: &[u8]| {
    let _ = dns::may_be_message(data, &plain_packet().tuple) && dns::Message::parse(data).is_some();
    let _ = dns::Message::parse(data);
    let mut bytes = Bytes(data);
    let mut conversation = Conversation::new(0);
    let mut next = [Seq(0); 2];
    let mut at = 0;
    while !bytes.is_empty() {
        at += 1;
        // Direction, what happens, and how far from what was sent last: mostly right behind it.
        let what = bytes.u8();
        let from = what & 1;
        let end = &mut next[usize::from(from)];
        let start = match what >> 1 & 7 {
            0 => Seq(end.0.wrapping_add(u32::from(bytes.u8()))),
            1 => Seq(end.0.wrapping_sub(u32::from(bytes.u8()))),
            2 => Seq(u32::from_le_bytes(bytes.array())),
            _ => *end,
        };
        let time = Timestamp::from_nanos(at);
        match what >> 4 {
            15 => conversation.fin(from, start, time),
            14 => conversation.end(from, time),
            13 => conversation.give_up(time),
            kind => {
                let len = usize::from(bytes.u16() % 4096);
                let data = bytes.slice(len);
                let missing = if kind == 12 { 1000 } else { 0 };
                let len = data.len() as u32 + missing;
                let acknowledged = (kind == 11).then(|| start.plus(len));
                let first = (kind == 10).then_some(Seq(0));
                conversation.payload(from, &Payload { start, data, len, at: time, acknowledged, first });
                *end = start.plus(len);
            }
        }
        assert!(conversation.held() <= MOST_HELD, "{} octets are kept", conversation.held());
    }
    let _ = conversation.record(true);
    let _ = conversation.record(false);
});
