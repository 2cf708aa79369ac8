//! A connection for every request.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "connection-churn",
    about: "A client asks for twenty-five small pages, one after the other, and opens a connection for each.",
    play,
    thresholds: &[],
    findings: &["connection-churn"],
    seen: &[Seen {
        server_port: 80,
        connections: REQUESTS,
        must: Conditions(&[("conn_state", "SF"), ("bytes.client", "75"), ("http.requests", "1")]),
    }],
};

const REQUESTS: usize = 25;

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(80)?)?;
    for _ in 0..REQUESTS {
        let mut here = client.connect(server.at(80)?)?;
        let mut there = listener.accept()?;
        http(&mut here, &mut there, "/", 200)?;
        close(here, there)?;
    }
    Ok(())
}
