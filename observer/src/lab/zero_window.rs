//! A reader that does not read.

use std::io::Read as _;
use std::time::Duration;
use std::{io::Write as _, thread};

use anyhow::{Context as _, Result, anyhow};

use super::network::Network;
use super::network::sighting::Sighting;
use super::network::traffic::{close, text};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "zero-window",
    about: "The server stops reading; its window falls to 0, the client asks three times whether it is open again, \
            then the server reads all.",
    play,
    thresholds: &[],
    findings: &["zero-window"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("history", "has w"),
            ("unique_bytes.client", "16000"),
            ("analysis.window_full.client", ">= 1"),
            ("analysis.zero_window.server", ">= 2"),
            // Linux probes a closed window with no octet and one before the next sequence number.
            ("analysis.keep_alive.client", "3"),
            ("analysis.window_update.server", ">= 1"),
            ("flow.server.zero_window_ns", ">= 600000000"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const OCTETS: usize = 16_000;
    const PROBES: usize = 3;
    let probes = Sighting::new();
    let mut is_closed = false;
    let wire = Wire::new(Duration::from_millis(5)).watched(&probes, move |passing| {
        let Some(tcp) = passing.tcp.filter(|tcp| !tcp.flags.syn_fin_rst()) else { return false };
        if passing.from == End::Far {
            is_closed = tcp.window == 0;
        }
        is_closed && passing.from == End::Near && tcp.len == 0
    });
    let [client, server] = network.pair(wire)?;
    let listener = server.listen_with(server.at(5001)?, |socket| socket.set_recv_buffer_size(8192))?;
    let here = client.connect(server.at(5001)?)?;
    let mut there = listener.accept()?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| { &here }.write_all(&text(OCTETS)));
        probes.wait_for(PROBES)?;
        there.read_exact(&mut [0; OCTETS]).context("reading at last")?;
        sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("sending to a server that does not read")
    })?;
    close(here, there)
}
