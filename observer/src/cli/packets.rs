//! `observer packets`: one line per TCP segment.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use observer::capture::Chunk;
use observer::decode::{Checksums, Decoder, Fragments};
use observer::input::{Input, PacketInput};
use observer::packet::{Body, Decoded, Packet};
use observer::tracker::{Config, Tracker};

use crate::run::seed;
use crate::sink::packets::{Lines, Look, Precision, Shown, Style, write_effect};
use crate::source::{self, Fill, Source};

/// Print one line per TCP segment, as `tcpdump -n` does
///
/// The lines are those of `tcpdump -n` 4.99 up to `length N`; what is no TCP has none. A segment in a tunnel is printed
/// without the packets around it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    observer packets capture.pcapng\n  \
    observer packets -# -tt --filter 'port 443' capture.pcap\n  \
    tcpdump -w - | observer packets --state -")]
pub struct Packets {
    /// Capture files; `-` is standard input. Several are read in the order of their time stamps
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Read only what matches, in libpcap's filter language
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,

    /// At the end of a file, wait for more
    #[arg(long)]
    follow: bool,

    /// Stop after so many lines
    #[arg(short = 'c', long = "count", value_name = "LINES")]
    count: Option<u64>,

    /// Start each line with the number of the frame in its file
    #[arg(short = '#', long = "number")]
    numbered: bool,

    /// -t no time, -tt seconds since 1970, -ttt since the line before, -tttt date and time, -ttttt since the first line;
    /// without it the local time of day
    #[arg(short = 't', action = clap::ArgAction::Count)]
    time: u8,

    /// Decimals of a second
    #[arg(long = "time-stamp-precision", value_name = "PRECISION", default_value = "micro")]
    precision: Precision,

    /// Print sequence numbers as they stand in the header, not relative to the first
    #[arg(short = 'S', long = "absolute-tcp-sequence-numbers")]
    absolute: bool,

    /// Accepted for hands that know tcpdump: addresses and ports are never turned into names
    #[arg(short = 'n', action = clap::ArgAction::Count)]
    numeric: u8,

    /// Append what the segment did: the TCP state of both ends after it, and what the segment analysis says of it
    ///
    /// As in ` | client ESTAB, server CLOSE-WAIT | retransmission`. The client is the end that opened the connection. A
    /// packet that was captured before is marked `duplicate`. IP fragments are put together first, so a segment in
    /// fragments stands at the frame that completes it.
    #[arg(long)]
    state: bool,
}

impl Packets {
    /// Reads everything and prints the lines.
    pub fn run(self) -> Result<ExitCode> {
        let options =
            source::Options { filter: self.filter.clone(), follow: self.follow, ..source::Options::default() };
        let mut source = super::open(&self.files, options);
        let tracker = self.state.then(Config::default);
        print(source.as_mut(), self.look(), tracker, Checksums::Ignore, self.count)?;
        Ok(super::status_of(&source.files()))
    }

    fn look(&self) -> Look {
        Look {
            style: match self.time {
                0 => Style::Clock,
                1 => Style::Absent,
                2 => Style::Epoch,
                3 => Style::SincePrevious,
                4 => Style::Date,
                _ => Style::SinceFirst,
            },
            precision: self.precision,
            numbered: self.numbered,
            absolute: self.absolute,
        }
    }
}

/// Prints a line for each segment of `source`, at most `count`. With a tracker each line says what the segment did.
pub fn print(
    source: &mut dyn Source,
    look: Look,
    tracker: Option<Config>,
    checksums: Checksums,
    count: Option<u64>,
) -> Result<()> {
    let fragments = if tracker.is_some() { Fragments::Reassemble } else { Fragments::AsCaptured };
    let mut decoder = Decoder::new(checksums, seed()).with_fragments(fragments);
    let mut printer = Printer {
        lines: Lines::new(look),
        tracker: tracker.map(Tracker::new),
        left: count.unwrap_or(u64::MAX),
        out: Vec::with_capacity(2 * FLUSH),
    };
    let (mut chunk, mut decoded) = (Chunk::default(), Decoded::default());
    loop {
        let fill = source.fill(&mut chunk)?;
        decoded.clear();
        decoder.decode(&chunk, &mut decoded);
        let mut frames = chunk.frames.iter().peekable();
        for packet in &decoded.packets {
            // Packets come in the order of their frames, at times several of one frame.
            while frames.next_if(|frame| frame.number < packet.number).is_some() {}
            let carried = frames.peek().map_or(0, |frame| frame.carried);
            printer.packet(packet, carried, &decoded, &chunk)?;
        }
        printer.flush()?;
        if fill == Fill::End || printer.left == 0 {
            return Ok(());
        }
    }
}

/// Octets of finished lines that are written at once.
const FLUSH: usize = 1 << 16;

struct Printer {
    lines: Lines,
    tracker: Option<Tracker>,
    /// How many lines may still be printed.
    left: u64,
    out: Vec<u8>,
}

impl Printer {
    fn packet(&mut self, packet: &Packet, carried: u16, decoded: &Decoded, chunk: &Chunk) -> Result<()> {
        let input = PacketInput::new(packet, decoded, &chunk.bytes);
        let effect = self.tracker.as_mut().and_then(|tracker| {
            let effect = tracker.handle(Input::Packet(&input));
            while tracker.poll().is_some() {}
            effect
        });
        let Body::Tcp(segment) = &packet.body else { return Ok(()) };
        let header = decoded.header_of(packet, &chunk.bytes);
        let Some(left) = self.left.checked_sub(1) else { return Ok(()) };
        self.left = left;
        self.lines.write(&mut self.out, Shown { packet, segment, header, options: input.options, carried });
        if let Some(effect) = effect {
            write_effect(&mut self.out, &effect);
        }
        self.out.push(b'\n');
        if self.out.len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.out).and_then(|()| stdout.flush()).context("writing to standard output")?;
        self.out.clear();
        Ok(())
    }
}
