//! One segment is lost in the middle of a burst.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::network::Network;
use super::network::fault::{Fate, Fault};
use super::network::sighting::Sighting;
use super::network::traffic::{close, text};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "fast-retransmission",
    about: "The client's third data segment is lost; duplicate ACKs ask for it, and it is sent again at once.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "14000"),
            ("bytes.client", "15448"),
            ("analysis.fast_retransmission.client", "1"),
            // Every fast retransmission is a retransmission.
            ("analysis.retransmission.client", "1"),
            ("analysis.duplicate_ack.server", ">= 3"),
            ("retransmissions.client.fast", "1"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const OCTETS: usize = 14_000;
    let loss = Fault::on_data("the client's third data segment is lost", End::Near, &[3], Fate::Drop);
    let arrived = Sighting::new();
    let mut start = None;
    let wire = Wire::new(Duration::from_millis(5)).with_fault(loss).watched(&arrived, move |passing| {
        let Some(tcp) = passing.tcp.filter(|_| passing.from == End::Far) else { return false };
        tcp.ack == start.get_or_insert(tcp.ack).plus(OCTETS as u32)
    });
    let [client, server] = network.pair(wire)?;
    // Every segment is to have an ACK of its own: none saved, and none for several that arrived while the server read.
    server.sysctl("net.ipv4.tcp_comp_sack_nr", "0")?;
    // A window that does not grow: duplicate ACKs are told from window updates by it.
    let listener = server.listen_with(server.at(5001)?, |socket| socket.set_recv_buffer_size(65_536))?;
    let mut here = client.connect(server.at(5001)?)?;
    let mut there = listener.accept()?;
    here.write_all(&text(OCTETS)).context("sending")?;
    arrived.wait_for(1)?;
    there.read_exact(&mut [0; OCTETS]).context("receiving")?;
    close(here, there)
}
