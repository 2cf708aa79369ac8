//! Lookups of names.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Endpoint, Transport};
use crate::time::{Nanos, Timestamp};

/// One question to a DNS server (RFC 1035), and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LookupRecord {
    /// The number of its first frame, counted over all input.
    pub id: u64,
    /// Who asked.
    pub client: Endpoint,
    /// Who was asked.
    pub server: Endpoint,
    /// Over which transport protocol.
    pub transport: Transport,
    /// Inode of the network namespace that it was seen in; absent in captures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub netns: Option<u32>,
    /// What was asked and answered.
    #[serde(flatten)]
    pub lookup: Lookup,
}

/// What was asked, and what was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lookup {
    /// Time of the first query; of the answer where no query was seen.
    pub at: Timestamp,
    /// Which kind of DNS.
    pub service: DnsService,
    /// The query's identifier.
    pub query_id: u16,
    /// The name that was asked for, without the dot at its end.
    pub name: String,
    /// The type that was asked for: `A`.
    pub kind: String,
    /// The answer's code, by its name: `NOERROR`; `null` where no answer was seen.
    pub code: Option<String>,
    /// From the first query to the answer, in nanoseconds.
    pub latency_ns: Option<Nanos>,
    /// How often the query was sent.
    pub queries: u64,
    /// Answers that contradict themselves (names that refer to themselves, say), which were left aside; absent where there
    /// were none.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(default)]
    pub malformed: u64,
    /// The answer was too long for a datagram, to be asked for over TCP.
    pub truncated: bool,
    /// Of a lookup over TCP: the number of the one over UDP whose answer was too long, so that it was asked again; absent
    /// where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub after: Option<u64>,
    /// The query says what its sender can take (EDNS, RFC 6891).
    pub edns: bool,
    /// The answer's records: addresses, the names that CNAME, PTR, NS, MX and SRV point to, else the type; up to 32.
    pub answers: Vec<String>,
    /// Addresses among them.
    #[serde(skip)]
    #[schemars(skip)]
    pub addresses: Vec<IpAddr>,
    /// How many CNAMEs lead from the name to the address.
    pub cnames: u64,
    /// The smallest time to live among the answers, in seconds.
    pub ttl: Option<u32>,
}

impl Lookup {
    /// The answer's code, or what stands for it where there is none.
    pub fn outcome(&self) -> &str {
        match &self.code {
            Some(code) => code,
            None if self.malformed > 0 => "no answer that makes sense",
            None => "no answer",
        }
    }

    /// Whether a server was asked and gave no address, or said why not. A multicast question that nobody answers is not a
    /// failure: it may be for whom it concerns.
    pub fn has_failed(&self) -> bool {
        self.service == DnsService::Dns && self.code.as_deref() != Some("NOERROR")
    }
}

/// Which kind of DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsService {
    /// RFC 1035.
    #[default]
    Dns,
    /// Multicast DNS (RFC 6762).
    Mdns,
    /// Link-local multicast name resolution (RFC 4795).
    Llmnr,
}
