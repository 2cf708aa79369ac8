//! `cargo xtask bench traffic`: the traffic that is observed. It prints its rate.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Make traffic on the loopback interface: what `bench live` observes.
#[derive(clap::Args)]
#[command(hide = true)]
pub struct Args {
    /// `lockstep`: connections opened, accepted and closed one after the other; `bulk`: one stream; `steady-N`: N
    /// connections a second
    kind: String,
    /// For how long
    milliseconds: u64,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let length = Duration::from_millis(self.milliseconds);
        let rate = match self.kind.as_str() {
            "lockstep" => connections(length, None)?,
            "bulk" => bulk(length)?,
            other => match other.strip_prefix("steady-").and_then(|rate| rate.parse().ok()) {
                Some(rate) => connections(length, Some(rate))?,
                None => bail!("no traffic called {other}"),
            },
        };
        println!("{rate}");
        Ok(())
    }
}

/// Connections one after the other, each end closed by this thread; at most so many a second.
fn connections(length: Duration, rate: Option<u32>) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < length {
        let client = TcpStream::connect((destination(), port))?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
        count += 1;
        if let Some(rate) = rate {
            let due = Duration::from_secs(1) * count / rate;
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// An address of this host that was not used for long enough: ports wait in TIME-WAIT for a minute, and without a free one
/// it would be the search for one that is measured.
fn destination() -> Ipv4Addr {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let [high, low] = ((now.as_millis() / 250) as u16).to_be_bytes();
    Ipv4Addr::new(127, high, low, 1)
}

/// One stream as fast as it goes, in octets a second.
fn bulk(length: Duration) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 18];
        let mut total = 0_u64;
        while let Ok(read @ 1..) = receiver.read(&mut buffer) {
            total += read as u64;
        }
        total
    });
    let started = Instant::now();
    let piece = vec![7; 1 << 16];
    while started.elapsed() < length {
        sender.write_all(&piece)?;
    }
    drop(sender);
    let total = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(total as f64 / started.elapsed().as_secs_f64())
}
