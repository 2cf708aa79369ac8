//! Somebody on the way who takes options out of SYNs.

use std::time::Duration;

use anyhow::Result;
use etherparse::TcpOptionElement;

use super::network::Network;
use super::network::fault::{Fate, Fault, rewritten};
use super::network::traffic::{close, http};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "stripped-options",
    about: "A box on the way takes window scaling and SACK out of the client's SYN, as `reset tcp option` of nft does. Captured \
            on both sides of it: no single capture point could show that.",
    play,
    thresholds: &[],
    findings: &["middlebox-interference"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("handshake.syn_retransmissions", "0"),
            ("handshake.stripped.client", "[\"window_scale\",\"sack\"]"),
            ("handshake.stripped.server", "[]"),
            ("http.responses", "1"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let strips = Fault::new("window scaling and SACK are overwritten in SYNs", |passing| {
        stripped(passing.frame).map_or(Fate::Pass, Fate::Rewritten)
    });
    let wire = Wire::new(Duration::from_millis(1)).captured_at(&[End::Near, End::Far]).with_fault(strips);
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 2000)?;
    close(here, there)
}

/// The SYN in `frame` without window scale and SACK permitted; `None` for what is no SYN over IPv4.
fn stripped(frame: &[u8]) -> Option<Vec<u8>> {
    rewritten(frame, |_, tcp| {
        if !tcp.syn || tcp.ack {
            return None;
        }
        let goes = |option: &TcpOptionElement| {
            matches!(option, TcpOptionElement::WindowScale(_) | TcpOptionElement::SelectiveAcknowledgementPermitted)
        };
        let mut options = Vec::new();
        for option in tcp.options_iterator() {
            let option = option.ok()?;
            // In their place stand as many octets that mean nothing.
            let octets = if matches!(option, TcpOptionElement::WindowScale(_)) { 3 } else { 2 };
            let count = if goes(&option) { octets } else { 1 };
            let put = if goes(&option) { TcpOptionElement::Noop } else { option };
            options.extend(std::iter::repeat_n(put, count));
        }
        tcp.set_options(&options).ok()
    })
}
