//! The segment analysis against tshark, frame by frame, over random exchanges that no sane host would have.
//!
//! A seeded generator makes connections that retransmit, overlap, skip, probe, keep alive, close, reset, reuse ports and
//! run backwards in time; the same segments go through [`analyse`] and, as a capture file, through tshark. Every name must
//! be the same on every frame. Needs tshark 4.0 and is skipped, loudly, where that is not installed. `OBSERVER_FUZZ_SEED`
//! and `OBSERVER_FUZZ_ROUNDS` look further than the fixed seed.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use observer::packet::{Flags, Segment};
use observer::sequence::Seq;
use observer::tcp_options::TcpOptions;
use observer::time::Timestamp;
use observer::tracker::analysis::{AnalysisSet, Flow, Shared, analyse};

const CONNECTIONS: usize = 150;
const SEGMENTS: usize = 60;

#[test]
fn every_frame_is_called_what_tshark_calls_it() {
    if !tshark_is_4_0() {
        eprintln!("SKIPPED: tshark 4.0 is not installed, the segment analysis is not held against it");
        return;
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect("the variable holds a number"))
    };
    let (seed, rounds) = (number("OBSERVER_FUZZ_SEED", 1), number("OBSERVER_FUZZ_ROUNDS", 1));
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for seed in seed..seed + rounds {
        let frames = generate(seed);
        let ours = ours(&frames);
        let theirs = tshark(&frames);
        assert_eq!(ours.len(), theirs.len(), "tshark printed another number of frames (seed {seed})");
        for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            assert!(our.agrees_with(their), "seed {seed}: {}", explain(&frames, &ours, &theirs, index));
            for (name, _) in our.names.iter_names() {
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    for (name, _) in AnalysisSet::all().iter_names() {
        assert!(seen.get(name).is_some_and(|&count| count >= 20), "the exchanges hold too few {name}: {seen:?}");
    }
}

/// One frame as it goes over the wire.
#[derive(Clone, Debug)]
struct Sent {
    connection: usize,
    from_client: bool,
    at: u64,
    segment: Segment,
    options: Vec<u8>,
    /// Octets of options that the snapshot length keeps.
    kept: usize,
}

/// What is compared of one frame.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    stream: usize,
    names: AnalysisSet,
    /// In nanoseconds.
    initial_rtt: Option<u64>,
}

impl Verdict {
    /// tshark shows the round trip only beside other results, so there may be none on its side.
    fn agrees_with(&self, tshark: &Self) -> bool {
        let same_rtt = tshark.initial_rtt.is_none() || self.initial_rtt == tshark.initial_rtt;
        self.stream == tshark.stream && self.names == tshark.names && same_rtt
    }
}

fn ours(frames: &[Sent]) -> Vec<Verdict> {
    struct Stream {
        index: usize,
        flows: [Flow; 2],
        shared: Shared,
    }
    let mut open: HashMap<usize, Stream> = HashMap::new();
    let mut streams = 0;
    let mut start = || {
        streams += 1;
        Stream { index: streams - 1, flows: <[Flow; 2]>::default(), shared: Shared::default() }
    };
    let mut verdicts = Vec::new();
    for frame in frames {
        let stream = open.entry(frame.connection).or_insert_with(&mut start);
        let reused = stream.flows[usize::from(frame.from_client)].starts_new_stream(&frame.segment);
        if reused {
            *stream = start();
        }
        let [server, client] = &mut stream.flows;
        let (fwd, rev) = if frame.from_client { (client, server) } else { (server, client) };
        let cut = frame.kept < frame.options.len();
        let options = TcpOptions { cut, ..TcpOptions::parse(&frame.options[..frame.kept]) };
        let at = Timestamp::from_nanos(frame.at);
        let mut names = analyse(fwd, rev, &mut stream.shared, &frame.segment, &options, at);
        names.set(AnalysisSet::REUSED_PORTS, reused || names.contains(AnalysisSet::REUSED_PORTS));
        if cut {
            // tshark fails over the options before it says anything.
            names = AnalysisSet::empty();
        }
        let initial_rtt = stream.shared.initial_rtt().map(|rtt| rtt.0);
        verdicts.push(Verdict { stream: stream.index, names, initial_rtt });
    }
    verdicts
}

fn tshark(frames: &[Sent]) -> Vec<Verdict> {
    let names: Vec<(String, AnalysisSet)> =
        AnalysisSet::all().iter_names().map(|(name, flag)| (name.to_lowercase(), flag)).collect();
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", "-", "-T", "fields", "-E", "occurrence=l", "-e", "tcp.stream"]);
    command.args(["-e", "tcp.analysis.initial_rtt"]);
    for (name, _) in &names {
        command.args(["-e", &format!("tcp.analysis.{name}")]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tshark starts, as it did for its version");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let capture = capture_file(frames);
    let writer = std::thread::spawn(move || stdin.write_all(&capture));
    let output = child.wait_with_output().expect("tshark ends");
    writer.join().expect("the writer does not panic").expect("tshark reads its input");

    let text = String::from_utf8(output.stdout).expect("tshark prints UTF-8");
    let verdict = |line: &str| {
        let mut cells = line.split('\t');
        let stream = cells.next().and_then(|cell| cell.parse().ok()).expect("every frame is TCP");
        let rtt = cells.next().expect("a cell for the round trip");
        let seconds = rtt.parse().ok().filter(|&seconds: &f64| seconds > 0.0);
        let initial_rtt = seconds.map(|seconds| (seconds * 1e9).round() as u64);
        let set = names.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()).map(|((_, flag), _)| *flag).collect();
        Verdict { stream, names: set, initial_rtt }
    };
    text.lines().map(verdict).collect()
}

fn tshark_is_4_0() -> bool {
    let version = Command::new("tshark").arg("--version").output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with("TShark (Wireshark) 4.0."))
}

/// A frame that was called differently, and what went before it on its connection.
fn explain(frames: &[Sent], ours: &[Verdict], theirs: &[Verdict], index: usize) -> String {
    let connection = frames[index].connection;
    let line = |i: usize| {
        let Sent { from_client, at, segment: s, options, .. } = &frames[i];
        format!(
            "frame {} {at} {} [{}] seq {} ack {} win {} len {} options {options:02x?}\n    ours {:?}\n    tshark {:?}\n",
            i + 1,
            if *from_client { ">" } else { "<" },
            s.flags,
            s.seq,
            s.ack,
            s.window,
            s.len,
            ours[i],
            theirs[i],
        )
    };
    let of_connection = (0..=index).filter(|&i| frames[i].connection == connection).map(line);
    format!("frame {} is called differently\n{}", index + 1, of_connection.collect::<String>())
}

/// A pcap file with nanoseconds and raw IP. It holds headers only, as a capture with a short snapshot length does.
fn capture_file(frames: &[Sent]) -> Vec<u8> {
    const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
    const LINKTYPE_RAW: u32 = 101;
    let mut file = Vec::new();
    for word in [MAGIC_NANOSECONDS, 2 | 4 << 16, 0, 0, 0x4_0000, LINKTYPE_RAW] {
        file.extend(word.to_le_bytes());
    }
    for Sent { connection, from_client, at, segment, options, kept } in frames {
        let header = 20 + options.len();
        let total = 20 + header + segment.len as usize;
        let (seconds, nanos) = Timestamp::from_nanos(*at).split();
        for word in [seconds as u32, nanos, 40 + *kept as u32, total as u32] {
            file.extend(word.to_le_bytes());
        }
        let [_, _, high, low] = (*connection as u32).to_be_bytes();
        let (client, server) = ([10, 0, high, low], [10, 1, high, low]);
        let (client_port, server_port) = (40_001u16, 50_002u16);
        let (src, dst, sport, dport) = if *from_client {
            (client, server, client_port, server_port)
        } else {
            (server, client, server_port, client_port)
        };
        file.extend([0x45, 0]);
        file.extend((total as u16).to_be_bytes());
        file.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        file.extend([src, dst].concat());
        file.extend([sport, dport].map(u16::to_be_bytes).concat());
        file.extend([segment.seq.0, segment.ack.0].map(u32::to_be_bytes).concat());
        file.extend((((header / 4) << 12) as u16 | segment.flags.bits()).to_be_bytes());
        file.extend([segment.window, 0, 0].map(u16::to_be_bytes).concat());
        file.extend(&options[..*kept]);
    }
    file
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn number(&mut self) -> u32 {
        self.next() as u32
    }

    fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit)) as u32
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }
}

fn generate(seed: u64) -> Vec<Sent> {
    let mut random = Random(seed);
    let mut frames = Vec::new();
    for connection in 0..CONNECTIONS {
        Exchange::new(connection, &mut random).run(&mut frames);
    }
    frames
}

/// One end of an exchange, as it sees itself.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    isn: u32,
    next: u32,
    window: u16,
}

/// Makes the segments of one connection.
struct Exchange<'a> {
    connection: usize,
    random: &'a mut Random,
    ends: [End; 2],
    shifts: [Option<u8>; 2],
    at: u64,
    multipath: bool,
}

impl<'a> Exchange<'a> {
    fn new(connection: usize, random: &'a mut Random) -> Self {
        let mut isn = || match random.below(6) {
            0 => 0u32.wrapping_sub(random.below(5000)),
            1 => random.below(3),
            _ => random.number(),
        };
        let isns = [isn(), isn()];
        let ends = isns.map(|isn| End { isn, next: isn, window: random.pick(&[100, 1000, 8192, 65_535]) });
        let shifts = [0, 0].map(|_: u8| random.pick(&[None, Some(0), Some(2), Some(7), Some(15)]));
        let at = (1_700_000_000 + connection as u64 * 10_000) * 1_000_000_000;
        let multipath = random.one_in(8);
        Self { connection, random, ends, shifts, at, multipath }
    }

    fn run(mut self, frames: &mut Vec<Sent>) {
        if !self.random.one_in(5) {
            self.handshake(frames);
        }
        let end = frames.len() + self.random.below(SEGMENTS as u32) as usize + 1;
        while frames.len() < end {
            self.step(frames);
        }
    }

    fn handshake(&mut self, frames: &mut Vec<Sent>) {
        let len = if self.random.one_in(10) { self.random.below(500) } else { 0 };
        for _ in 0..self.random.pick(&[1, 1, 1, 2]) {
            self.send(frames, 1, Flags::SYN, self.ends[1].isn, 0, len);
        }
        if self.random.one_in(12) {
            return;
        }
        self.send_next(frames, 0, Flags::SYN | Flags::ACK, 0);
        self.send_next(frames, 1, Flags::ACK, 0);
    }

    fn step(&mut self, frames: &mut Vec<Sent>) {
        let side = self.random.below(2) as usize;
        let (own, other) = (self.ends[side], self.ends[1 - side]);
        let (ack, push) = (Flags::ACK, Flags::ACK | Flags::PSH);
        let back = self.random.pick(&[1, 1, 2, 100, 1460, 2920, self.ends[side].next.wrapping_sub(own.isn)]);
        let len = self.random.pick(&[0, 1, 1, 2, 100, 1460]);
        match self.random.below(24) {
            0..6 => self.send_next(frames, side, push, len),
            6 => self.send(frames, side, push, own.next.wrapping_sub(back), other.next, len),
            7 => self.send(frames, side, push, own.next.wrapping_sub(back), other.next, back),
            8 => {
                let skip = self.random.pick(&[1, 100, 1460, 1_000_000]);
                self.send(frames, side, push, own.next.wrapping_add(skip), other.next, len);
            }
            9 => {
                for _ in 0..self.random.below(5) + 1 {
                    self.send_next(frames, side, ack, 0);
                }
            }
            10 => {
                self.ends[side].window = self.random.pick(&[0, 0, 1, 500, 10_000, 65_535]);
                self.send_next(frames, side, ack, 0);
            }
            11 => self.send(frames, side, ack, own.next.wrapping_sub(1), other.next, len.min(1)),
            12 => {
                self.ends[1 - side].window = 0;
                self.send_next(frames, 1 - side, ack, 0);
                let next = self.ends[side].next;
                self.send(frames, side, ack, next, other.next, 1);
                self.ends[side].next = next;
                self.send_next(frames, 1 - side, ack, 0);
            }
            13 => self.fill_window(frames, side),
            14 => self.duplicate_acks(frames, side, back),
            15 => {
                let beyond = self.random.pick(&[1, 2, 1460, 100_000]);
                self.send(frames, side, ack, own.next, other.next.wrapping_add(beyond), 0);
            }
            16 => self.send(frames, side, ack, own.next, other.next.wrapping_sub(back), 0),
            17 => self.send_next(frames, side, Flags::FIN | ack, len),
            18 => self.syn(frames, side),
            19 if self.random.one_in(2) => {
                let flags = self.random.pick(&[Flags::RST, Flags::RST | ack]);
                let seq = self.random.pick(&[own.next, 0, own.isn.wrapping_add(1), own.next.wrapping_add(9)]);
                self.send(frames, side, flags, seq, other.next, 0);
            }
            20 if self.random.one_in(8) => {
                let flags = Flags::from_bits_truncate(self.random.below(512) as u16);
                let (seq, ack) = (self.random.number(), self.random.number());
                self.send(frames, side, flags, seq, ack, len);
            }
            21 => {
                // A keep-alive and its answer.
                self.send(frames, side, ack, own.next.wrapping_sub(1), other.next, len.min(1));
                self.send_next(frames, 1 - side, ack, 0);
            }
            _ => {
                self.send_next(frames, side, push, 1460);
                self.send_next(frames, 1 - side, ack, 0);
            }
        }
    }

    /// Sends payload up to the edge of the other end's window.
    fn fill_window(&mut self, frames: &mut Vec<Sent>, side: usize) {
        let other = 1 - side;
        self.ends[other].window = self.random.pick(&[1, 50, 1000]);
        self.send_next(frames, other, Flags::ACK, 0);
        let shift = match (self.shifts[other], self.shifts[side]) {
            (Some(shift), Some(_)) => u32::from(shift.min(14)),
            _ => 0,
        };
        let room = u32::from(self.ends[other].window) << shift;
        self.send_next(frames, side, Flags::ACK, room.min(60_000));
    }

    /// Loses a segment of `side` for the other end, and sends it again.
    fn duplicate_acks(&mut self, frames: &mut Vec<Sent>, side: usize, back: u32) {
        let lost = self.ends[side].next.wrapping_sub(back);
        let own = self.ends[1 - side].next;
        for _ in 0..self.random.below(5) + 1 {
            self.send(frames, 1 - side, Flags::ACK, own, lost, 0);
        }
        if self.random.one_in(4) {
            self.send_next(frames, side, Flags::ACK, 1460);
        }
        self.send(frames, side, Flags::ACK, lost, own, back.min(1460));
    }

    fn syn(&mut self, frames: &mut Vec<Sent>, side: usize) {
        let (isn, other) = (self.ends[side].isn, self.random.number());
        let seq = self.random.pick(&[isn, isn, other]);
        let ack = self.ends[1 - side].next;
        if self.random.one_in(2) {
            self.send(frames, side, Flags::SYN | Flags::ACK, seq, ack, 0);
        } else {
            self.send(frames, side, Flags::SYN, seq, 0, 0);
        }
        if seq != self.ends[side].isn {
            self.ends[side].isn = seq;
            self.ends[side].next = seq.wrapping_add(1);
        }
    }

    /// Sends what comes next in sequence and acknowledges all that the other end sent.
    fn send_next(&mut self, frames: &mut Vec<Sent>, side: usize, flags: Flags, len: u32) {
        self.send(frames, side, flags, self.ends[side].next, self.ends[1 - side].next, len);
    }

    fn send(&mut self, frames: &mut Vec<Sent>, side: usize, flags: Flags, seq: u32, ack: u32, len: u32) {
        self.pass_time();
        let len = len.min(60_000);
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), flags, window: self.ends[side].window, urgent: 0, len };
        let next = segment.end();
        if next.after(Seq(self.ends[side].next)) {
            self.ends[side].next = next.0;
        }
        let mut options = Vec::new();
        if flags.contains(Flags::SYN) || self.random.one_in(200) {
            options.extend(self.shifts[side].map(|shift| [3, 3, shift, 1]).into_iter().flatten());
        }
        if self.multipath && self.random.one_in(3) {
            // REMOVE_ADDR, MP_PRIO or an empty DSS: the short ones.
            options.extend(self.random.pick(&[[30, 4, 0x40, 1], [30, 4, 0x50, 1], [30, 4, 0x20, 0]]));
        }
        let kept =
            if self.random.one_in(50) { self.random.below(options.len() as u32 + 1) as usize } else { options.len() };
        let from_client = side == 1;
        frames.push(Sent { connection: self.connection, from_client, at: self.at, segment, options, kept });
    }

    fn pass_time(&mut self) {
        const MICRO: u64 = 1000;
        const MILLI: u64 = 1_000_000;
        let step = self.random.pick(&[0, 1, 40 * MICRO, 700 * MICRO, MILLI, 3 * MILLI - 1, 3 * MILLI, 9 * MILLI]);
        let rare = [20 * MILLI - 1, 20 * MILLI, 200 * MILLI, 3000 * MILLI];
        self.at += if self.random.one_in(5) { self.random.pick(&rare) } else { step };
        if self.random.one_in(40) {
            self.at -= self.random.pick(&[1, MILLI, 500 * MILLI]);
        }
    }
}
