//! The short way of what most frames are: Ethernet with nothing but IPv4 and TCP in it, without tags, IP options and
//! fragments, the IP packet captured whole.

use crate::capture::{Frame, LinkType};
use crate::flow;
use crate::packet::{Address, Body, Decoded, IpVersion, Notes, Packet, Segment, Span, Tuple};

use super::bytes::be16;
use super::checksum::Sum;
use super::ethernet::ethertype;
use super::ip::protocol;
use super::tcp::{HEADER, Header};
use super::{Checksums, Decoder, checksum};

/// Octets of an Ethernet header, and of an IPv4 header without options.
const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// Version 4 and a header of five words.
const WITHOUT_OPTIONS: u8 = 0x45;

/// Of the word that holds an IPv4 packet's flags and fragment offset: Don't Fragment, and what makes it a fragment.
const DONT_FRAGMENT: u16 = 0x4000;
const FRAGMENT: u16 = 0x3fff;

impl Decoder {
    /// Puts out the packet in a frame that is what most are; `None` where the frame is another, of which nothing is said.
    pub(super) fn plain(&mut self, frame: &Frame, data: &[u8], out: &mut Decoded) -> Option<()> {
        let (&[.., kind, of], rest) = data.split_first_chunk::<ETHERNET>()?;
        let (header, _) = rest.split_first_chunk::<IPV4>()?;
        let &[version, tos, l, m, i, j, n, o, ttl, next, _, _, s, t, u, v, d, e, f, g] = header;
        let (length, fragment) = (be16([l, m]), be16([n, o]));
        let is_plain = version == WITHOUT_OPTIONS && next == protocol::TCP && fragment & FRAGMENT == 0;
        if frame.link != LinkType::ETHERNET || be16([kind, of]) != ethertype::IPV4 || !is_plain {
            return None;
        }
        let bytes = rest.get(IPV4..usize::from(length))?;
        let (tcp, tail) = bytes.split_first_chunk()?;
        let Header { sport, dport, claimed, segment } = Header::read(tcp);
        let options = claimed.checked_sub(HEADER)?;
        let payload = (tail.len() as u32).checked_sub(options)?;

        let (src, dst, version) = (Address::v4([s, t, u, v]), Address::v4([d, e, f, g]), IpVersion::V4);
        let mut notes = Notes::empty();
        notes.set(Notes::DONT_FRAGMENT, fragment & DONT_FRAGMENT != 0);
        if self.checksums == Checksums::Count {
            notes.set(Notes::BAD_IP_CHECKSUM, !Sum::default().ip_header(header).is_right());
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
            ip_id: be16([i, j]),
            missing: 0,
            notes,
            layers: None,
            tail: Span {
                start: frame.start + (ETHERNET + IPV4) as u32 + HEADER,
                options: options as u8,
                payload,
                reassembled: false,
            },
            body: Body::Tcp(Segment { len: payload, ..segment }),
        });
        self.counts.segments += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Counts;
    use super::super::walk::Walk;
    use super::*;

    /// A frame of a TCP segment with right checksums, whose TCP header claims `words` words of options.
    fn frame_of(words: u8, payload: &[u8], padding: usize) -> Vec<u8> {
        let options = vec![1; usize::from(words) * 4];
        let builder = etherparse::PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 0, 0, 1], [192, 168, 7, 9], 64)
            .tcp(40_000, 443, 0x0102_0304, 5000)
            .ack(77)
            .options_raw(&options)
            .expect("at most ten words");
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
        let data = frame_of(3, b"hello", 4);
        let (mut decoder, mut out) = (Decoder::new(Checksums::Count, 1), Decoded::default());
        let frame = captured(&data, data.len() as u32, LinkType::ETHERNET);
        assert!(decoder.plain(&frame, &data, &mut out).is_some());
        assert_eq!(out.packets[0].notes, Notes::DONT_FRAGMENT);
    }

    proptest! {
        /// Whatever is changed in such a frame: either it is left to the long way, or both give the same.
        #[test]
        fn ends_where_the_long_way_does(
            (words, payload, padding) in (0u8..=10, prop::collection::vec(any::<u8>(), 0..80), 0usize..8),
            changes in prop::collection::vec((0usize..60, any::<u8>()), 0..3),
            (cut, beyond) in (prop_oneof![3 => Just(0usize), 1 => 1usize..100], 0u32..9),
            (checksums, short, link) in (any::<bool>(), any::<bool>(), prop_oneof![9 => Just(1u16), 1 => Just(101)]),
        ) {
            let mut data = frame_of(words, &payload, padding);
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
