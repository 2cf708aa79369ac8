//! Connections that one end aborts in the middle.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{abort, ask, http, read_head, read_to_reset};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "reset",
    about: "Two exchanges begin; the first one's server aborts instead of answering, the second one's client aborts \
            after its answer.",
    play,
    thresholds: &[],
    findings: &["abortive-close", "reset-mid-stream"],
    seen: &[
        Seen {
            server_port: 80,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "RSTR"),
                ("history", "ShADar | ShADr"),
                ("bytes.client", "75"),
                ("bytes.server", "0"),
                ("close.first", "server"),
                ("tcp_state.client", "CLOSED"),
                ("tcp_state.server", "CLOSED"),
            ]),
        },
        Seen {
            server_port: 8080,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "RSTO"),
                ("history", "ShADadR"),
                ("bytes.client", "75"),
                ("close.first", "client"),
            ]),
        },
    ],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;

    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    ask(&mut here, "/")?;
    read_head(&mut there)?;
    abort(there)?;
    read_to_reset(here)?;

    let listener = server.listen(server.at(8080)?)?;
    let mut here = client.connect(server.at(8080)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    abort(here)?;
    read_to_reset(there)
}
