//! A trunk between two switches (IEEE 802.1Q).

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "vlan",
    about: "A client asks for a page; captured on the trunk between two switches, where its frames are tagged with \
            VLAN 42.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("history", "ShADadFf"),
            ("bytes.server", "2067"),
            ("tunnel.tags.client.vlan", "[42]"),
            ("tunnel.tags.server.vlan", "[42]"),
            ("tunnel.tunnels", "[]"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)).with_vlan(42))?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 2000)?;
    close(here, there)
}
