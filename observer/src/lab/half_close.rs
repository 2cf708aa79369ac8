//! One direction closes, the other goes on.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::network::Network;
use super::network::sighting::Sighting;
use super::network::traffic::text;
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "half-close",
    about: "The client sends a question and closes its direction; the server answers in three parts and closes.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("history", "ShADFadf | ShADFdaf"),
            ("bytes.client", "100"),
            ("bytes.server", "6000"),
            ("close.first", "client"),
            ("tcp_state.client", "TIME-WAIT"),
            ("tcp_state.server", "CLOSED"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const PARTS: usize = 3;
    const PART: usize = 2000;
    let acknowledged = Sighting::new();
    let wire = Wire::new(Duration::from_millis(5)).watched(&acknowledged, |passing| {
        passing.from == End::Near && passing.tcp.is_some_and(|tcp| tcp.len == 0 && !tcp.flags.syn_fin_rst())
    });
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(5001)?)?;
    let mut here = client.connect(server.at(5001)?)?;
    let mut there = listener.accept()?;
    here.write_all(&text(100)).context("asking")?;
    here.shutdown(Shutdown::Write).context("closing one direction")?;
    there.read_to_end(&mut Vec::new()).context("reading the question")?;
    for part in 0..PARTS {
        // The handshake's ACK came first: each part waits until the one before has arrived.
        acknowledged.wait_for(1 + part)?;
        there.write_all(&text(PART)).context("answering")?;
    }
    drop(there);
    let answer = here.read_to_end(&mut Vec::new()).context("reading the answer")?;
    ensure!(answer == PARTS * PART, "the answer has {answer} octets");
    Ok(())
}
