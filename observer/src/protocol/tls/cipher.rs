//! The AEAD ciphers of TLS 1.2 and 1.3, and the keys that are made out of secrets.
//!
//! - TLS 1.2: RFC 5246, sections 5 and 6.3; AES-GCM by RFC 5288, AES-CCM by RFC 6655, ChaCha20-Poly1305 by RFC 7905.
//! - TLS 1.3: RFC 8446, sections 5.2, 5.3, 7.1 to 7.3.

use std::fmt;

use aes::{Aes128, Aes256};
use aes_gcm::aead::{AeadInOut, KeyInit, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ccm::Ccm;
use ccm::consts::{U8, U12, U16};
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::{Sha256, Sha384};

use crate::keylog::Random;
use crate::record::{Side, Sides};

/// Octets of a nonce, and of the part of it that goes with each record of AES in TLS 1.2.
const NONCE: usize = 12;
const EXPLICIT: usize = 8;
/// Octets of the longest key.
const MOST_KEY: usize = 32;

/// What a cipher suite says of keys and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    cipher: Cipher,
    hash: Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Aes128Ccm,
    Aes256Ccm,
    /// With tags of 8 octets.
    Aes128Ccm8,
    Aes256Ccm8,
    ChaCha20Poly1305,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
}

impl Suite {
    /// The suites that can be opened, by IANA's numbers.
    pub(super) const fn of(suite: u16) -> Option<Self> {
        let (cipher, hash) = match suite {
            0x009c | 0x009e | 0x00a0 | 0x00a2 | 0x00a4 | 0x00a6 | 0x00a8 | 0x00aa | 0x00ac | 0x1301 | 0xc02b
            | 0xc02d | 0xc02f | 0xc031 | 0xd001 => (Cipher::Aes128Gcm, Hash::Sha256),
            0x009d | 0x009f | 0x00a1 | 0x00a3 | 0x00a5 | 0x00a7 | 0x00a9 | 0x00ab | 0x00ad | 0x1302 | 0xc02c
            | 0xc02e | 0xc030 | 0xc032 | 0xd002 => (Cipher::Aes256Gcm, Hash::Sha384),
            0x1304 | 0xc09c | 0xc09e | 0xc0a4 | 0xc0a6 | 0xc0ac | 0xd005 => (Cipher::Aes128Ccm, Hash::Sha256),
            0xc09d | 0xc09f | 0xc0a5 | 0xc0a7 | 0xc0ad => (Cipher::Aes256Ccm, Hash::Sha256),
            0x1305 | 0xc0a0 | 0xc0a2 | 0xc0a8 | 0xc0aa | 0xc0ae | 0xd003 => (Cipher::Aes128Ccm8, Hash::Sha256),
            0xc0a1 | 0xc0a3 | 0xc0a9 | 0xc0ab | 0xc0af => (Cipher::Aes256Ccm8, Hash::Sha256),
            0x1303 | 0xcca8..=0xccae => (Cipher::ChaCha20Poly1305, Hash::Sha256),
            _ => return None,
        };
        Some(Self { cipher, hash })
    }

    /// Octets of the secrets of TLS 1.3.
    pub(super) const fn secret_len(self) -> usize {
        match self.hash {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
        }
    }

    const fn key_len(self) -> usize {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Aes128Ccm | Cipher::Aes128Ccm8 => 16,
            Cipher::Aes256Gcm | Cipher::Aes256Ccm | Cipher::Aes256Ccm8 | Cipher::ChaCha20Poly1305 => MOST_KEY,
        }
    }

    /// What opens an end's records, by a secret of TLS 1.3 (RFC 8446, section 7.3).
    pub(super) fn opener_1_3(self, secret: &[u8]) -> Option<Opener> {
        let (mut key, mut iv) = ([0; MOST_KEY], [0; NONCE]);
        let key = key.get_mut(..self.key_len())?;
        self.expand(secret, b"key", key)?;
        self.expand(secret, b"iv", &mut iv)?;
        Opener::new(self.cipher, Form::Tls13, key, iv)
    }

    /// The secret after a KeyUpdate (RFC 8446, section 7.2).
    pub(super) fn next_secret(self, secret: &[u8]) -> Option<Vec<u8>> {
        let mut next = vec![0; self.secret_len()];
        self.expand(secret, b"traffic upd", &mut next)?;
        Some(next)
    }

    /// HKDF-Expand-Label without a context (RFC 8446, section 7.1).
    fn expand(self, secret: &[u8], label: &[u8], out: &mut [u8]) -> Option<()> {
        const PREFIX: &[u8] = b"tls13 ";
        let len = u16::try_from(out.len()).ok()?.to_be_bytes();
        let label_len = [u8::try_from(PREFIX.len() + label.len()).ok()?];
        let info = [&len[..], &label_len, PREFIX, label, &[0]];
        match self.hash {
            Hash::Sha256 => Hkdf::<Sha256>::from_prk(secret).ok()?.expand_multi_info(&info, out).ok(),
            Hash::Sha384 => Hkdf::<Sha384>::from_prk(secret).ok()?.expand_multi_info(&info, out).ok(),
        }
    }

    /// What opens both ends' records, by the master secret of TLS 1.2 (RFC 5246, section 6.3).
    pub(super) fn openers_1_2(self, master: &[u8], client: &Random, server: &Random) -> Option<Sides<Opener>> {
        let (key_len, iv_len, form) = match self.cipher {
            Cipher::ChaCha20Poly1305 => (self.key_len(), NONCE, Form::Tls12Implicit),
            _ => (self.key_len(), NONCE - EXPLICIT, Form::Tls12Explicit),
        };
        let mut block = [0; 2 * (MOST_KEY + NONCE)];
        let seed = [&b"key expansion"[..], server, client].concat();
        self.pseudo_random(master, &seed, &mut block)?;
        let (keys, ivs) = block.split_at_checked(2 * key_len)?;
        let opener = |side| {
            let at = usize::from(side == Side::Server);
            let mut iv = [0; NONCE];
            iv.get_mut(..iv_len)?.copy_from_slice(ivs.get(at * iv_len..(at + 1) * iv_len)?);
            Opener::new(self.cipher, form, keys.get(at * key_len..(at + 1) * key_len)?, iv)
        };
        Some(Sides { client: opener(Side::Client)?, server: opener(Side::Server)? })
    }

    /// P_hash (RFC 5246, section 5).
    fn pseudo_random(self, secret: &[u8], seed: &[u8], out: &mut [u8]) -> Option<()> {
        let mac = |parts: [&[u8]; 2]| match self.hash {
            Hash::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
                parts.iter().for_each(|part| mac.update(part));
                Some(mac.finalize().into_bytes().to_vec())
            }
            Hash::Sha384 => {
                let mut mac = Hmac::<Sha384>::new_from_slice(secret).ok()?;
                parts.iter().for_each(|part| mac.update(part));
                Some(mac.finalize().into_bytes().to_vec())
            }
        };
        let mut chain = mac([seed, &[]])?;
        for part in out.chunks_mut(self.secret_len()) {
            let octets = mac([&chain, seed])?;
            part.copy_from_slice(octets.get(..part.len())?);
            chain = mac([&chain, &[]])?;
        }
        Some(())
    }
}

/// Opens the records that one end seals with one key.
pub(super) struct Opener {
    key: Box<dyn Open>,
    form: Form,
    iv: [u8; NONCE],
    /// The number of its next record.
    pub(super) sequence: u64,
}

/// A cipher with its key.
trait Open: Send {
    /// Octets of a tag.
    fn tag_len(&self) -> usize;

    /// Turns `text` into what was sealed; `None` where that was something else.
    fn open(&self, nonce: [u8; NONCE], associated: &[u8], text: &mut [u8], tag: &[u8]) -> Option<()>;
}

impl<C: AeadInOut + Send> Open for C {
    fn tag_len(&self) -> usize {
        size_of::<Tag<C>>()
    }

    fn open(&self, nonce: [u8; NONCE], associated: &[u8], text: &mut [u8], tag: &[u8]) -> Option<()> {
        let (nonce, tag) = (nonce.as_slice().try_into().ok()?, tag.try_into().ok()?);
        self.decrypt_inout_detached(nonce, associated, text.into(), tag).ok()
    }
}

impl Cipher {
    fn with_key(self, key: &[u8]) -> Option<Box<dyn Open>> {
        fn keyed<C: AeadInOut + KeyInit + Send + 'static>(key: &[u8]) -> Option<Box<dyn Open>> {
            Some(Box::new(C::new_from_slice(key).ok()?))
        }
        match self {
            Self::Aes128Gcm => keyed::<Aes128Gcm>(key),
            Self::Aes256Gcm => keyed::<Aes256Gcm>(key),
            Self::Aes128Ccm => keyed::<Ccm<Aes128, U16, U12>>(key),
            Self::Aes256Ccm => keyed::<Ccm<Aes256, U16, U12>>(key),
            Self::Aes128Ccm8 => keyed::<Ccm<Aes128, U8, U12>>(key),
            Self::Aes256Ccm8 => keyed::<Ccm<Aes256, U8, U12>>(key),
            Self::ChaCha20Poly1305 => keyed::<ChaCha20Poly1305>(key),
        }
    }
}

/// How nonces and associated data are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// TLS 1.2, a part of the nonce in each record.
    Tls12Explicit,
    /// TLS 1.2, the nonce by the record's number alone.
    Tls12Implicit,
    /// TLS 1.3.
    Tls13,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("form", &self.form).field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Opener {
    fn new(cipher: Cipher, form: Form, key: &[u8], iv: [u8; NONCE]) -> Option<Self> {
        Some(Self { key: cipher.with_key(key)?, form, iv, sequence: 0 })
    }

    /// Octets of what a record of `len` octets holds, where that shows without opening it.
    pub(super) fn plain_len(&self, len: usize) -> Option<usize> {
        match self.form {
            Form::Tls12Explicit => len.checked_sub(EXPLICIT + self.key.tag_len()),
            Form::Tls12Implicit => len.checked_sub(self.key.tag_len()),
            Form::Tls13 => None,
        }
    }

    /// What the record holds that has the number `sequence`; `None` where it is not what was sealed.
    pub(super) fn open(&self, header: [u8; 5], body: &[u8], sequence: u64) -> Option<Vec<u8>> {
        let mut nonce = self.iv;
        let sealed = match self.form {
            Form::Tls12Explicit => {
                let (explicit, sealed) = body.split_at_checked(EXPLICIT)?;
                nonce.get_mut(NONCE - EXPLICIT..)?.copy_from_slice(explicit);
                sealed
            }
            Form::Tls12Implicit | Form::Tls13 => {
                let number = sequence.to_be_bytes();
                nonce.iter_mut().skip(NONCE - number.len()).zip(number).for_each(|(octet, number)| *octet ^= number);
                body
            }
        };
        let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(self.key.tag_len())?)?;
        let [kind, major, minor, _, _] = header;
        let [high, low] = u16::try_from(text.len()).ok()?.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
        let of_1_2 = [a, b, c, d, e, f, g, h, kind, major, minor, high, low];
        let associated = if self.form == Form::Tls13 { &header[..] } else { &of_1_2 };
        let mut text = text.to_vec();
        self.key.open(nonce, associated, &mut text, tag)?;
        Some(text)
    }
}
