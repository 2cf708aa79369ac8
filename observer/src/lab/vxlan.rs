//! An overlay network (RFC 7348).

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "vxlan",
    about: "A client asks for a page over an overlay network: the kernel of each host wraps the frames in VXLAN.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("client.ip", "192.168.0.1"),
            ("server.ip", "192.168.0.2"),
            ("bytes.server", "2067"),
            ("tunnel.tunnels.0.kind", "vxlan"),
            ("tunnel.tags.client.tunnel_id", "[7]"),
            ("tunnel.tags.server.tunnel_id", "[7]"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    for (host, own, other) in [(&client, 1, 2), (&server, 2, 1)] {
        host.ip(&format!(
            "link add vxlan7 type vxlan id 7 remote 10.0.0.{other} local 10.0.0.{own} dstport 4789 dev eth0 nolearning\n\
             link set vxlan7 address 02:00:00:00:07:0{own} up\n\
             addr add 192.168.0.{own}/24 dev vxlan7\n\
             neigh add 192.168.0.{other} lladdr 02:00:00:00:07:0{other} dev vxlan7 nud permanent"
        ))?;
    }
    let at = "192.168.0.2:80".parse()?;
    let listener = server.listen(at)?;
    let mut here = client.connect(at)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 2000)?;
    close(here, there)
}
