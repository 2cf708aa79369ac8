//! Somebody on the way who speaks for the server.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::{Fate, Fault, rewritten};
use super::network::traffic::{abort, answer, ask, read_to_reset};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "middlebox",
    about: "A box on the way sends the client a reset in the server's name, instead of its answer. It is ten routers \
            further away than the server.",
    play,
    thresholds: &[],
    findings: &["middlebox-interference", "reset-mid-stream"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[("conn_state", "RSTR"), ("http.requests", "1"), ("http.responses", "0")]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let wire = Wire::new(Duration::from_millis(5)).with_fault(Fault::new(
        "the server's answer is replaced by a reset with a TTL of 54, and nothing of the server's passes after it",
        {
            let mut replaced = false;
            move |passing| {
                if replaced && passing.from == End::Far {
                    return Fate::Drop;
                }
                let reset = if passing.is_data_from(End::Far) { reset(passing.frame) } else { None };
                replaced |= reset.is_some();
                reset.map_or(Fate::Pass, Fate::Replaced)
            }
        },
    ));
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    ask(&mut here, "/forbidden")?;
    answer(&mut there, 600)?;
    read_to_reset(here)?;
    network.stop_capture();
    abort(there)
}

/// A reset in the name of who sent this segment; `None` for what is no TCP segment over IPv4.
fn reset(frame: &[u8]) -> Option<Vec<u8>> {
    const TTL: u8 = 54;
    rewritten(frame, |ip, tcp| {
        (tcp.rst, tcp.psh) = (true, false);
        ip.time_to_live = TTL;
        tcp.set_options(&[]).ok()
    })
}
