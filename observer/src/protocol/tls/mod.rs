//! TLS over TCP: its records are walked to the end; what is in the clear is read.
//!
//! - RFC 8446 (1.3), RFC 5246 and before (1.2 to SSL 3.0), the drafts of 1.3.
//! - Handshake messages may be spread over records, and records hold several.
//! - After a gap, records are found again where the next segment begins with one.

mod certificate;
mod data;
mod fingerprint;
mod hello;
mod names;

use self::data::FirstData;
use self::hello::{ClientHello, Reader, ServerHello, extension, is_grease};
use super::text::clean;
use super::{Arrival, Guess, Next, Protocol, Take};
use crate::record::{
    Application, Certificate, NameRecord, NameSource, ProtocolName, Resumption, Side, Sides, TlsAlert, TlsOffer,
    TlsRecord,
};
use crate::time::Timestamp;

/// Handshake messages.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// Kinds of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// Octets of a record's header.
const HEADER: usize = 5;
/// Octets that a record may hold: 2¹⁴ and what encryption adds (RFC 5246, section 6.2.3).
const MOST_RECORD: usize = (1 << 14) + 2048;
/// Octets of a handshake message that are put together.
const MOST_MESSAGE: usize = 128 << 10;
/// Alerts and certificates that are kept of one end.
const MOST_ALERTS: usize = 8;
const MOST_CERTIFICATES: usize = 8;
/// Octets of an alert under TLS 1.3: the alert, its type, and the tag.
const SEALED_ALERT: u16 = 2 + 1 + 16;

/// A connection that speaks TLS.
#[derive(Debug, Default)]
struct Tls {
    ends: Sides<End>,
    client_hello: Option<(Box<ClientHello>, Timestamp)>,
    server_hello: Option<(Box<ServerHello>, Timestamp)>,
    retried: bool,
    /// From the ServerKeyExchange.
    group: Option<u16>,
    certificate_requested: bool,
    ocsp_stapled: bool,
    early_data: bool,
    data: FirstData,
    alerts: Vec<TlsAlert>,
    malformed: u64,
}

/// What one end sent.
#[derive(Debug, Default)]
struct End {
    /// A handshake message that is not complete yet.
    message: Vec<u8>,
    /// Octets of a message too large to be kept that are still to come.
    oversize: usize,
    /// It said that its next records are under new keys.
    changed_cipher: bool,
    /// Octets are missing before what comes next.
    gap: bool,
    /// Whether it sent a record under new keys.
    finished: Option<Timestamp>,
    /// Kind and length of its last record.
    last: Option<(u8, u16)>,
    close_notify: Option<bool>,
    certificates: Vec<Certificate>,
}

/// Whether these octets begin a connection that speaks TLS: with a hello of either end.
pub(super) fn recognise(octets: &[u8]) -> Guess {
    match *octets {
        [HANDSHAKE, 3, 0..=4, a, b, kind, ..] if is_length(a, b) => match kind {
            CLIENT_HELLO => Guess::Yes(Side::Client, Box::new(Tls::default())),
            SERVER_HELLO => Guess::Yes(Side::Server, Box::new(Tls::default())),
            _ => Guess::No,
        },
        [] | [HANDSHAKE] | [HANDSHAKE, 3] | [HANDSHAKE, 3, 0..=4] | [HANDSHAKE, 3, 0..=4, _] => Guess::Unsure,
        [HANDSHAKE, 3, 0..=4, a, b] if is_length(a, b) => Guess::Unsure,
        _ => Guess::No,
    }
}

fn is_length(a: u8, b: u8) -> bool {
    usize::from(u16::from_be_bytes([a, b])) <= MOST_RECORD
}

impl Protocol for Tls {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, at: Timestamp) -> Take {
        match arrival {
            Arrival::Octets(octets) => self.record_of(from, octets, at),
            Arrival::Passed(_) => {
                if self.is_established() && self.ends.of(from).last.is_some_and(is_data) {
                    self.data.end(from, at);
                }
                Take::used(0)
            }
            Arrival::Gap(_) => {
                let end = self.ends.of_mut(from);
                (end.message, end.oversize, end.gap, end.last) = (Vec::new(), 0, true, None);
                Take::used(0)
            }
            Arrival::End => {
                self.close(from);
                Take::nothing()
            }
        }
    }

    fn held(&self) -> usize {
        self.ends.client.message.capacity() + self.ends.server.message.capacity()
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Tls);
        into.malformed += self.malformed;
        let tls = self.facts();
        if let Some(name) = &tls.sni {
            into.name = Some(NameRecord { name: name.clone(), from: NameSource::Sni });
        }
        into.tls = Some(Box::new(tls));
    }
}

impl Tls {
    /// Takes one record.
    fn record_of(&mut self, from: Side, octets: &[u8], at: Timestamp) -> Take {
        let &[kind, major, _, a, b, ref rest @ ..] = octets else { return Take::wait_for(HEADER) };
        let length = u16::from_be_bytes([a, b]);
        let end = self.ends.of_mut(from);
        if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&kind) || major != 3 || !is_length(a, b) {
            if !end.gap {
                self.malformed += 1;
            }
            return Take::nothing();
        }
        let is_clear = self.is_clear(from, kind, rest);
        let whole = HEADER + usize::from(length);
        if is_clear && octets.len() < whole {
            return Take::wait_for(whole);
        }
        let end = self.ends.of_mut(from);
        end.gap = false;
        end.last = Some((kind, length));
        match (kind, rest.get(..length.into())) {
            (CHANGE_CIPHER_SPEC, _) => end.changed_cipher = true,
            (HANDSHAKE, Some(body)) if is_clear => self.handshake(from, body, at),
            (ALERT, Some(&[level, description])) if is_clear => self.alert(from, level, description, at),
            (HANDSHAKE | APPLICATION_DATA, _) => self.sealed(from, (kind, length), at),
            _ => {}
        }
        Take::then(HEADER, Next::Pass(length.into()))
    }

    /// Whether a record can be read.
    fn is_clear(&self, from: Side, kind: u8, body: &[u8]) -> bool {
        match kind {
            // In TLS 1.3 the change of cipher says nothing, and a second hello may follow it.
            HANDSHAKE => {
                let is_hello = matches!(body.first(), Some(&(CLIENT_HELLO | SERVER_HELLO)));
                !self.ends.of(from).changed_cipher || (self.retried && is_hello)
            }
            ALERT => !self.ends.of(from).changed_cipher || self.is_1_3(),
            _ => false,
        }
    }

    fn is_1_3(&self) -> bool {
        self.server_hello.as_ref().is_some_and(|(hello, _)| is_1_3(hello.chosen_version()))
    }

    /// A record under keys that are not known here.
    fn sealed(&mut self, from: Side, (kind, length): (u8, u16), at: Timestamp) {
        if kind == APPLICATION_DATA && self.server_hello.is_none() {
            self.early_data |= from == Side::Client && self.client_hello.is_some();
            return;
        }
        let is_1_3 = self.is_1_3();
        let end = self.ends.of_mut(from);
        if end.finished.is_none() && (kind == HANDSHAKE || is_1_3) {
            end.finished = Some(at);
        } else if is_data((kind, length)) && self.is_established() {
            self.data.begin(from, length, at, is_1_3);
        }
    }

    fn is_established(&self) -> bool {
        self.ends.client.finished.is_some() && self.ends.server.finished.is_some()
    }

    fn alert(&mut self, from: Side, level: u8, description: u8, at: Timestamp) {
        const CLOSE_NOTIFY: u8 = 0;
        if description == CLOSE_NOTIFY {
            self.ends.of_mut(from).close_notify = Some(true);
        }
        if self.alerts.len() < MOST_ALERTS {
            self.alerts.push(TlsAlert { at, from, fatal: level == 2, description: names::alert(description) });
        }
    }

    fn close(&mut self, from: Side) {
        let is_1_3 = self.is_1_3();
        let end = self.ends.of_mut(from);
        if end.close_notify.is_none()
            && let Some((kind, length)) = end.last
        {
            end.close_notify = Some(kind == ALERT || (is_1_3 && kind == APPLICATION_DATA && length == SEALED_ALERT));
        }
        end.message = Vec::new();
    }

    /// Takes what one record holds of handshake messages.
    fn handshake(&mut self, from: Side, body: &[u8], at: Timestamp) {
        let end = self.ends.of_mut(from);
        let passed = end.oversize.min(body.len());
        end.oversize -= passed;
        let mut messages = std::mem::take(&mut end.message);
        messages.extend_from_slice(body.get(passed..).unwrap_or_default());
        let mut left = Reader(&messages);
        while let [kind, a, b, c, ..] = *left.0 {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MOST_MESSAGE {
                self.malformed += 1;
                let end = self.ends.of_mut(from);
                end.oversize = (4 + length).saturating_sub(left.0.len());
                return;
            }
            let mut ahead = left;
            let Some(message) = ahead.take(4 + length).and_then(|message| message.get(4..)) else { break };
            left = ahead;
            if self.message(from, kind, message, at).is_none() {
                self.malformed += 1;
            }
        }
        self.ends.of_mut(from).message = left.0.to_vec();
    }

    /// Takes one handshake message; `None` where it contradicts itself.
    fn message(&mut self, from: Side, kind: u8, body: &[u8], at: Timestamp) -> Option<()> {
        match (from, kind) {
            (Side::Client, CLIENT_HELLO) => {
                let hello = ClientHello::parse(body)?;
                // The one after a HelloRetryRequest, or in a renegotiation, offers what the first did.
                self.client_hello.get_or_insert_with(|| (Box::new(hello), at));
            }
            (Side::Server, SERVER_HELLO) => {
                let hello = ServerHello::parse(body)?;
                if hello.is_retry {
                    self.retried = true;
                } else if self.server_hello.is_none() {
                    self.server_hello = Some((Box::new(hello), at));
                }
            }
            (Side::Server, 6) => {
                // HelloRetryRequest of the drafts of TLS 1.3 up to the 18th.
                self.retried = true;
            }
            (_, 11) => self.certificates(from, body, at)?,
            (Side::Server, 12) => {
                const NAMED_CURVE: u8 = 3;
                let mut exchange = Reader(body);
                if exchange.u8() == Some(NAMED_CURVE) {
                    self.group = self.group.or(exchange.u16());
                }
            }
            (Side::Server, 13) => self.certificate_requested = true,
            (Side::Server, 22) => self.ocsp_stapled = true,
            _ => {}
        }
        Some(())
    }

    fn certificates(&mut self, from: Side, body: &[u8], at: Timestamp) -> Option<()> {
        let mut chain = Reader(Reader(body).vec24()?);
        let asked = self.client_hello.as_ref().and_then(|(hello, _)| hello.server_name.clone());
        let asked = asked.as_deref().filter(|_| from == Side::Server);
        let end = self.ends.of_mut(from);
        if !end.certificates.is_empty() {
            return Some(());
        }
        while !chain.0.is_empty() && end.certificates.len() < MOST_CERTIFICATES {
            let der = chain.vec24()?;
            let asked = asked.filter(|_| end.certificates.is_empty());
            end.certificates.push(certificate::parse(der, at, asked)?);
        }
        Some(())
    }
}

/// Whether a record, of the given kind and length, holds what the application has to say. In TLS 1.3 alerts look like it.
const fn is_data((kind, length): (u8, u16)) -> bool {
    kind == APPLICATION_DATA && length != SEALED_ALERT
}

const fn is_1_3(version: u16) -> bool {
    version == 0x0304 || version >> 8 == 0x7f
}

impl Tls {
    fn facts(&self) -> TlsRecord {
        let client = self.client_hello.as_ref().map(|(hello, _)| &**hello);
        let server = self.server_hello.as_ref().map(|(hello, _)| &**hello);
        let at = |hello: Option<Timestamp>| hello;
        let client_at = at(self.client_hello.as_ref().map(|(_, at)| *at));
        let is_1_3 = self.is_1_3();
        let group = server.and_then(|hello| hello.group).or(self.group);
        let resumed = self.resumption();
        let finished = Sides { client: self.ends.client.finished, server: self.ends.server.finished };
        let clear = |value: bool| server.filter(|_| !is_1_3).map(|_| value);
        let alpn = |name: &[u8]| clean(name, 64);
        TlsRecord {
            version: server.map(|hello| names::version(hello.chosen_version())),
            cipher: server.map(|hello| names::cipher(hello.cipher)),
            group: group.map(names::group),
            post_quantum: group.map(|group| {
                (512..=514).contains(&group) || (4587..=4589).contains(&group) || (25497..=25498).contains(&group)
            }),
            sni: client.and_then(|hello| hello.server_name.clone()),
            alpn: server.and_then(|hello| hello.alpn.as_deref()).map(alpn),
            offer: client.map(offer),
            resumed: resumed.map(|by| by.is_some()),
            resumed_by: resumed.flatten(),
            retried: self.retried,
            client_certificate_requested: clear(self.certificate_requested),
            ocsp_stapled: clear(self.ocsp_stapled),
            early_data: self.early_data,
            established: self.is_established(),
            handshake_ns: client_at
                .zip(finished.client.max(finished.server))
                .filter(|_| self.is_established())
                .map(|(from, to)| to.since(from)),
            round_trips: self.round_trips(),
            client_hello: client_at,
            server_hello: self.server_hello.as_ref().map(|(_, at)| *at),
            finished,
            data: self.data.seen(is_1_3),
            alerts: self.alerts.clone(),
            close_notify: Sides { client: self.ends.client.close_notify, server: self.ends.server.close_notify },
            certificates: self.ends.server.certificates.clone(),
            client_certificates: self.ends.client.certificates.clone(),
            ja3: client.map(fingerprint::ja3),
            ja3s: server.map(fingerprint::ja3s),
            ja4: client.map(fingerprint::ja4),
            ja4s: server.map(fingerprint::ja4s),
        }
    }

    /// Whether a session was resumed, and by what; `None` where it cannot be told.
    fn resumption(&self) -> Option<Option<Resumption>> {
        let (hello, _) = self.server_hello.as_ref()?;
        if is_1_3(hello.chosen_version()) {
            return Some(hello.has(extension::PRE_SHARED_KEY).then_some(Resumption::Psk));
        }
        if !self.ends.server.certificates.is_empty() {
            return Some(None);
        }
        let (client, _) = self.client_hello.as_ref()?;
        let same = !client.session_id.is_empty() && client.session_id == hello.session_id;
        let by = if client.has_ticket { Resumption::Ticket } else { Resumption::SessionId };
        Some(same.then_some(by))
    }

    /// Before TLS 1.3 two, one where a session is resumed; in TLS 1.3 one, none with early data, one more for a second hello.
    fn round_trips(&self) -> Option<u8> {
        let (hello, _) = self.server_hello.as_ref()?;
        let resumed = self.resumption()?.is_some();
        let plain = if is_1_3(hello.chosen_version()) { u8::from(!self.early_data) } else { 2 - u8::from(resumed) };
        Some(plain + u8::from(self.retried))
    }
}

fn offer(hello: &ClientHello) -> TlsOffer {
    let names = |list: &[u16], name: fn(u16) -> String| -> Vec<String> {
        list.iter().filter(|value| !is_grease(**value)).map(|value| name(*value)).collect()
    };
    let versions = if hello.versions.is_empty() { &[hello.legacy_version][..] } else { &hello.versions };
    let has_early_data = hello.has(extension::EARLY_DATA);
    TlsOffer {
        versions: names(versions, names::version),
        ciphers: names(&hello.ciphers, names::cipher),
        groups: names(&hello.groups, names::group),
        alpn: hello.alpn.iter().map(|name| clean(name, 64)).collect(),
        early_data: has_early_data,
        // A TLS 1.3 client sends an identifier for nothing but old middleboxes (RFC 8446, section 4.1.2).
        session: hello.has_ticket
            || hello.has(extension::PRE_SHARED_KEY)
            || (!hello.session_id.is_empty() && hello.versions.is_empty()),
        ech: hello.has(extension::ENCRYPTED_CLIENT_HELLO),
    }
}
