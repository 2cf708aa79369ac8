//! Lookups of names.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Endpoint, Sides, Transport};
use crate::time::{Nanos, Timestamp};

/// One question to a DNS server (RFC 1035), and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LookupRecord {
    /// The number of its first frame, counted over all input.
    pub id: u64,
    /// Who asked.
    pub client: Endpoint,
    /// Who was asked; where everyone was, by multicast, who answered.
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
    /// How often the query was sent, from this port to this server with this identifier.
    pub queries: u64,
    /// Answers that contradict themselves (names that refer to themselves, say), which were left aside; absent where there
    /// were none.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(default)]
    pub malformed: u64,
    /// The answer was too long for a datagram, to be asked for over TCP.
    pub truncated: bool,
    /// What it asks again for; absent where it was the first to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub repeats: Option<Box<Repeats>>,
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

/// A client that waits in vain, or is given an answer that was cut, asks again: another server, from another port, with
/// another identifier. Each of these is a lookup of its own, and this what makes them one. A question counts as repeated
/// when the same client's address asks for the same name and type within ten seconds of the last time, having no answer yet,
/// or one that was too long for a datagram, so that it is asked for over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Repeats {
    /// The number of the lookup before this one.
    pub after: u64,
    /// Time of the first query of all.
    pub since: Timestamp,
    /// Who was asked first.
    pub server: IpAddr,
    /// How often was asked in all, until this lookup was answered.
    pub queries: u64,
    /// From the first query of all to this lookup's answer, in nanoseconds: how long the client has waited. `null` where no
    /// answer was seen.
    pub waited_ns: Option<Nanos>,
}

impl Lookup {
    /// Time of the first query of all that were sent for it.
    pub fn since(&self) -> Timestamp {
        self.repeats.as_ref().map_or(self.at, |repeats| repeats.since)
    }

    /// How long the client has waited for the answer, from the first query of all.
    pub fn waited(&self) -> Option<Nanos> {
        self.repeats.as_ref().map_or(self.latency_ns, |repeats| repeats.waited_ns)
    }

    /// How often was asked in all.
    pub fn asked(&self) -> u64 {
        self.repeats.as_ref().map_or(self.queries, |repeats| repeats.queries)
    }

    /// Ends what was asked again with its answer, for which was asked so often in all where that is known.
    pub(crate) fn settle(&mut self, queries: Option<u64>) {
        let answered = self.latency_ns.map(|latency| self.at.plus(latency));
        if let Some(repeats) = &mut self.repeats {
            repeats.queries = queries.map_or(repeats.queries, |queries| queries.max(repeats.queries));
            repeats.waited_ns = answered.map(|answered| answered.since(repeats.since));
        }
    }

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

/// Names are looked up over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LookupsRecord {
    /// What the lookups are inside of. Those over TCP, and those inside of TLS that was opened, are records of their own.
    pub over: LookupsOver,
    /// Over TCP: the capture lacks octets of this end, and what lookups were behind them is not known.
    pub gap: Sides<bool>,
}

impl LookupsRecord {
    /// Lookups inside of this.
    pub const fn over(over: LookupsOver) -> Self {
        Self { over, gap: Sides { client: false, server: false } }
    }
}

/// What lookups are inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LookupsOver {
    /// TCP (RFC 7766), in the clear.
    Tcp,
    /// TLS (RFC 7858): it is spoken on port 853, or the ALPN `dot` was chosen, or offered where the choice is not seen.
    Tls,
    /// HTTP (RFC 8484), in the clear or opened: a request or a response is an `application/dns-message`. Inside of what is
    /// sealed nothing tells it from other HTTP.
    Https,
    /// QUIC (RFC 9250): to port 853, or the ALPN `doq` was offered.
    Quic,
}

impl LookupsOver {
    /// As people say it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Tcp => "DNS over TCP",
            Self::Tls => "DNS over TLS",
            Self::Https => "DNS over HTTPS",
            Self::Quic => "DNS over QUIC",
        }
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
