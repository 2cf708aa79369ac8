//! TLS inside QUIC (RFC 9001): handshake messages without records.

use super::{Arrival, Carrier, Take, Tls, names};
use crate::record::{Side, TlsRecord};
use crate::time::Timestamp;

/// The handshake of a QUIC connection.
#[derive(Debug)]
pub(in crate::protocol) struct QuicTls(Tls);

impl Default for QuicTls {
    fn default() -> Self {
        Self(Tls { carrier: Carrier::Quic, ..Tls::default() })
    }
}

impl QuicTls {
    /// Takes what CRYPTO frames hold.
    pub(in crate::protocol) fn crypto(&mut self, from: Side, arrival: Arrival<'_>, at: Timestamp) -> Take {
        match arrival {
            Arrival::Octets(octets) => {
                self.0.flights.note(from, at, at);
                self.0.handshake(from, octets, at);
                Take::used(octets.len())
            }
            Arrival::Gap(_) => {
                self.0.ends.of_mut(from).message = Vec::new();
                Take::used(0)
            }
            Arrival::Passed(_) => Take::used(0),
            Arrival::End => Take::nothing(),
        }
    }

    /// The first packet that `from` sent under keys that are not known here.
    pub(in crate::protocol) fn sealed(&mut self, from: Side, at: Timestamp) {
        if self.0.ends.of(from).finished.is_none() {
            self.0.flights.note(from, at, at);
        }
        self.0.ends.of_mut(from).finished.get_or_insert(at);
    }

    /// The client sent data before the server's hello.
    pub(in crate::protocol) fn early_data(&mut self) {
        self.0.early_data = true;
    }

    /// An end closed the connection because of this alert.
    pub(in crate::protocol) fn alert(&mut self, from: Side, description: u8, at: Timestamp) {
        const FATAL: u8 = 2;
        self.0.alert(from, FATAL, description, at);
    }

    /// The server asked for another hello.
    pub(in crate::protocol) fn is_retried(&self) -> bool {
        self.0.retried
    }

    /// The client's transport parameters.
    pub(in crate::protocol) fn parameters(&self) -> Option<&[u8]> {
        self.0.client_hello.as_ref().and_then(|(hello, _)| hello.transport_parameters.as_deref())
    }

    pub(in crate::protocol) fn malformed(&self) -> u64 {
        self.0.malformed
    }

    pub(in crate::protocol) fn held(&self) -> usize {
        self.0.ends.client.message.capacity() + self.0.ends.server.message.capacity()
    }

    /// What was learnt; `None` where no hello was read.
    pub(in crate::protocol) fn record(&self) -> Option<TlsRecord> {
        (self.0.client_hello.is_some() || self.0.server_hello.is_some() || self.0.retried).then(|| self.0.facts())
    }
}

/// A TLS alert by its name.
pub(in crate::protocol) fn alert_name(description: u8) -> String {
    names::alert(description)
}
