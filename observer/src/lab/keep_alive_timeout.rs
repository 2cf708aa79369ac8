//! Keep-alives without an answer.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use observer::packet::Flags;
use socket2::TcpKeepalive;

use super::network::Network;
use super::network::fault::Fault;
use super::network::traffic::{abort, http};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "keep-alive-timeout",
    about: "After an exchange nothing more comes from the server. The client's kernel asks three times whether it is still \
            there, and gives up with a reset.",
    play,
    thresholds: &[],
    findings: &["keep-alive-timeout"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "RSTO"),
            ("analysis.keep_alive.client", "3"),
            ("analysis.keep_alive_ack.server", "0"),
            ("http.responses", "1"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const SECOND: Duration = Duration::from_secs(1);
    const PROBES: u32 = 3;
    let mut next = None;
    let mut asked = false;
    let wire = Wire::new(Duration::from_millis(5)).with_fault(Fault::loses(
        "once the client has asked for the first time, nothing passes from the server",
        move |passing| {
            let Some(tcp) = passing.tcp else { return false };
            if passing.from == End::Near {
                // A keep-alive stands one before what the client would send next.
                asked |= next == Some(tcp.seq.plus(1)) && !tcp.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
                next = Some(tcp.seq.plus(tcp.len as u32));
            }
            asked && passing.from == End::Far
        },
    ));
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let keepalive = TcpKeepalive::new().with_time(SECOND).with_interval(SECOND).with_retries(PROBES);
    let mut here = client.connect_with(server.at(80)?, |socket| socket.set_tcp_keepalive(&keepalive))?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    ensure!(here.read(&mut [0]).is_err(), "the connection was not given up");
    abort(there)
}
