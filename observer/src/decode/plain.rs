//! The short way of what most frames are: Ethernet with nothing but IPv4 or IPv6 and TCP in it, without tags, IP options,
//! extension headers and fragments, the IP packet captured whole.

use crate::capture::{Frame, LinkType};
use crate::flow;
use crate::packet::{Address, Body, Decoded, IpVersion, Notes, Packet, Segment, Span, Tuple};

use super::bytes::be16;
use super::checksum::Sum;
use super::ethernet::ethertype;
use super::ip::protocol;
use super::tcp::{HEADER, Header};
use super::{Checksums, Decoder, checksum};

/// Octets of an Ethernet header, of an IPv4 header without options, and of an IPv6 header.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;

/// Version 4 and a header of five words.
const WITHOUT_OPTIONS: u8 = 0x45;

/// Of the word that holds an IPv4 packet's flags and fragment offset: Don't Fragment, and what makes it a fragment.
const DONT_FRAGMENT: u16 = 0x4000;
const FRAGMENT: u16 = 0x3fff;

/// What an IP header says of its packet.
struct Ip {
    src: Address,
    dst: Address,
    version: IpVersion,
    ttl: u8,
    tos: u8,
    id: u16,
    notes: Notes,
    /// Octets of the header.
    len: usize,
}

impl Decoder {
    /// Puts out the packet in a frame that is what most are; `None` where the frame is another, of which nothing is said.
    pub(super) fn plain(&mut self, frame: &Frame, data: &[u8], out: &mut Decoded) -> Option<()> {
        let (&[.., kind, of], rest) = data.split_first_chunk::<ETHERNET>()?;
        if frame.link != LinkType::ETHERNET {
            return None;
        }
        match be16([kind, of]) {
            ethertype::IPV4 => {
                let (ip, bytes) = self.plain_ipv4(rest)?;
                self.plain_segment(frame, ip, bytes, out)
            }
            ethertype::IPV6 => {
                let (ip, bytes) = plain_ipv6(rest)?;
                self.plain_segment(frame, ip, bytes, out)
            }
            _ => None,
        }
    }

    // Always inlined: for each version a way of its own, which knows what that one has not.
    #[inline(always)]
    fn plain_segment(&mut self, frame: &Frame, ip: Ip, bytes: &[u8], out: &mut Decoded) -> Option<()> {
        let (tcp, tail) = bytes.split_first_chunk()?;
        let Header { sport, dport, claimed, segment } = Header::read(tcp);
        let options = claimed.checked_sub(HEADER)?;
        let payload = (tail.len() as u32).checked_sub(options)?;

        let Ip { src, dst, version, ttl, tos, id, mut notes, len } = ip;
        if self.checksums == Checksums::Count {
            notes |= checksum::of_tcp(bytes, &src, &dst, version);
        } else {
            notes.insert(Notes::UNCHECKED);
        }
        let tuple = Tuple { src, dst, sport, dport, version };
        out.packets.push(Packet {
            at: frame.at,
            number: frame.number,
            frame: frame.id,
            hash: flow::hash(&tuple, &[], self.seed),
            tuple,
            interface: frame.interface,
            ttl,
            tos,
            ip_id: id,
            missing: 0,
            notes,
            layers: None,
            tail: Span {
                start: frame.start + (ETHERNET + len) as u32 + HEADER,
                options: options as u8,
                payload,
                reassembled: false,
            },
            body: Body::Tcp(Segment { len: payload, ..segment }),
        });
        self.counts.segments += 1;
        Some(())
    }

    /// An IPv4 packet of TCP that is whole and no fragment, without IP options: its header, and what follows it.
    #[inline(always)]
    fn plain_ipv4<'a>(&self, rest: &'a [u8]) -> Option<(Ip, &'a [u8])> {
        let (header, _) = rest.split_first_chunk::<IPV4>()?;
        let &[version, tos, l, m, i, j, n, o, ttl, next, _, _, ref addresses @ ..] = header;
        let (length, fragment) = (be16([l, m]), be16([n, o]));
        if version != WITHOUT_OPTIONS || next != protocol::TCP || fragment & FRAGMENT != 0 {
            return None;
        }
        let bytes = rest.get(IPV4..usize::from(length))?;
        let mut notes = Notes::empty();
        notes.set(Notes::DONT_FRAGMENT, fragment & DONT_FRAGMENT != 0);
        if self.checksums == Checksums::Count {
            notes.set(Notes::BAD_IP_CHECKSUM, !Sum::default().ip_header(header).is_right());
        }
        let ([src, dst], []) = addresses.as_chunks() else { return None };
        let (src, dst) = (Address::v4(*src), Address::v4(*dst));
        Some((Ip { src, dst, version: IpVersion::V4, ttl, tos, id: be16([i, j]), notes, len: IPV4 }, bytes))
    }
}

/// An IPv6 packet of TCP that is whole, without extension headers: its header, and what follows it.
#[inline(always)]
fn plain_ipv6(rest: &[u8]) -> Option<(Ip, &[u8])> {
    let (&[first, second, _, _, l, m, next, ttl, ref addresses @ ..], rest) = rest.split_first_chunk::<IPV6>()?;
    let length = usize::from(be16([l, m]));
    // A length of 0 is that of a jumbogram, or of what segmentation offloading makes.
    if first >> 4 != 6 || next != protocol::TCP || length == 0 {
        return None;
    }
    let bytes = rest.get(..length)?;
    let ([src, dst], []) = addresses.as_chunks() else { return None };
    let tos = first << 4 | second >> 4;
    let (src, dst, version, notes) = (Address(*src), Address(*dst), IpVersion::V6, Notes::empty());
    Some((Ip { src, dst, version, ttl, tos, id: 0, notes, len: IPV6 }, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Counts;
    use super::super::walk::Walk;
    use super::*;

    /// A frame of a TCP segment with right checksums, whose TCP header claims `words` words of options.
    fn frame_of(version: IpVersion, words: u8, payload: &[u8], padding: usize) -> Vec<u8> {
        let options = vec![1; usize::from(words) * 4];
        let ethernet = etherparse::PacketBuilder::ethernet2([1; 6], [2; 6]);
        let ip = match version {
            IpVersion::V4 => ethernet.ipv4([10, 0, 0, 1], [192, 168, 7, 9], 64),
            IpVersion::V6 => ethernet.ipv6([0xfd; 16], [0xfe; 16], 64),
        };
        let builder = ip.tcp(40_000, 443, 0x0102_0304, 5000).ack(77).options_raw(&options).expect("at most ten words");
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).expect("writing to memory");
        frame.resize(frame.len() + padding, 0);
        frame
    }

    fn captured(data: &[u8], wire_len: u32, link: LinkType) -> Frame {
        Frame {
            at: crate::time::Timestamp::from_nanos(5),
            carried: 0,
            number: 1,
            id: crate::packet::FrameId::default(),
            link,
            interface: 0,
            wire_len,
            start: 3,
            captured: data.len() as u32,
            direction: None,
        }
    }

    #[test]
    fn is_the_way_of_what_most_frames_are() {
        for (version, notes) in [(IpVersion::V4, Notes::DONT_FRAGMENT), (IpVersion::V6, Notes::empty())] {
            let data = frame_of(version, 3, b"hello", 4);
            let (mut decoder, mut out) = (Decoder::new(Checksums::Count, 1), Decoded::default());
            let frame = captured(&data, data.len() as u32, LinkType::ETHERNET);
            assert!(decoder.plain(&frame, &data, &mut out).is_some());
            assert_eq!(out.packets[0].notes, notes);
        }
    }

    proptest! {
        /// Whatever is changed in such a frame: either it is left to the long way, or both give the same.
        #[test]
        fn ends_where_the_long_way_does(
            is_v6 in any::<bool>(),
            (words, payload, padding) in (0u8..=10, prop::collection::vec(any::<u8>(), 0..80), 0usize..8),
            changes in prop::collection::vec((0usize..80, any::<u8>()), 0..3),
            (cut, beyond) in (prop_oneof![3 => Just(0usize), 1 => 1usize..100], 0u32..9),
            (checksums, short, link) in (any::<bool>(), any::<bool>(), prop_oneof![9 => Just(1u16), 1 => Just(101)]),
        ) {
            let version = if is_v6 { IpVersion::V6 } else { IpVersion::V4 };
            let mut data = frame_of(version, words, &payload, padding);
            let wire_len = data.len() as u32 + beyond;
            for (place, octet) in changes {
                if let Some(at) = data.get_mut(place) {
                    *at = octet;
                }
            }
            data.truncate(data.len().saturating_sub(cut));
            let frame = captured(&data, wire_len, LinkType(link));
            let decoder = || {
                let checksums = if checksums { Checksums::Count } else { Checksums::Ignore };
                Decoder::new(checksums, 7).with_short_headers(short)
            };
            let (mut plain, mut plain_out) = (decoder(), Decoded::default());
            let (mut long, mut long_out) = (decoder(), Decoded::default());
            if plain.plain(&frame, &data, &mut plain_out).is_some() {
                prop_assert_eq!(Walk::new(&mut long, &frame, &mut long_out).link(&data), Ok(()));
                prop_assert_eq!(plain_out.packets, long_out.packets);
                prop_assert_eq!(plain.counts(), long.counts());
            } else {
                prop_assert!(plain_out.packets.is_empty());
                prop_assert_eq!(plain.counts(), Counts::default());
            }
        }
    }
}
