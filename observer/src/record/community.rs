//! One identifier for the same connection in many tools.

use std::net::IpAddr;

use base64::Engine as _;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use sha1::{Digest as _, Sha1};

use super::Endpoint;

/// Community ID version 1 with seed 0: `1:` and the base64 of a SHA-1. What it is made of, until somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct CommunityId {
    protocol: u8,
    low: Endpoint,
    high: Endpoint,
}

impl CommunityId {
    /// The identifier of a TCP connection between two ends, whichever comes first.
    pub fn tcp(one: Endpoint, other: Endpoint) -> Self {
        const PROTOCOL_TCP: u8 = 6;
        Self::of(PROTOCOL_TCP, one, other)
    }

    /// The same over UDP.
    pub fn udp(one: Endpoint, other: Endpoint) -> Self {
        const PROTOCOL_UDP: u8 = 17;
        Self::of(PROTOCOL_UDP, one, other)
    }

    fn of(protocol: u8, one: Endpoint, other: Endpoint) -> Self {
        Self { protocol, low: one.min(other), high: one.max(other) }
    }

    fn digest(&self) -> [u8; 20] {
        const SEED: [u8; 2] = [0, 0];
        let Self { protocol, low, high } = *self;
        let mut sha = Sha1::new();
        sha.update(SEED);
        for end in [low, high] {
            match end.ip {
                IpAddr::V4(ip) => sha.update(ip.octets()),
                IpAddr::V6(ip) => sha.update(ip.octets()),
            }
        }
        sha.update([protocol, 0]);
        sha.update(low.port.to_be_bytes());
        sha.update(high.port.to_be_bytes());
        sha.finalize().into()
    }
}

impl std::fmt::Display for CommunityId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0; 28];
        let engine = base64::engine::general_purpose::STANDARD;
        let length = engine.encode_slice(self.digest(), &mut text).map_err(|_| std::fmt::Error)?;
        let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).ok_or(std::fmt::Error)?;
        write!(f, "1:{text}")
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn community_id_of_the_specification() {
        let end = |ip: &str, port| Endpoint { ip: ip.parse().expect("an address"), port };
        let (client, server) = (end("128.232.110.120", 34855), end("66.35.250.204", 80));
        assert_eq!(CommunityId::tcp(client, server).to_string(), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(CommunityId::tcp(server, client).to_string(), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    }
}
