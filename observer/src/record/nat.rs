//! Addresses that are translated on the way.

use schemars::JsonSchema;
use serde::Serialize;

use super::Endpoint;

/// The entry of connection tracking of a connection whose addresses or ports are translated on this host (NAT): both sides
/// of it. From the events and the entries of ctnetlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NatRecord {
    /// Inode of the network namespace that translates.
    pub netns: u32,
    /// As whoever began it sends: from itself to whom it called. From `CTA_TUPLE_ORIG`.
    pub original: NatTuple,
    /// As the answers come: from whom it was led to, to whom that takes it to come from. From `CTA_TUPLE_REPLY`.
    pub reply: NatTuple,
}

/// Two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NatTuple {
    /// Who sends.
    pub source: Endpoint,
    /// Who receives.
    pub destination: Endpoint,
}

impl NatRecord {
    /// Whether the source is another beyond the translation (SNAT, masquerading).
    pub fn translates_source(&self) -> bool {
        self.original.source != self.reply.destination
    }

    /// Whether the destination is another (DNAT, redirection).
    pub fn translates_destination(&self) -> bool {
        self.original.destination != self.reply.source
    }
}
