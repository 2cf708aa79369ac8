//! A client that writes in two pieces, and a server that waits with its ACKs.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::SockRef;

use super::network::Network;
use super::network::traffic::close;
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "delayed-ack",
    about: "A client writes each of its messages in two pieces without TCP_NODELAY; the second waits for the ACK of the \
            first, which the server's kernel delays by 40 ms.",
    play,
    thresholds: &[],
    findings: &["nagle-delayed-ack"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("bytes.client", "2400"),
            ("bytes.server", "600"),
            ("flow.client.delayed_acks.count", ">= 3"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const MESSAGES: usize = 6;
    const PIECE: [u8; 200] = [b'p'; 200];
    const ANSWER: [u8; 100] = [b'a'; 100];
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(5001)?)?;
    let mut here = client.connect(server.at(5001)?)?;
    let mut there = listener.accept()?;
    for _ in 0..MESSAGES {
        // The kernel forgets after a while that its ACKs may wait.
        SockRef::from(&there).set_tcp_quickack(false).context("asking for delayed ACKs")?;
        here.write_all(&PIECE).and_then(|()| here.write_all(&PIECE)).context("sending a message")?;
        there.read_exact(&mut [0; 2 * PIECE.len()]).context("reading the message")?;
        there.write_all(&ANSWER).context("answering")?;
        here.read_exact(&mut [0; ANSWER.len()]).context("reading the answer")?;
    }
    close(here, there)
}
