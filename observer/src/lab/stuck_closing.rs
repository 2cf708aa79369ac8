//! A FIN that never arrives.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::Result;
use observer::packet::Flags;

use super::network::Network;
use super::network::fault::Fault;
use super::network::sighting::Sighting;
use super::network::traffic::{abort, http};
use super::network::wire::{End, Passing, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "stuck-closing",
    about: "The client closes, but its FIN is lost, and so is each one that it sends again: it stays in FIN-WAIT-1.",
    play,
    thresholds: &["stuck_closing=1s"],
    findings: &["stuck-closing"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[("conn_state", "S2"), ("tcp_state.client", "FIN-WAIT-1"), ("http.responses", "1")]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const LONG: Duration = Duration::from_millis(1_050);
    let is_fin = |passing: &Passing<'_>| {
        passing.from == End::Near && passing.tcp.is_some_and(|tcp| tcp.flags.contains(Flags::FIN))
    };
    let late = Sighting::new();
    let mut first = None;
    let wire = Wire::new(Duration::from_millis(5))
        .with_fault(Fault::loses("the client's FINs are lost", is_fin))
        .watched(&late, move |passing| is_fin(passing) && first.get_or_insert_with(Instant::now).elapsed() >= LONG);
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    here.shutdown(Shutdown::Write)?;
    late.wait_for(1)?;
    network.stop_capture();
    abort(there)?;
    abort(here)
}
