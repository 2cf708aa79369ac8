//! A firewall that drops: the caller waits.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::network::Network;
use super::network::fault::Fault;
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "unanswered-syn",
    about: "A firewall on the way drops every SYN; the client tries three times and gives up.",
    play,
    thresholds: &[],
    findings: &["unanswered-syn"],
    seen: &[Seen {
        server_port: 443,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "S0"),
            ("history", "S"),
            ("packets.client", "3"),
            ("packets.server", "0"),
            ("tcp_state.client", "SYN-SENT"),
            ("handshake.syn_retransmissions", "2"),
            ("analysis.retransmission.client", "2"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let firewall = Fault::loses("a firewall drops whatever the client sends", |passing| passing.from == End::Near);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)).with_fault(firewall))?;
    client.sysctl("net.ipv4.tcp_syn_retries", "2")?;
    // Kernels from 6.5 on send the first retries a second apart; with this they double the time from the first on.
    client.sysctl("net.ipv4.tcp_syn_linear_timeouts", "0")?;
    ensure!(client.connect(server.at(443)?).is_err(), "a SYN came through");
    Ok(())
}
