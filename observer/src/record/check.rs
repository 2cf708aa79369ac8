//! What a host allows.

use schemars::JsonSchema;
use serde::Serialize;

/// What this host allows to whom observer runs as, and what would be needed for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckRecord {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// What `observer watch` would use here: `ebpf`, `pcap` or `sock_diag`; `null` where nothing is allowed.
    pub source: Option<&'static str>,
    /// Everything that was tried.
    pub features: Vec<FeatureRecord>,
    /// The capabilities that it has (capabilities(7)), of those that observer can use.
    pub capabilities: Vec<String>,
    /// The command that lets the program run without root.
    pub setcap: String,
    /// The lines of a systemd unit's `[Service]` section that do the same.
    pub unit: Vec<String>,
}

/// One thing that was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FeatureRecord {
    /// What it is: `hook state`, `packet capture`.
    pub name: String,
    /// Whether it works.
    pub works: bool,
    /// What was found, or why it does not work.
    pub detail: Option<String>,
    /// What it takes to make it work; `null` where it does.
    pub needs: Option<String>,
}
