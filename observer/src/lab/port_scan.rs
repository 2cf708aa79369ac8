//! One client looks for what is open.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::network::Network;
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "port-scan",
    about: "A client tries sixteen ports of a server one after the other, and is refused at each.",
    play,
    thresholds: &[],
    findings: &["port-scan", "refused"],
    seen: &SEEN,
};

const PORTS: usize = 16;
const FIRST: u16 = 8001;

const SEEN: [Seen; PORTS] = {
    let must = Conditions(&[("conn_state", "REJ")]);
    let mut seen = [Seen { server_port: FIRST, connections: 1, must }; PORTS];
    let mut place = 0;
    while place < PORTS {
        seen[place].server_port = FIRST + place as u16;
        place += 1;
    }
    seen
};

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    for seen in &SEEN {
        ensure!(client.connect(server.at(seen.server_port)?).is_err(), "somebody listens at {}", seen.server_port);
    }
    Ok(())
}
