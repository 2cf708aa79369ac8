//! `--write`: what a live source saw, kept as a pcapng capture that other tools read and `observer replay` reads whole.
//!
//! What was seen is held back for a moment, so that packets find their processes, which the kernel tells later than the
//! packets themselves.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use observer::capture::{Comment, Direction, Frame, Writer};
use observer::kernel::SocketInput;
use observer::packet::{Address, FrameId, IpVersion, Tuple};
use observer::record::{CaptureRecord, ConnectionRecord, Endpoint, InterfaceRecord, ProcessRecord};
use observer::recording::{self, Begin, End, Mark, Placed};
use observer::time::{Nanos, Timestamp};

use crate::source::live::{Batch, Seen, SeenPacket};

/// How long things are held back.
const HOLD: Duration = Duration::from_secs(1);

/// Octets of packets, and marks, that are held back at most.
const MOST_OCTETS: usize = 1 << 20;
const MOST_MARKS: usize = 4096;

/// A recording being written.
pub struct Recorder {
    path: PathBuf,
    out: BufWriter<Box<dyn Write>>,
    writer: Writer,
    buffer: Vec<u8>,
    /// Packets so far.
    frames: u64,
    marks: Vec<Placed>,
    packets: Vec<Held>,
    bytes: Vec<u8>,
    written: Instant,
    /// The last moment up to which all was taken in, where it is not written yet.
    now: Option<Timestamp>,
    /// When something was seen last.
    active: Option<Timestamp>,
    /// How long after that nothing changes any more.
    settle: Nanos,
    lost: Option<Option<u64>>,
    /// What the source says of the interfaces it captures on.
    sources: Vec<InterfaceRecord>,
    sampled: bool,
    /// The capture's interfaces, by what tells them apart.
    interfaces: HashMap<(u32, u16, u16), u16>,
    sockets: HashMap<(u32, Tuple), Known>,
    /// Keys of sockets are addresses in the kernel: the recording has others in their place.
    keys: RandomState,
}

/// A packet that is held back.
struct Held {
    netns: u32,
    interface: u16,
    tuple: Option<Tuple>,
    seen: SeenPacket,
}

/// What was written of a socket.
#[derive(Default)]
struct Known {
    /// A digest of the last that was; `None` where it has to be written anew.
    last: Option<u64>,
    owner: Option<Arc<ProcessRecord>>,
    /// Nothing more comes of it.
    gone: bool,
}

impl Recorder {
    /// Begins a recording at `path`, `-` being standard output. `source` is what the source says of itself.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub fn create(path: &Path, begin: &Begin, source: CaptureRecord) -> Result<Self> {
        let out: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path).with_context(|| format!("creating {}", path.display()))?)
        };
        let mut buffer = Vec::new();
        let writer = Writer::new(comment(begin), &mut buffer);
        let mut recorder = Self {
            path: path.to_owned(),
            out: BufWriter::new(out),
            writer,
            buffer,
            frames: 0,
            marks: Vec::new(),
            packets: Vec::new(),
            bytes: Vec::new(),
            written: Instant::now(),
            now: None,
            active: None,
            settle: begin.linger.max(begin.linger_half),
            lost: None,
            sources: source.interfaces,
            sampled: begin.sampled,
            interfaces: HashMap::new(),
            sockets: HashMap::new(),
            keys: RandomState::new(),
        };
        recorder.mark(Mark::Begin(*begin));
        recorder.flush()?;
        Ok(recorder)
    }

    /// Keeps what was seen up to `now`.
    pub fn take(&mut self, batch: &Batch, now: Timestamp) {
        for seen in &batch.seen {
            match seen {
                Seen::Socket(netns, socket) => self.socket(*netns, socket),
                Seen::Stray(netns, stray) => self.mark(Mark::Stray(*netns, stray.clone())),
                Seen::Packet(netns, packet) => self.packet(*netns, packet, &batch.bytes),
                Seen::Socketless(since) => self.mark(Mark::Socketless(*since)),
            }
        }
        self.now = Some(now);
        if !batch.seen.is_empty() {
            self.active = Some(now);
        }
    }

    /// Keeps how many records were lost so far.
    pub fn note_lost(&mut self, lost: Option<u64>, since: Timestamp, now: Timestamp) {
        if self.lost.replace(lost) != Some(lost) {
            self.mark(Mark::Lost { records: lost, since, at: now });
        }
    }

    /// A connection was told for the last time: whatever is still said of its sockets may be news.
    pub fn told(&mut self, record: &ConnectionRecord) {
        let netns = record.netns.unwrap_or(0);
        let tuple = between(record.client, record.server);
        for ends in [tuple, tuple.reversed()] {
            if let Some(known) = self.sockets.get_mut(&(netns, ends)) {
                (known.last, known.gone) = (None, true);
            }
        }
    }

    /// Writes what has been held back for long enough.
    pub fn pause(&mut self) -> Result<()> {
        let much = self.bytes.len() > MOST_OCTETS || self.marks.len() > MOST_MARKS;
        if much || self.written.elapsed() >= HOLD { self.flush() } else { Ok(()) }
    }

    /// Ends the recording. `capture` is what is known of the whole.
    pub fn finish(mut self, capture: &CaptureRecord) -> Result<()> {
        self.mark(Mark::End(End {
            dropped: capture.dropped,
            unseen: capture.unseen.clone(),
            hooks: capture.hooks.clone(),
            interfaces: capture.interfaces.clone(),
        }));
        self.flush()?;
        let at = capture.last_seen.unwrap_or_default();
        for ((_, source, _), number) in &self.interfaces {
            if let Some(record) = capture.interfaces.get(usize::from(*source)) {
                self.writer.statistics((0, *number), record, at, &mut self.buffer);
            }
        }
        self.flush()
    }

    fn has_more(&self) -> bool {
        !(self.marks.is_empty() && self.packets.is_empty() && self.buffer.is_empty())
    }

    fn mark(&mut self, mark: Mark) {
        // Only what is between two things that were seen matters of the time.
        if let Some(now) = self.now.take() {
            self.marks.push(Placed { after: self.frames, mark: Mark::Now(now) });
        }
        self.marks.push(Placed { after: self.frames, mark });
    }

    /// Keeps what is new of a socket: those that live are looked at again and again.
    fn socket(&mut self, netns: u32, socket: &SocketInput) {
        let known = self.sockets.entry((netns, socket.tuple)).or_default();
        known.gone = socket.gone;
        if let Some(owner) = socket.processes.first() {
            known.owner = Some(Arc::clone(owner));
        }
        let socket = SocketInput { key: self.keys.hash_one(socket.key), ..socket.clone() };
        let digest = self.keys.hash_one(encoded(&socket));
        if known.last.replace(digest) != Some(digest) {
            self.mark(Mark::Socket(netns, Box::new(socket)));
        }
    }

    fn packet(&mut self, netns: u32, packet: &SeenPacket, bytes: &[u8]) {
        let next = self.interfaces.len() as u16;
        let place = (netns, packet.interface, packet.link.0);
        let interface = *self.interfaces.entry(place).or_insert(next);
        if interface == next {
            self.mark(Mark::Interface { interface, netns });
        }
        if let Some(now) = self.now.take() {
            self.marks.push(Placed { after: self.frames, mark: Mark::Now(now) });
        }
        let start = packet.start as usize;
        let data = bytes.get(start..start + packet.captured as usize).unwrap_or_default();
        let seen = SeenPacket { start: self.bytes.len() as u32, captured: data.len() as u32, ..*packet };
        self.bytes.extend_from_slice(data);
        let tuple = self.sampled.then(|| ends(data)).flatten();
        self.packets.push(Held { netns, interface, tuple, seen });
        self.frames += 1;
    }

    fn flush(&mut self) -> Result<()> {
        // Once more after the last thing that was seen, time is told: when all that is over has been given out.
        let settled = self.now.zip(self.active).is_some_and(|(now, active)| now.since(active) >= self.settle);
        if settled {
            self.active = None;
        }
        if (settled || self.has_more())
            && let Some(now) = self.now.take()
        {
            self.marks.push(Placed { after: self.frames, mark: Mark::Now(now) });
        }
        self.written = Instant::now();
        if !self.has_more() {
            return Ok(());
        }
        self.writer.marks(&self.marks, &mut self.buffer);
        self.marks.clear();
        let first = self.frames - self.packets.len() as u64;
        for (number, held) in (first + 1..).zip(std::mem::take(&mut self.packets)) {
            self.frame(number, &held);
        }
        self.bytes.clear();
        self.sockets.retain(|_, known| !known.gone);
        let writing = || format!("writing to {}", self.path.display());
        self.out.write_all(&self.buffer).and_then(|()| self.out.flush()).with_context(writing)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Recorder {
    /// Writes a packet, with the process of the end that sent it, or else of the one that received it.
    fn frame(&mut self, number: u64, held: &Held) {
        let Held { netns, interface, tuple, seen } = held;
        let owner = |ends: Tuple| self.sockets.get(&(*netns, ends)).and_then(|known| known.owner.as_ref());
        let sender = tuple.and_then(owner).map(|owner| (owner, Direction::Outbound));
        let owner = sender.or_else(|| Some((tuple.map(Tuple::reversed).and_then(owner)?, Direction::Inbound)));
        let text = owner.map(|(owner, direction)| (process(owner), direction));
        let comment = text.as_ref().map(|(text, direction)| {
            let comment = Comment { number, start: 0, len: text.len() as u32, direction: Some(*direction) };
            (comment, text.as_bytes())
        });
        let frame = Frame {
            at: seen.at,
            carried: 0,
            number,
            id: FrameId { file: 0, number },
            link: seen.link,
            interface: *interface,
            wire_len: seen.len,
            start: seen.start,
            captured: seen.captured,
            direction: seen.direction,
        };
        let start = seen.start as usize;
        let data = self.bytes.get(start..start + seen.captured as usize).unwrap_or_default();
        let describe = || match self.sources.get(usize::from(seen.interface)) {
            Some(source) => source.clone(),
            None => InterfaceRecord {
                name: Some(format!("netns {netns}")),
                description: Some(SAMPLED.to_string()),
                ..InterfaceRecord::default()
            },
        };
        let comments = comment.iter().map(|(comment, text)| (comment, *text));
        self.writer.frame(&frame, data, comments, describe, &mut self.buffer);
    }
}

/// What is said of an interface of the kernel's filter.
const SAMPLED: &str = "sampled: of each connection only SYN, FIN, RST, windows of 0 and the first octets of each \
                       direction, as observer's eBPF filter passes them on";

/// What is said of the whole.
fn comment(begin: &Begin) -> &'static str {
    if begin.sampled {
        "a recording of observer, sampled: what is missing was not lost; `observer replay` reads what the kernel said too"
    } else {
        "a recording of observer"
    }
}

/// What a socket comes to in the recording, but for the time it was looked at.
fn encoded(socket: &SocketInput) -> Vec<u8> {
    let socket = SocketInput { at: if socket.gone { socket.at } else { Timestamp::default() }, ..socket.clone() };
    let mut octets = Vec::new();
    recording::encode(&[Placed { after: 0, mark: Mark::Socket(0, Box::new(socket)) }], &mut octets);
    octets
}

/// A process as ptcpdump writes it into comments.
fn process(process: &ProcessRecord) -> String {
    let ProcessRecord { pid, name, command, args, uid, parent_pid, container, container_id, pod, namespace, .. } =
        process;
    let number = |number: &Option<u32>| number.map(|number| number.to_string());
    let lines = [
        ("PID", number(pid)),
        ("Cmd", command.clone().or_else(|| name.clone())),
        ("Args", args.clone().filter(|args| !args.is_empty())),
        ("UserId", number(uid)),
        ("ParentPID", number(parent_pid)),
        ("ContainerName", container.clone()),
        ("ContainerId", container_id.clone()),
        ("PodName", pod.clone()),
        ("PodNamespace", namespace.clone()),
    ];
    // A line of its own is what another field would be.
    let line = |(key, value): (&str, Option<String>)| Some(format!("{key}: {}", value?.replace(['\n', '\r'], " ")));
    lines.into_iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// The tuple of two ends.
fn between(client: Endpoint, server: Endpoint) -> Tuple {
    let (src, dst) = (Address::from(client.ip), Address::from(server.ip));
    let version = if client.ip.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
    Tuple { src, dst, sport: client.port, dport: server.port, version }
}

/// The ends of a TCP segment in an IP packet without anything in between.
fn ends(packet: &[u8]) -> Option<Tuple> {
    const TCP: u8 = 6;
    let (src, dst, version, segment) = match packet {
        [first @ 0x45..=0x4f, _, _, _, _, _, _, _, _, TCP, _, _, s0, s1, s2, s3, d0, d1, d2, d3, ..] => {
            let header = usize::from(first & 0xf) * 4;
            let (src, dst) = (Address::v4([*s0, *s1, *s2, *s3]), Address::v4([*d0, *d1, *d2, *d3]));
            (src, dst, IpVersion::V4, packet.get(header..)?)
        }
        [0x60..=0x6f, _, _, _, _, _, TCP, _, rest @ ..] => {
            let (src, rest) = rest.split_first_chunk()?;
            let (dst, segment) = rest.split_first_chunk()?;
            (Address(*src), Address(*dst), IpVersion::V6, segment)
        }
        _ => return None,
    };
    let ([s0, s1, d0, d1], _) = segment.split_first_chunk()?;
    let (sport, dport) = (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1]));
    Some(Tuple { src, dst, sport, dport, version })
}
