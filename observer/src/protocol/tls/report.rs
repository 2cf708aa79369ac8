//! What is told of TLS, from what both ends have sent.

use super::hello::{ClientHello, extension, is_grease};
use super::{Tls, fingerprint, is_1_3, names};
use crate::protocol::text::clean;
use crate::record::{Resumption, Sides, TlsOffer, TlsRecord};

impl Tls {
    /// What was learnt.
    pub(super) fn facts(&self) -> TlsRecord {
        let client = self.client_hello.as_ref().map(|(hello, _)| &**hello);
        let server = self.server_hello.as_ref().map(|(hello, _)| &**hello);
        let client_at = self.client_hello.as_ref().map(|(_, at)| *at);
        let is_1_3 = self.is_1_3();
        let group = server.and_then(|hello| hello.group).or(self.group);
        let resumed = self.resumption();
        let finished = Sides { client: self.ends.client.finished, server: self.ends.server.finished };
        let clear = |value: bool| server.filter(|_| !is_1_3 || self.read_flight).map(|_| value);
        let alpn = |name: &[u8]| clean(name, 64);
        let sealed_alpn = self.encrypted.as_ref().and_then(|said| said.alpn.as_deref());
        let decryption = self.decryption.as_ref().and_then(|inside| inside.0.facts());
        TlsRecord {
            version: server.map(|hello| names::version(hello.chosen_version())),
            cipher: server.map(|hello| names::cipher(hello.cipher)),
            group: group.map(names::group),
            post_quantum: group.map(|group| {
                (512..=514).contains(&group) || (4587..=4589).contains(&group) || (25497..=25498).contains(&group)
            }),
            sni: client.and_then(|hello| hello.server_name.clone()),
            alpn: server.and_then(|hello| hello.alpn.as_deref()).or(sealed_alpn).map(alpn),
            offer: client.map(offer),
            resumed: resumed.map(|by| by.is_some()),
            resumed_by: resumed.flatten(),
            retried: self.retried,
            client_certificate_requested: clear(self.certificate_requested),
            ocsp_stapled: clear(self.ocsp_stapled),
            early_data: self.early_data,
            early_data_accepted: self.early_data_accepted(),
            established: self.is_established(),
            handshake_ns: client_at
                .zip(finished.client.max(finished.server))
                .filter(|_| self.is_established())
                .map(|(from, to)| to.since(from)),
            round_trips: self.round_trips(),
            client_hello: client_at,
            server_hello: self.server_hello.as_ref().map(|(_, at)| *at),
            finished,
            flights: self.flights.told(),
            // What was opened is known to be no ticket.
            data: self.data.seen(is_1_3 && decryption.is_none_or(|facts| facts.opened.server == 0)),
            alerts: self.alerts.clone(),
            alerts_cut: self.alerts_cut,
            close_notify: Sides { client: self.ends.client.close_notify, server: self.ends.server.close_notify },
            certificates: self.ends.server.certificates.clone(),
            client_certificates: self.ends.client.certificates.clone(),
            certificates_cut: Sides {
                client: self.ends.client.certificates_cut,
                server: self.ends.server.certificates_cut,
            },
            decryption,
            ja3: client.map(fingerprint::ja3),
            ja3s: server.map(fingerprint::ja3s),
            ja4: client.map(|hello| fingerprint::ja4(hello, self.carrier)),
            ja4s: server.map(|hello| fingerprint::ja4s(hello, self.carrier)),
        }
    }

    /// Whether a session was resumed, and by what; `None` where it cannot be told.
    pub(super) fn resumption(&self) -> Option<Option<Resumption>> {
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

    /// Whether the server took the early data: it says so under its keys; else the client brings what was taken to an end,
    /// and nothing is taken from a session that is not resumed, or whose hello has to be said again.
    fn early_data_accepted(&self) -> Option<bool> {
        if !self.early_data || self.server_hello.is_none() {
            return None;
        }
        match &self.encrypted {
            Some(said) => Some(said.early_data),
            None if self.early.ended => Some(true),
            None => {
                let is_full = self.resumption().is_some_and(|by| by.is_none());
                (is_full || self.retried || self.ends.client.finished.is_some()).then_some(false)
            }
        }
    }

    /// Before TLS 1.3 two, one where a session is resumed; in TLS 1.3 one, none with early data, one more for a second hello.
    fn round_trips(&self) -> Option<u8> {
        let (hello, _) = self.server_hello.as_ref()?;
        let resumed = self.resumption()?.is_some();
        let went_early = self.early_data && self.early_data_accepted() != Some(false);
        let plain = if is_1_3(hello.chosen_version()) { u8::from(!went_early) } else { 2 - u8::from(resumed) };
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
