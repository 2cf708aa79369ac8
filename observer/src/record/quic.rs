//! What QUIC (RFC 9000, RFC 9369) shows of itself: the headers of its packets, and the Initial packets, whose keys anyone
//! can derive.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Endpoint, RttStats, Side, Sides};
use crate::time::{Nanos, Timestamp};

/// QUIC, as far as it goes by in the clear. TLS inside it stands in `tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuicRecord {
    /// The version that was spoken in the end: `v1`, `v2`. From the server's long headers, else from the client's.
    pub version: Option<String>,
    /// The version of the client's first packet.
    pub first_version: Option<String>,
    /// The versions that the client can speak besides (version_information, RFC 9368); `null` where it does not say.
    pub versions_offered: Option<Vec<String>>,
    /// The versions that the server speaks, in answer to one that it does not (Version Negotiation); `null` where there was
    /// no such answer.
    pub version_negotiation: Option<Vec<String>>,
    /// The connection ID that the client sent its first Initial packet to, in hexadecimal digits.
    pub original_dcid: Option<String>,
    /// The connection ID that each end chose for itself: of its first Initial or Handshake packet. Empty where it chose
    /// none, `null` where no such packet was seen.
    pub scid: Sides<Option<String>>,
    /// The server's Retry, by which it makes sure of the client's address; `null` where there was none.
    pub retry: Option<QuicRetry>,
    /// Octets of token in the client's first Initial packet: 0 where it had none of a former connection.
    pub token_octets: Option<u64>,
    /// Packets by kind. A datagram may hold several.
    pub packets: Sides<QuicPackets>,
    /// Time of each end's first Initial packet.
    pub initial: Sides<Option<Timestamp>>,
    /// Time of each end's first Handshake packet.
    pub handshake: Sides<Option<Timestamp>>,
    /// Time of each end's first packet with a short header (1-RTT).
    pub one_rtt: Sides<Option<Timestamp>>,
    /// From the client's first Initial packet to its first with a short header, in nanoseconds: what the client waited
    /// before it could send, 0-RTT aside.
    pub handshake_ns: Option<Nanos>,
    /// The round trip over the whole path: the two below added up, in nanoseconds.
    pub rtt_ns: Option<Nanos>,
    /// From the last Initial packet of the client to the server's first answer, in nanoseconds: the round trip between the
    /// capture point and the server.
    pub server_rtt_ns: Option<Nanos>,
    /// From the server's first Initial packet to the client's next Initial or Handshake packet, in nanoseconds: the round
    /// trip between the capture point and the client.
    pub client_rtt_ns: Option<Nanos>,
    /// Round trips before the client could send its request: one; none where it sent 0-RTT packets; one more for each of
    /// Version Negotiation, Retry and HelloRetryRequest. `null` where no Initial packet of the server was seen.
    pub round_trips: Option<u8>,
    /// The round trip by the spin bit (RFC 9000, section 17.4); `null` where the ends do not let it spin.
    pub spin: Option<QuicSpin>,
    /// The client's transport parameters (RFC 9000, section 18.2), in the order they were sent; up to 64. The server's are
    /// encrypted.
    pub transport_parameters: Vec<TransportParameter>,
    /// CONNECTION_CLOSE in an Initial packet; later ones are encrypted.
    pub close: Option<QuicClose>,
    /// Where the connection moved to: packets for one of its connection IDs that came from or went to other ends, the first
    /// time; up to 8.
    pub moves: Vec<QuicMove>,
    /// Initial packets that could not be decrypted: cut by the capture, or sent to a connection ID that was not seen.
    pub undecrypted: u64,
}

/// A Retry packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuicRetry {
    /// When.
    pub at: Timestamp,
    /// The connection ID that the client is to send to from then on.
    pub scid: String,
    /// Octets of the token that the client is to bring back; `null` where the capture ends before it does.
    pub token_octets: Option<u64>,
    /// Whether its integrity tag is right: else the client throws it away. `null` where that could not be tested.
    pub genuine: Option<bool>,
}

/// Packets of one end, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuicPackets {
    /// Initial.
    pub initial: u64,
    /// 0-RTT.
    pub zero_rtt: u64,
    /// Handshake.
    pub handshake: u64,
    /// With a short header: 1-RTT.
    pub one_rtt: u64,
}

/// Round trips by the spin bit, between one wave of it and the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuicSpin {
    /// Over the whole path.
    pub rtt: RttStats,
    /// Between the capture point and the server: from a change of the bit in what the client sends to the same change in
    /// what the server sends.
    pub to_server: Option<RttStats>,
    /// Between the capture point and the client, likewise.
    pub to_client: Option<RttStats>,
}

/// A transport parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TransportParameter {
    /// Its name as IANA lists it; its number where it has none.
    pub name: String,
    /// Its value, of those that are an integer, in the parameter's own unit.
    pub value: Option<u64>,
    /// The first 64 octets of any other value, in hexadecimal digits; `null` where it is empty.
    pub octets: Option<String>,
}

/// A connection that was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuicClose {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub from: Side,
    /// The error code (RFC 9000, section 20).
    pub code: u64,
    /// The code's name; for a TLS alert (CRYPTO_ERROR) the alert's.
    pub name: String,
    /// The kind of frame that the error was in; `null` where none is named.
    pub frame_type: Option<u64>,
    /// What the end says of it, up to 256 characters.
    pub reason: String,
}

/// Ends that a connection moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuicMove {
    /// When that was seen first.
    pub at: Timestamp,
    /// Its frame number, counted over all input.
    pub frame: u64,
    /// The client's end from then on.
    pub client: Endpoint,
    /// The server's end from then on.
    pub server: Endpoint,
}
