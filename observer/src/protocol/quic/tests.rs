//! Whole connections, made of packets that are sealed here; and the packets of the specifications.

use proptest::prelude::*;

use super::keys::{Keys, sealed};
use super::*;

/// Samples of one version: appendix A of RFC 9001 and of RFC 9369. Keys are key, IV, header protection.
pub(super) struct Samples {
    pub(super) id: &'static str,
    pub(super) client: [&'static str; 3],
    pub(super) server: [&'static str; 3],
    /// The client's Initial packet: its header, and how the packet begins and ends; the tag vouches for the rest.
    client_header: &'static str,
    client_begin: &'static str,
    client_end: &'static str,
    server_packet: &'static str,
}

pub(super) const V1: Samples = Samples {
    id: "8394c8f03e515708",
    client: ["1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"],
    server: ["cf3a5331653c364c88f0f379b6067e37", "0ac1493ca1905853b0bba03e", "c206b8d9b9f0f37644430b490eeaa314"],
    client_header: "c300000001088394c8f03e5157080000449e00000002",
    client_begin: "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
    client_end: "e221af44860018ab0856972e194cd934",
    server_packet: "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a\
                    5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3\
                    dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84\
                    022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4\
                    2158407dd074ee",
};

pub(super) const V2: Samples = Samples {
    id: "8394c8f03e515708",
    client: ["8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"],
    server: ["82db637861d55e1d011f19ea71d5d2a7", "dd13c276499c0249d3310652", "edf6d05c83121201b436e16877593c3a"],
    client_header: "d36b3343cf088394c8f03e5157080000449e00000002",
    client_begin: "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
    client_end: "a18b2faa745b6fe189cf772a9f84cbfc",
    server_packet: "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698\
                    baeea26b91eb761d9b89237bbf87263017915358230035f7fd3945d88965cf17\
                    f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2\
                    c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca8\
                    4bed8521e2e140",
};

/// The connection ID that the server of the specifications chose.
pub(crate) const SERVER_ID: [u8; 8] = [0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5];

pub(super) const RETRY: [(Version, &str); 2] = [
    (Version::V1, "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba"),
    (Version::V2, "cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6"),
];

/// The CRYPTO frame of the client's Initial packet, in both versions.
const CLIENT_FRAME: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868\
                            04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578\
                            616d706c652e636f6dff01000100000a00080006001d00170018001000070005\
                            04616c706e000500050100000000003300260024001d00209370b2c9caa47fba\
                            baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400\
                            0d0010000e0403050306030203080408050806002d00020101001c0002400100\
                            3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000\
                            75300901100f088394c8f03e51570806048000ffff";

/// Octets of the client's frames, padding included.
const CLIENT_FRAMES: usize = 1162;

pub(super) fn octets(digits: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
    let (pairs, _) = digits.as_bytes().as_chunks();
    pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

fn id(digits: &str) -> ConnectionId {
    ConnectionId::new(&octets(digits)).expect("a short connection ID")
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// The client's Initial packet of the specification.
fn client_packet(version: Version, samples: &Samples) -> Vec<u8> {
    let keys = InitialKeys::derive(version, id(samples.id)).expect("a version that is read");
    let mut frames = octets(CLIENT_FRAME);
    frames.resize(CLIENT_FRAMES, 0);
    keys.ends.client.seal(&octets(samples.client_header), 4, 2, &frames)
}

/// The first datagram of version 1's client, which asks for `example.com`, and the server's answer.
pub(crate) fn first_packet() -> Vec<u8> {
    client_packet(Version::V1, &V1)
}

pub(crate) fn answer() -> Vec<u8> {
    octets(V1.server_packet)
}

/// An Initial packet that holds the beginning of a hello.
pub(crate) fn piece_of_a_hello() -> Vec<u8> {
    let keys = InitialKeys::derive(Version::V1, id(V1.id)).expect("version 1");
    let frames = crypto(0, &octets(CLIENT_FRAME)[4..100]);
    initial(Version::V1, &keys.ends.client, &octets(V1.id), &[], &[], 0, &frames)
}

/// An Initial packet with a packet number of one octet, and its token.
fn initial(version: Version, keys: &Keys, to: &[u8], from: &[u8], token: &[u8], number: u8, frames: &[u8]) -> Vec<u8> {
    let first = if version == Version::V2 { 0xd0 } else { 0xc0 };
    let mut header = vec![first];
    header.extend(version.0.to_be_bytes());
    for id in [to, from, token] {
        header.push(id.len() as u8);
        header.extend(id);
    }
    header.extend((0x4000 | (1 + frames.len() + header::TAG) as u16).to_be_bytes());
    header.push(number);
    keys.seal(&header, 1, number.into(), frames)
}

fn crypto(offset: u16, data: &[u8]) -> Vec<u8> {
    let varint = |value: u16| (0x4000 | value).to_be_bytes();
    [&[6][..], &varint(offset), &varint(data.len() as u16), data].concat()
}

fn record(quic: &Quic) -> Application {
    let mut application = Application::default();
    quic.record(&mut application);
    application
}

fn quic_of(quic: &Quic) -> QuicRecord {
    *record(quic).quic.expect("it spoke QUIC")
}

#[test]
fn the_packets_of_the_specifications_are_read() {
    for (version, samples) in [(Version::V1, &V1), (Version::V2, &V2)] {
        let packet = client_packet(version, samples);
        assert_eq!(packet.len(), 1200);
        assert!(packet.starts_with(&octets(samples.client_begin)) && packet.ends_with(&octets(samples.client_end)));
        assert_eq!(opener(&packet, packet.len()), Some(Opener::Client));

        let mut quic = Quic::new();
        quic.datagram(Side::Client, &packet, packet.len(), at(0));
        let answer = octets(samples.server_packet);
        quic.datagram(Side::Server, &answer, answer.len(), at(30));
        let application = record(&quic);
        let tls = application.tls.expect("both hellos");
        assert_eq!(tls.sni.as_deref(), Some("example.com"));
        assert_eq!(tls.cipher.as_deref(), Some("TLS_AES_128_GCM_SHA256"));
        assert_eq!(tls.offer.map(|offer| offer.alpn), Some(vec!["alpn".to_string()]));
        assert!(tls.ja4.expect("a fingerprint").starts_with('q'));
        let quic = application.quic.expect("it is QUIC");
        assert_eq!(quic.version, Some(version.name()));
        assert_eq!(quic.original_dcid.as_deref(), Some("8394c8f03e515708"));
        assert_eq!((quic.scid.client.as_deref(), quic.scid.server.as_deref()), (Some(""), Some("f067a5502a4262b5")));
        assert_eq!(quic.server_rtt_ns, Some(Nanos::from_millis(30)));
        assert_eq!((quic.undecrypted, application.malformed), (0, 0));
        let idle = quic.transport_parameters.iter().find(|parameter| parameter.name == "max_idle_timeout");
        assert_eq!(idle.and_then(|idle| idle.value), Some(30_000));
    }
}

#[test]
fn a_hello_in_pieces_and_out_of_order_is_put_together() {
    let keys = InitialKeys::derive(Version::V1, id(V1.id)).expect("version 1");
    let hello = &octets(CLIENT_FRAME)[4..];
    let (head, tail) = hello.split_at(100);
    let frames = [crypto(100, &tail[..50]), vec![1], crypto(150, &tail[50..]), vec![0; 30]].concat();
    let first = initial(Version::V1, &keys.ends.client, &octets(V1.id), &[], &[], 0, &frames);
    let second =
        initial(Version::V1, &keys.ends.client, &octets(V1.id), &[], &[], 1, &crypto(0, &[head, &tail[..9]].concat()));
    let mut quic = Quic::new();
    quic.datagram(Side::Client, &first, first.len(), at(0));
    assert!(quic.held() > 0 && record(&quic).tls.is_none());
    quic.datagram(Side::Client, &second, second.len(), at(1));
    assert_eq!(record(&quic).tls.and_then(|tls| tls.sni).as_deref(), Some("example.com"));
}

#[test]
fn retry_gives_the_client_other_keys() {
    let mut quic = Quic::new();
    let packet = client_packet(Version::V1, &V1);
    quic.datagram(Side::Client, &packet, packet.len(), at(0));
    let (_, retry) = RETRY[0];
    let retry = octets(retry);
    quic.datagram(Side::Server, &retry, retry.len(), at(10));
    let to = octets("f067a5502a4262b5");
    let keys = InitialKeys::derive(Version::V1, id("f067a5502a4262b5")).expect("version 1");
    let again = initial(Version::V1, &keys.ends.client, &to, &[], b"token", 1, &octets(CLIENT_FRAME));
    quic.datagram(Side::Client, &again, again.len(), at(20));
    let answer = initial(Version::V1, &keys.ends.server, &[], &[7; 8], &[], 0, &[1, 0, 0, 0, 0]);
    quic.datagram(Side::Server, &answer, answer.len(), at(30));
    let quic = quic_of(&quic);
    let retry = quic.retry.expect("a Retry");
    assert_eq!((retry.scid.as_str(), retry.token_octets, retry.genuine), ("f067a5502a4262b5", Some(5), Some(true)));
    assert_eq!((quic.undecrypted, quic.token_octets, quic.round_trips), (0, Some(0), Some(2)));
    assert_eq!(quic.scid.server.as_deref(), Some("0707070707070707"));
    assert_eq!(quic.original_dcid.as_deref(), Some(V1.id));
}

#[test]
fn a_server_may_go_on_in_another_version() {
    let mut quic = Quic::new();
    let packet = client_packet(Version::V1, &V1);
    quic.datagram(Side::Client, &packet, packet.len(), at(0));
    let answer = octets(V2.server_packet);
    quic.datagram(Side::Server, &answer, answer.len(), at(10));
    let facts = quic_of(&quic);
    assert_eq!((facts.first_version.as_deref(), facts.version.as_deref()), (Some("v1"), Some("v2")));
    assert!(record(&quic).tls.is_some_and(|tls| tls.cipher.is_some()));
}

#[test]
fn versions_that_a_server_offers_are_told() {
    let first = [&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8][..], &[5; 8], &[4], &[6; 4], &[0; 1182]].concat();
    let answer =
        [&[0x80, 0, 0, 0, 0, 4][..], &[6; 4], &[8], &[5; 8], &[0, 0, 0, 1], &[0x6b, 0x33, 0x43, 0xcf]].concat();
    assert_eq!(opener(&first, first.len()), Some(Opener::Client));
    assert_eq!(opener(&answer, answer.len()), Some(Opener::Server));
    let mut quic = Quic::new();
    quic.datagram(Side::Client, &first, first.len(), at(0));
    quic.datagram(Side::Server, &answer, answer.len(), at(1));
    let quic = quic_of(&quic);
    assert_eq!(quic.version_negotiation, Some(vec!["v1".to_string(), "v2".to_string()]));
    assert_eq!(quic.first_version.as_deref(), Some("0x1a2a3a4a"));
}

#[test]
fn a_close_in_the_handshake_tells_why() {
    let mut quic = Quic::new();
    let packet = client_packet(Version::V1, &V1);
    quic.datagram(Side::Client, &packet, packet.len(), at(0));
    let keys = InitialKeys::derive(Version::V1, id(V1.id)).expect("version 1");
    let close = [&[0x1c, 0x41, 0x78, 0, 2][..], b"no"].concat();
    let answer = initial(Version::V1, &keys.ends.server, &[], &[7; 8], &[], 0, &close);
    quic.datagram(Side::Server, &answer, answer.len(), at(5));
    let close = quic_of(&quic).close.expect("a close");
    assert_eq!((close.from, close.code, close.name.as_str()), (Side::Server, 0x178, "no_application_protocol"));
    assert_eq!((close.reason.as_str(), close.frame_type), ("no", Some(0)));
    let alerts = record(&quic).tls.map(|tls| tls.alerts.len());
    assert_eq!(alerts, Some(1));
}

#[test]
fn coalesced_packets_are_counted_one_by_one() {
    let mut quic = Quic::new();
    let packet = client_packet(Version::V1, &V1);
    quic.datagram(Side::Client, &packet, packet.len(), at(0));
    let handshake = [&[0xe0, 0, 0, 0, 1, 0, 8][..], &octets("f067a5502a4262b5"), &[0x40, 30], &[9; 30]].concat();
    let short = [0x60; 40];
    let datagram = [&octets(V1.server_packet)[..], &handshake, &short].concat();
    let heard = quic.datagram(Side::Server, &datagram, datagram.len(), at(9));
    assert_eq!(heard.spin, Some(true));
    let padded = [&handshake[..], &[0; 50]].concat();
    quic.datagram(Side::Server, &padded, padded.len(), at(10));
    let facts = quic_of(&quic);
    assert_eq!(facts.packets.server, QuicPackets { initial: 1, zero_rtt: 0, handshake: 2, one_rtt: 1 });
    assert_eq!(record(&quic).malformed, 0);
    // The client's Handshake packet ends what is kept of Initial packets.
    let handshake = [&[0xe0, 0, 0, 0, 1, 8][..], &octets("f067a5502a4262b5"), &[0, 0x40, 30], &[9; 30]].concat();
    quic.datagram(Side::Client, &handshake, handshake.len(), at(12));
    let data = [&[0x40][..], &octets("f067a5502a4262b5"), &[3; 30]].concat();
    quic.datagram(Side::Client, &data, data.len(), at(13));
    let facts = quic_of(&quic);
    assert_eq!((facts.handshake_ns, facts.client_rtt_ns), (Some(Nanos::from_millis(13)), Some(Nanos::from_millis(3))));
    assert!(record(&quic).tls.is_some_and(|tls| tls.established));
}

#[test]
fn another_connection_between_the_same_ends_is_told() {
    let mut quic = Quic::new();
    let packet = client_packet(Version::V1, &V1);
    quic.datagram(Side::Client, &packet, packet.len(), at(0));
    let keys = InitialKeys::derive(Version::V1, id("0505050505050505")).expect("version 1");
    let frames = [octets(CLIENT_FRAME), vec![0; 900]].concat();
    let other = initial(Version::V1, &keys.ends.client, &[5; 8], &[], &[], 0, &frames);
    let keys = InitialKeys::derive(Version::V1, id(V1.id)).expect("version 1");
    let own = initial(Version::V1, &keys.ends.client, &[6; 8], &[], &[], 1, &frames);
    assert!(!quic.is_succeeded_by(Side::Client, &other, other.len()), "the server has not answered");
    let answer = octets(V1.server_packet);
    quic.datagram(Side::Server, &answer, answer.len(), at(5));
    assert!(quic.is_succeeded_by(Side::Client, &other, other.len()));
    assert!(!quic.is_succeeded_by(Side::Client, &packet, packet.len()), "sent again");
    assert!(!quic.is_succeeded_by(Side::Client, &own, own.len()), "to another of the server's connection IDs");
    assert!(!quic.is_succeeded_by(Side::Server, &other, other.len()));
}

#[test]
fn what_is_no_quic_is_left_alone() {
    let long = |version: u32, rest: &[u8]| [&[0xc3][..], &version.to_be_bytes(), rest].concat();
    for datagram in [
        &[][..],
        &[0xc0],
        &[0x40; 100],
        // RTP, STUN, DTLS, a DNS answer.
        &[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0],
        &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4, 5],
        &[0xc0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1],
        // An ID of 21 octets, a length beyond the datagram, one that holds nothing, a version that is not known.
        &long(1, &[21; 60]),
        &long(1, &[8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e, 0, 0, 0]),
        &long(1, &[8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 1, 0, 0, 0]),
        &long(77, &[8; 60]),
        // Version Negotiation that offers nothing, or does not fill its datagram.
        &[0x80, 0, 0, 0, 0, 0, 0],
        &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9],
    ] {
        assert_eq!(opener(datagram, datagram.len()), None, "{datagram:02x?}");
    }
}

#[test]
fn a_packet_that_the_capture_cuts_is_counted() {
    let packet = client_packet(Version::V1, &V1);
    for captured in [20, 100, 1199] {
        assert_eq!(opener(&packet[..captured], packet.len()), Some(Opener::Unsure), "{captured}");
        let mut quic = Quic::new();
        quic.datagram(Side::Client, &packet[..captured], packet.len(), at(0));
        let facts = quic_of(&quic);
        assert_eq!((facts.packets.client.initial, facts.undecrypted), (1, 1));
        assert_eq!(facts.original_dcid.as_deref(), Some(V1.id));
        assert_eq!(record(&quic).malformed, 0);
    }
}

#[test]
fn hostile_handshakes_stay_in_bounds() {
    let keys = InitialKeys::derive(Version::V1, id(V1.id)).expect("version 1");
    let mut quic = Quic::new();
    // A message of 16 MB that never ends, at every offset, in pieces that leave holes.
    for number in 0..200u8 {
        let start = u16::from(number) * 70;
        let piece = crypto(start, &[1, 0xff, 0xff, 0xff].repeat(16));
        let packet = initial(Version::V1, &keys.ends.client, &octets(V1.id), &[], &[], number, &piece);
        quic.datagram(Side::Client, &packet, packet.len(), at(number.into()));
        assert!(quic.held() <= 2 * MOST_CRYPTO as usize, "{} octets are kept", quic.held());
    }
    let far = [&[6][..], &[0xff; 8], &[2, 1, 1]].concat();
    let mut fresh = Quic::new();
    for frames in [far, vec![8, 1, 2, 3], [&[6, 0x80, 0, 0xff, 0xff][..], &[2, 1, 1]].concat()] {
        let packet = initial(Version::V1, &keys.ends.client, &octets(V1.id), &[], &[], 0, &frames);
        fresh.datagram(Side::Client, &packet, packet.len(), at(0));
    }
    assert_eq!(record(&fresh).malformed, 3);
    fresh.give_up(at(1));
    assert!(fresh.held() == 0 && record(&fresh).given_up);
}

proptest! {
    /// Whatever an Initial packet holds, whoever sent it, and however its packets are cut.
    #[test]
    fn nothing_that_a_handshake_holds_is_trusted(
        packets in prop::collection::vec(
            (any::<bool>(), prop::collection::vec((0u8..32, 0u16..300, prop::collection::vec(any::<u8>(), 0..40)), 0..8), any::<u16>()),
            0..12,
        ),
    ) {
        let keys = InitialKeys::derive(Version::V1, id(V1.id)).expect("version 1");
        let mut quic = Quic::new();
        for (number, (is_client, frames, cut)) in packets.into_iter().enumerate() {
            let frames = frames.into_iter().flat_map(|(kind, offset, data)| match kind {
                0..16 => crypto(offset, &data),
                _ => [&[kind - 16][..], &data].concat(),
            });
            let frames: Vec<u8> = [0; 3].into_iter().chain(frames).collect();
            let (side, keys, to) = match is_client {
                true => (Side::Client, &keys.ends.client, &octets(V1.id)[..]),
                false => (Side::Server, &keys.ends.server, &[][..]),
            };
            let packet = initial(Version::V1, keys, to, &[], &[], number as u8, &frames);
            let captured = if cut % 4 == 0 { usize::from(cut) % (packet.len() + 1) } else { packet.len() };
            quic.datagram(side, &packet[..captured], packet.len(), at(number as u64));
            prop_assert!(quic.held() <= 4 * MOST_CRYPTO as usize);
        }
        let _ = record(&quic);
    }

    #[test]
    fn any_octets_are_read_to_some_end(octets in prop::collection::vec(any::<u8>(), 0..200), more in 0usize..2000, long in any::<bool>()) {
        let mut octets = octets;
        if long && octets.len() > 5 {
            let first = octets[0] | 0xc0;
            octets[..5].copy_from_slice(&[first, 0, 0, 0, 1]);
        }
        let _ = opener(&octets, octets.len() + more);
        let mut quic = Quic::new();
        for side in [Side::Client, Side::Server] {
            quic.datagram(side, &octets, octets.len() + more, at(0));
            let _ = quic.is_succeeded_by(side, &octets, octets.len());
        }
        let _ = record(&quic);
    }
}

impl Keys {
    /// Protects a packet, the last `length` octets of whose header are its packet number.
    fn seal(&self, header: &[u8], length: usize, number: u64, frames: &[u8]) -> Vec<u8> {
        sealed(self, header, length, number, frames)
    }
}
