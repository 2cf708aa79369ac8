//! The shortest whole life of a connection: three segments to open it, three or four to close it.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::close;
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "handshake",
    about: "A client connects, sends nothing and closes; the server closes after it.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 7,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("history", "ShAFf | ShAFaf"),
            ("tcp_state.client", "TIME-WAIT"),
            ("tcp_state.server", "CLOSED"),
            ("bytes.client", "0"),
            ("bytes.server", "0"),
            ("handshake.rtt_ns", ">= 10000000"),
            ("handshake.agreed.mss", "1460"),
            ("close.first", "client"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(7)?)?;
    let here = client.connect(server.at(7)?)?;
    close(here, listener.accept()?)
}
