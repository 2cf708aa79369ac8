//! A server that has to think.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{answer, ask, close, read_answer};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "slow-server",
    about: "The server takes more than a second to begin its answer; the network is quick.",
    play,
    thresholds: &[],
    findings: &["slow-server"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("http.responses", "1"),
            ("http.first_byte_ns.max_ns", ">= 1200000000"),
            ("analysis.retransmission.server", "0"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const THOUGHT: Duration = Duration::from_millis(1_200);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    ask(&mut here, "/report")?;
    thread::sleep(THOUGHT);
    answer(&mut there, 600)?;
    read_answer(&mut here)?;
    close(here, there)
}
