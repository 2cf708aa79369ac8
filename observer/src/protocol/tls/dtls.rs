//! DTLS (RFC 6347, RFC 9147): handshake messages in records of datagrams, whole or in fragments, once or several times. What
//! is under keys is counted and not opened.

use super::hello::Reader;
use super::{ALERT, CHANGE_CIPHER_SPEC, CLIENT_HELLO, Carrier, HANDSHAKE, SERVER_HELLO, Tls};
use crate::protocol::quic::{Heard, Opener};
use crate::protocol::{Arrival, Payload, Stream, Take};
use crate::record::{Application, NameRecord, NameSource, ProtocolName, Side, Sides};
use crate::sequence::Seq;
use crate::time::Timestamp;

const HELLO_VERIFY_REQUEST: u8 = 3;

/// Octets of a record's header: kind, version, epoch, number, length.
const HEADER: usize = 13;
/// Octets of a handshake message that are put together: more than the largest chain that is sent in datagrams.
const MOST_MESSAGE: u32 = 64 << 10;
/// Records in one datagram.
const MOST_RECORDS: usize = 32;

/// A connection that speaks DTLS.
#[derive(Debug)]
pub(crate) struct Dtls {
    tls: Tls,
    ends: Sides<End>,
    malformed: u64,
    given_up: bool,
}

/// What one end sends.
#[derive(Debug, Default)]
struct End {
    /// The number of the handshake message that is wanted next.
    next: u16,
    /// The message at hand, as far as its fragments have come.
    message: Option<Box<Message>>,
}

#[derive(Debug)]
struct Message {
    number: u16,
    fragments: Stream,
}

/// A record in a datagram.
struct Record<'a> {
    kind: u8,
    epoch: u16,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes a record off the front; `None` where there is none in the clear layout.
    fn take(octets: &mut Reader<'a>) -> Option<Self> {
        let (kind, version, epoch) = (octets.take(1)?.first().copied()?, octets.u16()?, octets.u16()?);
        octets.take(HEADER - 5 - 2)?;
        let body = octets.vec16()?;
        let is_known = (CHANGE_CIPHER_SPEC..=26).contains(&kind) && version >> 8 == 0xfe;
        is_known.then_some(Self { kind, epoch, body })
    }
}

/// Whether a datagram shows that its ends speak DTLS, and which of them sent it: by the first hello of either end.
pub(crate) fn opener(octets: &[u8]) -> Option<Opener> {
    if octets.first() != Some(&HANDSHAKE) {
        return None;
    }
    let record = Record::take(&mut Reader(octets)).filter(|record| record.epoch == 0)?;
    let &[kind, _, _, _, _, number, ..] = record.body else { return None };
    match kind {
        CLIENT_HELLO if number <= 1 => Some(Opener::Client),
        SERVER_HELLO | HELLO_VERIFY_REQUEST if number <= 1 => Some(Opener::Server),
        _ => None,
    }
}

impl Default for Dtls {
    fn default() -> Self {
        let tls = Tls { carrier: Carrier::Dtls, ..Tls::default() };
        Self { tls, ends: Sides::default(), malformed: 0, given_up: false }
    }
}

impl Dtls {
    /// Takes in a datagram that `from` sent.
    pub(crate) fn datagram(&mut self, from: Side, octets: &[u8], at: Timestamp) -> Heard {
        // Records of DTLS 1.3 under keys have a header of their own (RFC 9147, section 4).
        const UNIFIED: u8 = 0b001;
        let (mut left, mut heard) = (Reader(octets), Heard::default());
        if !self.tls.is_established() {
            self.tls.flights.note(from, at, at);
        }
        for _ in 0..MOST_RECORDS {
            match left.0.first() {
                None => break,
                Some(first) if first >> 5 == UNIFIED => {
                    self.sealed(from, at);
                    break;
                }
                Some(_) => {}
            }
            let Some(record) = Record::take(&mut left) else {
                self.malformed += 1;
                break;
            };
            match (record.kind, record.body) {
                (CHANGE_CIPHER_SPEC, _) => {}
                (_, _) if record.epoch > 0 => self.sealed(from, at),
                (HANDSHAKE, body) => {
                    heard.handshake = true;
                    self.handshake(from, body, at);
                }
                (ALERT, &[level, description]) => self.tls.alert(from, level, description, at),
                _ => {}
            }
        }
        heard
    }

    /// Whether a datagram of the client begins another connection between the same ends.
    pub(crate) fn is_succeeded_by(&self, from: Side, octets: &[u8]) -> bool {
        from == Side::Client && self.tls.is_established() && opener(octets) == Some(Opener::Client)
    }

    pub(crate) fn held(&self) -> usize {
        let of = |end: &End| end.message.as_ref().map_or(0, |message| message.fragments.held());
        of(&self.ends.client) + of(&self.ends.server)
    }

    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
        (self.ends.client.message, self.ends.server.message) = (None, None);
    }

    pub(crate) fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Dtls);
        into.malformed += self.malformed + self.tls.malformed;
        into.given_up |= self.given_up;
        let tls = self.tls.facts();
        if let Some(name) = &tls.sni {
            into.name = Some(NameRecord { name: name.clone(), from: NameSource::Sni });
        }
        into.tls = Some(Box::new(tls));
    }

    /// A record under keys: with the first one an end has finished its part of the handshake, or nearly.
    fn sealed(&mut self, from: Side, at: Timestamp) {
        self.tls.ends.of_mut(from).finished.get_or_insert(at);
    }

    /// Takes the fragments that one record holds (RFC 6347, section 4.2.2).
    fn handshake(&mut self, from: Side, body: &[u8], at: Timestamp) {
        let mut left = Reader(body);
        while !left.0.is_empty() {
            if self.fragment(from, &mut left, at).is_none() {
                self.malformed += 1;
                return;
            }
        }
    }

    fn fragment(&mut self, from: Side, left: &mut Reader<'_>, at: Timestamp) -> Option<()> {
        let u24 = |octets: &[u8]| octets.iter().fold(0, |value, octet| value << 8 | u32::from(*octet));
        let (kind, length) = (left.take(1)?.first().copied()?, u24(left.take(3)?));
        let number = left.u16()?;
        let (start, octets) = (u24(left.take(3)?), u24(left.take(3)?));
        let data = left.take(octets as usize)?;
        if length > MOST_MESSAGE || start + octets > length {
            return None;
        }
        // A server that asks for another hello may begin to count anew.
        let end = self.ends.of_mut(from);
        let is_first = kind == SERVER_HELLO && self.tls.server_hello.is_none();
        if number < end.next && !is_first {
            return Some(());
        }
        if data.len() == length as usize {
            (end.next, end.message) = (number.saturating_add(1), None);
            self.message(from, kind, data, at);
            return Some(());
        }
        // What came before is lost, or will come too late.
        let message = match &mut end.message {
            Some(message) if message.number == number => message,
            other => other.insert(Box::new(Message { number, fragments: Stream::default() })),
        };
        let payload = Payload { start: Seq(start), data, len: octets, at, acknowledged: None, first: Some(Seq(0)) };
        let mut whole = None;
        message.fragments.payload(&payload, &mut |arrival| match arrival {
            Arrival::Octets(octets) if octets.len() < length as usize => Take::wait_for(length as usize),
            Arrival::Octets(octets) => {
                whole = octets.get(..length as usize).map(<[u8]>::to_vec);
                Take::nothing()
            }
            _ => Take::used(0),
        });
        if let Some(body) = whole {
            (end.next, end.message) = (number.saturating_add(1), None);
            self.message(from, kind, &body, at);
        }
        Some(())
    }

    fn message(&mut self, from: Side, kind: u8, body: &[u8], at: Timestamp) {
        if (from, kind) == (Side::Server, HELLO_VERIFY_REQUEST) {
            self.tls.retried = true;
            return;
        }
        let cookieless = if kind == CLIENT_HELLO { without_cookie(body) } else { None };
        if self.tls.message(from, kind, cookieless.as_deref().unwrap_or(body), at).is_none() {
            self.malformed += 1;
        }
    }
}

/// A ClientHello as TLS has it: the cookie behind the session's identifier is DTLS's own (RFC 6347, section 4.2.1).
fn without_cookie(hello: &[u8]) -> Option<Vec<u8>> {
    let mut left = Reader(hello);
    left.take(2 + 32)?;
    left.vec8()?;
    let before = hello.get(..hello.len() - left.0.len())?;
    left.vec8()?;
    Some([before, left.0].concat())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fragment of a handshake message in a record of its own.
    fn fragment(kind: u8, number: u8, body: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
        let u24 = |value: usize| [(value >> 16) as u8, (value >> 8) as u8, value as u8];
        let part = &body[range.clone()];
        let message = [&[kind][..], &u24(body.len()), &[0, number], &u24(range.start), &u24(part.len()), part].concat();
        record(HANDSHAKE, 0, number, &message)
    }

    fn whole(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
        fragment(kind, number, body, 0..body.len())
    }

    fn record(kind: u8, epoch: u8, number: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&[kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, number][..], &length, body].concat()
    }

    /// A ClientHello for `server.lab` with this cookie.
    pub(crate) fn client_hello(cookie: &[u8]) -> Vec<u8> {
        let name = b"\0\0\0\x0f\0\x0d\0\0\x0aserver.lab";
        let front = [&[0xfe, 0xfd][..], &[7; 32], &[0, cookie.len() as u8], cookie, &[0, 2, 0xc0, 0x2b, 1, 0]].concat();
        [&front[..], &(name.len() as u16).to_be_bytes(), name].concat()
    }

    fn server_hello() -> Vec<u8> {
        [&[0xfe, 0xfd][..], &[8; 32], &[0, 0xc0, 0x2b, 0]].concat()
    }

    /// A handshake from the first hello to both ends' Finished, in datagrams.
    pub(crate) fn handshake() -> Vec<(Side, Vec<u8>)> {
        let second = client_hello(&[9; 20]);
        vec![
            (Side::Client, whole(CLIENT_HELLO, 0, &client_hello(&[]))),
            (Side::Server, whole(HELLO_VERIFY_REQUEST, 0, &[&[0xfe, 0xff, 20][..], &[9; 20]].concat())),
            // In fragments that overlap and come in another order, one of them twice.
            (Side::Client, fragment(CLIENT_HELLO, 1, &second, 30..second.len())),
            (Side::Client, fragment(CLIENT_HELLO, 1, &second, 30..60)),
            (Side::Client, fragment(CLIENT_HELLO, 1, &second, 0..40)),
            (Side::Server, [whole(SERVER_HELLO, 1, &server_hello()), whole(14, 2, &[])].concat()),
            (Side::Client, [record(CHANGE_CIPHER_SPEC, 0, 5, &[1]), record(HANDSHAKE, 1, 0, &[5; 40])].concat()),
            (Side::Server, [record(CHANGE_CIPHER_SPEC, 0, 5, &[1]), record(HANDSHAKE, 1, 0, &[6; 40])].concat()),
            (Side::Client, record(23, 1, 1, &[5; 60])),
        ]
    }

    fn follow(datagrams: &[(Side, Vec<u8>)]) -> (Dtls, Application) {
        let mut dtls = Dtls::default();
        for (at, (from, datagram)) in (1..).zip(datagrams) {
            dtls.datagram(*from, datagram, Timestamp::from_nanos(at));
        }
        let mut application = Application::default();
        dtls.record(&mut application);
        (dtls, application)
    }

    #[test]
    fn a_handshake_in_fragments_is_read() {
        let datagrams = handshake();
        let openers: Vec<_> = datagrams.iter().map(|(_, datagram)| opener(datagram)).collect();
        assert_eq!(openers[..2], [Some(Opener::Client), Some(Opener::Server)]);
        assert!(openers[6..].iter().all(Option::is_none));
        let (dtls, application) = follow(&datagrams);
        assert_eq!((application.protocol, application.malformed, dtls.held()), (Some(ProtocolName::Dtls), 0, 0));
        assert!(dtls.is_succeeded_by(Side::Client, &datagrams[0].1));
        let tls = application.tls.expect("a hello was read");
        assert_eq!((tls.version.as_deref(), tls.sni.as_deref()), (Some("DTLS 1.2"), Some("server.lab")));
        assert_eq!(tls.cipher.as_deref(), Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
        assert!(tls.established && tls.retried);
        assert_eq!(tls.round_trips, Some(3));
        assert!(tls.ja4.is_some_and(|ja4| ja4.starts_with("dd2d010100_")));
        // What comes again changes nothing.
        let twice: Vec<_> = datagrams.iter().flat_map(|one| [one.clone(), one.clone()]).collect();
        assert_eq!(follow(&twice).1.tls.map(|tls| (tls.ja3, tls.established)), Some((tls.ja3, true)));
    }

    #[test]
    fn fragments_that_contradict_themselves_are_counted() {
        let hello = client_hello(&[]);
        let mut beyond = fragment(CLIENT_HELLO, 0, &hello, 10..20);
        beyond[19..22].copy_from_slice(&[0, 0, 200]);
        let mut endless = fragment(CLIENT_HELLO, 0, &hello, 0..20);
        endless[14..17].copy_from_slice(&[0xff, 0xff, 0xff]);
        for datagram in [beyond, endless, vec![HANDSHAKE, 0xfe, 0xfd, 0], vec![99; 50]] {
            let (dtls, application) = follow(&[(Side::Client, datagram)]);
            assert_eq!((application.malformed, dtls.held()), (1, 0));
        }
        // Messages that are begun and never ended.
        let begun: Vec<_> =
            (0..=255).map(|number| (Side::Client, fragment(11, number, &[0; 60_000], 1..1200))).collect();
        assert!(follow(&begun).0.held() < 1 << 14);
    }
}
