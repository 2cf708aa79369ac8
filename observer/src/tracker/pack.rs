//! A connection's short form: its fields one after the other, each in as few octets as its value needs.
//!
//! What is written is read back the same, field for field. Numbers take seven bits an octet (LEB128); points in time and
//! sequence numbers are written as their distance from one that was written before, since those of one connection lie
//! close together. Of the octets that come out, many are zero: those are left out, and an octet before each eight says which.
//! What is only true or false is a bit of that octet, and nothing else.

use std::collections::VecDeque;

use smallvec::{Array, SmallVec};

use crate::flow::TunnelEnds;
use crate::packet::{Address, Flags, IcmpError, IpVersion, Layer, Tunnel, TunnelKind, Tuple};
use crate::record::{Ecn, EntryKind, RetransmissionCause, TcpState};
use crate::sequence::Seq;
use crate::time::{Nanos, Timestamp};

/// What can be written down in short form.
pub trait Pack: Sized {
    /// Writes this value.
    fn pack(&self, to: &mut Packer);

    /// Reads what [`pack`](Self::pack) wrote.
    fn unpack(from: &mut Unpacker<'_>) -> Self;
}

/// Where values are written.
#[derive(Debug, Default)]
pub struct Packer {
    octets: Vec<u8>,
    mask: Mask<usize>,
    near: Near,
}

/// Where they are read.
#[derive(Debug)]
pub struct Unpacker<'a> {
    octets: &'a [u8],
    mask: Mask<u8>,
    near: Near,
}

/// Which of the eight octets at hand are not zero, or which of what is said by a bit alone is true.
#[derive(Clone, Copy, Debug, Default)]
struct Mask<T> {
    /// While writing, where it is; while reading, what it is.
    at: T,
    /// That of the next octet; 0 where there is no mask yet, or it has been used up.
    bit: u8,
}

/// What distances are counted from: the same while writing and while reading.
#[derive(Clone, Copy, Debug, Default)]
struct Near {
    time: u64,
    /// The last of each of up to four streams.
    seqs: [u32; 4],
    /// The stream whose place the next new one takes.
    oldest: usize,
}

/// How far a sequence number may be from the last of its stream.
const SAME_STREAM: u32 = 1 << 24;

impl Near {
    /// The stream that `seq` is nearest to, and how far it is from the last of that.
    fn distance(&self, seq: u32) -> (usize, i32) {
        let distance = |(stream, last): (usize, &u32)| (stream, seq.wrapping_sub(*last) as i32);
        let distances = self.seqs.iter().enumerate().map(distance);
        distances.min_by_key(|(_, distance)| distance.unsigned_abs()).unwrap_or_default()
    }

    fn take_seq(&mut self, stream: usize, distance: i32) -> u32 {
        let seq = self.seqs.get(stream).map_or(0, |last| last.wrapping_add_signed(distance));
        let place = if distance.unsigned_abs() < SAME_STREAM {
            stream
        } else {
            self.oldest = (self.oldest + 1) % self.seqs.len();
            self.oldest
        };
        if let Some(last) = self.seqs.get_mut(place) {
            *last = seq;
        }
        seq
    }
}

impl Packer {
    /// All that was written, and an empty packer again.
    pub fn take(&mut self) -> Box<[u8]> {
        let packed = self.octets.as_slice().into();
        self.octets.clear();
        (self.mask, self.near) = Default::default();
        packed
    }

    fn octet(&mut self, octet: u8) {
        self.bit(octet != 0);
        if octet != 0 {
            self.octets.push(octet);
        }
    }

    fn bit(&mut self, is_set: bool) {
        if self.mask.bit == 0 {
            self.mask = Mask { at: self.octets.len(), bit: 1 };
            self.octets.push(0);
        }
        if is_set && let Some(mask) = self.octets.get_mut(self.mask.at) {
            *mask |= self.mask.bit;
        }
        self.mask.bit <<= 1;
    }

    fn number(&mut self, mut value: u128) {
        while value >= 0x80 {
            self.octet(value as u8 | 0x80);
            value >>= 7;
        }
        self.octet(value as u8);
    }

    /// Writes a point in time; `none` stands for the one that means none.
    pub fn time(&mut self, nanos: u64, none: u64) {
        if nanos == none {
            return self.number(0);
        }
        let distance = nanos.wrapping_sub(self.near.time) as i64;
        self.near.time = nanos;
        // Signed numbers alternate: 0, −1, 1, −2, …
        self.number(u128::from((distance << 1 ^ distance >> 63) as u64) + 1);
    }
}

impl<'a> Unpacker<'a> {
    /// Reads what a [`Packer`] gave.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets, mask: Mask::default(), near: Near::default() }
    }

    fn octet(&mut self) -> u8 {
        if self.bit() { self.next() } else { 0 }
    }

    fn bit(&mut self) -> bool {
        if self.mask.bit == 0 {
            self.mask = Mask { at: self.next(), bit: 1 };
        }
        let is_set = self.mask.at & self.mask.bit != 0;
        self.mask.bit <<= 1;
        is_set
    }

    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.octets.split_first() else { return 0 };
        self.octets = rest;
        *first
    }

    fn number(&mut self) -> u128 {
        let mut value = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let octet = self.octet();
            value |= u128::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                break;
            }
        }
        value
    }

    /// Reads a point in time; `none` stands for the one that means none.
    pub fn time(&mut self, none: u64) -> u64 {
        let Some(code) = self.number().checked_sub(1) else { return none };
        let code = code as u64;
        let distance = (code >> 1) as i64 ^ -((code & 1) as i64);
        self.near.time = self.near.time.wrapping_add_signed(distance);
        self.near.time
    }
}

/// Packs a struct by its fields. Those after a semicolon are not written, and come back as their default.
macro_rules! pack_fields {
    ($($type:ty { $($field:ident),* $(,)? $(; $($left:ident),*)? })*) => { $(
        impl $crate::tracker::pack::Pack for $type {
            fn pack(&self, to: &mut $crate::tracker::pack::Packer) {
                let Self { $($field,)* $($($left: _),*)? } = self;
                $($field.pack(to);)*
            }

            fn unpack(from: &mut $crate::tracker::pack::Unpacker<'_>) -> Self {
                $(let $field = $crate::tracker::pack::Pack::unpack(from);)*
                Self { $($field,)* $($($left: Default::default()),*)? }
            }
        }
    )* };
}
pub(crate) use pack_fields;

/// Packs an enum without fields by the place of each value in the list.
macro_rules! pack_values {
    ($($type:ty { $first:ident $(, $value:ident)* $(,)? })*) => { $(
        impl $crate::tracker::pack::Pack for $type {
            fn pack(&self, to: &mut $crate::tracker::pack::Packer) {
                // Every value is named, or this does not compile.
                match self { Self::$first $(| Self::$value)* => {} }
                let all = [Self::$first $(, Self::$value)*];
                all.iter().position(|value| value == self).unwrap_or(0).pack(to);
            }

            fn unpack(from: &mut $crate::tracker::pack::Unpacker<'_>) -> Self {
                let place: usize = $crate::tracker::pack::Pack::unpack(from);
                [Self::$first $(, Self::$value)*].get(place).copied().unwrap_or(Self::$first)
            }
        }
    )* };
}
pub(crate) use pack_values;

/// Packs a struct that is nothing but its one field.
macro_rules! pack_wrapped {
    ($($type:ty),*) => { $(
        impl $crate::tracker::pack::Pack for $type {
            fn pack(&self, to: &mut $crate::tracker::pack::Packer) {
                self.0.pack(to);
            }

            fn unpack(from: &mut $crate::tracker::pack::Unpacker<'_>) -> Self {
                Self($crate::tracker::pack::Pack::unpack(from))
            }
        }
    )* };
}
pub(crate) use pack_wrapped;

/// Packs flags by their bits.
macro_rules! pack_flags {
    ($($type:ty),*) => { $(
        impl $crate::tracker::pack::Pack for $type {
            fn pack(&self, to: &mut $crate::tracker::pack::Packer) {
                self.bits().pack(to);
            }

            fn unpack(from: &mut $crate::tracker::pack::Unpacker<'_>) -> Self {
                Self::from_bits_retain($crate::tracker::pack::Pack::unpack(from))
            }
        }
    )* };
}
pub(crate) use pack_flags;

macro_rules! pack_numbers {
    ($($type:ty),*) => { $(
        impl Pack for $type {
            fn pack(&self, to: &mut Packer) {
                to.number(*self as u128);
            }

            fn unpack(from: &mut Unpacker<'_>) -> Self {
                from.number() as Self
            }
        }
    )* };
}

pack_numbers!(u8, u16, u32, u64, usize);

impl Pack for bool {
    fn pack(&self, to: &mut Packer) {
        to.bit(*self);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        from.bit()
    }
}

impl Pack for i64 {
    fn pack(&self, to: &mut Packer) {
        // Signed numbers alternate: 0, −1, 1, −2, …
        ((self << 1 ^ self >> 63) as u64).pack(to);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        let code = u64::unpack(from);
        (code >> 1) as Self ^ -((code & 1) as Self)
    }
}

impl Pack for Timestamp {
    fn pack(&self, to: &mut Packer) {
        to.time(self.as_nanos(), 0);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        Self::from_nanos(from.time(0))
    }
}

impl Pack for Seq {
    fn pack(&self, to: &mut Packer) {
        let (stream, distance) = to.near.distance(self.0);
        to.near.take_seq(stream, distance);
        to.number(u128::from((distance << 1 ^ distance >> 31) as u32) << 2 | stream as u128);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        let code = from.number();
        let zigzag = (code >> 2) as u32;
        let distance = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        Self(from.near.take_seq((code & 3) as usize, distance))
    }
}

impl<T: Pack> Pack for Option<T> {
    fn pack(&self, to: &mut Packer) {
        self.is_some().pack(to);
        if let Some(value) = self {
            value.pack(to);
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        bool::unpack(from).then(|| T::unpack(from))
    }
}

impl<T: Pack> Pack for Box<T> {
    fn pack(&self, to: &mut Packer) {
        (**self).pack(to);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        Self::new(T::unpack(from))
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack(&self, to: &mut Packer) {
        self.len().pack(to);
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        (0..usize::unpack(from)).map(|_| T::unpack(from)).collect()
    }
}

impl<A: Array<Item: Pack>> Pack for SmallVec<A> {
    fn pack(&self, to: &mut Packer) {
        self.len().pack(to);
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        (0..usize::unpack(from)).map(|_| Pack::unpack(from)).collect()
    }
}

impl<T: Pack> Pack for VecDeque<T> {
    fn pack(&self, to: &mut Packer) {
        self.len().pack(to);
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        Vec::unpack(from).into()
    }
}

impl<T: Pack> Pack for Box<[T]> {
    fn pack(&self, to: &mut Packer) {
        self.len().pack(to);
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        Vec::unpack(from).into()
    }
}

impl<T: Pack, const N: usize> Pack for [T; N] {
    fn pack(&self, to: &mut Packer) {
        self.iter().for_each(|value| value.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        std::array::from_fn(|_| T::unpack(from))
    }
}

impl<T: Pack, U: Pack> Pack for (T, U) {
    fn pack(&self, to: &mut Packer) {
        self.0.pack(to);
        self.1.pack(to);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        (T::unpack(from), U::unpack(from))
    }
}

impl Pack for Address {
    fn pack(&self, to: &mut Packer) {
        let [.., a, b, c, d] = self.0;
        let is_v4 = *self == Self::v4([a, b, c, d]);
        is_v4.pack(to);
        self.0.iter().skip(if is_v4 { 12 } else { 0 }).for_each(|octet| to.octet(*octet));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        if bool::unpack(from) {
            Self::v4(std::array::from_fn(|_| from.octet()))
        } else {
            Self(std::array::from_fn(|_| from.octet()))
        }
    }
}

impl Pack for Layer {
    fn pack(&self, to: &mut Packer) {
        match self {
            Self::Vlan(id) => (0u8, *id).pack(to),
            Self::Mpls(label) => (1u8, *label).pack(to),
            Self::Pbb(service) => (2u8, *service).pack(to),
            Self::Pppoe(session) => (3u8, *session).pack(to),
            Self::Tunnel(tunnel) => {
                4u8.pack(to);
                tunnel.pack(to);
            }
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        match u8::unpack(from) {
            0 => Self::Vlan(Pack::unpack(from)),
            1 => Self::Mpls(Pack::unpack(from)),
            2 => Self::Pbb(Pack::unpack(from)),
            3 => Self::Pppoe(Pack::unpack(from)),
            _ => Self::Tunnel(Pack::unpack(from)),
        }
    }
}

pack_fields! {
    Tuple { src, dst, sport, dport, version }
    Tunnel { kind, src, dst, version, id, source_port }
    TunnelEnds { kind, ends, version }
    IcmpError { from, kind, code, mtu, seq, flags }
    Ecn { ect, ce, ece, cwr }
}

pack_values! {
    IpVersion { V4, V6 }
    TunnelKind {
        Gre, Erspan, Ipip, SixInFour, FourInSix, SixInSix, Teredo, Vxlan, Geneve, Gtp, Ayiya, L2tp, EtherIp, Mpls, Lisp,
        Capwap, Tzsp,
    }
    EntryKind { Syn, SynAck, HandshakeAck, Data, Ack, Fin, Rst, Icmp, State, Retransmit, NotRetransmitted, SynAckRetransmit, ResetSent, ResetReceived, Drop, Error, Congestion }
    RetransmissionCause { Rto, Fast, TailLossProbe, Spurious, SackRepaired }
    TcpState {
        Unknown, Listen, SynSent, SynRecv, Estab, FinWait1, FinWait2, CloseWait, Closing, LastAck, TimeWait, Closed,
    }
}

pack_flags!(Flags);

pack_wrapped!(Nanos);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    fn there_and_back<T: Pack + PartialEq + Debug>(values: Vec<T>) -> Result<(), TestCaseError> {
        let mut packer = Packer::default();
        values.pack(&mut packer);
        let packed = packer.take();
        let mut unpacker = Unpacker::new(&packed);
        prop_assert_eq!(Vec::<T>::unpack(&mut unpacker), values);
        prop_assert!(unpacker.octets.is_empty());
        Ok(())
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(
            numbers: Vec<u64>,
            seqs: Vec<u32>,
            near in prop::collection::vec((0u32..4, -100i32..100), 0..50),
            addresses: Vec<([u8; 4], [u8; 16])>,
        ) {
            there_and_back(numbers.iter().copied().map(Timestamp::from_nanos).collect())?;
            there_and_back(numbers.iter().map(|nanos| Timestamp::from_nanos(1 << 60 | nanos >> 50)).collect())?;
            there_and_back(seqs.into_iter().map(Seq).collect())?;
            let streams = near.into_iter().map(|(stream, by)| Seq((stream << 30).wrapping_add_signed(by)));
            there_and_back(streams.collect())?;
            there_and_back(addresses.into_iter().map(|(v4, v6)| (Address::v4(v4), Address(v6))).collect())?;
            there_and_back(numbers)?;
        }
    }

    #[test]
    fn extremes_come_back() {
        let times = [0, u64::MAX, 1, 1 << 63, (1 << 63) - 1, 0];
        there_and_back(times.map(Timestamp::from_nanos).to_vec()).expect("they are the same");
        let seqs = [0, u32::MAX, 1 << 31, (1 << 31) - 1, 1, 0x4000_0000, 0xc000_0000];
        there_and_back(seqs.map(Seq).to_vec()).expect("they are the same");
    }

    #[test]
    fn what_lies_close_together_is_short() {
        let mut packer = Packer::default();
        let isn = Seq(0x1234_5678);
        [isn, Seq(0x8765_4321), isn.plus(1), Seq(0x8765_4322), isn.plus(15)].pack(&mut packer);
        let packed = packer.take();
        assert!(packed.len() <= 15, "{packed:?}");
    }
}
