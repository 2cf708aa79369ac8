//! A handshake that takes a second longer.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::Fault;
use super::network::traffic::{close, http};
use super::network::wire::{Segment, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "syn-retransmitted",
    about: "The first SYN of one connection is lost, and the first SYN-ACK of another; both succeed a second later.",
    play,
    thresholds: &[],
    findings: &["slow-handshake"],
    seen: &[
        Seen {
            server_port: 80,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "SF"),
                ("handshake.syn_retransmissions", "1"),
                ("handshake.syn_ack_retransmissions", "0"),
                ("handshake.connect_ns", ">= 1000000000"),
                ("handshake.rtt_ns", "<= 900000000"),
                ("analysis.retransmission.client", "1"),
            ]),
        },
        Seen {
            server_port: 8080,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "SF"),
                ("handshake.syn_retransmissions", ">= 1"),
                ("handshake.connect_ns", ">= 1000000000"),
            ]),
        },
    ],
};

fn play(network: &mut Network) -> Result<()> {
    let mut syn = once(|tcp| tcp.dport == 80 && tcp.flags.is_bare_syn());
    let mut syn_ack = once(|tcp| tcp.sport == 8080 && tcp.flags.is_syn_ack());
    let loss = Fault::loses("the first SYN to port 80 and the first SYN-ACK from port 8080 are lost", move |passing| {
        passing.tcp.is_some_and(|tcp| syn(tcp) || syn_ack(tcp))
    });
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)).with_fault(loss))?;
    for port in [80, 8080] {
        let listener = server.listen(server.at(port)?)?;
        let mut here = client.connect(server.at(port)?)?;
        let mut there = listener.accept()?;
        http(&mut here, &mut there, "/", 600)?;
        close(here, there)?;
    }
    Ok(())
}

/// Holds for the first segment for which `wanted` does.
fn once(wanted: fn(Segment) -> bool) -> impl FnMut(Segment) -> bool {
    let mut done = false;
    move |tcp| {
        let first = !done && wanted(tcp);
        done |= first;
        first
    }
}
