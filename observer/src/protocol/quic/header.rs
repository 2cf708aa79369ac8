//! Headers of QUIC packets: what all versions have in common (RFC 8999), and those of versions 1 and 2 (RFC 9000,
//! section 17; RFC 9369, section 3.2).

use super::version::Version;
use super::wire::{ConnectionId, Reader};

/// Bits of the first octet.
const LONG: u8 = 0x80;
pub(super) const FIXED: u8 = 0x40;
const SPIN: u8 = 0x20;

/// Versions of a Version Negotiation packet that are kept.
const MOST_VERSIONS: usize = 32;

/// Octets of a Retry's integrity tag (RFC 9001, section 5.8), and of the tag of any protected packet.
pub(super) const TAG: usize = 16;

/// Octets that a protected packet has after its header at least: packet number, and what is sampled behind the longest
/// packet number (RFC 9001, section 5.4.2).
const LEAST_PROTECTED: u64 = 4 + 16;

/// What a packet with a long header is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first messages of the handshake, under keys that everyone can derive.
    Initial,
    /// Data that a client sends before the handshake.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// The server wants to see its token, so as to know that the client is where it says.
    Retry,
}

/// One packet, at the front of what is left of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A long header of a version that is read.
    Long(Long<'a>),
    /// A long header of another version: the rest of the datagram is unknown.
    Unknown(Version, ConnectionId),
    /// The server speaks these versions (RFC 9000, section 17.2.1).
    Negotiation(Vec<Version>),
    /// A short header: the rest of the datagram is one packet of data.
    Short {
        /// The latency spin bit (RFC 9000, section 17.4).
        spin: bool,
    },
}

/// A packet with a long header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Long<'a> {
    pub(super) version: Version,
    pub(super) kind: Kind,
    pub(super) dcid: ConnectionId,
    pub(super) scid: ConnectionId,
    /// Of an Initial or Retry packet.
    pub(super) token: &'a [u8],
    /// Octets before the packet number; 0 where there is none, or where the capture ends before it.
    pub(super) number_at: usize,
    /// Octets of the whole packet, on the wire.
    pub(super) length: usize,
}

impl<'a> Packet<'a> {
    /// Reads the first packet of `octets`, which are what was captured of `wire` octets. `None` where it contradicts itself
    /// or where the capture ends before its connection IDs do.
    pub(super) fn parse(octets: &'a [u8], wire: usize) -> Option<Self> {
        let mut reader = Reader(octets);
        let first = reader.u8()?;
        if first & LONG == 0 {
            return Some(Self::Short { spin: first & SPIN != 0 });
        }
        let version = Version(reader.u32()?);
        let (dcid, scid) = (reader.id()?, reader.id()?);
        if version == Version::NEGOTIATION {
            let (versions, _) = reader.0.as_chunks();
            let versions = versions.iter().take(MOST_VERSIONS).map(|octets| Version(u32::from_be_bytes(*octets)));
            return Some(Self::Negotiation(versions.collect()));
        }
        let Some(generation) = version.generation() else { return Some(Self::Unknown(version, dcid)) };
        let kind = generation.kind(first >> 4);
        let mut long = Long { version, kind, dcid, scid, token: &[], number_at: 0, length: wire };
        if kind == Kind::Retry {
            let token = reader.0.len().checked_sub(TAG).filter(|_| octets.len() == wire);
            long.token = token.and_then(|token| reader.0.get(..token)).unwrap_or_default();
            return Some(Self::Long(long));
        }
        match long.rest(reader, octets.len()) {
            Some(()) => {}
            None if octets.len() < wire => {}
            None => return None,
        }
        (long.length <= wire).then_some(Self::Long(long))
    }
}

impl<'a> Long<'a> {
    /// Reads what follows the connection IDs; `None` where it is not all there.
    fn rest(&mut self, mut reader: Reader<'a>, captured: usize) -> Option<()> {
        let token = if self.kind == Kind::Initial { reader.counted()? } else { &[] };
        let length = reader.varint()?;
        let number_at = captured - reader.0.len();
        self.token = token;
        self.number_at = number_at;
        self.length = match usize::try_from(length) {
            Ok(rest) if length >= LEAST_PROTECTED => number_at.saturating_add(rest),
            // It contradicts itself: no datagram is so long.
            _ => usize::MAX,
        };
        Some(())
    }
}

/// How a datagram of ends that are not known to speak QUIC shows that they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// An Initial packet.
    Initial,
    /// A packet that only a client sends.
    Client,
    /// A packet that only a server sends.
    Server,
}

/// Octets of a datagram with an Initial packet of a client at least (RFC 9000, section 14.1).
const LEAST_FIRST: usize = 1200;

/// Whether a datagram shows that its ends speak QUIC, whatever their ports.
///
/// 1. Its first packet has a long header with the fixed bit, and connection IDs of at most 20 octets;
/// 2. and one of these:
///    - a. it is an Initial packet, 0-RTT or Retry of a version that is read, and its lengths fit;
///    - b. the version is one that exists to be refused, and the datagram is as long as a client's first;
///    - c. it is a Version Negotiation packet, whose versions fill it, and one of them is read or exists to be refused.
pub(super) fn sign(octets: &[u8], wire: usize) -> Option<Sign> {
    let first = *octets.first()?;
    if first & LONG == 0 {
        return None;
    }
    match Packet::parse(octets, wire)? {
        Packet::Long(long) if first & FIXED != 0 => match long.kind {
            Kind::Initial => Some(Sign::Initial),
            Kind::ZeroRtt => Some(Sign::Client),
            Kind::Retry => Some(Sign::Server),
            Kind::Handshake => None,
        },
        Packet::Unknown(version, dcid) => {
            let is_first = wire >= LEAST_FIRST && first & FIXED != 0 && dcid.octets().len() >= 8;
            (version.is_reserved() && is_first).then_some(Sign::Client)
        }
        Packet::Negotiation(versions) => {
            let ids = octets.get(5).map(|length| usize::from(*length))?;
            let ids = ids + octets.get(6 + ids).map(|length| usize::from(*length))?;
            let is_full = octets.len() == wire && wire.checked_sub(7 + ids)?.is_multiple_of(4);
            let is_known = |version: &Version| version.generation().is_some() || version.is_reserved();
            (is_full && versions.iter().any(is_known)).then_some(Sign::Server)
        }
        Packet::Long(_) | Packet::Short { .. } => None,
    }
}
