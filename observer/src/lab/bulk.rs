//! Long transfers, and what bounds them. Of each frame only the headers are captured.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::network::Network;
use super::network::fault::{Fate, Fault};
use super::network::traffic::{bulk, close};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

/// Ethernet, IPv4, and TCP with the options of a SYN.
const HEADERS: usize = 76;

/// So that there are fewer of them.
const LONG_FRAMES: Option<&str> = Some("link set eth0 mtu 4000");

pub const WINDOW: Scenario = Scenario {
    name: "window-limited",
    about: "The way is long and the receiver's buffer small: most of the time the sender waits for the window to open.",
    play: |network| {
        let wire = Wire::new(Duration::from_millis(10));
        Transfer { octets: 120_000, receive_buffer: Some(10_000), ..TRANSFER }.play(network, wire)
    },
    thresholds: &[],
    findings: &["window-limited"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "120000"),
            ("analysis.window_full.client", ">= 5"),
        ]),
    }],
};

pub const SENDER: Scenario = Scenario {
    name: "sender-limited",
    about: "The way is long, the receiver's window wide, and the sender's buffer small: most of the time it has nothing \
            more to send.",
    play: |network| {
        let wire = Wire::new(Duration::from_millis(5));
        // The window is wide from the beginning: left to itself, a receiver that is kept waiting may not widen it.
        let (send_buffer, receive_buffer) = (Some(12_000), Some(212_000));
        Transfer { octets: 1_050_000, send_buffer, receive_buffer, mtu: LONG_FRAMES, ..TRANSFER }.play(network, wire)
    },
    thresholds: &[],
    findings: &["sender-limited"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "1050000"),
            ("analysis.window_full.client", "0"),
        ]),
    }],
};

pub const BUFFER: Scenario = Scenario {
    name: "bufferbloat",
    about: "Behind the client a slow link takes in all that comes and passes it on when it can: a round trip takes ten times \
            as long as without load.",
    play: |network| {
        let wire = Wire::new(Duration::from_millis(10)).with_fault(slow_link());
        // It does not mind that round trips grow (HyStart), as others do.
        Transfer {
            octets: 900_000,
            send_buffer: Some(70_000),
            receive_buffer: Some(212_000),
            congestion_control: Some("reno"),
            mtu: LONG_FRAMES,
        }
        .play(network, wire)
    },
    thresholds: &[],
    findings: &["bufferbloat"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "900000"),
            ("retransmissions.client.rto", "0"),
        ]),
    }],
};

/// One transfer from the client to the server.
struct Transfer {
    octets: usize,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
    congestion_control: Option<&'static str>,
    mtu: Option<&'static str>,
}

const TRANSFER: Transfer =
    Transfer { octets: 0, send_buffer: None, receive_buffer: None, congestion_control: None, mtu: None };

impl Transfer {
    fn play(&self, network: &mut Network, wire: Wire) -> Result<()> {
        let Self { octets, send_buffer, receive_buffer, congestion_control, mtu } = *self;
        network.capture().cut_at(HEADERS);
        let [client, server] = network.pair(wire)?;
        for host in [&client, &server] {
            mtu.map_or(Ok(()), |line| host.ip(line))?;
        }
        congestion_control.map_or(Ok(()), |name| client.sysctl("net.ipv4.tcp_congestion_control", name))?;
        let listener = server.listen_with(server.at(5001)?, |socket| {
            receive_buffer.map_or(Ok(()), |octets| socket.set_recv_buffer_size(octets))
        })?;
        let here = client.connect_with(server.at(5001)?, |socket| {
            send_buffer.map_or(Ok(()), |octets| socket.set_send_buffer_size(octets))
        })?;
        let there = listener.accept()?;
        bulk(&here, &there, octets)?;
        close(here, there)
    }
}

/// A link behind a queue without a bound.
fn slow_link() -> Fault {
    const NANOS_AN_OCTET: u64 = 2_000;
    let mut free = Instant::now();
    Fault::new("the client's frames pass a link of 4 Mbit/s behind a queue without a bound", move |passing| {
        if passing.from == End::Far {
            return Fate::Pass;
        }
        let now = Instant::now();
        free = free.max(now) + Duration::from_nanos(NANOS_AN_OCTET * passing.frame.len() as u64);
        Fate::Late(free - now)
    })
}
