//! Whom a connection waited for, and how often it went back and forth.

use schemars::JsonSchema;
use serde::Serialize;

use super::CapturePoint;
use crate::time::Nanos;

/// Whom the connection waited for, from its SYN (else its first message) to the end of the last response that is known:
/// of messages that are encrypted the first request and its response are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Split {
    /// All of it, in nanoseconds: the sum of the following three.
    pub total_ns: Nanos,
    /// The network: the TCP handshake, a round trip for each turn of the conversation, and the time in which the octets of
    /// messages went by.
    pub network_ns: Nanos,
    /// The client: from what it received to what it sent next, less the round trip to it.
    pub client_ns: Nanos,
    /// The server: from what it received to what it sent next, less the round trip to it.
    pub server_ns: Nanos,
    /// The shortest round trip between the capture point and the client, which was taken off each of the client's turns.
    pub to_client_ns: Nanos,
    /// The shortest round trip between the capture point and the server, which was taken off each of the server's turns.
    pub to_server_ns: Nanos,
    /// Where the capture was taken, as `rtt` has it: near one end, that end's times are measured and the other's follow
    /// from them.
    pub capture_point: Option<CapturePoint>,
}

/// Round trips before the first octet of the first response, and what they would be otherwise. What a proxy does after
/// CONNECT is not known, so that there are none of these with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RoundTripCount {
    /// The TCP handshake's: 1, 0 where the SYN held data that was taken (RFC 7413), and over QUIC.
    pub connect: u8,
    /// Those of what is said in the clear before TLS or the first request: a server's greeting, the dialogue that leads to
    /// STARTTLS, SOCKS.
    pub prelude: u8,
    /// The TLS handshake's, or QUIC's, before the client could send its request; 0 without TLS.
    pub tls: u8,
    /// The request's own: 1.
    pub request: u8,
    /// All of them.
    pub total: u8,
    /// What `total` would be.
    pub with: Alternatives,
}

/// Round trips before the first octet of the first response if the connection had been made in another way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Alternatives {
    /// On a connection that was open already.
    pub reuse: u8,
    /// With a full handshake of TLS 1.3 over the same transport; `null`, as the next two, where nothing is encrypted.
    pub tls_1_3: Option<u8>,
    /// With a session resumed, without early data.
    pub resumption: Option<u8>,
    /// With early data (0-RTT) of TLS 1.3.
    pub early_data: Option<u8>,
    /// Over QUIC, whose handshake is that of the connection and of TLS 1.3 at once.
    pub quic: u8,
    /// Over QUIC with early data.
    pub quic_early_data: u8,
}

impl RoundTripCount {
    /// Of a connection with so many round trips for its TCP handshake, for what is said before TLS or the first request, and
    /// for TLS where that is spoken.
    pub fn new(connect: u8, prelude: u8, tls: Option<u8>) -> Self {
        const REQUEST: u8 = 1;
        const HANDSHAKE: u8 = 1;
        let before = connect.saturating_add(prelude);
        let spent = before.saturating_add(tls.unwrap_or(0)).saturating_add(REQUEST);
        let with_tls = |trips: u8| tls.map(|_| before.saturating_add(trips + REQUEST));
        Self {
            connect,
            prelude,
            tls: tls.unwrap_or(0),
            request: REQUEST,
            total: spent,
            with: Alternatives {
                reuse: REQUEST,
                tls_1_3: with_tls(HANDSHAKE),
                resumption: with_tls(HANDSHAKE),
                early_data: with_tls(0),
                quic: prelude.saturating_add(HANDSHAKE + REQUEST),
                quic_early_data: prelude.saturating_add(REQUEST),
            },
        }
    }
}
