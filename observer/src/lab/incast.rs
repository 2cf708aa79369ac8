//! Many answers at once, and a switch with little memory.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;

use super::network::fault::Fault;
use super::network::traffic::{answer, ask, close, read_answer};
use super::network::wire::{End, Wire};
use super::network::{Network, Plug};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "incast",
    about: "A client asks ten servers at once. Their answers meet at a switch that has no room for them: all are lost, and \
            all come again after the same timeout; those are lost as well, and the next ones arrive.",
    play,
    thresholds: &[],
    findings: &["incast", "tail-loss"],
    seen: &[Seen {
        server_port: 80,
        connections: SERVERS.len(),
        must: Conditions(&[("conn_state", "SF"), ("http.responses", "1"), ("retransmissions.server.rto", "1")]),
    }],
};

const SERVERS: [&str; 10] = [
    "10.0.0.11/24",
    "10.0.0.12/24",
    "10.0.0.13/24",
    "10.0.0.14/24",
    "10.0.0.15/24",
    "10.0.0.16/24",
    "10.0.0.17/24",
    "10.0.0.18/24",
    "10.0.0.19/24",
    "10.0.0.20/24",
];

fn play(network: &mut Network) -> Result<()> {
    let mut left = SERVERS.len() * 2;
    let wire = Wire::new(Duration::from_millis(1)).captured_at(&[End::Far]).with_fault(Fault::loses(
        "the servers' first twenty data segments are lost",
        move |passing| {
            let is_lost = passing.is_data_from(End::Far) && left > 0;
            left -= usize::from(is_lost);
            is_lost
        },
    ));
    let [client, servers] = [network.host("client")?, network.host("servers")?];
    network.wire(
        Plug { host: &client, interface: "eth0", addresses: &["10.0.0.1/24"] },
        Plug { host: &servers, interface: "eth0", addresses: &SERVERS },
        wire,
    )?;
    let mut pairs: Vec<(TcpStream, TcpStream)> = SERVERS
        .iter()
        .map(|address| {
            let ip = address.split('/').next().unwrap_or(address).parse()?;
            let at = SocketAddr::new(ip, 80);
            let listener = servers.listen(at)?;
            Ok((client.connect(at)?, listener.accept()?))
        })
        .collect::<Result<_>>()?;
    pairs.iter_mut().try_for_each(|(here, _)| ask(here, "/part"))?;
    pairs.iter_mut().try_for_each(|(_, there)| answer(there, 600))?;
    pairs.iter_mut().try_for_each(|(here, _)| read_answer(here))?;
    pairs.into_iter().try_for_each(|(here, there)| close(here, there))
}
