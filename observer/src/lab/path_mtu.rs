//! Path MTU discovery as it should be (RFC 1191).

use std::time::Duration;

use anyhow::Result;

use super::mtu_black_hole::narrow;
use super::network::Network;
use super::network::traffic::{answer, ask, close, read_answer};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "path-mtu",
    about: "The router to the client cannot carry the server's large packets and says so; the server sends smaller \
            ones.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("handshake.agreed.mss", "1460"),
            ("unique_bytes.server", "6067"),
            ("icmp.0.from", "10.0.2.254"),
            ("icmp.0.to", "server"),
            ("icmp.0.icmp_type", "3"),
            ("icmp.0.icmp_code", "4"),
            ("icmp.0.mtu", "1300"),
            ("retransmissions.server.rto", "0"),
            ("retransmissions.server.fast", ">= 1"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = narrow(network, Wire::new(Duration::from_millis(5)).captured_at(&[End::Far]))?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    ask(&mut here, "/")?;
    answer(&mut there, 6000)?;
    read_answer(&mut here)?;
    close(here, there)
}
