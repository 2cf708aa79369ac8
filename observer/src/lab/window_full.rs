//! A window too small for the way.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{bulk, close};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "window-full",
    about: "The server reads at once, but its buffer is small and the way is long: the client fills the window and \
            waits, again and again.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "40000"),
            ("analysis.window_full.client", ">= 3"),
            ("flow.server.window.max", "<= 65535"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(20)))?;
    let listener = server.listen_with(server.at(5001)?, |socket| socket.set_recv_buffer_size(6000))?;
    let here = client.connect(server.at(5001)?)?;
    let there = listener.accept()?;
    bulk(&here, &there, 40_000)?;
    close(here, there)
}
