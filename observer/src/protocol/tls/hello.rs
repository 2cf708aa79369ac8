//! ClientHello and ServerHello (RFC 8446, section 4.1; RFC 5246, section 7.4.1), as far as records need them.

use super::super::text::clean;
use crate::keylog::Random;

/// Entries of one list that are kept. No client has so many; a hello that does is cut.
const MOST_LISTED: usize = 256;
/// Characters of a name.
const MOST_NAME: usize = 255;
/// Application protocols that are kept.
const MOST_ALPN: usize = 16;
/// Octets of transport parameters.
const MOST_PARAMETERS: usize = 1024;

/// Extensions, as IANA lists them.
pub(super) mod extension {
    pub(in super::super) const SERVER_NAME: u16 = 0;
    pub(in super::super) const STATUS_REQUEST: u16 = 5;
    pub(in super::super) const SUPPORTED_GROUPS: u16 = 10;
    pub(in super::super) const EC_POINT_FORMATS: u16 = 11;
    pub(in super::super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(in super::super) const ALPN: u16 = 16;
    pub(in super::super) const SESSION_TICKET: u16 = 35;
    pub(in super::super) const PRE_SHARED_KEY: u16 = 41;
    pub(in super::super) const EARLY_DATA: u16 = 42;
    pub(in super::super) const SUPPORTED_VERSIONS: u16 = 43;
    pub(in super::super) const KEY_SHARE: u16 = 51;
    /// RFC 9001, section 8.2; and of the drafts up to the 32nd.
    pub(in super::super) const QUIC_TRANSPORT_PARAMETERS: u16 = 57;
    pub(in super::super) const QUIC_TRANSPORT_PARAMETERS_DRAFT: u16 = 0xffa5;
    pub(in super::super) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// What a HelloRetryRequest has in the place of a random (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) legacy_version: u16,
    pub(super) random: Random,
    pub(super) session_id: Box<[u8]>,
    pub(super) ciphers: Vec<u16>,
    /// The extensions' numbers in order.
    pub(super) extensions: Vec<u16>,
    pub(super) server_name: Option<String>,
    pub(super) groups: Vec<u16>,
    pub(super) point_formats: Vec<u8>,
    pub(super) signature_algorithms: Vec<u16>,
    pub(super) alpn: Vec<Box<[u8]>>,
    pub(super) versions: Vec<u16>,
    /// It holds a ticket, not only the offer to take one.
    pub(super) has_ticket: bool,
    /// QUIC's transport parameters, up to a bound.
    pub(super) transport_parameters: Option<Box<[u8]>>,
}

/// What a server chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) legacy_version: u16,
    pub(super) random: Random,
    pub(super) is_retry: bool,
    pub(super) session_id: Box<[u8]>,
    pub(super) cipher: u16,
    pub(super) extensions: Vec<u16>,
    pub(super) version: Option<u16>,
    pub(super) group: Option<u16>,
    pub(super) alpn: Option<Box<[u8]>>,
}

impl ClientHello {
    /// Reads the body of a ClientHello; `None` where it contradicts itself.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let mut hello = Self { legacy_version: body.u16()?, ..Self::default() };
        hello.random = body.take(32)?.try_into().ok()?;
        hello.session_id = body.vec8()?.into();
        hello.ciphers = words(body.vec16()?);
        body.vec8()?;
        let Some(extensions) = body.vec16() else { return body.0.is_empty().then_some(hello) };
        let mut extensions = Reader(extensions);
        while !extensions.0.is_empty() {
            let (kind, data) = (extensions.u16()?, extensions.vec16()?);
            if hello.extensions.len() < MOST_LISTED {
                hello.extensions.push(kind);
                hello.extension(kind, Reader(data));
            }
        }
        Some(hello)
    }

    /// Reads one extension; one that makes no sense is as good as empty.
    fn extension(&mut self, kind: u16, mut data: Reader<'_>) {
        match kind {
            extension::SERVER_NAME => self.server_name = server_name(data),
            extension::SUPPORTED_GROUPS => self.groups = words(data.vec16().unwrap_or_default()),
            extension::EC_POINT_FORMATS => self.point_formats = data.vec8().unwrap_or_default().into(),
            extension::SIGNATURE_ALGORITHMS => self.signature_algorithms = words(data.vec16().unwrap_or_default()),
            extension::SUPPORTED_VERSIONS => self.versions = words(data.vec8().unwrap_or_default()),
            extension::SESSION_TICKET => self.has_ticket = !data.0.is_empty(),
            extension::ALPN => self.alpn = protocols(data),
            extension::QUIC_TRANSPORT_PARAMETERS | extension::QUIC_TRANSPORT_PARAMETERS_DRAFT => {
                self.transport_parameters = Some(data.0.get(..MOST_PARAMETERS).unwrap_or(data.0).into());
            }
            _ => {}
        }
    }

    pub(super) fn has(&self, kind: u16) -> bool {
        self.extensions.contains(&kind)
    }
}

impl ServerHello {
    /// Reads the body of a ServerHello or HelloRetryRequest; `None` where it contradicts itself.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let mut hello = Self { legacy_version: body.u16()?, ..Self::default() };
        hello.random = body.take(32)?.try_into().ok()?;
        hello.is_retry = hello.random == RETRY;
        // The drafts of TLS 1.3 up to the 21st had no session identifier and no compression method.
        let is_draft = (0x7f00..=0x7f15).contains(&hello.legacy_version);
        if is_draft {
            hello.version = Some(hello.legacy_version);
            hello.cipher = body.u16()?;
        } else {
            hello.session_id = body.vec8()?.into();
            hello.cipher = body.u16()?;
            body.take(1)?;
        }
        let Some(extensions) = body.vec16() else { return body.0.is_empty().then_some(hello) };
        let mut extensions = Reader(extensions);
        while !extensions.0.is_empty() {
            let (kind, data) = (extensions.u16()?, extensions.vec16()?);
            if hello.extensions.len() == MOST_LISTED {
                break;
            }
            hello.extensions.push(kind);
            let mut data = Reader(data);
            match kind {
                extension::SUPPORTED_VERSIONS => hello.version = data.u16(),
                extension::KEY_SHARE => hello.group = data.u16(),
                extension::ALPN => hello.alpn = protocols(data).into_iter().next(),
                _ => {}
            }
        }
        Some(hello)
    }

    /// The version that was chosen.
    pub(super) fn chosen_version(&self) -> u16 {
        self.version.unwrap_or(self.legacy_version)
    }

    pub(super) fn has(&self, kind: u16) -> bool {
        self.extensions.contains(&kind)
    }
}

/// What EncryptedExtensions say (RFC 8446, section 4.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EncryptedExtensions {
    pub(super) alpn: Option<Box<[u8]>>,
    pub(super) early_data: bool,
}

impl EncryptedExtensions {
    /// Reads the body of the message; `None` where it contradicts itself.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut extensions = Reader(Reader(body).vec16()?);
        let mut said = Self::default();
        while !extensions.0.is_empty() {
            let (kind, data) = (extensions.u16()?, extensions.vec16()?);
            match kind {
                extension::ALPN => said.alpn = protocols(Reader(data)).into_iter().next(),
                extension::EARLY_DATA => said.early_data = true,
                _ => {}
            }
        }
        Some(said)
    }
}

/// Whether a value stands for nothing, and is there to keep servers used to unknown ones (RFC 8701).
pub(super) const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// The host name of a server_name extension (RFC 6066, section 3).
fn server_name(mut data: Reader<'_>) -> Option<String> {
    let mut names = Reader(data.vec16()?);
    while !names.0.is_empty() {
        let (kind, name) = (names.u8()?, names.vec16()?);
        if kind == 0 && !name.is_empty() {
            return Some(clean(name, MOST_NAME));
        }
    }
    None
}

/// The names of an application_layer_protocol_negotiation extension (RFC 7301, section 3.1).
fn protocols(mut data: Reader<'_>) -> Vec<Box<[u8]>> {
    let mut names = Reader(data.vec16().unwrap_or_default());
    std::iter::from_fn(|| names.vec8().map(Into::into)).take(MOST_ALPN).collect()
}

fn words(octets: &[u8]) -> Vec<u16> {
    let (words, _) = octets.as_chunks();
    words.iter().take(MOST_LISTED).map(|word| u16::from_be_bytes(*word)).collect()
}

/// Takes things off the front of what is left.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u24(&mut self) -> Option<usize> {
        let &[a, b, c] = self.take(3)? else { return None };
        Some(u32::from_be_bytes([0, a, b, c]) as usize)
    }

    /// Octets behind a length of one octet.
    pub(super) fn vec8(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let length = ahead.u8()?;
        let taken = ahead.take(length.into())?;
        *self = ahead;
        Some(taken)
    }

    /// Octets behind a length of two octets.
    pub(super) fn vec16(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let length = ahead.u16()?;
        let taken = ahead.take(length.into())?;
        *self = ahead;
        Some(taken)
    }

    /// Octets behind a length of three octets.
    pub(super) fn vec24(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let length = ahead.u24()?;
        let taken = ahead.take(length)?;
        *self = ahead;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grease_is_known() {
        assert!(is_grease(0x0a0a) && is_grease(0xfafa));
        assert!(!is_grease(0x0a1a) && !is_grease(0x1301) && !is_grease(0x0a0b));
    }

    #[test]
    fn a_hello_cut_anywhere_is_none_or_shorter() {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let extensions: &[u8] = &[0, 0, 0, 6, 0, 4, 0, 0, 1, b'a', 0, 43, 0, 3, 2, 3, 4];
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let hello = ClientHello::parse(&body).expect("a whole hello");
        assert_eq!(hello.server_name.as_deref(), Some("a"));
        assert_eq!((hello.versions, hello.ciphers), (vec![0x0304], vec![0x1301]));
        for end in 0..body.len() {
            assert_eq!(ClientHello::parse(&body[..end]).is_some(), end == 41, "cut at {end}");
        }
    }
}
