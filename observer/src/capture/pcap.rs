//! The pcap format (draft-ietf-opsawg-pcap), its nanosecond variant and the modified one of Alexey Kuznetzov.

use super::reader::{Output, RawFrame, Sink, Stop, max_captured, time};
use super::{ErrorKind, LinkType};

/// Octets of the file header.
const HEADER: usize = 24;

/// What the first four octets of a file tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    big_endian: bool,
    /// Nanoseconds in the unit of a record's fraction of a second.
    unit: u32,
    /// Octets of a record's header.
    record_header: usize,
}

impl Variant {
    pub(super) fn of(magic: [u8; 4]) -> Option<Self> {
        [(false, u32::from_le_bytes(magic)), (true, u32::from_be_bytes(magic))].into_iter().find_map(
            |(big_endian, magic)| {
                let (unit, record_header) = match magic {
                    0xa1b2_c3d4 => (1000, 16),
                    0xa1b2_3c4d => (1, 16),
                    // Kuznetzov's: interface index, protocol and packet type follow the usual fields.
                    0xa1b2_cd34 => (1000, 24),
                    _ => return None,
                };
                Some(Self { big_endian, unit, record_header })
            },
        )
    }

    fn u16(self, octets: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(octets) } else { u16::from_le_bytes(octets) }
    }

    fn u32(self, octets: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) }
    }
}

/// A pcap file after its header.
#[derive(Debug)]
pub(super) struct Pcap {
    variant: Variant,
    lengths: Lengths,
    link: LinkType,
    max: u32,
}

/// In what order a record gives captured length and length on the wire.
#[derive(Clone, Copy, Debug)]
enum Lengths {
    CapturedFirst,
    /// As before version 2.3.
    WireFirst,
    /// Version 2.3, which some wrote in the old order.
    SmallerIsCaptured,
}

impl Pcap {
    /// Reads the file header.
    pub(super) fn new(variant: Variant, window: &[u8], out: &mut Output) -> Result<(Self, usize), Stop> {
        let Some([_, _, _, _, a, b, c, d, _, _, _, _, _, _, _, _, s0, s1, s2, s3, l0, l1, l2, l3]) =
            window.first_chunk::<HEADER>().copied()
        else {
            return Err(Stop::Need("file header", HEADER as u64));
        };
        let (major, minor) = (variant.u16([a, b]), variant.u16([c, d]));
        // Versions that never were are read like the one that everybody writes, as Wireshark does.
        let lengths = match (major, minor) {
            (2, 3) => Lengths::SmallerIsCaptured,
            // DG/UX wrote 543.0.
            (2, ..3) | (543, 0) => Lengths::WireFirst,
            _ => Lengths::CapturedFirst,
        };
        // The upper bits tell of a frame check sequence and of other things than the link type; of the lower 26 none
        // above 16 is in use.
        let link = LinkType((variant.u32([l0, l1, l2, l3]) & 0x03ff_ffff).try_into().unwrap_or(u16::MAX));
        out.only_interface(link, variant.u32([s0, s1, s2, s3]));
        Ok((Self { variant, lengths, link, max: max_captured(link) }, HEADER))
    }

    /// Reads every whole record of `window` from `done` on, and moves `done` behind it.
    pub(super) fn read(&mut self, window: &[u8], done: &mut usize, sink: &mut Sink<'_>) -> Stop {
        let Self { variant, lengths, link, max } = *self;
        loop {
            let rest = window.get(*done..).unwrap_or(&[]);
            let (Some(header), true) = (rest.first_chunk::<16>(), rest.len() >= variant.record_header) else {
                return Stop::Need("packet header", variant.record_header as u64);
            };
            let [s0, s1, s2, s3, f0, f1, f2, f3, a0, a1, a2, a3, b0, b1, b2, b3] = *header;
            let (first, second) = (variant.u32([a0, a1, a2, a3]), variant.u32([b0, b1, b2, b3]));
            let (captured, wire_len) = match lengths {
                Lengths::CapturedFirst => (first, second),
                Lengths::WireFirst => (second, first),
                Lengths::SmallerIsCaptured => (first.min(second), first.max(second)),
            };
            if captured > max {
                return Stop::Bad(ErrorKind::PacketLength { length: captured, max });
            }
            let size = variant.record_header + captured as usize;
            if rest.len() < size {
                return Stop::Need("packet", size as u64);
            }
            let fraction = u64::from(variant.u32([f0, f1, f2, f3])) * u64::from(variant.unit);
            let (at, carried) = time(variant.u32([s0, s1, s2, s3]), fraction);
            sink.frame(RawFrame {
                at,
                carried,
                link,
                interface: 0,
                wire_len,
                start: *done + variant.record_header,
                captured,
            });
            *done += size;
        }
    }
}
