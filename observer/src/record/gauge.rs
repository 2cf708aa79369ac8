//! Readings of gauges: how full the host is, and for how long it will last.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::{Endpoint, TcpState};
use crate::time::{Nanos, Timestamp};

/// One reading of one gauge.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GaugeRecord {
    /// When it was read.
    pub at: Timestamp,
    /// What is measured: `close_wait`, `ephemeral_ports`.
    pub name: &'static str,
    /// Inode of the network namespace; `null` for what the whole host has once.
    pub netns: Option<u32>,
    /// What it is measured of; empty for the namespace or the host as a whole.
    pub subject: Subject,
    /// The value, in `unit`.
    pub value: Value,
    /// The most it can be; `null` where there is no limit, or it could not be read.
    pub limit: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// How much it grows by in a second, over up to a minute; below zero where it shrinks, `null` before a second reading.
    pub rate: Option<Value>,
    /// How long until it reaches the limit at that rate, in nanoseconds; of `close_wait`, until its process has no file
    /// descriptor left. `null` where it does not grow or has no limit.
    pub time_left_ns: Option<Nanos>,
    /// For how long sockets have been in their state; absent where that is no question.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub ages: Option<Ages>,
    /// The value's parts, where the kernel counts on each processor by itself, in their order (as `conntrack -S` has them);
    /// absent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub by_processor: Option<Vec<u64>>,
    /// Where it was read: a file, or a message of netlink.
    pub source: &'static str,
}

/// What a gauge is measured of: those of its fields that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Subject {
    /// Sockets in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub state: Option<TcpState>,
    /// A process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub process: Option<GaugeProcess>,
    /// A listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub listener: Option<Endpoint>,
    /// The own address of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub source: Option<IpAddr>,
    /// The other end of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub destination: Option<Endpoint>,
    /// Entries of connection tracking of this protocol in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub tracked: Option<TrackedState>,
    /// A rule of the firewall.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub rule: Option<Box<FirewallRule>>,
}

/// A rule of nf_tables that stops packets, as nft(8) names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct FirewallRule {
    /// The address family of its table: `inet`, `ip`, `ip6`, `bridge`, `netdev`, `arp`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number in the table: what `nft delete rule` takes.
    pub handle: u64,
    /// What it does.
    pub verdict: FirewallVerdict,
}

/// What a rule does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirewallVerdict {
    /// They are dropped without a word.
    Drop,
    /// The sender is told, by ICMP or with a RST.
    Reject,
}

impl fmt::Display for FirewallRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, handle, verdict } = self;
        let verdict = match verdict {
            FirewallVerdict::Drop => "drop",
            FirewallVerdict::Reject => "reject",
        };
        write!(f, "{family} {table} {chain} handle {handle} ({verdict})")
    }
}

/// A state of connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct TrackedState {
    /// The protocol, as conntrack(8) calls it: `tcp`, `udp`, `icmp`.
    pub protocol: &'static str,
    /// Of TCP the state of connection tracking (`ESTABLISHED`, `TIME_WAIT`); of others `REPLIED` or `UNREPLIED`.
    pub state: &'static str,
}

/// A process that a gauge is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct GaugeProcess {
    /// Its process identifier.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
}

/// For how long sockets have been in their state: how many for longer than so many seconds. What was there before observer
/// counts from the last segment that came, or from when observer first saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ages {
    /// Longer than 1 s.
    pub over_1s: u64,
    /// Longer than 10 s.
    pub over_10s: u64,
    /// Longer than a minute.
    pub over_1min: u64,
    /// Longer than ten minutes.
    pub over_10min: u64,
    /// The longest, in nanoseconds.
    pub oldest_ns: Nanos,
}

/// What a gauge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Sockets.
    Sockets,
    /// File descriptors.
    Descriptors,
    /// Ports.
    Ports,
    /// Connections.
    Connections,
    /// Connections a second.
    ConnectionsPerSecond,
    /// Entries of a table.
    Entries,
    /// Entries of a table that are made in a second.
    EntriesPerSecond,
    /// Times that something happened, since the namespace was made.
    Events,
    /// Segments, since the namespace was made.
    Segments,
    /// Packets, since what counts them was made.
    Packets,
    /// A share, in percent.
    Percent,
    /// Pages of memory.
    Pages,
    /// The value of a setting.
    Setting,
}

impl Unit {
    /// As it is written behind a number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Connections => "connections",
            Self::ConnectionsPerSecond => "connections/s",
            Self::Entries => "entries",
            Self::EntriesPerSecond => "entries/s",
            Self::Events => "times",
            Self::Segments => "segments",
            Self::Packets => "packets",
            Self::Percent => "%",
            Self::Pages => "pages",
            Self::Setting => "",
        }
    }
}

/// A number that is whole more often than not, and is written so then.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Value(pub f64);

impl From<u64> for Value {
    fn from(whole: u64) -> Self {
        Self(whole as f64)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as i64;
        if whole as f64 == self.0 { serializer.serialize_i64(whole) } else { serializer.serialize_f64(self.0) }
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "number" })
    }
}

impl Ages {
    /// Counts one that has been in its state for so long.
    pub fn add(&mut self, age: Nanos) {
        let longer = |secs| u64::from(age > Nanos::from_secs(secs));
        self.over_1s += longer(1);
        self.over_10s += longer(10);
        self.over_1min += longer(60);
        self.over_10min += longer(600);
        self.oldest_ns = self.oldest_ns.max(age);
    }
}

impl GaugeRecord {
    /// The value as a share of the limit; `None` where there is none.
    pub fn fill(&self) -> Option<f64> {
        self.limit.filter(|limit| *limit > 0).map(|limit| self.value.0 / limit as f64)
    }
}
