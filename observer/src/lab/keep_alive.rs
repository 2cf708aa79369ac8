//! A connection with nothing to say.

use std::time::Duration;

use anyhow::Result;
use socket2::TcpKeepalive;

use super::network::Network;
use super::network::sighting::Sighting;
use super::network::traffic::{close, http};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "keep-alive",
    about: "After one exchange the connection lies idle; the client's kernel asks every second whether the server is \
            still there.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("analysis.keep_alive.client", "3"),
            ("analysis.keep_alive_ack.server", "3"),
            ("analysis.retransmission.client", "0"),
            ("bytes.client", "75"),
            ("flow.server.max_idle_ns", ">= 900000000"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const PROBES: usize = 3;
    const SECOND: Duration = Duration::from_secs(1);
    let answers = Sighting::new();
    let (mut next, mut asked) = (None, false);
    let wire = Wire::new(Duration::from_millis(5)).watched(&answers, move |passing| {
        let Some(tcp) = passing.tcp else { return false };
        if passing.from == End::Far {
            return std::mem::take(&mut asked);
        }
        // A keep-alive stands one before what the client would send next.
        asked = next == Some(tcp.seq.plus(1)) && !tcp.flags.syn_fin_rst();
        if !asked {
            next = Some(tcp.seq.plus(tcp.len as u32));
        }
        false
    });
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let keepalive = TcpKeepalive::new().with_time(SECOND).with_interval(SECOND);
    let mut here = client.connect_with(server.at(80)?, |socket| socket.set_tcp_keepalive(&keepalive))?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    answers.wait_for(PROBES)?;
    // The server closes: its FIN comes after its last answer.
    close(there, here)
}
