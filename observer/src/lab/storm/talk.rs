//! What the ends of one connection in a storm say to each other.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use fastrand::Rng;
use socket2::{SockRef, Socket, TcpKeepalive};

use crate::lab::network::host::Host;
use crate::lab::network::traffic::{abort, text};

/// Ports of its own that each lane's client has.
pub const PORTS: u16 = 50;

/// A storm's ends may wait for each other for good: an octet of theirs was lost on purpose.
const PATIENCE: Duration = Duration::from_secs(6);

/// One connection after the other, each client port used several times at need.
#[derive(Debug)]
pub struct Lane<'a> {
    client: &'a Host,
    server: &'a Host,
    server_port: u16,
    client_ports: u16,
    port: u16,
    dice: Rng,
}

/// How a connection comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    ClientFirst,
    ServerFirst,
    ClientAborts,
    ServerAborts,
}

impl<'a> Lane<'a> {
    /// A lane to `server_port` from the [`PORTS`] ports that start at `client_ports`.
    pub fn new(client: &'a Host, server: &'a Host, server_port: u16, client_ports: u16, dice: Rng) -> Self {
        Self { client, server, server_port, client_ports, port: 0, dice }
    }

    /// Makes one connection, and ends it.
    pub fn one_connection(&mut self) -> Result<()> {
        let outcome = self.attempt();
        // A client that closes first cannot have its port again for a while; others use it again as often as not.
        let is_free = outcome.as_ref().is_ok_and(|end| *end != End::ClientFirst);
        if !is_free || self.dice.bool() {
            self.port = (self.port + 1) % PORTS;
        }
        outcome.map(drop)
    }

    /// How it came to its end.
    fn attempt(&mut self) -> Result<End> {
        let dice = &mut self.dice;
        let v6 = dice.usize(..4) == 0;
        let at = |host: &Host, port| if v6 { host.at_v6(port) } else { host.at(port) };
        let (from, to) = (at(self.client, self.client_ports + self.port)?, at(self.server, self.server_port)?);
        let buffer = *dice.choice(&[0, 0, 2_304, 4_096, 16_384]).unwrap_or(&0);
        let max_segment = *dice.choice(&[0, 0, 0, 536, 1000]).unwrap_or(&0);
        let end = *dice
            .choice(&[End::ClientFirst, End::ServerFirst, End::ServerFirst, End::ClientAborts, End::ServerAborts])
            .unwrap_or(&End::ServerFirst);
        let prepare = |socket: &Socket| {
            socket.set_reuse_address(true)?;
            if buffer > 0 {
                socket.set_recv_buffer_size(buffer)?;
            }
            if max_segment > 0 {
                socket.set_tcp_mss(max_segment)?;
            }
            Ok(())
        };
        let connect = || {
            self.client.connect_with(to, |socket| {
                prepare(socket)?;
                socket.bind(&SocketAddr::into(from))
            })
        };
        if dice.usize(..20) == 0 {
            // Nobody listens.
            return if connect().is_err() { Ok(end) } else { Err(anyhow!("somebody listens at {to}")) };
        }
        let listener = self.server.listen_with(to, prepare)?;
        let here = connect()?;
        let there = listener.accept()?;
        for stream in [&here, &there] {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(dice.bool())?;
        }
        let spoken = talk(dice, &here, &there);
        let ended = finish(end, here, there);
        spoken.and(ended).map(|()| end)
    }
}

fn talk(dice: &mut Rng, here: &TcpStream, there: &TcpStream) -> Result<()> {
    let octets = dice.usize(1_000..50_000);
    match dice.usize(..8) {
        0 => rounds(dice, here, there),
        1 => send(dice, here, there, octets),
        2 => send(dice, there, here, octets),
        3 => {
            // Both at once.
            let (mut one, mut other) = (dice.fork(), dice.fork());
            thread::scope(|scope| {
                let upload = scope.spawn(|| send(&mut one, here, there, octets));
                let download = send(&mut other, there, here, octets / 2);
                upload.join().map_err(|_| anyhow!("an upload panicked"))?.and(download)
            })
        }
        4 | 5 => send_to_slow_reader(dice, here, there),
        6 => send_to_slow_reader(dice, there, here),
        _ => keep_alive(dice, here, there),
    }
}

/// Questions and answers.
fn rounds(dice: &mut Rng, here: &TcpStream, there: &TcpStream) -> Result<()> {
    for _ in 0..dice.usize(1..12) {
        let (question, answer) = (dice.usize(1..600), dice.usize(1..6_000));
        send(dice, here, there, question)?;
        send(dice, there, here, answer)?;
    }
    Ok(())
}

/// Sends in pieces of any size; the other end reads as they come.
fn send(dice: &mut Rng, from: &TcpStream, to: &TcpStream, octets: usize) -> Result<()> {
    let mut pauses = dice.fork();
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let content = text(octets);
            let piece = *pauses.choice(&[100, 1_000, 8_000, 60_000]).unwrap_or(&1_000);
            for piece in content.chunks(piece) {
                { from }.write_all(piece)?;
                pause(&mut pauses, Duration::from_millis(2));
            }
            std::io::Result::Ok(())
        });
        { to }.read_exact(&mut vec![0; octets]).context("receiving")?;
        sender.join().map_err(|_| anyhow!("a sender panicked"))?.context("sending")
    })
}

/// Sends more than the other end's buffer holds, which reads now and then.
fn send_to_slow_reader(dice: &mut Rng, from: &TcpStream, to: &TcpStream) -> Result<()> {
    let octets = dice.usize(20_000..80_000);
    // Now and then as long as it takes to be asked several times.
    let sleep = Duration::from_millis(*dice.choice(&[5, 50, 400, 900]).unwrap_or(&30));
    thread::scope(|scope| {
        let sender = scope.spawn(move || { from }.write_all(&text(octets)));
        let mut buffer = vec![0; 20_000];
        let mut left = octets;
        thread::sleep(sleep);
        while left > 0 {
            pause(dice, sleep);
            let most = left.min(dice.usize(500..buffer.len()));
            let Some(space) = buffer.get_mut(..most) else { break };
            { to }.read_exact(space).context("reading slowly")?;
            left -= most;
        }
        sender.join().map_err(|_| anyhow!("a sender panicked"))?.context("sending to a slow reader")
    })
}

/// One exchange, then silence in which the kernels ask for each other.
fn keep_alive(dice: &mut Rng, here: &TcpStream, there: &TcpStream) -> Result<()> {
    const SECOND: Duration = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(SECOND).with_interval(SECOND);
    let asking = if dice.bool() { here } else { there };
    SockRef::from(asking).set_tcp_keepalive(&keepalive)?;
    rounds(dice, here, there)?;
    thread::sleep(Duration::from_millis(dice.u64(1_100..3_400)));
    Ok(())
}

/// Up to `most`, and often not at all.
fn pause(dice: &mut Rng, most: Duration) {
    if dice.bool() {
        thread::sleep(most.mul_f64(dice.f64()));
    }
}

fn finish(end: End, here: TcpStream, there: TcpStream) -> Result<()> {
    let (first, mut second) = match end {
        End::ClientFirst | End::ClientAborts => (here, there),
        End::ServerFirst | End::ServerAborts => (there, here),
    };
    if matches!(end, End::ClientAborts | End::ServerAborts) {
        abort(first)?;
    } else {
        first.shutdown(Shutdown::Write)?;
    }
    // Reading is over when the first end's goodbye has come, of either kind.
    let _ = second.read_to_end(&mut Vec::new());
    Ok(())
}
