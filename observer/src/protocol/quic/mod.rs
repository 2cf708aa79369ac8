//! QUIC v1 (RFC 9000, RFC 9001) and v2 (RFC 9369): datagrams are walked packet by packet; what is in the clear is read.
//!
//! - Headers are read of every packet.
//! - Initial packets are decrypted by the keys that follow from the client's first connection ID, or the one that a Retry
//!   gave it. Their CRYPTO frames are put in order and hold the hellos of TLS.
//! - Everything else is under keys that only the ends have; it is counted.

mod error;
mod frame;
mod header;
mod keys;
mod parameters;
mod version;
mod wire;

use self::frame::{Frame, Frames};
use self::header::{FIXED, Kind, Long, Packet, Sign};
use self::keys::{InitialKeys, Opened};
pub use self::version::Version;
pub use self::wire::ConnectionId;
use super::stream::{Payload, Stream};
use super::text::{clean, hex};
use super::tls::quic::QuicTls;
use crate::record::{
    Application, NameRecord, NameSource, ProtocolName, QuicClose, QuicPackets, QuicRecord, QuicRetry, Side, Sides,
};
use crate::sequence::Seq;
use crate::time::{Nanos, Timestamp};

/// Packets of one datagram that are looked at. Offloading hands on many datagrams as one.
const MOST_COALESCED: usize = 128;

/// Initial packets of a connection that are decrypted.
const MOST_DECRYPTED: u8 = 64;

/// Octets of handshake messages in Initial packets, of one end.
const MOST_CRYPTO: u64 = 64 << 10;

/// Connection IDs of the server that are remembered.
const MOST_IDS: usize = 4;

/// Characters of the reason that an end gives for closing.
const MOST_REASON: usize = 256;

/// A connection that speaks QUIC.
#[derive(Debug, Default)]
pub struct Quic {
    /// Of the server's last long header.
    version: Option<Version>,
    /// Of the client's first long header.
    first_version: Option<Version>,
    /// Where the client sent its first Initial packet.
    original: Option<ConnectionId>,
    /// What each end chose for itself.
    scid: Sides<Option<ConnectionId>>,
    /// Where else the client may send to: all that the server chose, and what the client tried before it answered.
    server_ids: Vec<ConnectionId>,
    retry: Option<Box<Retry>>,
    negotiated: Option<Box<[Version]>>,
    token_octets: Option<u64>,
    packets: Sides<QuicPackets>,
    times: Times,
    /// What Initial packets are read with; gone once there will be none.
    opening: Option<Box<Opening>>,
    tls: QuicTls,
    close: Option<Box<QuicClose>>,
    undecrypted: u64,
    malformed: u64,
    given_up: bool,
}

#[derive(Debug)]
struct Retry {
    at: Timestamp,
    id: ConnectionId,
    token_octets: Option<u64>,
    genuine: Option<bool>,
}

#[derive(Debug, Default)]
struct Times {
    initial: Sides<Option<Timestamp>>,
    handshake: Sides<Option<Timestamp>>,
    one_rtt: Sides<Option<Timestamp>>,
    /// The client's last Initial packet before the server answered, and that answer.
    asked: Option<Timestamp>,
    answered: Option<Timestamp>,
    /// The client's first packet of the handshake after the server's first Initial packet.
    confirmed: Option<Timestamp>,
}

/// What takes Initial packets apart.
#[derive(Debug, Default)]
struct Opening {
    keys: Option<InitialKeys>,
    crypto: Sides<Stream>,
    /// The packet number that is expected next.
    next: Sides<u64>,
    tried: u8,
}

/// Who sent the datagram that a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The client.
    Client,
    /// The server.
    Server,
    /// Either of the two: the packet is under keys that its connection IDs do not tell.
    Unsure,
}

/// What a datagram was, as far as others are to know at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The spin bit of its packet with a short header.
    pub spin: Option<bool>,
    /// Octets that are kept of handshake messages have changed.
    pub handshake: bool,
}

/// Whether a datagram shows that its ends speak QUIC, and which of them sent it; `octets` is what was captured of `len`.
pub fn opener(octets: &[u8], len: usize) -> Option<Opener> {
    match header::sign(octets, len)? {
        Sign::Client => Some(Opener::Client),
        Sign::Server => Some(Opener::Server),
        Sign::Initial => {
            let Some(Packet::Long(long)) = Packet::parse(octets, len) else { return None };
            let opened = || {
                let packet = octets.get(..long.length)?;
                InitialKeys::derive(long.version, long.dcid)?.ends.client.open(packet, long.number_at, 0)
            };
            Some(if opened().is_some() { Opener::Client } else { Opener::Unsure })
        }
    }
}

impl Quic {
    /// A connection of which nothing was seen yet.
    pub fn new() -> Self {
        Self { opening: Some(Box::default()), ..Self::default() }
    }

    /// Takes in a datagram that `from` sent, of which `octets` is what was captured of `len`.
    pub fn datagram(&mut self, from: Side, octets: &[u8], len: usize, at: Timestamp) -> Heard {
        let (mut left, mut wire) = (octets, len.max(octets.len()));
        let mut heard = Heard::default();
        for place in 0..MOST_COALESCED {
            if left.is_empty() {
                break;
            }
            match Packet::parse(left, wire) {
                Some(Packet::Short { spin }) => {
                    if place == 0 || self.is_next(from, left) {
                        self.packets.of_mut(from).one_rtt += 1;
                        self.times.one_rtt.of_mut(from).get_or_insert(at);
                        heard.spin = Some(spin);
                    }
                    break;
                }
                Some(Packet::Long(long)) => {
                    heard.handshake = true;
                    self.long(from, &long, left, at);
                    left = left.get(long.length..).unwrap_or_default();
                    wire -= long.length;
                }
                Some(Packet::Negotiation(versions)) => {
                    if from == Side::Server && place == 0 {
                        self.times.answered.get_or_insert(at);
                        self.negotiated.get_or_insert_with(|| versions.into());
                    }
                    break;
                }
                Some(Packet::Unknown(version, dcid)) => {
                    if from == Side::Client && place == 0 {
                        self.first_version.get_or_insert(version);
                        self.original.get_or_insert(dcid);
                        self.times.ask(at);
                    }
                    break;
                }
                None => {
                    // What follows a packet may be anything that fills the datagram.
                    self.malformed += u64::from(place == 0 && left.len() == wire);
                    break;
                }
            }
        }
        heard
    }

    /// Whether a datagram that `from` sent begins another connection between the same ends, once the server has answered:
    ///
    /// 1. an Initial packet of the client to a connection ID that is not known to be the server's;
    /// 2. a. under the keys that follow from this connection ID; or
    ///    b. where the capture cuts it, one that fills its datagram after the client's Handshake packets.
    pub fn is_succeeded_by(&self, from: Side, octets: &[u8], len: usize) -> bool {
        if from != Side::Client
            || self.times.initial.server.is_none()
            || octets.first().is_none_or(|first| *first < 0x80)
        {
            return false;
        }
        let Some(Packet::Long(long)) = Packet::parse(octets, len) else { return false };
        if long.kind != Kind::Initial || self.original == Some(long.dcid) || self.server_ids.contains(&long.dcid) {
            return false;
        }
        match octets.get(..long.length) {
            Some(_) => opener(octets, len) == Some(Opener::Client),
            None => long.length == len && self.times.handshake.client.is_some(),
        }
    }

    /// The connection ID that the server chose last, which packets to it carry wherever they come from.
    pub fn server_id(&self) -> Option<ConnectionId> {
        self.scid.server
    }

    /// Octets of unfinished messages that are kept.
    pub fn held(&self) -> usize {
        let crypto = |opening: &Opening| opening.crypto.client.held() + opening.crypto.server.held();
        self.opening.as_deref().map_or(0, crypto) + self.tls.held()
    }

    /// Gives up the octets that are kept.
    pub fn give_up(&mut self, at: Timestamp) {
        self.given_up = true;
        let Some(opening) = self.opening.take() else { return };
        for (from, mut stream) in [(Side::Client, opening.crypto.client), (Side::Server, opening.crypto.server)] {
            stream.give_up(&mut |arrival| self.tls.crypto(from, arrival, at));
        }
    }

    /// Whether what follows other packets in a datagram that `from` sent is a packet, too.
    fn is_next(&self, from: Side, octets: &[u8]) -> bool {
        let id = self.scid.of(from.other()).as_ref().map_or(&[][..], ConnectionId::octets);
        octets.split_first().is_some_and(|(first, rest)| first & FIXED != 0 && rest.starts_with(id))
    }

    fn long(&mut self, from: Side, long: &Long<'_>, octets: &[u8], at: Timestamp) {
        match from {
            Side::Client => drop(self.first_version.get_or_insert(long.version)),
            Side::Server => self.version = Some(long.version),
        }
        let packets = self.packets.of_mut(from);
        match long.kind {
            Kind::Initial => {
                packets.initial += 1;
                self.initial(from, long, octets, at);
            }
            Kind::ZeroRtt => {
                packets.zero_rtt += 1;
                if from == Side::Client {
                    self.tls.early_data();
                }
            }
            Kind::Handshake => {
                packets.handshake += 1;
                self.chose(from, long.scid);
                self.times.handshake.of_mut(from).get_or_insert(at);
                self.tls.sealed(from, at);
                if from == Side::Client {
                    self.times.confirm(at);
                    // A client that has keys for these sends no Initial packets any more (RFC 9001, section 4.9.1).
                    self.opening = None;
                }
            }
            Kind::Retry if from == Side::Server => self.retry(long, octets, at),
            Kind::Retry => {}
        }
    }

    fn chose(&mut self, from: Side, id: ConnectionId) {
        self.scid.of_mut(from).get_or_insert(id);
        if from == Side::Server {
            self.remember(id);
        }
    }

    fn remember(&mut self, id: ConnectionId) {
        if self.server_ids.len() < MOST_IDS && !self.server_ids.contains(&id) {
            self.server_ids.push(id);
        }
    }

    fn retry(&mut self, long: &Long<'_>, octets: &[u8], at: Timestamp) {
        // A client takes one Retry only, and none after an Initial packet (RFC 9000, section 17.2.5.2).
        if self.retry.is_some() || self.times.initial.server.is_some() {
            return;
        }
        self.times.answered.get_or_insert(at);
        let genuine = self.original.and_then(|original| keys::retry_is_genuine(long.version, original, octets));
        if genuine == Some(false) {
            self.malformed += 1;
        } else {
            self.remember(long.scid);
        }
        let token_octets = (!long.token.is_empty()).then_some(long.token.len() as u64);
        self.retry = Some(Box::new(Retry { at, id: long.scid, token_octets, genuine }));
    }

    fn initial(&mut self, from: Side, long: &Long<'_>, octets: &[u8], at: Timestamp) {
        self.chose(from, long.scid);
        self.times.initial.of_mut(from).get_or_insert(at);
        match from {
            Side::Client => {
                self.original.get_or_insert(long.dcid);
                if self.times.initial.server.is_none() {
                    self.remember(long.dcid);
                }
                self.token_octets.get_or_insert(long.token.len() as u64);
                self.times.ask(at);
                self.times.confirm(at);
            }
            Side::Server => drop(self.times.answered.get_or_insert(at)),
        }
        let Some(opening) = &mut self.opening else { return };
        if opening.tried == MOST_DECRYPTED {
            return;
        }
        opening.tried += 1;
        let others = [self.original, self.retry.as_ref().map(|retry| retry.id)];
        let Some(packet) = octets.get(..long.length).and_then(|packet| opening.open(from, long, packet, others)) else {
            self.undecrypted += 1;
            return;
        };
        self.frames(from, &packet.frames, at);
    }

    fn frames(&mut self, from: Side, frames: &[u8], at: Timestamp) {
        for frame in Frames(frames) {
            match frame {
                Ok(Frame::Crypto { offset, data }) => self.crypto(from, offset, data, at),
                Ok(Frame::Close { code, frame, reason }) => self.close(from, code, frame, reason, at),
                Err(()) => self.malformed += 1,
            }
        }
    }

    fn crypto(&mut self, from: Side, offset: u64, data: &[u8], at: Timestamp) {
        let Some(opening) = &mut self.opening else { return };
        let end = offset.saturating_add(data.len() as u64);
        let (Ok(start), Ok(len)) = (u32::try_from(offset), u32::try_from(data.len())) else {
            self.malformed += 1;
            return;
        };
        if end > MOST_CRYPTO {
            self.malformed += 1;
            return;
        }
        let payload = Payload { start: Seq(start), data, len, at, acknowledged: None, first: Some(Seq(0)) };
        let tls = &mut self.tls;
        opening.crypto.of_mut(from).payload(&payload, &mut |arrival| tls.crypto(from, arrival, at));
    }

    fn close(&mut self, from: Side, code: u64, frame_type: Option<u64>, reason: &[u8], at: Timestamp) {
        if self.close.is_some() {
            return;
        }
        if let Some(alert) = error::alert(code) {
            self.tls.alert(from, alert, at);
        }
        let (name, reason) = (error::name(code, frame_type.is_none()), clean(reason, MOST_REASON));
        self.close = Some(Box::new(QuicClose { at, from, code, name, frame_type, reason }));
    }
}

impl Times {
    /// The client sent an Initial packet.
    fn ask(&mut self, at: Timestamp) {
        if self.answered.is_none() {
            self.asked = Some(at);
        }
    }

    /// The client sent a packet of the handshake.
    fn confirm(&mut self, at: Timestamp) {
        if self.initial.server.is_some() {
            self.confirmed.get_or_insert(at);
        }
    }
}

impl Opening {
    /// Takes the protection off an Initial packet: by the keys that did last, or else by those of the connection IDs that
    /// the client is known to have sent to.
    fn open(
        &mut self,
        from: Side,
        long: &Long<'_>,
        packet: &[u8],
        others: [Option<ConnectionId>; 2],
    ) -> Option<Opened> {
        let next = *self.next.of(from);
        let try_with = |keys: &InitialKeys| keys.ends.of(from).open(packet, long.number_at, next);
        let fits = |keys: &&InitialKeys| keys.version == long.version;
        let mut opened = self.keys.as_ref().filter(fits).and_then(try_with);
        if opened.is_none() {
            let known = self.keys.as_ref().map(|keys| (keys.version, keys.id));
            let [original, retry] = others;
            let own = (from == Side::Client).then_some(long.dcid);
            for id in [retry, own, original].into_iter().flatten() {
                if known == Some((long.version, id)) {
                    continue;
                }
                let keys = InitialKeys::derive(long.version, id)?;
                opened = try_with(&keys);
                if opened.is_some() {
                    self.keys = Some(keys);
                    break;
                }
            }
        }
        let opened = opened?;
        let next = self.next.of_mut(from);
        *next = (*next).max(opened.number.saturating_add(1));
        Some(opened)
    }
}

impl Quic {
    /// Adds what it has learnt to the record.
    pub fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Quic);
        into.malformed += self.malformed + self.tls.malformed();
        into.given_up |= self.given_up;
        let quic = self.facts();
        if let Some(mut tls) = self.tls.record() {
            tls.round_trips = quic.round_trips;
            if let Some(name) = &tls.sni {
                into.name = Some(NameRecord { name: name.clone(), from: NameSource::Sni });
            }
            into.tls = Some(Box::new(tls));
        }
        into.quic = Some(Box::new(quic));
    }

    fn facts(&self) -> QuicRecord {
        let Times { initial, handshake, one_rtt, asked, answered, confirmed } = self.times;
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| to?.checked_since(from?);
        let (server_rtt_ns, client_rtt_ns) = (between(asked, answered), between(initial.server, confirmed));
        let show = |id: ConnectionId| hex(id.octets());
        let names = |versions: &[Version]| versions.iter().map(|version| version.name()).collect::<Vec<_>>();
        let parameters = self.tls.parameters().unwrap_or_default();
        QuicRecord {
            version: self.version.or(self.first_version).map(Version::name),
            first_version: self.first_version.map(Version::name),
            versions_offered: parameters::versions(parameters).map(|versions| names(&versions)),
            version_negotiation: self.negotiated.as_deref().map(names),
            original_dcid: self.original.map(show),
            scid: self.scid.map(|id| id.map(show)),
            retry: self.retry.as_ref().map(|retry| QuicRetry {
                at: retry.at,
                scid: show(retry.id),
                token_octets: retry.token_octets,
                genuine: retry.genuine,
            }),
            token_octets: self.token_octets,
            packets: self.packets,
            initial,
            handshake,
            one_rtt,
            handshake_ns: between(initial.client, one_rtt.client),
            rtt_ns: server_rtt_ns.zip(client_rtt_ns).map(|(server, client)| Nanos(server.0.saturating_add(client.0))),
            server_rtt_ns,
            client_rtt_ns,
            round_trips: self.round_trips(),
            spin: None,
            transport_parameters: parameters::parse(parameters),
            close: self.close.as_deref().cloned(),
            moves: Vec::new(),
            undecrypted: self.undecrypted,
        }
    }

    fn round_trips(&self) -> Option<u8> {
        self.times.initial.server?;
        let retried = self.retry.as_ref().is_some_and(|retry| retry.genuine != Some(false));
        let more = [self.packets.client.zero_rtt == 0, self.negotiated.is_some(), retried, self.tls.is_retried()];
        Some(more.into_iter().map(u8::from).sum())
    }
}

#[cfg(test)]
pub(crate) mod tests;
