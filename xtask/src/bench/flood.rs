//! `cargo xtask bench flood`: a SYN flood, every packet from another end, through a pipe.

use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::frame::{FILE_HEADER, SYN, Segment, syn_options};
use super::measure::{Usage, wait};
use super::{Target, judge, megabytes};
use crate::{process, setup};

/// Pipe a SYN flood into observer: it must run to the end, and memory stays within the bound on connections.
#[derive(clap::Args)]
pub struct Args {
    /// How many SYN segments, each of another connection
    #[arg(long, default_value_t = 10_000_000)]
    packets: u32,
    /// observer's bound on open connections
    #[arg(long, default_value_t = 1_000_000)]
    max_connections: u32,
}

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        let observer = process::release_observer()?;
        let empty = self.flood(&observer, 1)?;
        let full = self.flood(&observer, self.packets)?;
        let open = self.packets.min(self.max_connections);
        let each = full.peak.saturating_sub(empty.peak) as f64 / f64::from(open);
        println!(
            "{} connections in {:.2} s ({:.0}/s), {:.2} s of CPU, at most {open} open; {:.0} MB at the peak",
            self.packets,
            full.wall.as_secs_f64(),
            f64::from(self.packets) / full.wall.as_secs_f64(),
            full.cpu.as_secs_f64(),
            megabytes(full.peak),
        );
        judge(&[Target::at_most("peak memory per open connection", 1024.0, Some(each), " B")])
    }

    fn flood(&self, observer: &Path, packets: u32) -> Result<Usage> {
        let start = Instant::now();
        let mut child = Command::new(observer)
            .args(["replay", "-", "--output", "summary", "--max-connections", &self.max_connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting observer")?;
        let pipe = child.stdin.take().context("observer has no standard input")?;
        write(packets, pipe).context("writing to observer")?;
        wait(child, start).context("observer replay of a SYN flood")
    }
}

fn write(packets: u32, pipe: impl Write) -> io::Result<()> {
    let mut pipe = BufWriter::with_capacity(1 << 18, pipe);
    pipe.write_all(&FILE_HEADER)?;
    let options = syn_options((1, 0));
    let dst = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 80));
    let mut record = Vec::new();
    for index in 0..packets {
        // Neighbours in time share nothing: the factor is odd, so no two indices come out alike.
        let source = index.wrapping_mul(0x9e37_79b1);
        let src = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 | source >> 8), 1024 + (source & 0xff) as u16));
        let segment =
            Segment { src, dst, seq: source, ack: 0, flags: SYN, window: 64_240, options: &options, payload: &[] };
        record.clear();
        segment.write(1_600_000_000_000_000 + u64::from(index), &mut record);
        pipe.write_all(&record)?;
    }
    pipe.flush()
}
