//! A client uses a connection that the server has closed meanwhile.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use observer::packet::Flags;

use super::network::Network;
use super::network::sighting::Sighting;
use super::network::traffic::{ask, http};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "stale-connection",
    about: "After an exchange the server closes; the client, which did not look, sends its next request on the same \
            connection and is answered with a reset.",
    play,
    thresholds: &[],
    findings: &["stale-pooled-connection"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "RSTR"),
            ("close.first", "server"),
            ("http.requests", "2"),
            ("http.responses", "1"),
            ("bytes.client", "150"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let acknowledged = Sighting::new();
    let mut closed = false;
    let wire = Wire::new(Duration::from_millis(5)).watched(&acknowledged, move |passing| {
        let Some(tcp) = passing.tcp else { return false };
        let answers = closed && passing.from == End::Near;
        closed |= passing.from == End::Far && tcp.flags.contains(Flags::FIN);
        answers
    });
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    drop(there);
    acknowledged.wait_for(1)?;
    ask(&mut here, "/")?;
    wait_for_reset(&here)
}

/// Waits for the reset: it takes a round trip, and the socket is told of it by an error.
fn wait_for_reset(stream: &TcpStream) -> Result<()> {
    const DEADLINE: Duration = Duration::from_secs(10);
    let start = Instant::now();
    while stream.take_error()?.is_none() {
        ensure!(start.elapsed() < DEADLINE, "no reset came");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
