//! A connection that lay idle for too long.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use observer::packet::Flags;

use super::network::Network;
use super::network::fault::Fault;
use super::network::traffic::{abort, ask, http, read_to_reset};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "idle-reset",
    about: "After an exchange the connection lies idle, and at the far end it is forgotten without a word. The client's \
            next request is answered with a reset.",
    play,
    thresholds: &["reset_after_idle=1s"],
    findings: &["reset-after-idle"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "RSTR"),
            ("silence.length_ns", ">= 1000000000"),
            ("http.responses", "1"),
            ("close.fin.server", "null"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const IDLE: Duration = Duration::from_millis(1_200);
    let mut requests = 0;
    let wire = Wire::new(Duration::from_millis(5)).with_fault(Fault::loses(
        "the server's resets are lost until the client asks again, as if a table on the way had forgotten the connection",
        move |passing| {
            requests += usize::from(passing.is_data_from(End::Near));
            let is_reset = passing.tcp.is_some_and(|tcp| tcp.flags.contains(Flags::RST));
            passing.from == End::Far && is_reset && requests < 2
        },
    ));
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    abort(there)?;
    thread::sleep(IDLE);
    ask(&mut here, "/again")?;
    read_to_reset(here)
}
