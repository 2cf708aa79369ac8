//! Labs: small networks in which one thing can be seen, built by this program itself.
//!
//! A scenario is one file here and one line in [`SCENARIOS`]. It says what it builds, what happens in it and what must
//! be seen. It needs no program but `ip`: its servers and clients are plain sockets, moved from host to host by one
//! script. `cargo xtask captures` makes `captures/` with it, the end-to-end tests play it anew.

mod accept_queue;
mod bulk;
pub mod calm;
mod certificate;
mod close_wait;
mod connection_churn;
mod delayed_ack;
mod dropped_syn;
mod duplicates;
mod fast_retransmission;
mod half_close;
mod half_open;
mod handshake;
mod head_of_line;
mod http;
mod https;
mod icmp_unreachable;
mod idle_reset;
mod incast;
mod ipv6;
mod keep_alive;
mod keep_alive_timeout;
mod middlebox;
mod mtu_black_hole;
mod names;
pub mod network;
mod no_resumption;
mod outdated_tls;
mod path_mtu;
mod port_scan;
mod quic;
mod refused;
mod reordering;
mod reset;
mod retransmission;
mod simultaneous_open;
mod slow_client;
mod slow_server;
mod spurious;
mod stale_connection;
pub mod storm;
mod stripped_options;
mod stuck_closing;
mod syn_flood;
mod syn_retransmitted;
mod tail_loss;
mod time_wait;
mod unanswered_syn;
mod vlan;
mod vxlan;
mod window_full;
mod zero_window;

use anyhow::Result;
use network::{Description, Network};
use serde::Serialize;

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    handshake::SCENARIO,
    http::SCENARIO,
    https::SCENARIO,
    https::TLS12,
    https::KEYS,
    quic::SCENARIO,
    quic::REFUSED,
    refused::SCENARIO,
    unanswered_syn::SCENARIO,
    syn_retransmitted::SCENARIO,
    simultaneous_open::SCENARIO,
    retransmission::SCENARIO,
    fast_retransmission::SCENARIO,
    tail_loss::SCENARIO,
    reordering::SCENARIO,
    zero_window::SCENARIO,
    window_full::SCENARIO,
    keep_alive::SCENARIO,
    half_close::SCENARIO,
    reset::SCENARIO,
    time_wait::SCENARIO,
    icmp_unreachable::SCENARIO,
    path_mtu::SCENARIO,
    mtu_black_hole::SCENARIO,
    ipv6::SCENARIO,
    vlan::SCENARIO,
    vxlan::SCENARIO,
    duplicates::SCENARIO,
    half_open::SCENARIO,
    port_scan::SCENARIO,
    stale_connection::SCENARIO,
    delayed_ack::SCENARIO,
    slow_server::SCENARIO,
    connection_churn::SCENARIO,
    certificate::EXPIRED,
    certificate::NOT_YET_VALID,
    certificate::OTHER_NAME,
    outdated_tls::SCENARIO,
    no_resumption::SCENARIO,
    syn_flood::SCENARIO,
    accept_queue::SCENARIO,
    idle_reset::SCENARIO,
    middlebox::SCENARIO,
    stripped_options::SCENARIO,
    spurious::SCENARIO,
    bulk::WINDOW,
    bulk::SENDER,
    bulk::BUFFER,
    incast::SCENARIO,
    slow_client::SCENARIO,
    head_of_line::SCENARIO,
    names::FAILURE,
    names::SLOW,
    close_wait::SCENARIO,
    stuck_closing::SCENARIO,
    keep_alive_timeout::SCENARIO,
    dropped_syn::ECN,
    dropped_syn::FAST_OPEN,
];

/// A network in which one thing can be seen.
#[derive(Debug)]
pub struct Scenario {
    /// What it is called: `zero-window`.
    pub name: &'static str,
    /// What happens in it, in a sentence or two.
    pub about: &'static str,
    /// Builds the network and plays what happens in it.
    pub play: fn(&mut Network) -> Result<()>,
    /// The connections that must be found in its capture, and no others.
    pub seen: &'static [Seen],
    /// Thresholds other than those that hold by default, as `--threshold` takes them: nobody waits for minutes here.
    pub thresholds: &'static [&'static str],
    /// The findings that `observer doctor` must have in its capture, and no others, by name in the order of the alphabet.
    pub findings: &'static [&'static str],
}

/// Connections that must be found in a capture.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Seen {
    /// The server's port.
    pub server_port: u16,
    /// How many there are.
    pub connections: usize,
    /// What holds for each of them.
    pub must: Conditions,
}

/// Paths into the JSON object of a connection, each with what must stand there: a value as JSON has it without quotes,
/// or `>= N`, `<= N` for numbers, `has TEXT` for text that contains it, `A | B` where several will do.
#[derive(Clone, Copy, Debug)]
pub struct Conditions(pub &'static [(&'static str, &'static str)]);

impl Serialize for Conditions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// What a run of a scenario gave.
#[derive(Debug)]
pub struct Made {
    /// A pcapng file.
    pub capture: Vec<u8>,
    /// How it was made and what must be found in it: TOML.
    pub description: String,
}

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    about: &'a str,
    command: String,
    kernel: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    thresholds: &'a [&'static str],
    findings: &'a [&'static str],
    #[serde(flatten)]
    network: Description,
    connection: &'a [Seen],
}

impl Scenario {
    /// The scenario of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Plays it once.
    pub fn run(&self) -> Result<Made> {
        network::acquire_rights()?;
        let mut network = Network::new(&format!("observer lab {}: {}", self.name, self.about))?;
        (self.play)(&mut network)?;
        let (capture, network) = network.finish()?;
        let page = Page {
            name: self.name,
            about: self.about,
            command: format!("observer lab run {0} --write {0}.pcapng", self.name),
            kernel: network::kernel(),
            thresholds: self.thresholds,
            findings: self.findings,
            network,
            connection: self.seen,
        };
        Ok(Made { capture, description: toml::to_string(&page)? })
    }
}
