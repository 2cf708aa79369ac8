//! `cargo xtask bench swarm`: short connections, and who they were.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, bail, ensure};

use super::Connection;
use crate::bench::live::stage::Stage;

/// Make short connections, one after the other, and print each: what `bench complete` is about.
#[derive(clap::Args)]
#[command(hide = true)]
pub struct Args {
    /// `plain`: both ends of this process; `processes`: each opened by a process of its own; `forks`: each accepted by one
    /// process and closed by a child of it
    kind: String,
    /// How many
    count: u32,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        match self.kind.as_str() {
            "plain" => plain(&listener, self.count),
            "processes" => by_processes(&listener, self.count),
            "forks" => to_forks(&listener, self.count),
            other => bail!("no swarm of {other}"),
        }
    }
}

/// Has them made in a namespace.
pub fn connect(stage: &Stage, kind: &str, count: u32) -> Result<Vec<Connection>> {
    let own = std::env::current_exe().context("looking for this program")?;
    let output = stage.command(&own).args(["bench", "swarm", kind, &count.to_string()]).output()?;
    ensure!(output.status.success(), "the swarm: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8(output.stdout).context("reading what the swarm says")?;
    text.lines().map(|line| parse(line).with_context(|| format!("reading {line:?}"))).collect()
}

fn parse(line: &str) -> Option<Connection> {
    let [from, to, client, server] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let process = |word: &str| word.parse().ok();
    Some(Connection {
        from: from.parse().ok()?,
        to: to.parse().ok()?,
        client: process(client)?,
        server: process(server)?,
    })
}

/// Where the connection with this number goes: each address takes fewer than there are ports.
fn destination(number: u32, listener: &TcpListener) -> io::Result<SocketAddr> {
    let [.., high, low] = (1 + number / 10_000).to_be_bytes();
    Ok((Ipv4Addr::new(127, 1, high, low), listener.local_addr()?.port()).into())
}

/// The connections so far, a line each.
struct Lines(io::BufWriter<io::StdoutLock<'static>>);

impl Lines {
    fn new() -> Self {
        Self(io::BufWriter::new(io::stdout().lock()))
    }

    fn add(&mut self, from: SocketAddr, to: SocketAddr, client: u32, server: u32) -> io::Result<()> {
        writeln!(self.0, "{} {to} {client} {server}", from.port())
    }
}

fn plain(listener: &TcpListener, count: u32) -> Result<()> {
    let (own, mut lines) = (std::process::id(), Lines::new());
    for number in 0..count {
        let to = destination(number, listener)?;
        let client = TcpStream::connect(to)?;
        let (server, from) = listener.accept()?;
        drop((client, server));
        lines.add(from, to, own, own)?;
    }
    Ok(())
}

fn by_processes(listener: &TcpListener, count: u32) -> Result<()> {
    let (own, mut lines) = (std::process::id(), Lines::new());
    for number in 0..count {
        let to = destination(number, listener)?;
        let child = fork(|| TcpStream::connect(to).is_ok())?;
        let (server, from) = listener.accept()?;
        drop(server);
        wait(child)?;
        lines.add(from, to, child, own)?;
    }
    Ok(())
}

fn to_forks(listener: &TcpListener, count: u32) -> Result<()> {
    let (own, mut lines) = (std::process::id(), Lines::new());
    // Each until the server's end is closed.
    let open = |number| TcpStream::connect(destination(number, listener)?)?.read_to_end(&mut Vec::new());
    let client = fork(|| (0..count).all(|number| open(number).is_ok()))?;
    for number in 0..count {
        let (server, from) = listener.accept()?;
        // The child has its end as long as it lives.
        let child = fork(|| true)?;
        drop(server);
        wait(child)?;
        lines.add(from, destination(number, listener)?, client, own)?;
    }
    wait(client)
}

/// A child that does `act` and ends.
fn fork(act: impl FnOnce() -> bool) -> Result<u32> {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("fork"),
        0 => {
            let status = i32::from(!act());
            // SAFETY: ends the process; nothing of the parent's is written or dropped.
            unsafe { libc::_exit(status) }
        }
        child => Ok(child.cast_unsigned()),
    }
}

fn wait(child: u32) -> Result<()> {
    let mut status = 0;
    // SAFETY: a child of this process; there is room for the status.
    let waited = unsafe { libc::waitpid(child.cast_signed(), &raw mut status, 0) };
    ensure!(waited == child.cast_signed() && status == 0, "a child failed");
    Ok(())
}
