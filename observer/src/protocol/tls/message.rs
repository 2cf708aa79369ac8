//! The messages of a handshake (RFC 8446, section 4; RFC 5246, section 7.4), wherever they came from: records in the clear,
//! records that were opened, QUIC, DTLS.

use super::decryption::Stage;
use super::hello::{ClientHello, EncryptedExtensions, Reader, ServerHello, extension};
use super::{CLIENT_HELLO, MOST_CERTIFICATES, MOST_MESSAGE, SERVER_HELLO, Tls, certificate, is_1_3};
use crate::record::Side;
use crate::time::Timestamp;

impl Tls {
    /// Takes what one record holds of handshake messages.
    pub(super) fn handshake(&mut self, from: Side, body: &[u8], at: Timestamp) {
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
        let used = messages.len() - left.0.len();
        // What waits stays where it is: a message may come in very many records.
        messages.drain(..used);
        messages.shrink_to(2 * messages.len());
        self.ends.of_mut(from).message = messages;
    }

    /// Takes one handshake message; `None` where it contradicts itself.
    pub(super) fn message(&mut self, from: Side, kind: u8, body: &[u8], at: Timestamp) -> Option<()> {
        match (from, kind) {
            (Side::Client, CLIENT_HELLO) => {
                let hello = ClientHello::parse(body)?;
                if let Some((decryption, _)) = self.decryption.as_deref_mut() {
                    decryption.client_hello(hello.random, &hello.ciphers);
                }
                // The one after a HelloRetryRequest, or in a renegotiation, offers what the first did.
                self.client_hello.get_or_insert_with(|| (Box::new(hello), at));
            }
            (Side::Server, SERVER_HELLO) => {
                let hello = ServerHello::parse(body)?;
                if hello.is_retry {
                    self.retry();
                    return Some(());
                }
                if let Some((decryption, _)) = self.decryption.as_deref_mut() {
                    decryption.server_hello(hello.random, hello.cipher, is_1_3(hello.chosen_version()));
                }
                self.server_hello.get_or_insert_with(|| (Box::new(hello), at));
            }
            (Side::Server, 6) => {
                // HelloRetryRequest of the drafts of TLS 1.3 up to the 18th.
                self.retry();
            }
            (Side::Client, 5) if self.is_1_3() => {
                // EndOfEarlyData: only early data that was taken is brought to an end.
                self.settle_early(true);
                self.advance(from, Stage::Handshake);
            }
            (Side::Server, 8) if self.is_1_3() => {
                let said = EncryptedExtensions::parse(body)?;
                self.settle_early(said.early_data);
                self.encrypted = Some(said);
            }
            (_, 20) if self.is_1_3() => {
                self.ends.of_mut(from).finished = Some(at);
                self.read_flight |= from == Side::Server;
                self.advance(from, Stage::Traffic);
            }
            (_, 24) if self.is_1_3() => {
                if let Some((decryption, _)) = self.decryption.as_deref_mut() {
                    decryption.update(from);
                }
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

    fn retry(&mut self) {
        self.retried = true;
        self.settle_early(false);
        if let Some((decryption, _)) = self.decryption.as_deref_mut() {
            decryption.retry();
        }
    }

    fn advance(&mut self, from: Side, stage: Stage) {
        if let Some((decryption, _)) = self.decryption.as_deref_mut() {
            decryption.advance(from, stage);
        }
    }

    fn settle_early(&mut self, is_accepted: bool) {
        if let Some((_, inner)) = self.decryption.as_deref_mut() {
            inner.settle_early(is_accepted);
        }
    }

    /// Takes a chain: of TLS 1.3 it has a context before it, and extensions behind each certificate (RFC 8446, section
    /// 4.4.2).
    fn certificates(&mut self, from: Side, body: &[u8], at: Timestamp) -> Option<()> {
        let is_1_3 = self.is_1_3();
        let mut body = Reader(body);
        if is_1_3 {
            body.vec8()?;
        }
        let mut chain = Reader(body.vec24()?);
        let asked = self.client_hello.as_ref().and_then(|(hello, _)| hello.server_name.clone());
        let asked = asked.as_deref().filter(|_| from == Side::Server);
        let end = self.ends.of_mut(from);
        if !end.certificates.is_empty() {
            return Some(());
        }
        while !chain.0.is_empty() {
            let der = chain.vec24()?;
            let extensions = if is_1_3 { chain.vec16()? } else { &[] };
            self.ocsp_stapled |= from == Side::Server && has_extension(extensions, extension::STATUS_REQUEST);
            let asked = asked.filter(|_| end.certificates.is_empty());
            if end.certificates.len() == MOST_CERTIFICATES {
                end.certificates_cut += 1;
            } else {
                end.certificates.push(certificate::parse(der, at, asked)?);
            }
        }
        Some(())
    }
}

fn has_extension(extensions: &[u8], wanted: u16) -> bool {
    let mut extensions = Reader(extensions);
    std::iter::from_fn(|| Some((extensions.u16()?, extensions.vec16()?))).any(|(kind, _)| kind == wanted)
}
