//! The pcapng format (draft-ietf-opsawg-pcapng).

use super::reader::{RawFrame, Sink, Stop, max_captured};
use super::{Direction, ErrorKind, LinkType};
use crate::record::InterfaceRecord;
use crate::recording;
use crate::time::Timestamp;

/// Type of a section header block in either byte order: what a file starts with.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// In a section header, in the byte order of the section.
pub(super) const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// In a decryption secrets block: that it holds a key log of TLS.
pub(super) const TLS_KEY_LOG: u32 = u32::from_be_bytes(*b"TLSK");

/// Octets around a block's body: type and length before it, length behind it.
const BLOCK_ENDS: usize = 12;
/// The largest block that is read as a whole; blocks that are skipped may have any size.
const MAX_BLOCK: u32 = 16 << 20;
/// The most interfaces of one file.
const MAX_INTERFACES: usize = u16::MAX as usize;
/// The most octets of comments, names and descriptions that are kept of one file, packets' comments apart.
const MAX_TEXT: usize = 4 << 20;

pub(super) mod block {
    pub(crate) const SECTION: u32 = u32::from_be_bytes(super::SECTION_HEADER);
    pub(crate) const INTERFACE: u32 = 1;
    /// Obsolete, before enhanced packet blocks.
    pub(crate) const PACKET: u32 = 2;
    pub(crate) const SIMPLE_PACKET: u32 = 3;
    pub(crate) const STATISTICS: u32 = 5;
    pub(crate) const ENHANCED_PACKET: u32 = 6;
    /// Decryption secrets.
    pub(crate) const SECRETS: u32 = 10;
    /// A custom block that tools may copy to another capture.
    pub(crate) const CUSTOM: u32 = 0xbad;
    /// One that they should not: it belongs to what is around it.
    pub(crate) const CUSTOM_HERE: u32 = 0x4000_0bad;
}

pub(super) mod option {
    pub(crate) const END: u16 = 0;
    pub(crate) const COMMENT: u16 = 1;
    pub(crate) const IF_NAME: u16 = 2;
    pub(crate) const IF_DESCRIPTION: u16 = 3;
    pub(crate) const IF_TSRESOL: u16 = 9;
    pub(crate) const IF_FILTER: u16 = 11;
    pub(crate) const IF_TSOFFSET: u16 = 14;
    pub(crate) const EPB_FLAGS: u16 = 2;
    pub(crate) const EPB_DROPCOUNT: u16 = 4;
    pub(crate) const ISB_IFRECV: u16 = 4;
    pub(crate) const ISB_IFDROP: u16 = 5;
    pub(crate) const ISB_OSDROP: u16 = 7;
}

/// A pcapng file between two blocks, or inside one that is skipped.
#[derive(Debug, Default)]
pub(super) struct Pcapng {
    order: Order,
    /// Those of the current section.
    interfaces: Vec<Interface>,
    /// Octets of text kept, in all sections.
    text: usize,
    skip: Option<Skip>,
}

/// What is left of a block that is skipped: octets before its trailing length, and what that must be.
#[derive(Clone, Copy, Debug)]
struct Skip {
    left: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    fn u16(self, octets: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(octets),
            Self::Big => u16::from_be_bytes(octets),
        }
    }

    fn u32(self, octets: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(octets),
            Self::Big => u32::from_be_bytes(octets),
        }
    }

    fn u64(self, octets: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(octets),
            Self::Big => u64::from_be_bytes(octets),
        }
    }

    /// The `N` 32-bit fields that a block's body starts with, and what is behind them.
    fn fields<const N: usize>(self, body: &[u8]) -> Option<([u32; N], &[u8])> {
        let (fields, rest) = body.split_at_checked(4 * N)?;
        let (fields, _) = fields.as_chunks::<4>();
        let fields: &[[u8; 4]; N] = fields.try_into().ok()?;
        Some((fields.map(|field| self.u32(field)), rest))
    }

    /// The options in `bytes`: code, value and where in `bytes` that starts. Stops at whatever does not fit.
    fn options(self, bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], usize)> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let ([c0, c1, l0, l1], tail) = rest.split_first_chunk::<4>()?;
            let (code, len) = (self.u16([*c0, *c1]), usize::from(self.u16([*l0, *l1])));
            let value = tail.get(..len)?;
            if code == option::END {
                return None;
            }
            let start = bytes.len() - tail.len();
            rest = tail.get(len.next_multiple_of(4)..).unwrap_or(&[]);
            Some((code, value, start))
        })
    }
}

/// What is needed of an interface to read its packets.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snap_len: u32,
    clock: Clock,
    /// Its place among the interfaces of the whole file.
    index: u16,
    /// The sum of what packets say was dropped before them.
    dropped_before_packets: u64,
}

/// How an interface counts time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    resolution: Resolution,
    /// Seconds to add.
    offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// A tick is this many nanoseconds.
    Nanos(u64),
    /// This many ticks are a nanosecond.
    PerNano(u128),
    /// 2 to the power of this many ticks are a second.
    Binary(u8),
}

impl Clock {
    const MICROS: Self = Self { resolution: Resolution::Nanos(1000), offset: 0 };

    fn at(&self, ticks: u64) -> Timestamp {
        match self {
            Self { resolution: Resolution::Nanos(nanos), offset: 0 } => {
                Timestamp::from_nanos(ticks.saturating_mul(*nanos))
            }
            _ => self.at_any(ticks),
        }
    }

    #[cold]
    fn at_any(&self, ticks: u64) -> Timestamp {
        let ticks = u128::from(ticks);
        let nanos = match self.resolution {
            Resolution::Nanos(nanos) => ticks * u128::from(nanos),
            Resolution::PerNano(per_nano) => ticks / per_nano,
            Resolution::Binary(exponent) => (ticks * 1_000_000_000) >> exponent,
        };
        let nanos = nanos as i128 + i128::from(self.offset) * 1_000_000_000;
        Timestamp::from_nanos(nanos.clamp(0, u64::MAX.into()) as u64)
    }
}

impl Resolution {
    /// From the value of `if_tsresol`.
    fn of(value: u8) -> Self {
        let exponent = value & 0x7f;
        match exponent {
            _ if value & 0x80 != 0 => Self::Binary(exponent),
            ..=9 => Self::Nanos(10u64.pow(9 - u32::from(exponent))),
            // Beyond 10^38 ticks to the nanosecond, 64 bits of them are nothing either way.
            _ => Self::PerNano(10u128.checked_pow(u32::from(exponent) - 9).unwrap_or(u128::MAX)),
        }
    }
}

impl Pcapng {
    /// Whether a block was begun and not ended.
    pub(super) fn inside_block(&self) -> bool {
        self.skip.is_some()
    }

    /// Reads every whole block of `window` from `done` on, and moves `done` behind it.
    pub(super) fn read(&mut self, window: &[u8], done: &mut usize, sink: &mut Sink<'_>) -> Stop {
        loop {
            match self.block(window, *done, sink) {
                Ok(octets) => *done += octets,
                Err((octets, stop)) => {
                    *done += octets;
                    return stop;
                }
            }
        }
    }

    /// Reads one block. Returns how many octets it took; on an error, how many it took before that.
    fn block(&mut self, window: &[u8], at: usize, sink: &mut Sink<'_>) -> Result<usize, (usize, Stop)> {
        let rest = window.get(at..).unwrap_or(&[]);
        if let Some(skip) = self.skip {
            return self.skip(skip, rest);
        }
        let Some((head, _)) = rest.split_first_chunk::<12>() else {
            return Err((0, Stop::Need("block", BLOCK_ENDS as u64)));
        };
        let [t0, t1, t2, t3, l0, l1, l2, l3, m0, m1, m2, m3] = *head;
        if [t0, t1, t2, t3] == SECTION_HEADER {
            self.order = match [m0, m1, m2, m3] {
                magic if magic == BYTE_ORDER.to_le_bytes() => Order::Little,
                magic if magic == BYTE_ORDER.to_be_bytes() => Order::Big,
                other => return Err((0, Stop::Bad(ErrorKind::ByteOrder(u32::from_le_bytes(other))))),
            };
        }
        let kind = self.order.u32([t0, t1, t2, t3]);
        let length = self.order.u32([l0, l1, l2, l3]);
        if length < BLOCK_ENDS as u32 || !length.is_multiple_of(4) {
            return Err((0, Stop::Bad(ErrorKind::Length { what: "block", length })));
        }
        let wanted = matches!(
            kind,
            block::SECTION
                | block::INTERFACE
                | block::PACKET
                | block::SIMPLE_PACKET
                | block::STATISTICS
                | block::ENHANCED_PACKET
        );
        // One that is too large to be read as a whole is skipped like others.
        let is_secrets = kind == block::SECRETS && length <= MAX_BLOCK;
        // Of others' custom blocks not even the size need be believed.
        let is_ours = matches!(kind, block::CUSTOM | block::CUSTOM_HERE)
            && self.order.u32([m0, m1, m2, m3]) == recording::ENTERPRISE
            && length as usize <= recording::MOST_OCTETS;
        if !wanted && !is_ours && !is_secrets {
            self.skip = Some(Skip { left: length - BLOCK_ENDS as u32, length });
            return Ok(8);
        }
        if length > MAX_BLOCK {
            return Err((0, Stop::Bad(ErrorKind::Length { what: "block", length })));
        }
        let size = length as usize;
        let (Some(body), Some(tail)) = (rest.get(8..size - 4), rest.get(size - 4..).and_then(<[u8]>::first_chunk))
        else {
            return Err((0, Stop::Need("block", length.into())));
        };
        let tail = self.order.u32(*tail);
        // libpcap does not look at a section header's tail.
        if tail != length && kind != block::SECTION {
            return Err((0, Stop::Bad(ErrorKind::BlockEnds { head: length, tail })));
        }
        let read = match kind {
            block::ENHANCED_PACKET => self.enhanced_packet(body, at + 8, sink),
            block::SECTION => self.section(body, sink),
            block::INTERFACE => self.interface(body, sink),
            block::STATISTICS => {
                self.statistics(body, sink);
                Ok(())
            }
            block::SIMPLE_PACKET => self.simple_packet(body, at + 8, sink),
            block::CUSTOM | block::CUSTOM_HERE => marks(body, sink),
            block::SECRETS => {
                self.secrets(body, sink);
                Ok(())
            }
            _ => self.packet(body, at + 8, sink),
        };
        // A body too short for its fixed fields is told by the block's length.
        read.map(|()| size).map_err(|kind| (0, Stop::Bad(kind.unwrap_or(ErrorKind::Length { what: "block", length }))))
    }

    fn skip(&mut self, skip: Skip, rest: &[u8]) -> Result<usize, (usize, Stop)> {
        let body = rest.len().min(skip.left as usize);
        let left = skip.left - body as u32;
        self.skip = Some(Skip { left, ..skip });
        let Some(tail) = rest.get(body..).and_then(<[u8]>::first_chunk) else {
            return Err((body, Stop::Need("rest of a block", u64::from(left) + 4)));
        };
        let tail = self.order.u32(*tail);
        if tail != skip.length {
            return Err((body, Stop::Bad(ErrorKind::BlockEnds { head: skip.length, tail })));
        }
        self.skip = None;
        Ok(body + 4)
    }

    fn section(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Read {
        let ([_, version, _, _], options) = self.order.fields(body).ok_or(None)?;
        let (major, minor) = match self.order {
            Order::Little => (version & 0xffff, version >> 16),
            Order::Big => (version >> 16, version & 0xffff),
        };
        // 1.2 is 1.0 with blocks that a reader may skip.
        if major != 1 || !matches!(minor, 0 | 2) {
            return Err(Some(ErrorKind::Version { format: "pcapng", major, minor }));
        }
        self.interfaces.clear();
        for (code, value, _) in self.order.options(options) {
            if code == option::COMMENT {
                sink.out.comments.extend(self.text(value));
            }
        }
        Ok(())
    }

    fn interface(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Read {
        let ([link, snap_len], options) = self.order.fields(body).ok_or(None)?;
        let link = LinkType(match self.order {
            Order::Little => link as u16,
            Order::Big => (link >> 16) as u16,
        });
        let Some(index) = u16::try_from(sink.out.interfaces.len()).ok().filter(|index| *index < u16::MAX) else {
            return Err(Some(ErrorKind::TooManyInterfaces(MAX_INTERFACES)));
        };
        let mut clock = Clock::MICROS;
        let mut record = InterfaceRecord { link_type: link.0, snap_len, ..InterfaceRecord::default() };
        for (code, value, _) in self.order.options(options) {
            match (code, value) {
                (option::IF_NAME, _) => record.name = self.text(value),
                (option::IF_DESCRIPTION, _) => record.description = self.text(value),
                // The first octet says what the rest is: 0 for libpcap's language, 1 for BPF code.
                (option::IF_FILTER, [0, filter @ ..]) => record.filter = self.text(filter),
                (option::IF_TSRESOL, [value]) => clock.resolution = Resolution::of(*value),
                (option::IF_TSOFFSET, _) => {
                    if let Ok(offset) = value.try_into() {
                        clock.offset = self.order.u64(offset) as i64;
                    }
                }
                _ => {}
            }
        }
        self.interfaces.push(Interface { link, snap_len, clock, index, dropped_before_packets: 0 });
        sink.out.interfaces.push(record);
        Ok(())
    }

    fn enhanced_packet(&mut self, body: &[u8], start: usize, sink: &mut Sink<'_>) -> Read {
        let ([interface, high, low, captured, wire_len], data) = self.order.fields(body).ok_or(None)?;
        let time = u64::from(high) << 32 | u64::from(low);
        let start = start + body.len() - data.len();
        self.frame(interface, time, captured, wire_len, data, start, sink)?;
        let captured = (captured as usize).next_multiple_of(4);
        if let Some(options @ [_, ..]) = data.get(captured..) {
            self.packet_options(interface, options, start + captured, sink);
        }
        Ok(())
    }

    /// The obsolete packet block: interface and drop count share the first field.
    fn packet(&mut self, body: &[u8], start: usize, sink: &mut Sink<'_>) -> Read {
        let (octets, _) = body.split_first_chunk::<4>().ok_or(None)?;
        let [i0, i1, d0, d1] = *octets;
        let (interface, drops) = (u32::from(self.order.u16([i0, i1])), self.order.u16([d0, d1]));
        let ([_, high, low, captured, wire_len], data) = self.order.fields(body).ok_or(None)?;
        let time = u64::from(high) << 32 | u64::from(low);
        let start = start + body.len() - data.len();
        self.frame(interface, time, captured, wire_len, data, start, sink)?;
        if !matches!(drops, 0 | u16::MAX) {
            self.dropped(interface, drops.into(), sink);
        }
        let captured = (captured as usize).next_multiple_of(4);
        if let Some(options @ [_, ..]) = data.get(captured..) {
            self.packet_options(interface, options, start + captured, sink);
        }
        Ok(())
    }

    /// A packet of the section's first interface, without a time.
    fn simple_packet(&mut self, body: &[u8], start: usize, sink: &mut Sink<'_>) -> Read {
        let ([wire_len], data) = self.order.fields(body).ok_or(None)?;
        let snap_len = self.interfaces.first().map_or(0, |interface| interface.snap_len);
        let captured = if snap_len == 0 { wire_len } else { wire_len.min(snap_len) };
        self.frame(0, 0, captured, wire_len, data, start + 4, sink)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields that three kinds of packet block have in common")]
    #[inline]
    fn frame(
        &self,
        interface: u32,
        time: u64,
        captured: u32,
        wire_len: u32,
        data: &[u8],
        start: usize,
        sink: &mut Sink<'_>,
    ) -> Read {
        let Some(described) = self.interfaces.get(interface as usize) else {
            return Err(Some(ErrorKind::Interface { interface, described: self.interfaces.len() }));
        };
        let max = max_captured(described.link).min(data.len() as u32);
        if captured > max {
            return Err(Some(ErrorKind::PacketLength { length: captured, max }));
        }
        let (at, link, interface) = (described.clock.at(time), described.link, described.index);
        sink.frame(RawFrame { at, carried: 0, link, interface, wire_len, start, captured });
        Ok(())
    }

    fn packet_options(&mut self, interface: u32, options: &[u8], start: usize, sink: &mut Sink<'_>) {
        let order = self.order;
        let flags = order.options(options).find(|(code, value, _)| *code == option::EPB_FLAGS && value.len() == 4);
        let flags = flags.and_then(|(_, value, _)| value.try_into().ok()).map_or(0, |flags| order.u32(flags));
        let direction = match (flags & 3, flags >> 2 & 7) {
            (1, 1) => Some(Direction::Asking),
            (1, _) => Some(Direction::Inbound),
            (2, _) => Some(Direction::Outbound),
            _ => None,
        };
        if let Some(direction) = direction {
            sink.direction(direction);
        }
        for (code, value, at) in order.options(options) {
            match code {
                option::COMMENT if !value.is_empty() => sink.comment(start + at, value.len(), direction),
                option::EPB_DROPCOUNT => {
                    if let Ok(drops) = value.try_into() {
                        self.dropped(interface, order.u64(drops), sink);
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes in that `drops` packets were lost between two that were captured.
    fn dropped(&mut self, interface: u32, drops: u64, sink: &mut Sink<'_>) {
        let Some(interface) = self.interfaces.get_mut(interface as usize) else { return };
        interface.dropped_before_packets = interface.dropped_before_packets.saturating_add(drops);
        if let Some(record) = sink.out.interfaces.get_mut(usize::from(interface.index)) {
            record.dropped = record.dropped.max(Some(interface.dropped_before_packets));
        }
    }

    /// An option's text, without the NULs that some writers put behind it; `None` beyond the bound.
    fn text(&mut self, value: &[u8]) -> Option<String> {
        // An entry costs more than its text when that is short.
        let text = self.text + value.len() + size_of::<String>();
        (text <= MAX_TEXT).then(|| {
            self.text = text;
            String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
        })
    }

    /// A key log of TLS; secrets of other kinds are of no use here.
    fn secrets(&self, body: &[u8], sink: &mut Sink<'_>) {
        if let Some(([TLS_KEY_LOG, length], data)) = self.order.fields(body) {
            sink.keys.read(data.get(..length as usize).unwrap_or(data));
        }
    }

    /// Interface statistics count from the start of the capture: the last block says it all.
    fn statistics(&self, body: &[u8], sink: &mut Sink<'_>) {
        let Some(([interface, _, _], options)) = self.order.fields(body) else { return };
        let Some(interface) = self.interfaces.get(interface as usize) else { return };
        let Some(record) = sink.out.interfaces.get_mut(usize::from(interface.index)) else { return };
        let (mut received, mut dropped) = (None, None::<u64>);
        for (code, value, _) in self.order.options(options) {
            let Ok(value) = value.try_into() else { continue };
            let value = self.order.u64(value);
            match code {
                option::ISB_IFRECV => received = Some(value),
                option::ISB_IFDROP | option::ISB_OSDROP => {
                    dropped = Some(dropped.unwrap_or(0).saturating_add(value));
                }
                _ => {}
            }
        }
        record.received = received.or(record.received);
        record.dropped = dropped.map(|all| all.max(interface.dropped_before_packets)).or(record.dropped);
    }
}

/// A custom block with observer's enterprise number; it may be another's all the same.
fn marks(body: &[u8], sink: &mut Sink<'_>) -> Read {
    let data = body.get(4..).unwrap_or_default();
    let marks = recording::decode(data).transpose().map_err(|error| Some(error.into()))?;
    sink.out.recording |= marks.is_some();
    sink.marks.extend(marks.into_iter().flatten());
    Ok(())
}

/// What reading a block's body came to; an error without a kind stands for a body that is too short.
type Read = Result<(), Option<ErrorKind>>;
