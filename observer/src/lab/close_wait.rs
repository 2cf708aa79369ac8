//! A server that forgets to close.

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "close-wait",
    about: "The client closes; the server's program does not, and its socket stays in CLOSE-WAIT while another \
            connection comes and goes.",
    play,
    thresholds: &["close_wait=1s"],
    findings: &["close-wait"],
    seen: &[
        Seen {
            server_port: 80,
            connections: 1,
            must: Conditions(&[
                ("conn_state", "S2"),
                ("tcp_state.client", "FIN-WAIT-2"),
                ("tcp_state.server", "CLOSE-WAIT"),
            ]),
        },
        Seen { server_port: 81, connections: 1, must: Conditions(&[("conn_state", "SF")]) },
    ],
};

fn play(network: &mut Network) -> Result<()> {
    const FORGOTTEN: Duration = Duration::from_millis(1_200);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let [first, second] = [server.listen(server.at(80)?)?, server.listen(server.at(81)?)?];
    let mut here = client.connect(server.at(80)?)?;
    let mut there = first.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    here.shutdown(Shutdown::Write)?;
    thread::sleep(FORGOTTEN);
    let mut other_here = client.connect(server.at(81)?)?;
    let mut other_there = second.accept()?;
    http(&mut other_here, &mut other_there, "/", 600)?;
    close(other_here, other_there)?;
    // Its FIN goes by before the capture ends, and the last ACKs with it.
    thread::sleep(Duration::from_millis(50));
    network.stop_capture();
    close(there, here)
}
