//! What the decoder says of a packet beside the segment itself: lengths, notes, layers, errors that quote it.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
use observer::capture::{Chunk, Reader};
use observer::decode::{Checksums, Counts, Decoder, Fragments};
use observer::packet::{
    Address, Body, Decoded, Flags, IcmpError, IpVersion, Layer, Notes, Packet, Segment, Tunnel, TunnelKind,
};

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [192, 0, 2, 1];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const SERVER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const RAW_IP: u32 = 101;
const ETHERNET: u32 = 1;

/// What came of some frames, each given with its length on the wire.
struct Outcome {
    chunk: Chunk,
    decoded: Decoded,
    counts: Counts,
}

impl Outcome {
    fn only(&self) -> &Packet {
        let [packet] = &self.decoded.packets[..] else { panic!("one packet, not {:?}", self.decoded.packets) };
        packet
    }

    fn segment(&self) -> Segment {
        let Body::Tcp(segment) = self.only().body else { panic!("a segment, not {:?}", self.only().body) };
        segment
    }

    /// What was noted beside the Don't Fragment bit, which all packets here have.
    fn notes(&self) -> Notes {
        self.only().notes - Notes::DONT_FRAGMENT
    }

    fn error(&self) -> IcmpError {
        *self.decoded.error_of(self.only()).unwrap_or_else(|| panic!("an ICMP error, not {:?}", self.only().body))
    }
}

fn decode_with(mut decoder: Decoder, link: u32, frames: &[(&[u8], usize)]) -> Outcome {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend(word.to_le_bytes());
    }
    for (octets, wire) in frames {
        for word in [1_700_000_000, 0, octets.len() as u32, *wire as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend_from_slice(octets);
    }
    let mut chunk = Chunk { bytes: file, ..Chunk::default() };
    Reader::new(0).read(&mut chunk).expect("the capture is whole");
    let mut decoded = Decoded::default();
    decoder.decode(&chunk, &mut decoded);
    Outcome { chunk, decoded, counts: decoder.counts() }
}

fn decode(link: u32, octets: &[u8]) -> Outcome {
    decode_with(Decoder::new(Checksums::Count, 1), link, &[(octets, octets.len())])
}

/// A segment with all checksums right.
fn packet4(payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let builder = PacketBuilder::ipv4(CLIENT, SERVER, 64).tcp(4000, 443, 1000, 512).ack(7).psh();
    builder.write(&mut octets, payload).expect("memory takes everything");
    octets
}

fn packet6(payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let builder = PacketBuilder::ipv6(CLIENT6, SERVER6, 64).tcp(4000, 443, 1000, 512).ack(7).psh();
    builder.write(&mut octets, payload).expect("memory takes everything");
    octets
}

#[test]
fn checksums_are_told_right_from_wrong() {
    for length in [0, 1, 2, 3, 63, 64, 65, 1448] {
        let payload: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
        for (packet, ip_header) in [(packet4(&payload), 20), (packet6(&payload), 40)] {
            assert_eq!(decode(RAW_IP, &packet).notes(), Notes::empty(), "{length} octets of payload");
            for at in [ip_header + 4, ip_header + 17, packet.len() - 1] {
                let mut wrong = packet.clone();
                wrong[at] ^= 1;
                let notes = decode(RAW_IP, &wrong).notes();
                assert_eq!(notes, Notes::BAD_TCP_CHECKSUM, "{length} octets of payload, octet {at} wrong");
            }
            let ignored = decode_with(Decoder::new(Checksums::Ignore, 1), RAW_IP, &[(&packet, packet.len())]);
            assert_eq!(ignored.notes(), Notes::UNCHECKED);
        }
        let mut wrong = packet4(&payload);
        wrong[8] = 63;
        assert_eq!(decode(RAW_IP, &wrong).notes(), Notes::BAD_IP_CHECKSUM);
    }
}

/// Linux leaves the sum of the pseudo-header, not its complement, where the network card is to complete it.
#[test]
fn checksums_that_the_network_card_completes_are_told_from_wrong_ones() {
    for (mut packet, header, addresses) in [(packet4(b"hello"), 20, 12..20), (packet6(b"hello"), 40, 8..40)] {
        let length = (packet.len() - header) as u32;
        let words = packet[addresses].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum = words.sum::<u32>() + length + 6;
        let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
        packet[header + 16..header + 18].copy_from_slice(&folded.to_be_bytes());
        let partial = Notes::BAD_TCP_CHECKSUM | Notes::PARTIAL_CHECKSUM;
        assert_eq!(decode(RAW_IP, &packet).notes(), partial);
        packet[header + 17] ^= 1;
        assert_eq!(decode(RAW_IP, &packet).notes(), Notes::BAD_TCP_CHECKSUM);
    }
}

/// The pseudo-header holds where the packet ends up, not the next stop (RFC 8200, section 8.1; RFC 791).
#[test]
fn checksums_cover_the_last_stop_of_a_source_route() {
    let stop: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let mut routed = packet6(b"hello");
    let segment = routed.split_off(40);
    routed[4..6].copy_from_slice(&(segment.len() as u16 + 24).to_be_bytes());
    routed[6] = 43;
    routed[24..40].copy_from_slice(&stop);
    let header = [&[6, 2, 0, 1, 0, 0, 0, 0][..], &SERVER6].concat();
    let found = decode(RAW_IP, &[&routed[..], &header, &segment].concat());
    assert_eq!((found.notes(), found.only().tuple.dst), (Notes::empty(), Address(stop)));

    let mut routed = packet4(b"hello");
    let segment = routed.split_off(20);
    routed[0] = 0x47;
    routed[2..4].copy_from_slice(&(segment.len() as u16 + 28).to_be_bytes());
    routed[16..20].copy_from_slice(&[10, 9, 9, 9]);
    let options = [&[131, 7, 4][..], &SERVER, &[0]].concat();
    let found = decode(RAW_IP, &[&routed[..], &options, &segment].concat());
    assert_eq!(found.notes() - Notes::BAD_IP_CHECKSUM, Notes::empty());
}

#[test]
fn lengths_come_from_the_ip_header() {
    let packet = packet4(b"hello");
    let mut frame = [&[2; 12][..], &[8, 0], &packet].concat();

    let padded = [&frame[..], &[0; 9]].concat();
    assert_eq!(decode(ETHERNET, &padded).segment().len, 5);

    // The capture kept two octets of the payload.
    let cut = &frame[..frame.len() - 3];
    let found = decode_with(Decoder::new(Checksums::Count, 1), ETHERNET, &[(cut, frame.len())]);
    assert_eq!((found.segment().len, found.notes()), (5, Notes::TRUNCATED | Notes::UNCHECKED));
    let (options, payload) = found.decoded.tail_of(found.only(), &found.chunk.bytes);
    assert_eq!((options, payload), (&[][..], &b"he"[..]));
    assert_eq!(found.counts.truncated, 1);

    // The frame was that short on the wire.
    let found = decode(ETHERNET, cut);
    assert_eq!((found.segment().len, found.only().missing), (2, 3));
    assert!(found.notes().contains(Notes::TRUNCATED_IP));

    // Taken before segmentation offload filled the length in.
    frame[16..18].copy_from_slice(&[0, 0]);
    let found = decode(ETHERNET, &frame);
    assert_eq!(found.segment().len, 5);
    assert!(found.notes().contains(Notes::LENGTH_ZERO));

    let short = &packet[..20 + 15];
    assert_eq!(decode(RAW_IP, short).counts.malformed, 1);
    assert_eq!(decode_with(Decoder::new(Checksums::Count, 1), RAW_IP, &[(short, 45)]).counts.cut, 1);
}

#[test]
fn a_data_offset_that_cannot_be_is_noted() {
    let mut packet = packet4(b"hello");
    packet[32] = 0xf0;
    let found = decode(RAW_IP, &packet);
    assert!(found.notes().contains(Notes::BAD_HEADER_LENGTH));
    assert_eq!((found.segment().len, found.only().tail.options), (0, 5));
    packet[32] = 0x40;
    assert_eq!(decode(RAW_IP, &packet).counts.malformed, 1);
}

#[test]
fn layers_are_what_the_headers_say() {
    let ends = |kind, id, source_port| Tunnel {
        kind,
        src: Address::v4(CLIENT),
        dst: Address::v4(SERVER),
        version: IpVersion::V4,
        id,
        source_port,
    };
    let packet = packet4(b"hello");
    let frame = [&[2; 12][..], &[8, 0], &packet].concat();
    let over_ip = |protocol: u8, rest: &[&[u8]]| {
        let payload = rest.concat();
        let mut octets = Vec::new();
        PacketBuilder::ipv4(CLIENT, SERVER, 64).write(&mut octets, protocol.into(), &payload).expect("memory takes it");
        octets
    };
    let over_udp = |port, rest: &[&[u8]]| {
        let mut octets = Vec::new();
        let builder = PacketBuilder::ipv4(CLIENT, SERVER, 64).udp(50_000, port);
        builder.write(&mut octets, &rest.concat()).expect("memory takes everything");
        octets
    };
    let tagged = [&[2; 12][..], &[0x88, 0xa8, 0xe0, 5, 0x81, 0, 0, 6, 0x88, 0x47, 0, 1, 1, 64], &packet].concat();
    let cases: [(u32, Vec<u8>, Vec<Layer>); 9] = [
        (ETHERNET, frame.clone(), vec![]),
        (ETHERNET, tagged, vec![Layer::Vlan(5), Layer::Vlan(6), Layer::Mpls(16)]),
        (ETHERNET, [&[2; 12][..], &[0x88, 0xe7, 0, 1, 2, 3], &frame].concat(), vec![Layer::Pbb(0x1_0203)]),
        (51, [&[0x11, 0, 0, 7, 0, 47, 0, 0x21][..], &packet].concat(), vec![Layer::Pppoe(7)]),
        (RAW_IP, over_ip(4, &[&packet]), vec![Layer::Tunnel(ends(TunnelKind::Ipip, None, None))]),
        (
            RAW_IP,
            over_ip(47, &[&[0x20, 0, 8, 0, 0, 0, 0, 9], &packet]),
            vec![Layer::Tunnel(ends(TunnelKind::Gre, Some(9), None))],
        ),
        (
            RAW_IP,
            over_ip(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0xfc, 9, 0, 0, 0, 0], &frame]),
            vec![Layer::Tunnel(ends(TunnelKind::Erspan, Some(9), None))],
        ),
        (
            RAW_IP,
            over_udp(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0], &frame]),
            vec![Layer::Tunnel(ends(TunnelKind::Vxlan, Some(7), Some(50_000)))],
        ),
        (
            RAW_IP,
            over_udp(2152, &[&[0x30, 255, 0, 45, 0, 0, 1, 0], &packet]),
            vec![Layer::Tunnel(ends(TunnelKind::Gtp, Some(256), Some(50_000)))],
        ),
    ];
    for (link, octets, layers) in cases {
        let found = decode(link, &octets);
        assert_eq!(found.decoded.layers_of(found.only()), layers);
        assert_eq!((found.segment().len, found.notes()), (5, Notes::empty()), "{layers:?}");
    }
}

/// What goes over a tunnel's port without being that tunnel is left alone.
#[test]
fn other_traffic_on_a_tunnels_port_is_no_tunnel() {
    let text = b"\x47\x45\x54 / HTTP/1.1 and so on, for long enough that any header of a tunnel would fit in.........";
    for port in [1701, 2152, 3544, 4341, 4754, 4789, 4790, 5072, 5247, 6081, 6635, 8472, 37008] {
        let mut octets = Vec::new();
        PacketBuilder::ipv4(CLIENT, SERVER, 64).udp(50_000, port).write(&mut octets, text).expect("memory takes it");
        let found = decode(RAW_IP, &octets);
        assert!(found.decoded.packets.is_empty(), "port {port}: {:?}", found.decoded.packets);
    }
}

#[test]
fn icmp_errors_say_what_they_quote() {
    let router = Ipv4Addr::new(203, 0, 113, 9);
    let packet = packet4(b"hello");
    let error = |kind, quote: &[u8]| {
        let mut octets = Vec::new();
        PacketBuilder::ipv4(router.octets(), CLIENT, 64)
            .icmpv4(kind)
            .write(&mut octets, quote)
            .expect("memory takes it");
        decode(RAW_IP, &octets)
    };
    let refused = error(Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port), &packet[..28]);
    assert_eq!(refused.only().tuple, decode(RAW_IP, &packet).only().tuple);
    let said = refused.error();
    assert_eq!((said.from, said.kind, said.code, said.mtu), (Address::v4(router.octets()), 3, 3, None));
    assert_eq!((said.seq.0, said.flags), (1000, None));
    assert_eq!((refused.counts.icmp_errors, refused.counts.segments), (1, 0));

    let too_long = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
    let said = error(Icmpv4Type::DestinationUnreachable(too_long), &packet).error();
    assert_eq!((said.code, said.mtu, said.flags), (4, Some(1400), Some(Flags::PSH | Flags::ACK)));

    let late = error(Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit), &packet[..27]);
    assert!(late.decoded.packets.is_empty(), "seven octets of the segment name no connection");

    let packet = packet6(b"hello");
    let router = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
    let mut octets = Vec::new();
    let builder = PacketBuilder::ipv6(router.octets(), CLIENT6, 64).icmpv6(Icmpv6Type::PacketTooBig { mtu: 1280 });
    builder.write(&mut octets, &packet).expect("memory takes everything");
    let found = decode(RAW_IP, &octets);
    assert_eq!(found.only().tuple, decode(RAW_IP, &packet).only().tuple);
    let said = found.error();
    assert_eq!((said.from, said.kind, said.mtu), (Address(router.octets()), 2, Some(1280)));
    let unreachable = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Prohibited);
    octets.clear();
    let builder = PacketBuilder::ipv6(router.octets(), CLIENT6, 64).icmpv6(unreachable);
    builder.write(&mut octets, &packet).expect("memory takes everything");
    assert_eq!((decode(RAW_IP, &octets).error().kind, decode(RAW_IP, &octets).error().code), (1, 1));
}

#[test]
fn fragments_are_one_packet_or_each_for_itself() {
    let payload: Vec<u8> = (0..100).collect();
    let whole = packet4(&payload);
    let piece = |from: usize, to: usize| {
        let mut packet = [&whole[..20], &whole[20 + from..20 + to]].concat();
        let field = (from as u16 / 8) | if 20 + to < whole.len() { 0x2000 } else { 0 };
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        packet
    };
    let (first, last) = (piece(0, 64), piece(64, 120));
    let frames = [(&last[..], last.len()), (&first[..], first.len())];

    let found = decode_with(Decoder::new(Checksums::Count, 1), RAW_IP, &frames);
    assert_eq!((found.segment().len, found.only().frame.number), (100, 2));
    assert_eq!(found.notes() - Notes::BAD_IP_CHECKSUM, Notes::REASSEMBLED, "the TCP checksum is right");
    let (_, read) = found.decoded.tail_of(found.only(), &found.chunk.bytes);
    assert_eq!(read, payload);
    assert_eq!((found.counts.fragments, found.counts.fragments_dropped), (2, 0));

    let decoder = Decoder::new(Checksums::Count, 1).with_fragments(Fragments::AsCaptured);
    let found = decode_with(decoder, RAW_IP, &frames);
    assert_eq!((found.segment().len, found.only().frame.number), (44, 2));
    assert!(found.notes().contains(Notes::UNCHECKED) && !found.notes().contains(Notes::REASSEMBLED));

    let found = decode_with(Decoder::new(Checksums::Count, 1), RAW_IP, &frames[..1]);
    assert_eq!((found.counts.fragments, found.counts.fragments_dropped), (1, 1));
}

/// An A-MSDU holds several frames: each is a packet of the same frame number.
#[test]
fn an_aggregate_gives_several_packets() {
    let subframe = |payload: &[u8]| {
        let body = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &packet4(payload)].concat();
        let mut octets = [&[2; 12][..], &(body.len() as u16).to_be_bytes(), &body].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    };
    let header = [&[0x88, 0x01, 0, 0][..], &[2; 18], &[0, 0, 0x80, 0]].concat();
    let found = decode(105, &[&header[..], &subframe(b"a"), &subframe(b"bc"), &subframe(b"def")].concat());
    let lengths: Vec<(u64, usize)> = found
        .decoded
        .packets
        .iter()
        .map(|packet| (packet.frame.number, found.decoded.tail_of(packet, &found.chunk.bytes).1.len()))
        .collect();
    assert_eq!(lengths, [(1, 1), (1, 2), (1, 3)]);
    assert_eq!(found.counts.segments, 3);
}
