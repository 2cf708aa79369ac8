//! SYNs that ask for something new, and something on the way that does not know it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use observer::packet::Flags;
use socket2::Socket;

use super::network::Network;
use super::network::fault::Fault;
use super::network::host::patient;
use super::network::traffic::{answer, close, http, read_answer};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const ECN: Scenario = Scenario {
    name: "ecn-broken",
    about: "The client's SYN asks for ECN and is dropped on the way; the one that it sends a second later does not ask, and \
            passes.",
    play: play_ecn,
    thresholds: &[],
    findings: &["ecn-broken"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[("conn_state", "SF"), ("handshake.syn_retransmissions", "1"), ("http.responses", "1")]),
    }],
};

pub const FAST_OPEN: Scenario = Scenario {
    name: "tfo-blocked",
    about: "The client's SYN carries its request (TCP Fast Open) and is dropped on the way; the one that it sends a second \
            later is empty, and passes.",
    play: play_fast_open,
    thresholds: &[],
    findings: &["tfo-blocked"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[("conn_state", "SF"), ("handshake.syn_retransmissions", "1"), ("http.responses", "1")]),
    }],
};

fn play_ecn(network: &mut Network) -> Result<()> {
    let asks = Flags::SYN | Flags::ECE | Flags::CWR;
    let wire = Wire::new(Duration::from_millis(5))
        .with_fault(Fault::loses("SYNs that ask for ECN are lost", move |passing| {
            passing.tcp.is_some_and(|tcp| tcp.flags.contains(asks))
        }));
    let [client, server] = network.pair(wire)?;
    client.sysctl("net.ipv4.tcp_ecn", "1")?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    close(here, there)
}

fn play_fast_open(network: &mut Network) -> Result<()> {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: server.lab\r\n\r\n";
    /// TFO_CLIENT_ENABLE and TFO_CLIENT_NO_COOKIE.
    const WITHOUT_COOKIE: &str = "5";
    let wire = Wire::new(Duration::from_millis(5)).with_fault(Fault::loses("SYNs with payload are lost", |passing| {
        passing.is_data_from(End::Near) && passing.tcp.is_some_and(|tcp| tcp.flags.contains(Flags::SYN))
    }));
    let [client, server] = network.pair(wire)?;
    client.sysctl("net.ipv4.tcp_fastopen", WITHOUT_COOKIE)?;
    let listener = server.listen(server.at(80)?)?;
    let socket: Socket = client.socket(server.at(80)?)?;
    let sent = socket.send_to_with_flags(REQUEST, &server.at(80)?.into(), libc::MSG_FASTOPEN);
    sent.context("sending the request with the SYN")?;
    let mut here = patient(socket)?;
    let mut there = listener.accept()?;
    answer(&mut there, 600)?;
    read_answer(&mut here)?;
    close(here, there)
}
