//! HTTP/1.1 in the clear.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "http",
    about: "A client asks for two pages over one connection and closes it.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("history", "ShADadFf"),
            ("bytes.client", "159"),
            ("unique_bytes.client", "159"),
            ("bytes.server", "5233"),
            ("unique_bytes.server", "5233"),
            ("close.first", "client"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    http(&mut here, &mut there, "/style.css", 4500)?;
    close(here, there)
}
