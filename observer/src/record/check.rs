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
    /// Whether eBPF works, with every hook: the exit status of `observer check` is 0.
    pub full: bool,
    /// Everything that was tried.
    pub features: Vec<FeatureRecord>,
    /// The capabilities that observer can use (capabilities(7)).
    pub capabilities: Vec<CapabilityRecord>,
    /// The command that lets the program run without root.
    pub setcap: String,
    /// The lines of a systemd unit's `[Service]` section that do the same.
    pub unit: Vec<String>,
}

/// One thing that was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FeatureRecord {
    /// What it is: `hook state`, `libpcap`.
    pub name: String,
    /// Whether it works.
    pub works: bool,
    /// What it gives, and what will be missed without.
    pub gives: &'static str,
    /// What was found, or why it does not work; `null` where there is no more to say.
    pub detail: Option<String>,
    /// What it takes to make it work; `null` where it does.
    pub needs: Option<String>,
}

/// One capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CapabilityRecord {
    /// As capabilities(7) names it.
    pub name: &'static str,
    /// Whether this process has it (its effective set).
    pub held: bool,
    /// What it is used for.
    pub used_for: &'static str,
}
