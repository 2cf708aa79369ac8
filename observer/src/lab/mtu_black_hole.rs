//! Large packets vanish, and the message that would say why is dropped as well (RFC 2923, section 2.1).

use std::time::Duration;

use anyhow::Result;

use super::network::fault::Fault;
use super::network::sighting::Sighting;
use super::network::traffic::{abort, answer, ask};
use super::network::wire::{End, Wire};
use super::network::{Network, Plug};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "mtu-black-hole",
    about: "The router to the client cannot carry the server's large packets, and a firewall drops the ICMP message \
            that says so: the handshake and the request pass, the response never does.",
    play,
    thresholds: &[],
    findings: &["mtu-black-hole"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "S1"),
            ("handshake.agreed.mss", "1460"),
            ("bytes.client", "75"),
            ("analysis.retransmission.server", ">= 5"),
            ("retransmissions.server.rto", ">= 3"),
            ("icmp", "[]"),
        ]),
    }],
};

/// A client behind a router whose link to it carries 1300 octets, and a server before it with `wire`.
pub fn narrow(network: &mut Network, wire: Wire) -> Result<[std::sync::Arc<super::network::host::Host>; 2]> {
    let [client, router, server] = [network.host("client")?, network.host("router")?, network.host("server")?];
    let outside = Wire::new(Duration::from_millis(5)).captured_at(&[]);
    network.wire(
        Plug { host: &client, interface: "eth0", addresses: &["10.0.1.1/24"] },
        Plug { host: &router, interface: "eth0", addresses: &["10.0.1.254/24"] },
        outside,
    )?;
    network.wire(
        Plug { host: &router, interface: "eth1", addresses: &["10.0.2.254/24"] },
        Plug { host: &server, interface: "eth0", addresses: &["10.0.2.2/24"] },
        wire,
    )?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.ip("link set eth0 mtu 1300")?;
    client.ip("route add default via 10.0.1.254")?;
    server.ip("route add default via 10.0.2.254")?;
    Ok([client, server])
}

fn play(network: &mut Network) -> Result<()> {
    /// Four large segments, each sent again when the small fifth is acknowledged selectively, then on timeouts.
    const SENT: usize = 4 + 4 + 3;
    const LARGE: usize = 1400;
    const ICMP: u8 = 1;
    const IPV4_PROTOCOL: usize = 14 + 9;
    let large = Sighting::new();
    let firewall = Fault::loses("a firewall drops the router's ICMP messages", |passing| {
        passing.from == End::Near && passing.frame.get(IPV4_PROTOCOL) == Some(&ICMP)
    });
    let wire = Wire::new(Duration::from_millis(5))
        .captured_at(&[End::Far])
        .with_fault(firewall)
        .watched(&large, |passing| passing.from == End::Far && passing.tcp.is_some_and(|tcp| tcp.len > LARGE));
    let [client, server] = narrow(network, wire)?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    ask(&mut here, "/")?;
    answer(&mut there, 6000)?;
    large.wait_for(SENT)?;
    network.stop_capture();
    abort(there)?;
    abort(here)
}
