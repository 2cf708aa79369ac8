//! Nobody listens.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::network::Network;
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "refused",
    about: "A client connects to a port at which nobody listens; the server's kernel answers with a reset.",
    play,
    thresholds: &[],
    findings: &["refused"],
    seen: &[Seen {
        server_port: 81,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "REJ"),
            ("history", "Sr"),
            ("packets.client", "1"),
            ("packets.server", "1"),
            ("handshake.syn_ack", "null"),
            ("handshake.ack", "null"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    ensure!(client.connect(server.at(81)?).is_err(), "somebody listens");
    Ok(())
}
