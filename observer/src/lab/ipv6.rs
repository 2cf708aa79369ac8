//! The same over IPv6.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "ipv6",
    about: "A client asks for a page over IPv6; then it connects to a port at which nobody listens.",
    play,
    thresholds: &[],
    findings: &["refused"],
    seen: &[
        Seen {
            server_port: 80,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "SF"),
                ("history", "ShADadFf"),
                ("client.ip", "fd00::1"),
                ("server.ip", "fd00::2"),
                ("handshake.agreed.mss", "1440"),
                ("bytes.client", "75"),
                ("bytes.server", "2067"),
            ]),
        },
        Seen {
            server_port: 81,
            connections: 1,
            must: Conditions(&[("conn_state", "REJ"), ("history", "Sr"), ("server.ip", "fd00::2")]),
        },
    ],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at_v6(80)?)?;
    let mut here = client.connect(server.at_v6(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 2000)?;
    close(here, there)?;
    anyhow::ensure!(client.connect(server.at_v6(81)?).is_err(), "somebody listens");
    Ok(())
}
