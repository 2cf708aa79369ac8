//! Short connections, one after the other, over few ports.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "time-wait",
    about: "A client makes twelve short connections over three ports of its own. The server closes each first and is \
            left in TIME-WAIT, from which the next SYN on the same ports takes it out.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 80,
        connections: 12,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("close.first", "server"),
            ("close.time_wait", "server"),
            ("tcp_state.server", "TIME-WAIT"),
            ("tcp_state.client", "CLOSED"),
            ("bytes.client", "75"),
            ("bytes.server", "266"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const PORTS: std::ops::Range<u16> = 40_000..40_003;
    const ROUNDS: usize = 4;
    let [client, server] = network.pair(Wire::new(Duration::from_millis(2)))?;
    let listener = server.listen(server.at(80)?)?;
    for _ in 0..ROUNDS {
        for port in PORTS {
            let from: SocketAddr = client.at(port)?;
            let mut here = client.connect_with(server.at(80)?, |socket| {
                socket.set_reuse_address(true)?;
                socket.bind(&from.into())
            })?;
            let mut there = listener.accept()?;
            http(&mut here, &mut there, "/", 200)?;
            close(there, here)?;
        }
    }
    Ok(())
}
