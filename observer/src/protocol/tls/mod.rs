//! TLS over TCP: its records are walked to the end; what is in the clear is read.
//!
//! - RFC 8446 (1.3), RFC 5246 and before (1.2 to SSL 3.0), the drafts of 1.3.
//! - Handshake messages may be spread over records, and records hold several.
//! - After a gap, records are found again where the next segment begins with one.

mod certificate;
mod cipher;
mod data;
mod decryption;
pub(crate) mod dtls;
mod early;
mod fingerprint;
mod flight;
mod hello;
mod inner;
mod message;
mod names;
pub(super) mod quic;
mod report;

use std::sync::Arc;

use self::data::FirstData;
use self::decryption::{Decryption, Stage};
use self::early::{Early, Sealed};
use self::flight::Flights;
use self::hello::{ClientHello, EncryptedExtensions, ServerHello};
use self::inner::Inner;
use super::dns::Heard;
use super::{Arrival, Guess, Next, Protocol, Take};
use crate::keylog::Keys;
use crate::record::{Application, Certificate, NameRecord, NameSource, ProtocolName, Side, Sides, TlsAlert};
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
/// Octets of a Finished and what may come with it, under keys.
const MOST_FINISHED: u64 = 512;
/// Octets of an alert under TLS 1.3: the alert, its type, and the tag.
const SEALED_ALERT: u16 = 2 + 1 + 16;

/// What TLS is spoken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Carrier {
    #[default]
    Tcp,
    /// Without records.
    Quic,
    /// In records of its own.
    Dtls,
}

/// A connection that speaks TLS.
#[derive(Debug, Default)]
struct Tls {
    carrier: Carrier,
    ends: Sides<End>,
    client_hello: Option<(Box<ClientHello>, Timestamp)>,
    server_hello: Option<(Box<ServerHello>, Timestamp)>,
    flights: Flights,
    retried: bool,
    /// From the ServerKeyExchange.
    group: Option<u16>,
    certificate_requested: bool,
    ocsp_stapled: bool,
    early_data: bool,
    early: Early,
    data: FirstData,
    alerts: Vec<TlsAlert>,
    /// How many more there were than are kept.
    alerts_cut: u64,
    malformed: u64,
    /// What the server says under its handshake keys.
    encrypted: Option<EncryptedExtensions>,
    /// The server's part of the handshake was read to its end, though sealed.
    read_flight: bool,
    /// What logged secrets open, and what is inside.
    decryption: Option<Box<(Decryption, Inner)>>,
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
    /// How many more there were than are kept.
    certificates_cut: u64,
    /// When the record at hand began, of which not all is there.
    begun: Option<Timestamp>,
    /// What the record at hand holds, in octets that are passed over unread.
    unread: Option<usize>,
    /// What the last record is, is known: it was opened, or is a part of the handshake.
    opened: bool,
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
            Arrival::Passed(octets) => {
                if let Some(unread) = self.ends.of_mut(from).unread.take() {
                    self.pass_inside(from, unread, octets, at);
                }
                if !self.is_established() {
                    self.flights.extend(from, at);
                }
                if (self.is_established() || self.early_data) && self.ends.of(from).last_is_data() {
                    self.data.end(from, at);
                }
                Take::used(0)
            }
            Arrival::Gap(octets) => {
                let end = self.ends.of_mut(from);
                (end.message, end.oversize, end.gap, end.last) = (Vec::new(), 0, true, None);
                (end.begun, end.unread) = (None, None);
                if let Some((decryption, inner)) = self.decryption.as_deref_mut() {
                    decryption.gap(from, octets);
                    inner.lose(from, at);
                }
                Take::used(0)
            }
            Arrival::End => {
                self.close(from);
                if let Some((_, inner)) = self.decryption.as_deref_mut() {
                    inner.end(from, at);
                }
                Take::nothing()
            }
        }
    }

    fn held(&self) -> usize {
        let inside = self.decryption.as_ref().map_or(0, |inside| inside.1.held());
        self.ends.client.message.capacity() + self.ends.server.message.capacity() + inside
    }

    fn hand_over(&mut self, into: &mut Heard) {
        if let Some((_, inner)) = self.decryption.as_deref_mut() {
            into.opened = true;
            inner.hand_over(into);
        }
    }

    fn unlock(&mut self, keys: &Arc<Keys>, depth: u8) {
        match self.decryption.as_deref_mut() {
            Some((decryption, inner)) => {
                decryption.unlock(keys);
                inner.unlock(keys);
            }
            None => {
                let inside = (Decryption::new(Arc::clone(keys)), Inner::new(keys, depth));
                self.decryption = Some(Box::new(inside));
            }
        }
    }

    fn has_prelude(&self) -> bool {
        false
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Tls);
        into.malformed += self.malformed;
        let tls = self.facts();
        if let Some(name) = &tls.sni {
            into.name = Some(NameRecord { name: name.clone(), from: NameSource::Sni });
        }
        into.tls = Some(Box::new(tls));
        if let Some((_, inner)) = self.decryption.as_deref() {
            inner.record(into);
        }
    }
}

impl Tls {
    /// Takes one record.
    fn record_of(&mut self, from: Side, octets: &[u8], at: Timestamp) -> Take {
        let &[kind, major, minor, a, b, ref rest @ ..] = octets else { return Take::wait_for(HEADER) };
        let length = u16::from_be_bytes([a, b]);
        let end = self.ends.of_mut(from);
        if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&kind) || major != 3 || !is_length(a, b) {
            if !end.gap {
                self.malformed += 1;
                return Take::nothing();
            }
            if let Some((decryption, _)) = self.decryption.as_deref_mut() {
                decryption.gap(from, octets.len() as u64);
            }
            return Take::used(octets.len());
        }
        // What the application says is never in the clear: the change of cipher is missing from the capture.
        if kind == APPLICATION_DATA
            && self.server_hello.is_some()
            && !self.is_1_3()
            && !self.ends.of(from).changed_cipher
        {
            self.change_cipher(from);
            if let Some((decryption, _)) = self.decryption.as_deref_mut() {
                decryption.gap(from, MOST_FINISHED);
            }
        }
        let is_clear = self.is_clear(from, kind, rest);
        let is_read = is_clear || (self.is_sealed(from, kind) && self.may_open(from, kind, length));
        let whole = HEADER + usize::from(length);
        let end = self.ends.of_mut(from);
        if is_read && octets.len() < whole {
            end.begun.get_or_insert(at);
            return Take::wait_for(whole);
        }
        let begun = end.begun.take().unwrap_or(at);
        end.gap = false;
        (end.last, end.opened) = (Some((kind, length)), false);
        if !self.is_established() {
            self.flights.note(from, begun, at);
        }
        match (kind, rest.get(..length.into())) {
            (HANDSHAKE, Some(body)) if is_clear => self.handshake(from, body, at),
            (ALERT, Some(&[level, description])) if is_clear => self.alert(from, level, description, at),
            (_, Some(body)) if is_read && !is_clear => self.open(from, [kind, major, minor, a, b], body, (begun, at)),
            _ => self.sealed(from, (kind, length), at),
        }
        Take::then(HEADER, Next::Pass(length.into()))
    }

    /// Whether a record is under keys, as far as is known here.
    fn is_sealed(&self, from: Side, kind: u8) -> bool {
        match &self.server_hello {
            Some(_) if !self.is_1_3() => self.ends.of(from).changed_cipher,
            _ => kind == APPLICATION_DATA,
        }
    }

    /// Whether a sealed record is to be opened: where there are secrets, and somebody wants to know what it holds.
    fn may_open(&mut self, from: Side, kind: u8, length: u16) -> bool {
        let Some((decryption, inner)) = self.decryption.as_deref_mut() else { return false };
        if !decryption.may_open(from) {
            return false;
        }
        let unread = decryption.plain_len(from, length.into()).filter(|_| kind == APPLICATION_DATA);
        self.ends.of_mut(from).unread = unread.filter(|octets| *octets as u64 <= inner.passes(from));
        self.ends.of(from).unread.is_none()
    }

    /// Takes a record that no secret opens, or that need not be opened.
    fn sealed(&mut self, from: Side, (kind, length): (u8, u16), at: Timestamp) {
        let is_sealed = self.is_sealed(from, kind);
        if kind == CHANGE_CIPHER_SPEC {
            self.change_cipher(from);
        }
        if let Some((decryption, inner)) = self.decryption.as_deref_mut().filter(|_| is_sealed) {
            if self.ends.of(from).unread.is_some() {
                decryption.pass(from);
            } else {
                decryption.lack(from);
                inner.lose(from, at);
            }
        }
        if matches!(kind, HANDSHAKE | APPLICATION_DATA) {
            self.note_sealed(from, (kind, length), at);
        }
    }

    fn change_cipher(&mut self, from: Side) {
        self.ends.of_mut(from).changed_cipher = true;
        if let Some((decryption, _)) = self.decryption.as_deref_mut() {
            decryption.change_cipher(from);
        }
    }

    /// Opens a record that came from `begun` to `at`.
    fn open(&mut self, from: Side, header: [u8; HEADER], body: &[u8], (begun, at): (Timestamp, Timestamp)) {
        let [kind, ..] = header;
        let length = body.len() as u16;
        let Some((decryption, inner)) = self.decryption.as_deref_mut() else { return };
        let Some((stage, text)) = decryption.open(from, header, body) else {
            inner.lose(from, at);
            return self.note_sealed(from, (kind, length), begun);
        };
        self.ends.of_mut(from).opened = true;
        let (kind, text) = if self.is_1_3() || stage == Stage::Early { unpadded(&text) } else { (kind, &text[..]) };
        match (kind, text) {
            (CHANGE_CIPHER_SPEC, _) => self.change_cipher(from),
            (HANDSHAKE, _) => {
                self.note_sealed(from, (HANDSHAKE, length), begun);
                self.handshake(from, text, at);
            }
            (ALERT, &[level, description]) => self.alert(from, level, description, at),
            (APPLICATION_DATA, _) if stage == Stage::Early => {
                self.early_data = true;
                if let Some((_, inner)) = self.decryption.as_deref_mut() {
                    inner.take_early(text, begun, at);
                }
            }
            (APPLICATION_DATA, _) => {
                if self.is_established() && !text.is_empty() {
                    self.data.begin(from, length, begun, false);
                    self.data.end(from, at);
                }
                if let Some((_, inner)) = self.decryption.as_deref_mut() {
                    inner.take(from, text, begun, at);
                }
            }
            _ => {}
        }
    }

    /// So many octets of a record that holds `unread` went by.
    fn pass_inside(&mut self, from: Side, unread: usize, passed: u64, at: Timestamp) {
        if let Some((_, inner)) = self.decryption.as_deref_mut() {
            let octets = usize::try_from(passed).map_or(unread, |passed| passed.min(unread));
            inner.pass(from, octets, at);
        }
    }

    /// Whether a record can be read.
    fn is_clear(&self, from: Side, kind: u8, body: &[u8]) -> bool {
        match kind {
            // In TLS 1.3 the change of cipher says nothing, and a second hello may follow it.
            HANDSHAKE => {
                let is_hello = matches!(body.first(), Some(&(CLIENT_HELLO | SERVER_HELLO)));
                !self.ends.of(from).changed_cipher || (self.retried && is_hello)
            }
            // So may an alert, instead of what was to come under keys. Before the server's hello there are none but for
            // early data, whose alerts do not look like alerts.
            ALERT => !self.ends.of(from).changed_cipher || self.is_1_3() || self.server_hello.is_none(),
            _ => false,
        }
    }

    fn is_1_3(&self) -> bool {
        self.server_hello.as_ref().is_some_and(|(hello, _)| is_1_3(hello.chosen_version()))
    }

    /// Notes what the length and place of a sealed record tell.
    fn note_sealed(&mut self, from: Side, (kind, length): (u8, u16), at: Timestamp) {
        if kind == APPLICATION_DATA && self.server_hello.is_none() {
            if from == Side::Client && self.client_hello.is_some() {
                self.early_data = true;
                self.data.begin(from, length, at, true);
            }
            return;
        }
        let is_1_3 = self.is_1_3();
        if kind == APPLICATION_DATA && self.early_data && is_1_3 && self.ends.client.finished.is_none() {
            let resumed = self.resumption().flatten().is_some();
            match self.early.next(from, length, resumed) {
                Sealed::Data => return self.data.begin(from, length, at, true),
                kind => {
                    self.ends.of_mut(from).opened = true;
                    if kind == Sealed::End {
                        return;
                    }
                }
            }
            if from == Side::Client && !self.early.ended {
                // It was refused, and will be sent again.
                self.data = FirstData::default();
            }
        }
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
            if let Some((_, inner)) = self.decryption.as_deref_mut() {
                inner.end(from, at);
            }
        }
        if self.alerts.len() < MOST_ALERTS {
            self.alerts.push(TlsAlert { at, from, fatal: level == 2, description: names::alert(description) });
        } else {
            self.alerts_cut += 1;
        }
    }

    fn close(&mut self, from: Side) {
        let is_1_3 = self.is_1_3();
        let end = self.ends.of_mut(from);
        if end.close_notify.is_none()
            && let Some((kind, length)) = end.last
        {
            let may_be = kind == ALERT || (is_1_3 && kind == APPLICATION_DATA && length == SEALED_ALERT);
            end.close_notify = Some(may_be && !end.opened);
        }
        end.message = Vec::new();
    }
}

impl End {
    /// Whether its last record holds what the application has to say, by its length.
    fn last_is_data(&self) -> bool {
        !self.opened && self.last.is_some_and(is_data)
    }
}

/// What a record of TLS 1.3 holds: the kind of it, and what comes before that and its padding (RFC 8446, section 5.2).
fn unpadded(text: &[u8]) -> (u8, &[u8]) {
    let end = text.iter().rposition(|octet| *octet != 0).unwrap_or_default();
    match text.split_at_checked(end) {
        Some((text, [kind, ..])) => (*kind, text),
        _ => (0, &[]),
    }
}

/// Whether a record, of the given kind and length, holds what the application has to say. In TLS 1.3 alerts look like it.
const fn is_data((kind, length): (u8, u16)) -> bool {
    kind == APPLICATION_DATA && length != SEALED_ALERT
}

const fn is_1_3(version: u16) -> bool {
    matches!(version, 0x0304 | 0xfefc) || version >> 8 == 0x7f
}
