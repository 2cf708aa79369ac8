//! Many sockets: connections of a namespace with itself, each end held open; and datagrams.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::live::stage::Stage;

/// Hold connections open until standard input ends, or send datagrams: what `bench gauges` counts.
#[derive(clap::Args)]
#[command(hide = true)]
pub struct Args {
    /// `connections`, each with both its ends here; `datagrams`, each to another port, which nobody answers
    kind: String,
    /// How many
    count: u32,
}

impl Args {
    pub fn run(self) -> Result<()> {
        match self.kind.as_str() {
            "connections" => hold(self.count),
            "datagrams" => send(self.count),
            other => bail!("no crowd of {other}"),
        }
    }
}

fn hold(pairs: u32) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut held = Vec::new();
    for _ in 0..pairs {
        held.push((TcpStream::connect(address)?, listener.accept()?));
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn send(count: u32) -> Result<()> {
    const PORTS: u32 = 50_000;
    for from in (0..count).step_by(PORTS as usize) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        for index in 0..PORTS.min(count - from) {
            let port = u16::try_from(1 + index).context("there are not so many ports")?;
            // What the one before met, closed ports answer with, is told here.
            let send = || socket.send_to(&[0], (Ipv4Addr::LOCALHOST, port));
            send().or_else(|_| send()).context("sending a datagram")?;
        }
    }
    Ok(())
}

/// Most connections of one process: each takes two descriptors, and not every process may have very many.
const MOST: u32 = 2_500;

/// Processes that hold connections, until dropped.
pub struct Gathered(Vec<Child>);

/// So many connections.
pub fn gather(stage: &Stage, pairs: u32) -> Result<Gathered> {
    let own = std::env::current_exe().context("looking for this program")?;
    let mut gathered = Gathered(Vec::new());
    let mut left = pairs;
    while left > 0 {
        let pairs = left.min(MOST);
        let mut command = stage.command(&own);
        command
            .args(["bench", "crowd", "connections", &pairs.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = command.spawn().context("starting a crowd")?;
        gathered.0.push(child);
        left -= pairs;
    }
    for child in &mut gathered.0 {
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "a crowd does not gather");
    }
    Ok(gathered)
}

impl Drop for Gathered {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The end of its standard input is the end of it.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
