//! The readers over captures made here, whole, in pieces, cut and damaged.

use proptest::prelude::*;

use super::pcapng::{block, option};
use super::{Chunk, Direction, Error, ErrorKind, Frame, LinkType, Reader, Writer};
use crate::packet::FrameId;
use crate::record::InterfaceRecord;
use crate::time::Timestamp;

/// Puts fields together in one byte order.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    const BOTH: [Self; 2] = [Self::Little, Self::Big];

    fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u64(self, value: u64) -> [u8; 8] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn pcap_header(self, magic: u32, version: (u16, u16), snap_len: u32, link: u32) -> Vec<u8> {
        let fields = [self.u32(0), self.u32(0), self.u32(snap_len), self.u32(link)].concat();
        [&self.u32(magic)[..], &self.u16(version.0), &self.u16(version.1), &fields].concat()
    }

    fn pcap_record(self, fields: [u32; 4], more: &[u8], data: &[u8]) -> Vec<u8> {
        [&fields.map(|field| self.u32(field)).concat(), more, data].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let body = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let length = self.u32(body.len() as u32 + 12);
        [&self.u32(kind)[..], &length, &body, &length].concat()
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let pad = vec![0; value.len().next_multiple_of(4) - value.len()];
        [&self.u16(code)[..], &self.u16(value.len() as u16), value, &pad].concat()
    }

    fn section(self, options: &[u8]) -> Vec<u8> {
        let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8], options].concat();
        self.block(block::SECTION, &body)
    }

    fn interface(self, link: u16, snap_len: u32, options: &[u8]) -> Vec<u8> {
        self.block(block::INTERFACE, &[&self.u16(link)[..], &[0; 2], &self.u32(snap_len), options].concat())
    }

    fn packet(self, interface: u32, time: u64, wire_len: u32, data: &[u8], options: &[u8]) -> Vec<u8> {
        let fields = [interface, (time >> 32) as u32, time as u32, data.len() as u32, wire_len];
        let pad = vec![0; data.len().next_multiple_of(4) - data.len()];
        let body = [&fields.map(|field| self.u32(field)).concat(), data, &pad, options].concat();
        self.block(block::ENHANCED_PACKET, &body)
    }
}

/// Reads a capture that is there as a whole.
fn read(bytes: &[u8]) -> (Chunk, Reader, Result<(), Error>) {
    let mut chunk = Chunk { bytes: bytes.to_vec(), ..Chunk::default() };
    let mut reader = Reader::new(7);
    let end = reader.read(&mut chunk).and_then(|done| reader.finish(bytes.len() - done));
    (chunk, reader, end)
}

/// What [`read`] gives of a frame: its time, link type, interface, length on the wire, and captured octets.
type Brief<'a> = (u64, u16, u16, u32, &'a [u8]);

fn brief(chunk: &Chunk) -> Vec<Brief<'_>> {
    let brief = |frame: &Frame| (frame.at.as_nanos(), frame.link.0, frame.interface, frame.wire_len, chunk.data(frame));
    chunk.frames.iter().map(brief).collect()
}

#[test]
fn pcap_of_every_magic_and_byte_order() {
    for order in Order::BOTH {
        for (magic, unit, more) in [(0xa1b2_c3d4, 1000, 0), (0xa1b2_3c4d, 1, 0), (0xa1b2_cd34, 1000, 8)] {
            let more = vec![0xee; more];
            // Two octets of frame check sequence follow, by the upper bits of the link type.
            let mut bytes = order.pcap_header(magic, (2, 4), 65_535, 0x1400_0065);
            bytes.extend(order.pcap_record([1_700_000_000, 999_999, 3, 1500], &more, b"abc"));
            bytes.extend(order.pcap_record([1, 2, 0, 0], &more, b""));
            let (chunk, reader, end) = read(&bytes);
            assert_eq!(end, Ok(()));
            assert_eq!(
                brief(&chunk),
                [
                    (1_700_000_000_000_000_000 + 999_999 * unit, 101, 0, 1500, &b"abc"[..]),
                    (1_000_000_000 + 2 * unit, 101, 0, 0, b""),
                ]
            );
            assert_eq!(reader.format(), Some("pcap"));
            assert_eq!((reader.interfaces()[0].link_type, reader.interfaces()[0].snap_len), (101, 65_535));
            assert_eq!(chunk.frames[1].id, FrameId { file: 7, number: 2 });
        }
    }
}

#[test]
fn old_pcap_versions_give_the_length_on_the_wire_first() {
    let lengths = |version, first, second| {
        let mut bytes = Order::Little.pcap_header(0xa1b2_c3d4, version, 100, 1);
        bytes.extend(Order::Little.pcap_record([0, 0, first, second], &[], b"abcd"));
        let (chunk, _, end) = read(&bytes);
        assert_eq!(end, Ok(()));
        (chunk.frames[0].captured, chunk.frames[0].wire_len)
    };
    assert_eq!(lengths((2, 4), 4, 9), (4, 9));
    assert_eq!(lengths((2, 2), 9, 4), (4, 9));
    assert_eq!(lengths((543, 0), 9, 4), (4, 9));
    assert_eq!(lengths((2, 3), 9, 4), (4, 9));
    assert_eq!(lengths((2, 3), 4, 9), (4, 9));
    assert_eq!(lengths((9, 2), 4, 9), (4, 9));
}

#[test]
fn pcap_that_cannot_be_read() {
    let header = Order::Big.pcap_header(0xa1b2_c3d4, (2, 4), 100, 1);
    let record = Order::Big.pcap_record([0, 0, 3, 3], &[], b"abc");
    let huge = Order::Big.pcap_record([0, 0, 262_145, 3], &[], b"abc");
    let (chunk, _, end) = read(&[header, record, huge].concat());
    assert_eq!(chunk.frames.len(), 1);
    let expected = "at byte 43: damaged: a packet of 262145 octets, the most is 262144";
    assert_eq!(end.expect_err("an error").to_string(), expected);
}

#[test]
fn a_time_of_too_many_microseconds_carries_into_the_seconds() {
    let mut bytes = Order::Little.pcap_header(0xa1b2_c3d4, (2, 4), 100, 1);
    bytes.extend(Order::Little.pcap_record([10, u32::MAX, 0, 0], &[], b""));
    let (chunk, _, _) = read(&bytes);
    assert_eq!((chunk.frames[0].at.as_nanos(), chunk.frames[0].carried), (10_000_000_000 + 4_294_967_295_000, 4294));
}

#[test]
fn snoop_with_padding_and_drops() {
    let order = Order::Big;
    let record = |wire_len, data: &[u8], pad: usize, drops| {
        let size = 24 + data.len() + pad;
        let fields = [wire_len, data.len() as u32, size as u32, drops, 5, 6].map(|field| order.u32(field)).concat();
        [&fields, data, &vec![0xee; pad]].concat()
    };
    let header = |datalink| [&b"snoop\0\0\0"[..], &order.u32(2), &order.u32(datalink)].concat();
    let bytes = [header(4), record(60, b"abc", 1, 0), record(2, b"de", 18, 9)].concat();
    let (chunk, reader, end) = read(&bytes);
    assert_eq!(end, Ok(()));
    assert_eq!(brief(&chunk), [(5_000_006_000, 1, 0, 60, &b"abc"[..]), (5_000_006_000, 1, 0, 2, b"de")]);
    assert_eq!((reader.format(), reader.interfaces()[0].dropped), (Some("snoop"), Some(9)));
    for (datalink, link) in [(0, 1), (2, 6), (8, 10), (18, 123), (77, u16::MAX)] {
        assert_eq!(read(&header(datalink)).1.interfaces()[0].link_type, link);
    }
    let short = [header(4), [60, 3, 20, 0, 0, 0].map(|field| order.u32(field)).concat()].concat();
    assert_eq!(read(&short).2.expect_err("an error").to_string(), "at byte 16: damaged: a record of 20 octets");
}

#[test]
fn pcapng_of_sections_in_different_byte_orders() {
    let mut bytes = Vec::new();
    for (index, order) in [Order::Big, Order::Little, Order::Big].into_iter().enumerate() {
        bytes.extend(order.section(&order.option(option::COMMENT, format!("section {index}").as_bytes())));
        // A name resolution block, decryption secrets and a custom block are stepped over.
        bytes.extend([order.block(4, &[0; 40]), order.block(10, &[0; 8]), order.block(0xbad, &[0; 4])].concat());
        bytes.extend(order.interface(1, 0, &order.option(option::IF_NAME, b"eth0")));
        bytes.extend(order.interface(113, 96, &order.option(option::IF_TSRESOL, &[9])));
        bytes.extend(order.packet(1, 1_000_000_007, 60, b"abcde", &[]));
        bytes.extend(order.packet(0, 2_000_007, 3, b"fgh", &[]));
    }
    let (chunk, reader, end) = read(&bytes);
    assert_eq!(end, Ok(()));
    let section = |first| [(1_000_000_007, 113, first + 1, 60, &b"abcde"[..]), (2_000_007_000, 1, first, 3, b"fgh")];
    assert_eq!(brief(&chunk), [section(0), section(2), section(4)].concat());
    assert_eq!(reader.comments(), ["section 0", "section 1", "section 2"]);
    let interfaces: Vec<_> = reader.interfaces().iter().map(|one| (one.name.as_deref(), one.snap_len)).collect();
    assert_eq!(interfaces, [(Some("eth0"), 0), (None, 96)].repeat(3));
}

#[test]
fn pcapng_clocks() {
    let order = Order::Little;
    let at = |resolution: Option<u8>, offset: i64, ticks| {
        let mut options = order.option(option::IF_TSOFFSET, &order.u64(offset as u64));
        options.extend(resolution.map(|value| order.option(option::IF_TSRESOL, &[value])).unwrap_or_default());
        let (chunk, _, end) =
            read(&[order.section(&[]), order.interface(1, 0, &options), order.packet(0, ticks, 0, b"", &[])].concat());
        assert_eq!(end, Ok(()));
        chunk.frames[0].at.as_nanos()
    };
    assert_eq!(at(None, 0, 1_234_567), 1_234_567_000);
    assert_eq!(at(Some(0), 0, 3), 3_000_000_000);
    assert_eq!(at(Some(3), 0, 1_234), 1_234_000_000);
    assert_eq!(at(Some(9), 0, 5), 5);
    assert_eq!(at(Some(12), 0, 5_999), 5);
    assert_eq!(at(Some(0x80), 0, 2), 2_000_000_000);
    assert_eq!(at(Some(0x80 | 10), 0, 1_536), 1_500_000_000);
    assert_eq!(at(Some(0x80 | 32), 1, 1 << 31), 1_500_000_000);
    assert_eq!(at(Some(9), 1_700_000_000, 5), 1_700_000_000_000_000_005);
    // What no clock shows: before 1970, beyond 2554, and finer than anything.
    assert_eq!(at(Some(9), -1, 5), 0);
    assert_eq!(at(Some(0), 0, u64::MAX), u64::MAX);
    assert_eq!(at(Some(0), i64::MAX, u64::MAX), u64::MAX);
    assert_eq!(at(Some(127), 0, u64::MAX), 0);
    assert_eq!(at(Some(0xff), 0, u64::MAX), 0);
}

#[test]
fn pcapng_simple_and_obsolete_packets() {
    for order in Order::BOTH {
        let simple = order.block(block::SIMPLE_PACKET, &[&order.u32(100)[..], b"abcdefgh"].concat());
        let fields = [0, 2_000_000, 3, 50].map(|field| order.u32(field)).concat();
        let obsolete = order.block(block::PACKET, &[&order.u16(1)[..], &order.u16(6), &fields, b"xyz"].concat());
        let interfaces = [order.interface(1, 8, &[]), order.interface(101, 0, &[])].concat();
        let (chunk, reader, end) = read(&[order.section(&[]), interfaces, simple, obsolete].concat());
        assert_eq!(end, Ok(()));
        assert_eq!(brief(&chunk), [(0, 1, 0, 100, &b"abcdefgh"[..]), (2_000_000_000, 101, 1, 50, b"xyz")]);
        assert_eq!(reader.interfaces()[1].dropped, Some(6));
    }
}

#[test]
fn pcapng_says_what_was_dropped() {
    let order = Order::Big;
    let statistics = |options: &[(u16, u64)]| {
        let options: Vec<u8> =
            options.iter().flat_map(|(code, value)| order.option(*code, &order.u64(*value))).collect();
        order.block(block::STATISTICS, &[&order.u32(0)[..], &[0; 8], &options].concat())
    };
    let start = [order.section(&[]), order.interface(1, 0, &[])].concat();
    let of = |blocks: &[Vec<u8>]| {
        let (_, reader, end) = read(&[start.clone(), blocks.concat()].concat());
        assert_eq!(end, Ok(()));
        (reader.interfaces()[0].received, reader.interfaces()[0].dropped)
    };
    let (received, by_interface, by_system) = (option::ISB_IFRECV, option::ISB_IFDROP, option::ISB_OSDROP);
    assert_eq!(of(&[]), (None, None));
    assert_eq!(of(&[statistics(&[(received, 10), (by_interface, 2), (by_system, 3)])]), (Some(10), Some(5)));
    assert_eq!(of(&[statistics(&[(received, 10), (by_interface, 0)])]), (Some(10), Some(0)));
    let last = [statistics(&[(by_interface, 2)]), statistics(&[(by_interface, 4), (received, 9)])];
    assert_eq!(of(&last), (Some(9), Some(4)), "they count from the start");
    let lost_before = order.option(option::EPB_DROPCOUNT, &order.u64(3));
    let packet = order.packet(0, 0, 0, b"", &lost_before);
    assert_eq!(of(&[packet.clone(), packet.clone()]), (None, Some(6)));
    assert_eq!(of(&[packet.clone(), packet, statistics(&[(by_interface, 0)])]), (None, Some(6)));
}

#[test]
fn pcapng_comments_on_packets() {
    let order = Order::Little;
    let comment = |text: &str| order.option(option::COMMENT, text.as_bytes());
    let flags = |value| order.option(option::EPB_FLAGS, &order.u32(value));
    let bytes = [
        order.section(&[]),
        order.interface(1, 0, &[]),
        order.packet(0, 0, 5, b"abcde", &[]),
        order.packet(0, 0, 5, b"abcde", &[comment("PID: 1"), flags(2), comment("two"), vec![0; 4]].concat()),
        order.packet(0, 0, 4, b"abcd", &[flags(1), comment("three")].concat()),
        order.packet(0, 0, 4, b"abcd", &comment("four")),
    ]
    .concat();
    let (chunk, _, end) = read(&bytes);
    assert_eq!(end, Ok(()));
    let of = |number| {
        let comments = chunk.comments_on(number);
        comments.map(|(comment, text)| (String::from_utf8_lossy(text), comment.direction)).collect::<Vec<_>>()
    };
    assert_eq!(of(1), []);
    assert_eq!(of(2), [("PID: 1".into(), Some(Direction::Outbound)), ("two".into(), Some(Direction::Outbound))]);
    assert_eq!(of(3), [("three".into(), Some(Direction::Inbound))]);
    assert_eq!(of(4), [("four".into(), None)]);
}

#[test]
fn pcapng_brings_secrets() {
    let line = format!("CLIENT_RANDOM {} {}\n", "01".repeat(32), "02".repeat(48));
    for order in Order::BOTH {
        let block = |kind: &[u8; 4], length: usize| {
            let mut body = [order.u32(u32::from_be_bytes(*kind)), order.u32(length as u32)].concat();
            body.extend(line.as_bytes());
            body.resize(body.len().next_multiple_of(4), 0);
            order.block(block::SECRETS, &body)
        };
        let bytes =
            [order.section(&[]), block(b"TLSK", line.len()), block(b"WGKL", line.len()), block(b"TLSK", 1 << 30)];
        let (chunk, _, result) = read(&bytes.concat());
        assert_eq!(result, Ok(()));
        assert_eq!(
            (chunk.keys.secrets(), chunk.keys.ignored()),
            (1, 0),
            "the same one twice, the other is none of TLS"
        );
        let short = [order.section(&[]), order.block(block::SECRETS, &order.u32(0))].concat();
        assert_eq!(read(&short).2, Ok(()));
    }
    let mut written = Vec::new();
    let writer = Writer::new("", &mut written);
    writer.secrets(line.as_bytes(), &mut written);
    assert_eq!(read(&written).0.keys.secrets(), 1);
}

#[test]
fn pcapng_that_cannot_be_read() {
    let order = Order::Little;
    let start = [order.section(&[]), order.interface(1, 0, &[]), order.packet(0, 0, 4, b"abcd", &[])].concat();
    let error = |block: Vec<u8>| {
        let (chunk, _, end) = read(&[start.clone(), block].concat());
        assert_eq!(chunk.frames.len(), 1);
        let error = end.expect_err("an error");
        assert_eq!(error.offset, start.len() as u64);
        error.kind.to_string()
    };
    let mut torn = order.packet(0, 0, 4, b"abcd", &[]);
    let tail = torn.len() - 4;
    torn[tail] = 40;
    assert_eq!(error(torn), "damaged: a block of 36 octets by its head, 40 by its tail");
    let unknown = error(order.packet(3, 0, 4, b"abcd", &[]));
    assert_eq!(unknown, "damaged: a packet of interface 3, 1 are described");
    let mut long = order.packet(0, 0, 4, b"abcd", &[]);
    long[20] = 9;
    assert_eq!(error(long), "damaged: a packet of 9 octets, the most is 4");
    assert_eq!(error(vec![6, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0]), "damaged: a block of 10 octets");
    assert_eq!(error(vec![6, 0, 0, 0, 33, 0, 0, 0, 0, 0, 0, 0]), "damaged: a block of 33 octets");
    assert_eq!(error(vec![6, 0, 0, 0, 4, 0, 0, 0x40, 0, 0, 0, 0]), "damaged: a block of 1073741828 octets");
    assert_eq!(error(order.block(block::ENHANCED_PACKET, &[0; 8])), "damaged: a block of 20 octets");
    assert_eq!(error(order.block(block::INTERFACE, &[0; 4])), "damaged: a block of 16 octets");
    let mut section = order.section(&[]);
    section[12] = 9;
    assert_eq!(error(section.clone()), "pcapng version 9.0 is not supported");
    section[8] = 0;
    assert_eq!(error(section), "damaged: a section with byte-order magic 0x1a2b3c00");
}

#[test]
fn interfaces_and_texts_are_bounded() {
    let order = Order::Little;
    let name = order.option(option::IF_NAME, &[b'x'; 60_000]);
    let mut bytes = order.section(&[]);
    (0..200).for_each(|_| bytes.extend(order.interface(1, 0, &name)));
    let (_, reader, end) = read(&bytes);
    assert_eq!(end, Ok(()));
    let kept: usize = reader.interfaces().iter().filter_map(|interface| interface.name.as_ref()).map(String::len).sum();
    assert!(kept > 3 << 20 && kept <= 4 << 20, "{kept} octets");
    (0..70_000).for_each(|_| bytes.extend(order.interface(1, 0, &[])));
    let (_, reader, end) = read(&bytes);
    assert_eq!(reader.interfaces().len(), 65_535);
    assert_eq!(end.map_err(|error| error.kind), Err(ErrorKind::TooManyInterfaces(65_535)));
}

#[test]
fn what_is_written_reads_the_same() {
    let order = Order::Big;
    let filter = order.option(option::IF_FILTER, b"\0tcp port 80");
    let options =
        [order.option(option::IF_NAME, b"eth0"), order.option(option::IF_DESCRIPTION, b"uplink"), filter].concat();
    let flags = order.option(option::EPB_FLAGS, &order.u32(2));
    let comments = [flags, order.option(option::COMMENT, b"one"), order.option(option::COMMENT, b"two")].concat();
    let bytes = [
        order.section(&[]),
        order.interface(228, 0, &[]),
        order.interface(1, 64, &options),
        order.packet(1, 1_700_000_000_000_001, 60, b"abcde", &comments),
        order.packet(0, 5, 4, b"abcd", &[]),
        order.packet(1, 6, 0, b"", &[]),
    ]
    .concat();
    let (before, reader, _) = read(&bytes);
    let mut out = Vec::new();
    let mut writer = Writer::new("made by a test", &mut out);
    for frame in &before.frames {
        let interface = || reader.interfaces()[usize::from(frame.interface)].clone();
        writer.frame(frame, before.data(frame), before.comments_on(frame.number), interface, &mut out);
    }
    let counts = InterfaceRecord { received: Some(9), dropped: Some(2), ..InterfaceRecord::default() };
    writer.statistics((7, 1), &counts, Timestamp::from_nanos(7), &mut out);
    writer.statistics((7, 2), &counts, Timestamp::from_nanos(7), &mut out);
    let (after, reader, end) = read(&out);
    assert_eq!(end, Ok(()));
    assert_eq!(reader.comments(), ["made by a test"]);
    // Interfaces are described in the order of their first frames.
    let renumbered = |(at, link, interface, wire_len, data)| (at, link, 1 - interface, wire_len, data);
    assert_eq!(brief(&after), brief(&before).into_iter().map(renumbered).collect::<Vec<_>>());
    let comments = |chunk: &Chunk| {
        let comments = chunk.comments_on(1).map(|(comment, text)| (comment.direction, text.to_vec()));
        comments.collect::<Vec<_>>()
    };
    assert_eq!(comments(&after), comments(&before));
    assert_eq!(comments(&after)[1], (Some(Direction::Outbound), b"two".to_vec()));
    let eth0 = &reader.interfaces()[0];
    let got = (eth0.name.as_deref(), eth0.description.as_deref(), eth0.filter.as_deref());
    assert_eq!(got, (Some("eth0"), Some("uplink"), Some("tcp port 80")));
    assert_eq!((eth0.received, eth0.dropped), (Some(9), Some(2)));
    assert_eq!((reader.interfaces()[1].name.as_deref(), reader.interfaces()[1].link_type), (None, 228));
}

#[test]
fn an_interface_is_asked_for_once() {
    let mut out = Vec::new();
    let mut writer = Writer::new("", &mut out);
    let frame = |file, interface| Frame {
        at: Timestamp::from_nanos(1),
        carried: 0,
        number: 1,
        id: FrameId { file, number: 1 },
        link: LinkType::ETHERNET,
        interface,
        wire_len: 0,
        start: 0,
        captured: 0,
        direction: None,
    };
    let mut asked = 0;
    for (file, interface) in [(0, 0), (0, 1), (1, 0), (0, 0), (1, 0)] {
        let describe = || {
            asked += 1;
            InterfaceRecord::default()
        };
        writer.frame(&frame(file, interface), b"", [], describe, &mut out);
    }
    assert_eq!(asked, 3);
    let interfaces: Vec<_> = read(&out).0.frames.iter().map(|frame| frame.interface).collect();
    assert_eq!(interfaces, [0, 1, 2, 0, 2]);
}

/// A small capture of each format with most of what it can hold.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for order in Order::BOTH {
        let mut pcap = order.pcap_header(0xa1b2_c3d4, (2, 4), 65_535, 1);
        let mut modified = order.pcap_header(0xa1b2_cd34, (2, 4), 65_535, 1);
        for data in [&b"first"[..], b"", b"the third"] {
            let fields = [1, 2, data.len() as u32, 100];
            pcap.extend(order.pcap_record(fields, &[], data));
            modified.extend(order.pcap_record(fields, &[0xee; 8], data));
        }
        let comment = order.option(option::COMMENT, b"a comment");
        let lost = order.option(option::EPB_DROPCOUNT, &order.u64(3));
        let pcapng = [
            order.section(&comment),
            order.interface(1, 100, &order.option(option::IF_NAME, b"eth0")),
            order.block(0xbad, &[0x55; 20]),
            order.packet(0, 77, 60, b"abcde", &[comment.clone(), lost].concat()),
            order.block(block::SIMPLE_PACKET, &[&order.u32(3)[..], b"abc"].concat()),
            order.block(block::STATISTICS, &[&order.u32(0)[..], &[0; 8], &order.option(4, &order.u64(9))].concat()),
            order.section(&[]),
            order.interface(101, 0, &order.option(option::IF_TSRESOL, &[9])),
            order.packet(0, 78, 3, b"xyz", &[]),
        ];
        samples.extend([pcap, modified, pcapng.concat()]);
    }
    let order = Order::Big;
    let record = [60, 3, 28, 1, 5, 6].map(|field| order.u32(field)).concat();
    let snoop = [&b"snoop\0\0\0"[..], &order.u32(2), &order.u32(4), &record, b"abcd", &record, b"efgh"].concat();
    samples.push(snoop);
    samples
}

/// Reads a capture that comes in pieces of the given length: its frames, with their places in the whole.
fn read_in_pieces(bytes: &[u8], piece: usize) -> (Chunk, Result<(), Error>) {
    let mut all = Chunk { bytes: bytes.to_vec(), ..Chunk::default() };
    let (mut reader, mut done, mut there) = (Reader::new(7), 0, 0);
    let end = loop {
        there = bytes.len().min(there + piece);
        let mut window = Chunk { bytes: bytes[done..there].to_vec(), ..Chunk::default() };
        let read = reader.read(&mut window);
        let start = done as u32;
        all.frames.extend(window.frames.iter().map(|frame| Frame { start: frame.start + start, ..*frame }));
        let moved = window.comments.iter().map(|comment| super::Comment { start: comment.start + start, ..*comment });
        all.comments.extend(moved);
        match read {
            Ok(octets) => done += octets,
            Err(error) => break Err(error),
        }
        if there == bytes.len() {
            break reader.finish(there - done);
        }
    };
    (all, end)
}

#[test]
fn pieces_give_what_the_whole_gives() {
    for sample in samples() {
        let (whole, _, end) = read(&sample);
        assert_eq!(end, Ok(()));
        assert!(whole.frames.len() >= 2);
        for piece in 1..=sample.len() {
            let (pieces, end) = read_in_pieces(&sample, piece);
            assert_eq!(end, Ok(()));
            assert_eq!((&pieces.frames, &pieces.comments), (&whole.frames, &whole.comments), "pieces of {piece}");
        }
    }
}

#[test]
fn a_cut_anywhere_gives_the_frames_before_it() {
    for sample in samples() {
        let (whole, _, _) = read(&sample);
        for cut in 0..sample.len() {
            let (chunk, _, end) = read(&sample[..cut]);
            assert!(brief(&whole).starts_with(&brief(&chunk)), "cut at {cut}");
            let all_of = |frame: &&Frame| (frame.start + frame.captured) as usize + 12 <= cut;
            let least = whole.frames.iter().take_while(all_of).count();
            assert!(chunk.frames.len() >= least.saturating_sub(1), "cut at {cut}: {} frames", chunk.frames.len());
            match end {
                Ok(()) => assert!(cut > 0 && read(&sample[..cut]).1.format().is_some(), "cut at {cut}"),
                Err(error) => {
                    assert!(error.offset <= cut as u64, "cut at {cut}: {error}");
                    let cut_short = matches!(error.kind, ErrorKind::Truncated { .. } | ErrorKind::Empty);
                    assert!(cut_short, "cut at {cut}: {error}");
                }
            }
        }
    }
}

proptest! {
    /// Damage is an error or other frames, never more than that; and pieces agree with the whole about it.
    #[test]
    fn damage_does_no_harm(
        sample in 0..samples().len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1_usize..64,
    ) {
        let mut bytes = samples().swap_remove(sample);
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= value;
        }
        let (whole, _, end) = read(&bytes);
        for frame in &whole.frames {
            prop_assert!((frame.start + frame.captured) as usize <= bytes.len());
            prop_assert_eq!(whole.data(frame).len(), frame.captured as usize);
        }
        let (pieces, end_of_pieces) = read_in_pieces(&bytes, piece);
        prop_assert_eq!((&pieces.frames, &pieces.comments), (&whole.frames, &whole.comments));
        prop_assert_eq!(end_of_pieces, end);
    }
}
