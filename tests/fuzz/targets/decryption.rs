//! Arbitrary octets as a key log; and TLS 1.3 between two ends that seal arbitrary octets with known secrets, in arbitrary
//! order, with gaps: nothing panics, what is kept stays within bounds, and what is learnt can be told.
#![no_main]

use std::sync::Arc;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use libfuzzer_sys::fuzz_target;
use observer::keylog::{KeyLog, Keys};
use observer::protocol::{Conversation, Payload};
use observer::sequence::Seq;
use observer::time::Timestamp;
use observer_fuzz::Bytes;
use sha2::Sha256;

/// Two streams, two inside of them, and early data.
const MOST_HELD: usize = 8 << 20;

const RANDOM: [u8; 32] = [7; 32];

/// Labels with a secret each: of early data, of the handshake, of what comes behind, by client and by server.
const LABELS: [[&str; 3]; 2] = [
    ["CLIENT_EARLY_TRAFFIC_SECRET", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"],
    ["SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"],
];

/// What one end seals with.
struct Sealer {
    secret: [u8; 32],
    number: u64,
}

fuzz_target!(|data: &[u8]| {
    let mut log = KeyLog::default();
    log.read(data);
    let _ = format!("{log:?}");
    let mut log = KeyLog::default();
    for (end, labels) in LABELS.iter().enumerate() {
        for (stage, label) in labels.iter().enumerate() {
            let hex = |octets: [u8; 32]| octets.map(|octet| format!("{octet:02x}")).concat();
            log.read(format!("{label} {} {}", hex(RANDOM), hex(secret(end, stage))).as_bytes());
        }
    }
    let mut keys = Keys::default();
    keys.add(log);
    let mut conversation = Conversation::new(0);
    conversation.unlock(&Arc::new(keys));
    let (mut next, mut at) = ([Seq(0); 2], 0);
    let mut send = |conversation: &mut Conversation, from: usize, data: &[u8], missing: u32| {
        at += 1;
        let (start, len) = (next[from], data.len() as u32);
        next[from] = start.plus(len + missing);
        let (at, first) = (Timestamp::from_nanos(at), None);
        let acknowledged = Some(start);
        conversation.payload(from as u8, &Payload { start, data, len, at, acknowledged, first });
        assert!(conversation.held() <= MOST_HELD, "{} octets are kept", conversation.held());
    };
    send(&mut conversation, 0, &hello(1), 0);
    let mut sealers = [0, 1].map(|end| Sealer { secret: secret(end, if end == 0 { 0 } else { 1 }), number: 0 });
    let mut bytes = Bytes(data);
    while !bytes.is_empty() {
        let what = bytes.u8();
        let from = usize::from(what & 1);
        let sealer = &mut sealers[from];
        match what >> 1 & 15 {
            0 => send(&mut conversation, 1, &hello(2), 0),
            1 => *sealer = Sealer { secret: secret(from, usize::from(what >> 5) % 3), number: 0 },
            2 => *sealer = Sealer { secret: expand(&sealer.secret, b"traffic upd"), number: 0 },
            3 => sealer.number += u64::from(bytes.u8()),
            4 => {
                let octets = usize::from(bytes.u8());
                send(&mut conversation, from, bytes.slice(octets), u32::from(what >> 5) * 50);
            }
            5 => conversation.give_up(Timestamp::from_nanos(1)),
            6 => conversation.end(from as u8, Timestamp::from_nanos(1)),
            kind => {
                // Handshake messages, alerts, or data, mostly.
                let kind = [22, 21, 23, 23, 23, 20, 0, 22, 23][usize::from(kind) - 7];
                let octets = usize::from(bytes.u16() % 4096);
                let record = sealer.seal(kind, bytes.slice(octets));
                let cut = if what >> 5 == 7 { record.len() / 2 } else { record.len() };
                send(&mut conversation, from, &record[..cut], 0);
                send(&mut conversation, from, &record[cut..], 0);
            }
        }
    }
    let _ = format!("{conversation:?}");
    let _ = conversation.record(true);
});

fn secret(end: usize, stage: usize) -> [u8; 32] {
    // The server has none of early data.
    [(10 * end + stage.max(end)) as u8; 32]
}

/// A ClientHello or a ServerHello of TLS 1.3 with the first of its suites.
fn hello(kind: u8) -> Vec<u8> {
    let versions: &[u8] = if kind == 1 { &[0, 43, 0, 3, 2, 3, 4] } else { &[0, 43, 0, 2, 3, 4] };
    let suites: &[u8] = if kind == 1 { &[0, 2, 0x13, 1, 1, 0] } else { &[0x13, 1, 0] };
    let length = [(versions.len() >> 8) as u8, versions.len() as u8];
    let body = [&[3, 3][..], &RANDOM, &[0], suites, &length, versions].concat();
    let message = [&[kind, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 3, 0, message.len() as u8][..], &message].concat()
}

impl Sealer {
    fn seal(&mut self, kind: u8, text: &[u8]) -> Vec<u8> {
        let mut nonce: [u8; 12] = expand(&self.secret, b"iv");
        let number = self.number.to_be_bytes();
        nonce.iter_mut().skip(4).zip(number).for_each(|(octet, number)| *octet ^= number);
        self.number += 1;
        let mut sealed = [text, &[kind]].concat();
        let length = (sealed.len() + 16) as u16;
        let header = [&[23, 3, 3][..], &length.to_be_bytes()].concat();
        let cipher = Aes128Gcm::new(&expand::<16>(&self.secret, b"key").into());
        let nonce: Nonce<_> = nonce.into();
        let tag = cipher.encrypt_inout_detached(&nonce, &header, sealed.as_mut_slice().into());
        [&header[..], &sealed, &tag.expect("it is short")].concat()
    }
}

/// HKDF-Expand-Label (RFC 8446, section 7.1).
fn expand<const N: usize>(secret: &[u8; 32], label: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let info = [&[0, N as u8, 6 + label.len() as u8][..], b"tls13 ", label, &[0]].concat();
    Hkdf::<Sha256>::from_prk(secret).expect("it is long enough").expand(&info, &mut out).expect("it is short");
    out
}
