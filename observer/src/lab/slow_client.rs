//! A client that takes its time over a request.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{answer, close, read_answer};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "slow-client",
    about: "The client sends half of a small request, and the other half more than a second later. The server answers at \
            once.",
    play,
    thresholds: &[],
    findings: &["slow-client"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("http.responses", "1"),
            ("analysis.retransmission.client", "0"),
            ("flow.client.max_idle_ns", ">= 1200000000"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(1_200);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    here.write_all(b"GET / HTTP/1.1\r\nHost: ")?;
    thread::sleep(PAUSE);
    here.write_all(b"server.lab\r\n\r\n")?;
    answer(&mut there, 600)?;
    read_answer(&mut here)?;
    close(here, there)
}
