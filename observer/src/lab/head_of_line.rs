//! A request that waits for another one's response.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{answer, ask, close, read_answer};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "head-of-line",
    about: "The client sends two requests on one connection without waiting. The first response takes 400 ms; the second \
            would be there at once, but has to wait its turn.",
    play,
    thresholds: &[],
    findings: &["head-of-line"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[("conn_state", "SF"), ("http.requests", "2"), ("http.responses", "2")]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const THOUGHT: Duration = Duration::from_millis(400);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    ask(&mut here, "/slow")?;
    ask(&mut here, "/fast")?;
    thread::sleep(THOUGHT);
    for _ in 0..2 {
        answer(&mut there, 600)?;
        read_answer(&mut here)?;
    }
    close(here, there)
}
