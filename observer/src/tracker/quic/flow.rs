//! One connection that speaks QUIC or DTLS.

use std::sync::Arc;

use super::spin::Spin;
use crate::flow::{fold, tunnels};
use crate::input::PacketInput;
use crate::packet::{Address, IpVersion, Notes, Packet, Tuple};
use crate::protocol::quic::{self, ConnectionId, Heard, Opener, Quic};
use crate::protocol::tls::dtls::{self, Dtls};
use crate::record::{Application, Endpoint, LookupRecord, QuicMove, RolesFrom, Side, Sides};
use crate::time::Timestamp;
use crate::tracker::Config;
use crate::tracker::connection::Around;
use crate::tracker::table::Key;

/// Ends that a connection may move to.
const MOST_MOVES: usize = 8;

/// Ports below belong to servers.
const WELL_KNOWN: u16 = 1024;

/// A connection. Its ends may move; its key stays that of the first.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: u64,
    pub(super) hash: u64,
    pub(super) ends: Tuple,
    /// The client's direction between these ends.
    pub(super) client: u8,
    pub(super) roles_from: RolesFrom,
    /// Who sent its first datagram.
    pub(super) began: Side,
    pub(super) around: Option<Box<Around>>,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) last_number: u64,
    pub(super) packets: Sides<u64>,
    pub(super) bytes: Sides<u64>,
    pub(super) duplicates: u64,
    recent: Sides<Recent>,
    pub(super) spoken: Spoken,
    pub(super) spin: Spin,
    /// Where it moved to.
    pub(super) moves: Vec<QuicMove>,
    pub(super) lookup: Option<Arc<LookupRecord>>,
    pub(super) evicted: bool,
    /// A datagram of it was sent from the host that it was seen on.
    is_own: bool,
}

/// What the datagrams of a connection hold.
#[expect(clippy::large_enum_variant, reason = "nearly all of them speak QUIC: one allocation then holds it all")]
#[derive(Debug)]
pub(super) enum Spoken {
    Quic(Quic),
    Dtls(Box<Dtls>),
}

impl Spoken {
    /// What a datagram begins, and which end sent it.
    pub(super) fn begin(payload: &[u8], len: usize) -> Option<(Opener, Self)> {
        match dtls::opener(payload) {
            Some(opener) => Some((opener, Self::Dtls(Box::default()))),
            None => quic::opener(payload, len).map(|opener| (opener, Self::Quic(Quic::new()))),
        }
    }

    fn datagram(&mut self, from: Side, payload: &[u8], len: usize, at: Timestamp) -> Heard {
        match self {
            Self::Quic(quic) => quic.datagram(from, payload, len, at),
            Self::Dtls(dtls) => dtls.datagram(from, payload, at),
        }
    }

    /// Whether a datagram begins another connection between the same ends.
    pub(super) fn is_succeeded_by(&self, from: Side, payload: &[u8], len: usize) -> bool {
        match self {
            Self::Quic(quic) => quic.is_succeeded_by(from, payload, len),
            Self::Dtls(dtls) => dtls.is_succeeded_by(from, payload),
        }
    }

    /// Octets that are kept.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Quic(quic) => quic.held(),
            Self::Dtls(dtls) => dtls.held(),
        }
    }

    pub(super) fn give_up(&mut self, at: Timestamp) {
        match self {
            Self::Quic(quic) => quic.give_up(at),
            Self::Dtls(dtls) => dtls.give_up(),
        }
    }

    /// The connection ID that the server chose.
    pub(super) fn server_id(&self) -> Option<ConnectionId> {
        match self {
            Self::Quic(quic) => quic.server_id(),
            Self::Dtls(_) => None,
        }
    }

    pub(super) fn record(&self, into: &mut Application) {
        match self {
            Self::Quic(quic) => quic.record(into),
            Self::Dtls(dtls) => dtls.record(into),
        }
    }
}

impl Flow {
    /// A connection whose first datagram is at hand, and still to be taken in.
    pub(super) fn new(key: &Key<'_>, from: u8, packet: &Packet, (opener, spoken): (Opener, Spoken)) -> Self {
        let tuple = &packet.tuple;
        let (client, roles_from) = match opener {
            Opener::Client => (from, RolesFrom::Initial),
            Opener::Server => (from ^ 1, RolesFrom::Initial),
            Opener::Unsure => match (tuple.sport < WELL_KNOWN, tuple.dport < WELL_KNOWN) {
                (true, false) => (from ^ 1, RolesFrom::Port),
                (false, true) => (from, RolesFrom::Port),
                _ => (from, RolesFrom::FirstPacket),
            },
        };
        let tunnels: Box<[_]> = tunnels(key.layers).collect();
        Self {
            id: packet.number,
            hash: key.hash,
            ends: key.ends(),
            client,
            roles_from,
            began: Self::side(from, client),
            around: (!tunnels.is_empty()).then(|| Box::new(Around { tunnels, ..Around::default() })),
            first_seen: packet.at,
            last_seen: packet.at,
            last_number: packet.number,
            packets: Sides::default(),
            bytes: Sides::default(),
            duplicates: 0,
            recent: Sides::default(),
            spoken,
            spin: Spin::default(),
            moves: Vec::new(),
            lookup: None,
            evicted: false,
            is_own: false,
        }
    }

    /// Whether it only passes through, as a TCP connection does (see there).
    pub(super) fn passes(&self, config: &Config) -> bool {
        config.sampled && !self.is_own
    }

    /// Whether this connection began between the ends of the given key, its hash aside.
    pub(super) fn has_key(&self, key: &Key<'_>) -> bool {
        key.is_of(&self.ends) && Around::has_tunnels(self.around.as_deref(), key.layers)
    }

    /// Who sends on direction `from` between the ends where the client sends on `client`.
    pub(super) const fn side(from: u8, client: u8) -> Side {
        if from == client { Side::Client } else { Side::Server }
    }

    /// Takes in a datagram that `from` sent; `None` where it was captured before.
    pub(super) fn datagram(&mut self, from: Side, input: &PacketInput<'_>, len: u32, config: &Config) -> Option<Heard> {
        let PacketInput { packet, payload, layers, .. } = *input;
        self.last_number = packet.number;
        if config.recognises_duplicates() && self.recent.of_mut(from).is_copy(payload, len) {
            self.duplicates += 1;
            return None;
        }
        self.last_seen = self.last_seen.max(packet.at);
        self.is_own |= packet.notes.contains(Notes::OUTBOUND);
        if !layers.is_empty() {
            let direction = if from == Side::Client { self.client } else { self.client ^ 1 };
            self.around.get_or_insert_default().take(direction, layers);
        }
        *self.packets.of_mut(from) += 1;
        *self.bytes.of_mut(from) += u64::from(len);
        let heard = self.spoken.datagram(from, payload, len as usize, packet.at);
        if let Some(bit) = heard.spin {
            self.spin.take(from, bit, packet.at);
        }
        Some(heard)
    }

    /// Notes that a datagram of the client to the server came between other ends than those before.
    pub(super) fn moved(&mut self, packet: &Packet) {
        if self.moves.len() < MOST_MOVES {
            let Tuple { src, dst, sport, dport, version } = packet.tuple;
            let [client, server] = [(src, sport), (dst, dport)].map(|(ip, port)| Endpoint::new(ip, version, port));
            self.moves.push(QuicMove { at: packet.at, frame: packet.number, client, server });
        }
    }

    /// The ends of a move, the lower one first.
    pub(super) fn ends_of_move(to: &QuicMove) -> Tuple {
        let [src, dst] = [to.client.ip, to.server.ip].map(Address::from);
        let version = if to.client.ip.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        let tuple = Tuple { src, dst, sport: to.client.port, dport: to.server.port, version };
        if tuple.is_canonical() { tuple } else { tuple.reversed() }
    }

    /// Whether it may move once more.
    pub(super) fn may_move(&self) -> bool {
        self.moves.len() < MOST_MOVES
    }
}

/// The last datagrams of one end, by what tells them apart. What QUIC sends again it encrypts anew, and DTLS numbers it anew:
/// the same octets are the same datagram, captured twice or doubled on its way.
#[derive(Debug, Default)]
struct Recent {
    marks: [u64; 8],
    next: u8,
}

impl Recent {
    /// Notes a datagram. Whether it was there already.
    fn is_copy(&mut self, payload: &[u8], len: u32) -> bool {
        const FORM: u8 = 0xc0;
        const SHORT: u8 = 0x40;
        if payload.len() != len as usize {
            return false;
        }
        // Behind a short header everything is encrypted, and ends in a tag. Long ones may end in zeros.
        let told = match payload.first() {
            Some(first) if first & FORM == SHORT => payload.last_chunk::<16>().map(<[u8; 16]>::as_slice),
            _ => Some(payload),
        };
        let Some(told) = told else { return false };
        let (words, rest) = told.as_chunks();
        let rest = rest.iter().fold(u64::from(len), |rest, octet| rest << 8 ^ u64::from(*octet));
        let word = |hash, word: &[u8; 8]| fold(hash ^ u64::from_le_bytes(*word), 0x9e37_79b9_7f4a_7c15);
        let mark = words.iter().fold(fold(rest ^ 0x2545_f491_4f6c_dd1d, 0xbf58_476d_1ce4_e5b9), word);
        if self.marks.contains(&mark) {
            return true;
        }
        let place = usize::from(self.next) % self.marks.len();
        if let Some(slot) = self.marks.get_mut(place) {
            *slot = mark;
        }
        self.next = self.next.wrapping_add(1);
        false
    }
}
