//! A router that knows no way.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::network::wire::Wire;
use super::network::{Network, Plug};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "icmp-unreachable",
    about: "A client connects to a network that its router has no way to, and then to one that the router forbids; \
            both times the router says so.",
    play,
    thresholds: &[],
    findings: &["rejected-by-icmp"],
    seen: &[
        Seen {
            server_port: 80,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "S0"),
                ("history", "S"),
                ("server.ip", "10.0.2.2"),
                ("icmp.0.from", "10.0.1.254"),
                ("icmp.0.to", "client"),
                ("icmp.0.icmp_type", "3"),
                ("icmp.0.icmp_code", "1"),
            ]),
        },
        Seen {
            server_port: 443,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "S0"),
                ("server.ip", "10.0.3.2"),
                ("icmp.0.icmp_type", "3"),
                ("icmp.0.icmp_code", "13"),
            ]),
        },
    ],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, router] = [network.host("client")?, network.host("router")?];
    network.wire(
        Plug { host: &client, interface: "eth0", addresses: &["10.0.1.1/24"] },
        Plug { host: &router, interface: "eth0", addresses: &["10.0.1.254/24"] },
        Wire::new(Duration::from_millis(5)),
    )?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.ip("route add unreachable 10.0.2.0/24\nroute add prohibit 10.0.3.0/24")?;
    client.ip("route add default via 10.0.1.254")?;
    for to in ["10.0.2.2:80", "10.0.3.2:443"] {
        ensure!(client.connect(to.parse()?).is_err(), "there is a way to {to}");
    }
    Ok(())
}
