//! The internet checksum (RFC 1071).

use crate::packet::{Address, IpVersion, Notes};

/// A sum in ones' complement, folded at the end. The order of octets in memory is kept (RFC 1071, section 2(B)).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds octets that start at an even offset of what is summed.
    pub(super) fn octets(self, octets: &[u8]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.octets_by_avx2(octets) };
        }
        self.octets_by_any(octets)
    }

    /// The same for processors of the last ten years: half the steps.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn octets_by_avx2(self, octets: &[u8]) -> Self {
        self.octets_by_any(octets)
    }

    #[inline(always)]
    fn octets_by_any(self, octets: &[u8]) -> Self {
        // 32-bit words into 64-bit lanes: no carry can be lost before 2³² words, and the loop becomes vector adds.
        let mut lanes = [0u64; 16];
        let (blocks, rest) = octets.as_chunks::<64>();
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let mut sum = lanes.iter().fold(self.0, |sum, &lane| sum + lane);
        let (pairs, rest) = rest.as_chunks::<8>();
        for pair in pairs {
            let pair = u64::from_ne_bytes(*pair);
            sum += (pair & u64::from(u32::MAX)) + (pair >> 32);
        }
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        // What is left is filled up with zeros, which change no sum.
        let last = match *rest {
            [a, b, c] => [a, b, c, 0],
            [a, b] => [a, b, 0, 0],
            [a] => [a, 0, 0, 0],
            _ => [0; 4],
        };
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds an IPv4 header without options.
    pub(super) fn ip_header(self, header: &[u8; 20]) -> Self {
        self.words(header)
    }

    /// Adds few octets, a number of whole words.
    #[inline]
    fn words<const N: usize>(self, octets: &[u8; N]) -> Self {
        const { assert!(N.is_multiple_of(4), "whole words") };
        let (words, _) = octets.as_chunks::<4>();
        Self(words.iter().fold(self.0, |sum, word| sum + u64::from(u32::from_ne_bytes(*word))))
    }

    /// Adds the pseudo-header of a TCP segment of `length` octets (RFC 9293, section 3.1; RFC 8200, section 8.1).
    pub(super) fn pseudo_header(self, src: &Address, dst: &Address, version: IpVersion, length: u32) -> Self {
        let Self(sum) = match version {
            IpVersion::V4 => {
                let ([.., a, b, c, d], [.., e, f, g, h]) = (src.0, dst.0);
                let (src, dst) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
                Self(self.0 + u64::from(src) + u64::from(dst))
            }
            IpVersion::V6 => self.words(&src.0).words(&dst.0),
        };
        Self(
            sum + u64::from(length.to_be())
                + u64::from(u32::from_ne_bytes([0, 0, 0, crate::decode::ip::protocol::TCP])),
        )
    }

    /// Whether a checksum field holds what was summed, as it is.
    fn is_in(self, field: [u8; 2]) -> bool {
        let field = u64::from(u16::from_ne_bytes(field));
        field != 0 && self.0 % 0xffff == field % 0xffff
    }

    /// Whether what was summed, the checksum field included, is as its sender left it.
    pub(super) fn is_right(self) -> bool {
        // Folded, it would be 0xffff: to that modulus, a carry that is added at the other end changes nothing.
        self.0 != 0 && self.0.is_multiple_of(0xffff)
    }
}

/// What there is to note of the checksum of a TCP segment, which is whole, between two addresses.
#[inline]
pub(super) fn of_tcp(segment: &[u8], src: &Address, dst: &Address, version: IpVersion) -> Notes {
    let pseudo_header = Sum::default().pseudo_header(src, dst, version, segment.len() as u32);
    if pseudo_header.octets(segment).is_right() { Notes::empty() } else { why_wrong(segment, pseudo_header) }
}

#[cold]
fn why_wrong(segment: &[u8], pseudo_header: Sum) -> Notes {
    let field = segment.get(16..).and_then(|rest| rest.first_chunk());
    let partial = field.is_some_and(|field| pseudo_header.is_in(*field));
    if partial { Notes::BAD_TCP_CHECKSUM | Notes::PARTIAL_CHECKSUM } else { Notes::BAD_TCP_CHECKSUM }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, section 1, by the letter.
    fn slow(octets: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in octets.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn agrees_with_the_sum_by_the_letter(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let right = slow(&octets) == 0xffff;
            prop_assert_eq!(Sum::default().octets(&octets).is_right(), right);
            prop_assert_eq!(Sum::default().octets_by_any(&octets).is_right(), right);
        }

        #[test]
        fn a_stored_checksum_makes_it_right(mut octets in proptest::collection::vec(any::<u8>(), 2..400)) {
            octets[0] = 0;
            octets[1] = 0;
            let sum = !slow(&octets);
            octets[..2].copy_from_slice(&sum.to_be_bytes());
            // All octets 0 is the one sum that no checksum field can set right.
            prop_assert!(Sum::default().octets(&octets).is_right() || octets[2..].iter().all(|&octet| octet == 0));
            octets[0] ^= 1;
            prop_assert!(!Sum::default().octets(&octets).is_right());
        }
    }
}
