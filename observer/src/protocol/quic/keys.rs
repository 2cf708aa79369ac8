//! Keys of Initial packets, which protect against accidents only: everyone who sees the client's first connection ID can
//! derive them (RFC 9001, section 5.2; RFC 9369, section 3.3).

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;

use super::header::TAG;
use super::version::{Generation, Version};
use super::wire::ConnectionId;
use crate::record::Sides;

/// Octets of the sample that header protection is made from, and how far behind the start of the packet number it begins.
const SAMPLE: usize = 16;
const SAMPLE_AT: usize = 4;

/// The keys of both ends, and what they were derived from.
#[derive(Clone, Debug)]
pub(super) struct InitialKeys {
    pub(super) version: Version,
    pub(super) id: ConnectionId,
    pub(super) ends: Sides<Keys>,
}

/// What one end protects its Initial packets with.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
}

impl InitialKeys {
    /// The keys that follow from the connection ID that the client chose for the server. `None` for a version that is not
    /// read.
    pub(super) fn derive(version: Version, id: ConnectionId) -> Option<Self> {
        let generation = version.generation()?;
        let initial = Hkdf::<Sha256>::new(Some(generation.salt()), id.octets());
        let keys = |name: &str| {
            let mut secret = [0; 32];
            expand(&initial, name, &mut secret)?;
            let secret = Hkdf::<Sha256>::from_prk(&secret).ok()?;
            let mut keys = Keys::default();
            let [key, iv, header] = generation.labels();
            expand(&secret, key, &mut keys.key)?;
            expand(&secret, iv, &mut keys.iv)?;
            expand(&secret, header, &mut keys.header)?;
            Some(keys)
        };
        Some(Self { version, id, ends: Sides { client: keys("client in")?, server: keys("server in")? } })
    }
}

/// HKDF-Expand-Label without a context (RFC 8446, section 7.1).
fn expand(secret: &Hkdf<Sha256>, label: &str, out: &mut [u8]) -> Option<()> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let named = u8::try_from(PREFIX.len() + label.len()).ok()?;
    secret.expand_multi_info(&[&length, &[named], PREFIX, label.as_bytes(), &[0]], out).ok()
}

impl Generation {
    const fn salt(self) -> &'static [u8] {
        match self {
            Self::V1 => &[
                0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
                0xbb, 0x7f, 0x0a,
            ],
            Self::V2 => &[
                0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9,
                0xbd, 0x2e, 0xd9,
            ],
            Self::Draft29 => &[
                0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43,
                0x90, 0xa8, 0x99,
            ],
            Self::Draft23 => &[
                0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe,
                0xf9, 0xf5, 0x02,
            ],
        }
    }

    const fn labels(self) -> [&'static str; 3] {
        match self {
            Self::V2 => ["quicv2 key", "quicv2 iv", "quicv2 hp"],
            _ => ["quic key", "quic iv", "quic hp"],
        }
    }

    /// Key and nonce of the tag that shows a Retry packet to be whole; none is kept for the drafts.
    const fn retry(self) -> Option<([u8; 16], [u8; 12])> {
        match self {
            Self::V1 => Some((
                [0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e],
                [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb],
            )),
            Self::V2 => Some((
                [0x8f, 0xb4, 0xb0, 0x1b, 0x56, 0xac, 0x48, 0xe2, 0x60, 0xfb, 0xcb, 0xce, 0xad, 0x7c, 0xcc, 0x92],
                [0xd8, 0x69, 0x69, 0xbc, 0x2d, 0x7c, 0x6d, 0x99, 0x90, 0xef, 0xb0, 0x4a],
            )),
            Self::Draft29 | Self::Draft23 => None,
        }
    }
}

/// A packet whose protection was taken off.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) number: u64,
    pub(super) frames: Vec<u8>,
}

impl Keys {
    /// Takes the protection off a packet with a long header (RFC 9001, sections 5.3 and 5.4), whose packet number begins at
    /// `number_at`; `next` is the packet number that is expected. `None` where the tag is not that of these keys.
    pub(super) fn open(&self, packet: &[u8], number_at: usize, next: u64) -> Option<Opened> {
        let (header, protected) = packet.split_at_checked(number_at)?;
        let mask = self.mask(protected.get(SAMPLE_AT..SAMPLE_AT + SAMPLE)?)?;
        let [first_mask, number_mask @ ..] = mask;
        let first = header.first()? ^ (first_mask & 0x0f);
        let length = usize::from(first & 3) + 1;
        let (number, body) = protected.split_at_checked(length)?;
        let mut header = header.to_vec();
        *header.first_mut()? = first;
        header.extend(number.iter().zip(number_mask).map(|(octet, mask)| octet ^ mask));
        let number = header.get(number_at..)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        let number = whole_number(number, length, next);
        let (sealed, tag) = body.split_last_chunk::<TAG>()?;
        let mut frames = sealed.to_vec();
        let cipher = Aes128Gcm::new(&self.key.into());
        cipher.decrypt_inout_detached(&self.nonce(number), &header, frames.as_mut_slice().into(), tag.into()).ok()?;
        Some(Opened { number, frames })
    }

    /// The mask of header protection, of as many octets as are used.
    fn mask(&self, sample: &[u8]) -> Option<[u8; 5]> {
        let mut block: aes::Block = <[u8; SAMPLE]>::try_from(sample).ok()?.into();
        Aes128::new(&self.header.into()).encrypt_block(&mut block);
        block.first_chunk().copied()
    }

    fn nonce(&self, number: u64) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut nonce = self.iv;
        let [_, _, _, _, low @ ..] = &mut nonce;
        low.iter_mut().zip(number.to_be_bytes()).for_each(|(octet, number)| *octet ^= number);
        nonce.into()
    }
}

/// A packet number of which the low `octets` octets were sent (RFC 9000, appendix A.3).
fn whole_number(low: u64, octets: usize, next: u64) -> u64 {
    let window = 1u64 << (8 * octets);
    let number = next & !(window - 1) | low;
    if number + window / 2 <= next {
        number + window
    } else if number > next + window / 2 && number >= window {
        number - window
    } else {
        number
    }
}

/// Whether a Retry packet answers a client that sent its Initial packets to `original` (RFC 9001, section 5.8); `None`
/// where that cannot be told.
pub(super) fn retry_is_genuine(version: Version, original: ConnectionId, packet: &[u8]) -> Option<bool> {
    let (key, nonce) = version.generation()?.retry()?;
    let (packet, tag) = packet.split_last_chunk::<TAG>()?;
    let id = original.octets();
    let pseudo = [&[u8::try_from(id.len()).ok()?], id, packet].concat();
    let cipher = Aes128Gcm::new(&key.into());
    Some(cipher.decrypt_inout_detached(&nonce.into(), &pseudo, (&mut [][..]).into(), tag.into()).is_ok())
}

/// Protects a packet, the last `length` octets of whose header are its packet number.
#[cfg(test)]
pub(super) fn sealed(keys: &Keys, header: &[u8], length: usize, number: u64, frames: &[u8]) -> Vec<u8> {
    let mut body = frames.to_vec();
    let cipher = Aes128Gcm::new(&keys.key.into());
    let sealed = cipher.encrypt_inout_detached(&keys.nonce(number), header, body.as_mut_slice().into());
    body.extend(sealed.expect("a short packet"));
    let mut packet = [header, &body].concat();
    let number_at = header.len() - length;
    let sample = packet[number_at + SAMPLE_AT..][..SAMPLE].to_vec();
    let [first, numbers @ ..] = keys.mask(&sample).expect("a whole sample");
    packet[0] ^= first & 0x0f;
    packet[number_at..header.len()].iter_mut().zip(numbers).for_each(|(octet, mask)| *octet ^= mask);
    packet
}

#[cfg(test)]
mod tests {
    use super::super::tests::{RETRY, V1, V2, octets};
    use super::*;

    #[test]
    fn the_keys_of_the_specifications_are_derived() {
        for (version, sample) in [(Version::V1, &V1), (Version::V2, &V2)] {
            let keys =
                InitialKeys::derive(version, ConnectionId::new(&octets(sample.id)).expect("short")).expect("known");
            for (keys, expected) in [(&keys.ends.client, sample.client), (&keys.ends.server, sample.server)] {
                let [key, iv, header] = expected.map(octets);
                assert_eq!((&keys.key[..], &keys.iv[..], &keys.header[..]), (&key[..], &iv[..], &header[..]));
            }
        }
    }

    #[test]
    fn numbers_are_made_whole() {
        // RFC 9000, appendix A.3.
        assert_eq!(whole_number(0x9b32, 2, 0xa82f_30ea + 1), 0xa82f_9b32);
        assert_eq!(whole_number(0, 1, 0), 0);
        assert_eq!(whole_number(2, 1, 255), 258);
        assert_eq!(whole_number(0xff, 1, 0x101), 0xff);
        assert_eq!(whole_number(0xffff_ffff, 4, 0), 0xffff_ffff);
    }

    #[test]
    fn a_retry_is_told_from_a_forgery() {
        let original = ConnectionId::new(&octets("8394c8f03e515708")).expect("short");
        for (version, packet) in RETRY {
            let mut packet = octets(packet);
            assert_eq!(retry_is_genuine(version, original, &packet), Some(true));
            packet[20] ^= 1;
            assert_eq!(retry_is_genuine(version, original, &packet), Some(false));
        }
    }
}
