//! SYNs from addresses that nobody has.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, Socket, Type};

use super::network::Network;
use super::network::sighting::Sighting;
use super::network::wire::{End, Passing, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "syn-flood",
    about: "One host sends SYNs from sixty addresses that nobody has. The server answers each of them, and no handshake \
            is completed.",
    play,
    thresholds: &[],
    findings: &["syn-flood"],
    seen: &[Seen {
        server_port: 80,
        connections: ATTEMPTS as usize,
        must: Conditions(&[("conn_state", "S1"), ("history", "Sh"), ("handshake.ack", "null"), ("bytes.client", "0")]),
    }],
};

const ATTEMPTS: u8 = 60;

fn play(network: &mut Network) -> Result<()> {
    const ANY_PROTOCOL: i32 = 255;
    let answers = Sighting::new();
    let is_syn_ack = |passing: &Passing<'_>| passing.from == End::Far && passing.tcp.is_some();
    let [client, server] = network.pair(Wire::new(Duration::from_millis(2)).watched(&answers, is_syn_ack))?;
    // What goes back to these addresses ends at the client's host, which drops it.
    server.ip("route add 10.9.0.0/16 via 10.0.0.1")?;
    let to: SocketAddr = server.at(80)?;
    let listener = server.listen(to)?;
    let socket = client
        .enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(ANY_PROTOCOL))))
        .context("making a raw socket")?;
    for number in 0..ATTEMPTS {
        let syn = syn(Ipv4Addr::new(10, 9, number, 1), 20_000 + u16::from(number))?;
        socket.send_to(&syn, &to.into()).context("sending a SYN")?;
    }
    answers.wait_for(ATTEMPTS.into())?;
    // With the listener go the handshakes that are still open.
    drop(listener);
    Ok(())
}

fn syn(from: Ipv4Addr, port: u16) -> Result<Vec<u8>> {
    const TTL: u8 = 64;
    const WINDOW: u16 = 1024;
    let builder = PacketBuilder::ipv4(from.octets(), [10, 0, 0, 2], TTL).tcp(port, 80, u32::from(port), WINDOW).syn();
    let mut packet = Vec::new();
    builder.write(&mut packet, &[]).context("making a SYN")?;
    Ok(packet)
}
