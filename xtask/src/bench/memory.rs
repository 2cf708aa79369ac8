//! `cargo xtask bench memory`: what an open connection costs that says nothing.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::frame::{ACK, FILE_HEADER, PSH, SYN, Segment, options, syn_options};
use super::measure::wait;
use super::{Target, judge, megabytes};
use crate::{process, setup};

/// Open many connections, exchange a little on each, leave them idle, and see what observer keeps of each.
#[derive(clap::Args)]
pub struct Args {
    /// How many connections are open
    #[arg(long, default_value_t = 500_000)]
    connections: u32,
}

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        let observer = process::release_observer()?;
        let few = idle(&observer, self.connections / 100)?;
        let many = idle(&observer, self.connections)?;
        let more = f64::from(self.connections - self.connections / 100);
        let each = |with: u64, without: u64| with.saturating_sub(without) as f64 / more;
        println!(
            "{} idle connections: {:.0} MB, {:.0} MB at the peak",
            self.connections,
            megabytes(many.idle),
            megabytes(many.peak)
        );
        judge(&[
            Target::at_most("memory of an idle connection", 400.0, Some(each(many.idle, few.idle)), " B"),
            Target::at_most(
                "the same at the peak, end of input included",
                400.0,
                Some(each(many.peak, few.peak)),
                " B",
            ),
        ])
    }
}

/// What was resident, in bytes.
struct Resident {
    /// After all packets, while the input is still open.
    idle: u64,
    peak: u64,
}

fn idle(observer: &Path, connections: u32) -> Result<Resident> {
    let start = Instant::now();
    let mut child = Command::new(observer)
        .args(["replay", "-", "--output", "summary"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting observer")?;
    let mut pipe = child.stdin.take().context("observer has no standard input")?;
    write(connections, &mut pipe).context("writing to observer")?;
    let idle = resident_at_rest(child.id())?;
    drop(pipe);
    let usage = wait(child, start).context("observer replay of idle connections")?;
    Ok(Resident { idle, peak: usage.peak })
}

/// What a process has in memory once it has no more work to do.
fn resident_at_rest(pid: u32) -> Result<u64> {
    const QUIET: Duration = Duration::from_millis(500);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = (cpu_ticks(pid)?, Instant::now());
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        let ticks = cpu_ticks(pid)?;
        if ticks != last.0 {
            last = (ticks, Instant::now());
        } else if last.1.elapsed() > QUIET {
            return resident(pid);
        }
    }
    bail!("observer is still at work two minutes after the last packet")
}

/// User and system time so far, in clock ticks.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The second field is the program's name in parentheses and may hold anything; utime and stime are the 14th and 15th.
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn resident(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

/// The most that a process has had in memory so far, in octets.
pub fn resident_at_most(pid: u32) -> Result<u64> {
    status(pid, "VmHWM:")
}

/// A line of `/proc/PID/status` that counts octets.
fn status(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|number| number.parse::<u64>().ok());
    Ok(kibibytes.with_context(|| format!("{path} has no {name}"))? * 1024)
}

/// A handshake, a request and its answer on each connection; all handshakes first, so that all are open at once.
fn write(connections: u32, pipe: impl Write) -> io::Result<()> {
    let mut pipe = BufWriter::with_capacity(1 << 18, pipe);
    pipe.write_all(&FILE_HEADER)?;
    let (syn, later) = (syn_options((1, 1)), options((2, 2)));
    // Sender (0 is the client), offset of seq and ack from the initial ones, flags, options, payload.
    let handshake: [Packet<'_>; 3] =
        [(0, 0, 0, SYN, &syn, b""), (1, 0, 1, SYN | ACK, &syn, b""), (0, 1, 1, ACK, &later, b"")];
    let exchange: [Packet<'_>; 3] = [
        (0, 1, 1, PSH | ACK, &later, b"PING\r\n"),
        (1, 1, 7, PSH | ACK, &later, b"PONG\r\n"),
        (0, 7, 7, ACK, &later, b""),
    ];
    let mut micros = 1_600_000_000_000_000;
    let mut record = Vec::new();
    for (packets, connection) in
        [handshake, exchange].iter().flat_map(|packets| (0..connections).map(move |c| (packets, c)))
    {
        let client =
            SocketAddr::from((Ipv4Addr::from(0x0a00_0000 | connection >> 8), 1024 + (connection & 0xff) as u16));
        let ends = [client, SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 6379))];
        for &(from, seq, ack, flags, options, payload) in packets {
            let [src, dst] = [ends[from], ends[1 - from]];
            let ack = if flags & ACK != 0 { connection + ack } else { 0 };
            let segment = Segment { src, dst, seq: connection + seq, ack, flags, window: 64_240, options, payload };
            micros += 1;
            record.clear();
            segment.write(micros, &mut record);
            pipe.write_all(&record)?;
        }
    }
    pipe.flush()
}

type Packet<'a> = (usize, u32, u32, u8, &'a [u8], &'a [u8]);
