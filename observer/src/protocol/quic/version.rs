//! Versions of QUIC.

use super::header::Kind;

/// A version number, as long headers have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version(pub u32);

impl Version {
    /// RFC 9000.
    pub const V1: Self = Self(1);
    /// RFC 9369.
    pub const V2: Self = Self(0x6b33_43cf);
    /// Not a version: what a Version Negotiation packet has in its place (RFC 8999, section 6).
    pub(super) const NEGOTIATION: Self = Self(0);

    /// What version this is; `None` for one that is not read.
    pub(super) const fn generation(self) -> Option<Generation> {
        match self.0 {
            1 | 0xff00_0021 | 0xff00_0022 => Some(Generation::V1),
            0x6b33_43cf => Some(Generation::V2),
            0xff00_001d..=0xff00_0020 => Some(Generation::Draft29),
            // Facebook's, for most of its time draft 27.
            0xff00_0017..=0xff00_001c | 0xface_b002 => Some(Generation::Draft23),
            _ => None,
        }
    }

    /// Whether it exists to be refused (RFC 9000, section 15).
    pub(super) const fn is_reserved(self) -> bool {
        self.0 & 0x0f0f_0f0f == 0x0a0a_0a0a
    }

    /// `v1`, `v2`, `draft-29`; in hexadecimal digits where it has no name.
    pub fn name(self) -> String {
        match self.0 {
            1 => "v1".to_string(),
            0x6b33_43cf => "v2".to_string(),
            0xff00_0000..=0xff00_00ff => format!("draft-{:02}", self.0 & 0xff),
            _ => format!("0x{:08x}", self.0),
        }
    }
}

/// Versions that protect their Initial packets alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// Version 1, and the drafts from the 33rd on.
    V1,
    /// Version 2.
    V2,
    /// The drafts from the 29th to the 32nd.
    Draft29,
    /// The drafts from the 23rd to the 28th.
    Draft23,
}

impl Generation {
    /// The kind of packet that the two bits of a long header stand for (RFC 9000, section 17.2; RFC 9369, section 3.2).
    pub(super) const fn kind(self, bits: u8) -> Kind {
        let bits = if matches!(self, Self::V2) { bits.wrapping_sub(1) } else { bits };
        match bits & 3 {
            0 => Kind::Initial,
            1 => Kind::ZeroRtt,
            2 => Kind::Handshake,
            _ => Kind::Retry,
        }
    }
}
