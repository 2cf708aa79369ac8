//! What TLS (RFC 8446, RFC 5246) shows of itself without a key.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Side, Sides};
use crate::time::{Nanos, Timestamp};

/// TLS, as far as it goes by in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsRecord {
    /// The version that was chosen: `TLS 1.3`. From the ServerHello.
    pub version: Option<String>,
    /// The cipher suite that was chosen, by its IANA name. From the ServerHello.
    pub cipher: Option<String>,
    /// The group that the keys were agreed in, by its IANA name: from key_share, before TLS 1.3 from the ServerKeyExchange.
    pub group: Option<String>,
    /// Whether that group is a post-quantum scheme (ML-KEM), or a hybrid with one.
    pub post_quantum: Option<bool>,
    /// The name that the client asked for (SNI; RFC 6066, section 3).
    pub sni: Option<String>,
    /// The application protocol that was chosen; `null` where none was, or where TLS 1.3 hides it.
    pub alpn: Option<String>,
    /// What the client offered; `null` where its hello was not seen.
    pub offer: Option<TlsOffer>,
    /// Whether a former session was resumed; `null` where that was not seen.
    pub resumed: Option<bool>,
    /// By what it was resumed.
    pub resumed_by: Option<Resumption>,
    /// The server asked for another hello (HelloRetryRequest; HelloVerifyRequest of DTLS).
    pub retried: bool,
    /// The server asked the client for a certificate; `null` where TLS 1.3 hides it.
    pub client_certificate_requested: Option<bool>,
    /// The server sent the state of its certificate (OCSP stapling); `null` where TLS 1.3 hides it.
    pub ocsp_stapled: Option<bool>,
    /// Application data that the client sent before the server's hello (0-RTT), seen.
    pub early_data: bool,
    /// Both ends finished the handshake.
    pub established: bool,
    /// From the ClientHello to the later of both Finished, in nanoseconds.
    pub handshake_ns: Option<Nanos>,
    /// Round trips between the TCP handshake and the moment the client could send its request.
    pub round_trips: Option<u8>,
    /// Whether the server took the early data: as it says under its keys, else as the lengths of what the client sends next
    /// show (EndOfEarlyData comes behind what was taken only); absent where neither tells, and without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_data_accepted: Option<bool>,
    /// Time of the first ClientHello.
    pub client_hello: Option<Timestamp>,
    /// Time of the ServerHello; with a HelloRetryRequest of the one after it.
    pub server_hello: Option<Timestamp>,
    /// Time of each end's Finished, or of the first record under the new keys.
    pub finished: Sides<Option<Timestamp>>,
    /// What each end sent before it waited for the other, until both had finished the handshake: a retried hello is two
    /// flights more than one that is not. Twelve at most.
    pub flights: Vec<TlsFlight>,
    /// The first application data that the client sent, early or after the handshake, up to the server's answer, and that
    /// answer up to the client's next; `null` where the server spoke first. Session tickets, which TLS 1.3 sends like data,
    /// are told by their length and place.
    pub data: Option<TlsData>,
    /// Alerts that could be read; up to 8.
    pub alerts: Vec<TlsAlert>,
    /// How many more there were; absent where there were none.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(default)]
    pub alerts_cut: u64,
    /// Whether each end sent a close_notify before it closed: in TLS 1.3 a last record that is as long as one. `null` where
    /// its close was not seen.
    pub close_notify: Sides<Option<bool>>,
    /// Certificates of the server, its own first, up to 8; of TLS 1.3 where its secrets are known.
    pub certificates: Vec<Certificate>,
    /// Certificates of the client, likewise.
    pub client_certificates: Vec<Certificate>,
    /// How many more certificates each end sent; absent where that is none.
    #[serde(skip_serializing_if = "is_none_cut")]
    #[schemars(default)]
    pub certificates_cut: Sides<u64>,
    /// What was opened with logged secrets; absent where none of the session is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decryption: Option<TlsDecryption>,
    /// JA3 of the ClientHello.
    pub ja3: Option<String>,
    /// JA3S of the ServerHello.
    pub ja3s: Option<String>,
    /// JA4 of the ClientHello.
    pub ja4: Option<String>,
    /// JA4S of the ServerHello.
    pub ja4s: Option<String>,
}

fn is_none_cut(certificates: &Sides<u64>) -> bool {
    (certificates.client, certificates.server) == (0, 0)
}

/// What secrets of a key log opened. What was inside is told like what is in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsDecryption {
    /// Records that were opened, by sender.
    pub opened: Sides<u64>,
    /// Records that were counted and not opened, as nothing was wanted of what they hold: bodies under TLS 1.2.
    pub passed: Sides<u64>,
    /// Sealed records that no secret opened.
    pub unopened: Sides<u64>,
    /// KeyUpdates that were seen (RFC 8446, section 4.6.3).
    pub key_updates: Sides<u64>,
    /// Why no more records of an end are tried; `null` while they are.
    pub stopped: Sides<Option<DecryptionStop>>,
}

/// Why records are not opened any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecryptionStop {
    /// Records are missing from the capture, and the number of the next one was not found.
    Gap,
    /// The secrets open none of the records.
    Key,
    /// The cipher suite is none that can be opened.
    Cipher,
}

/// What a client asked first, and the server's answer, as far as encryption lets that be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsData {
    /// Time of the request's first octet.
    pub request: Timestamp,
    /// Time of the request's last octet.
    pub request_end: Timestamp,
    /// Time of the answer's first octet.
    pub response: Option<Timestamp>,
    /// Time of the answer's last octet.
    pub response_end: Option<Timestamp>,
}

/// A part of a handshake that one end sent in one go (RFC 6347, section 4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsFlight {
    /// Who.
    pub from: Side,
    /// Time of its first octet; of QUIC and DTLS, of its first packet that is read.
    pub start: Timestamp,
    /// Time of its last.
    pub end: Timestamp,
}

/// What a ClientHello offers. Values that stand for nothing (GREASE, RFC 8701) are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsOffer {
    /// Versions.
    pub versions: Vec<String>,
    /// Cipher suites.
    pub ciphers: Vec<String>,
    /// Groups for key exchange.
    pub groups: Vec<String>,
    /// Application protocols.
    pub alpn: Vec<String>,
    /// Early data (0-RTT).
    pub early_data: bool,
    /// A session to resume: an identifier, a ticket, a pre-shared key.
    pub session: bool,
    /// An encrypted ClientHello, or something that looks like one.
    pub ech: bool,
}

/// By what a session was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resumption {
    /// The server's cache (RFC 5246, section 7.3).
    SessionId,
    /// A ticket (RFC 5077).
    Ticket,
    /// A pre-shared key (RFC 8446, section 2.2).
    Psk,
}

/// An alert that was sent in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsAlert {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub from: Side,
    /// Whether it ends the connection.
    pub fatal: bool,
    /// Its description by RFC 8446, section 6.
    pub description: String,
}

/// A certificate (RFC 5280).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Certificate {
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Names and addresses it is for (subjectAltName); up to 32.
    pub names: Vec<String>,
    /// When it begins to be valid, in seconds since 1970.
    pub not_before: i64,
    /// When it ceases to be valid, likewise.
    pub not_after: i64,
    /// Kind and size of its key: `RSA 2048`.
    pub key: String,
    /// Whether it was valid when it was seen.
    pub validity: Validity,
    /// Whether it is for the name that the client asked for; `null` for others than the server's own, and without a name.
    pub matches_name: Option<bool>,
}

/// Whether a certificate was valid when it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// It was.
    #[default]
    Valid,
    /// It had ceased to be.
    Expired,
    /// It had not begun to be.
    NotYetValid,
}
