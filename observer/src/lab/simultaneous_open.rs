//! Two SYNs cross on the way (RFC 9293, section 3.5).

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::network::Network;
use super::network::sighting::Sighting;
use super::network::traffic::{bulk, close};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "simultaneous-open",
    about: "Both hosts connect to each other at once, each from the port that the other connects to.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 5002,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("roles_from", "simultaneous_open"),
            ("handshake.simultaneous_open", "true"),
            ("bytes.client", "1000"),
            ("bytes.server", "1000"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let syn = Sighting::new();
    let wire = Wire::new(Duration::from_millis(100))
        .watched(&syn, |passing| passing.tcp.is_some_and(|tcp| tcp.flags.is_bare_syn()));
    let [client, server] = network.pair(wire)?;
    let [client_at, server_at] = [client.at(5001)?, server.at(5002)?];
    let (here, there) = thread::scope(|scope| {
        let here = scope.spawn(|| client.connect_with(server_at, |socket| socket.bind(&client_at.into())));
        // The client's SYN has left, and will be on its way for a while.
        syn.wait_for(1)?;
        let there = server.connect_with(client_at, |socket| socket.bind(&server_at.into()))?;
        let here = here.join().map_err(|_| anyhow!("the client panicked"))??;
        anyhow::Ok((here, there))
    })?;
    bulk(&here, &there, 1000)?;
    bulk(&there, &here, 1000)?;
    close(here, there)
}
