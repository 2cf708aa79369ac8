//! A resolver that does not know, and one that is slow.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::network::Network;
use super::network::host::{Host, PATIENCE};
use super::network::traffic::{close, http};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const FAILURE: Scenario = Scenario {
    name: "dns-failure",
    about: "The resolver answers with SERVFAIL, twice, and the client gives up without having tried a connection. A second \
            later another name is found.",
    play: play_failure,
    thresholds: &["name_or_network=1s"],
    findings: &["dns-failure", "name-or-network"],
    seen: &[],
};

pub const SLOW: Scenario = Scenario {
    name: "slow-dns",
    about: "The resolver takes 700 ms to answer; the connection that waits for it is as quick as any.",
    play: play_slow,
    thresholds: &[],
    findings: &["slow-dns"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[("conn_state", "SF"), ("dns.name", "server.lab"), ("dns.latency_ns", ">= 700000000")]),
    }],
};

/// RFC 1035, section 4.1.1.
const SERVFAIL: u8 = 2;

fn play_failure(network: &mut Network) -> Result<()> {
    const LONG: Duration = Duration::from_millis(1_200);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let [mut here, there] = resolver(&client, &server)?;
    for _ in 0..2 {
        here = look_up(here, &there, "db.server.lab", |query| response(query, SERVFAIL, None))?;
    }
    thread::sleep(LONG);
    look_up(here, &there, "server.lab", |query| response(query, 0, Some(Ipv4Addr::new(10, 0, 0, 2)))).map(drop)
}

fn play_slow(network: &mut Network) -> Result<()> {
    const THOUGHT: Duration = Duration::from_millis(700);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let [here, there] = resolver(&client, &server)?;
    look_up(here, &there, "server.lab", |query| {
        thread::sleep(THOUGHT);
        response(query, 0, Some(Ipv4Addr::new(10, 0, 0, 2)))
    })?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 600)?;
    close(here, there)
}

/// The sockets of a client and of its resolver.
fn resolver(client: &Host, server: &Host) -> Result<[UdpSocket; 2]> {
    let at = server.at(53)?;
    let own: SocketAddr = client.at(0)?;
    let there = server.enter(|| UdpSocket::bind(at)).context("binding the resolver's socket")?;
    let here = client
        .enter(|| UdpSocket::bind(own).and_then(|socket| socket.connect(at).map(|()| socket)))
        .context("making the client's socket")?;
    for socket in [&here, &there] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    Ok([here, there])
}

/// One lookup: the client asks, the resolver answers with what `answer` makes of the question.
fn look_up(here: UdpSocket, there: &UdpSocket, name: &str, answer: impl Fn(&[u8]) -> Vec<u8>) -> Result<UdpSocket> {
    const LONGEST: usize = 512;
    here.send(&query(name)).context("asking")?;
    let mut buffer = [0; LONGEST];
    let (length, from) = there.recv_from(&mut buffer).context("waiting for the question")?;
    there.send_to(&answer(buffer.get(..length).unwrap_or_default()), from).context("answering")?;
    here.recv(&mut buffer).context("waiting for the answer")?;
    Ok(here)
}

/// A question for the IPv4 addresses of `name`.
fn query(name: &str) -> Vec<u8> {
    const ID: [u8; 2] = [0x0b, 0x5e];
    const RECURSION_DESIRED: [u8; 2] = [0x01, 0x00];
    const ONE_QUESTION: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
    const A_IN: [u8; 5] = [0, 0, 1, 0, 1];
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    [&ID[..], &RECURSION_DESIRED, &ONE_QUESTION, &labels.collect::<Vec<u8>>(), &A_IN].concat()
}

/// The response to `query`: a code, and the address where there is one.
fn response(query: &[u8], code: u8, address: Option<Ipv4Addr>) -> Vec<u8> {
    const FLAGS: usize = 2;
    const RESPONSE: [u8; 1] = [0x81];
    const RECURSION_AVAILABLE: u8 = 0x80;
    const ANSWERS: usize = 6;
    const QUESTION: usize = 12;
    const SAME_NAME_A_IN: [u8; 6] = [0xc0, 12, 0, 1, 0, 1];
    const A_MINUTE: [u8; 4] = [0, 0, 0, 60];
    let part = |range: std::ops::Range<usize>| query.get(range).unwrap_or_default();
    let record = address.map(|ip| [&SAME_NAME_A_IN[..], &A_MINUTE, &[0, 4], &ip.octets()].concat());
    let answers = [0, u8::from(record.is_some()), 0, 0, 0, 0];
    [
        part(0..FLAGS),
        &RESPONSE,
        &[RECURSION_AVAILABLE | code],
        part(FLAGS + 2..ANSWERS),
        &answers,
        part(QUESTION..query.len()),
        &record.unwrap_or_default(),
    ]
    .concat()
}
