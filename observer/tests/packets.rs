//! `observer packets` against the installed tcpdump, on captures made here: every line must be the same up to
//! `length N`.

#[expect(dead_code, reason = "what replays captures in the library; these tests run the binary")]
mod corpus;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs both over `frames` and compares. `switches` go to both.
fn compare(name: &str, frames: &[Frame], switches: &[&str]) {
    let file = write_capture(name, frames);
    let ours = lines(Command::new(env!("CARGO_BIN_EXE_observer")).arg("packets").arg("-#").args(switches).arg(&file));
    if !tcpdump_is_there() {
        eprintln!("SKIPPED: tcpdump 4.99 is not installed, {name} is compared with nothing");
        return;
    }
    let theirs = lines(Command::new("tcpdump").args(["-#", "-n", "-r"]).arg(&file).args(switches));
    assert!(!theirs.is_empty(), "tcpdump prints no segment of {name}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{name}: observer's line, then tcpdump's");
    }
    assert_eq!(ours.len(), theirs.len(), "{name}: lines of observer, and of tcpdump");
}

/// The lines of segments, each up to `length N`.
fn lines(command: &mut Command) -> Vec<String> {
    let output = command.env("TZ", "America/New_York").output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("lines are ASCII");
    let is_segment = |line: &&str| line.contains("Flags [") || line.ends_with("[|tcp]");
    text.lines().filter(is_segment).map(up_to_length).collect()
}

fn up_to_length(line: &str) -> String {
    let Some((before, after)) = line.split_once(", length ") else { return line.to_owned() };
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    format!("{before}, length {}", &after[..digits])
}

fn tcpdump_is_there() -> bool {
    // Other versions print other lines.
    Command::new("tcpdump").arg("--version").output().is_ok_and(|output| {
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).contains("tcpdump version 4.99.")
    })
}

/// One Ethernet frame as captured: its octets, how many there were on the wire, and when.
#[derive(Clone)]
struct Frame {
    octets: Vec<u8>,
    wire: usize,
    nanos: u64,
}

/// A pcap file with nanoseconds.
fn write_capture(name: &str, frames: &[Frame]) -> PathBuf {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let [second, nanos] = [frame.nanos / 1_000_000_000, frame.nanos % 1_000_000_000];
        for word in [second as u32, nanos as u32, frame.octets.len() as u32, frame.wire as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&frame.octets);
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("packets-{name}.pcap"));
    fs::write(&path, file).expect("the temporary directory can be written");
    path
}

/// A TCP segment that becomes a frame.
#[derive(Clone)]
struct Segment {
    six: bool,
    back: bool,
    ports: [u16; 2],
    seq: u32,
    ack: u32,
    flags: u16,
    urgent: u16,
    options: Vec<u8>,
    payload: usize,
    /// What the data offset says beyond, or short of, the options there are, in words.
    offset_error: i16,
}

const SYN: u16 = 0x02;
const ACK: u16 = 0x10;

impl Default for Segment {
    fn default() -> Self {
        Self {
            six: false,
            back: false,
            ports: [40_000, 9],
            seq: 1_000_000,
            ack: 2_000_000,
            flags: ACK,
            urgent: 0,
            options: Vec::new(),
            payload: 0,
            offset_error: 0,
        }
    }
}

impl Segment {
    fn tcp(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = (5 + options.len() as i16 / 4 + self.offset_error) as u16;
        let [source, destination] = if self.back { [self.ports[1], self.ports[0]] } else { self.ports };
        let mut tcp = Vec::new();
        tcp.extend(source.to_be_bytes());
        tcp.extend(destination.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend((words << 12 | self.flags).to_be_bytes());
        tcp.extend(502_u16.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(options);
        tcp.extend((0..self.payload).map(|i| i as u8));
        tcp
    }

    fn ip(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut ends = if self.six {
            let a: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            let b: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
            [a.to_vec(), b.to_vec()]
        } else {
            [vec![10, 0, 0, 1], vec![192, 0, 2, 255]]
        };
        if self.back {
            ends.reverse();
        }
        let mut ip = if self.six {
            let [a, b] = (tcp.len() as u16).to_be_bytes();
            vec![0x60, 0, 0, 0, a, b, 6, 64]
        } else {
            let [a, b] = (tcp.len() as u16 + 20).to_be_bytes();
            vec![0x45, 0, a, b, 0, 1, 0x40, 0, 64, 6, 0, 0]
        };
        ip.extend(ends.concat());
        ip.extend(tcp);
        ip
    }

    fn frame(&self, number: usize) -> Frame {
        let mut octets = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        octets.extend(if self.six { [0x86, 0xdd] } else { [0x08, 0x00] });
        octets.extend(self.ip());
        Frame { wire: octets.len(), octets, nanos: 1_720_000_000_123_456_789 + number as u64 * 1_700_000_013 }
    }
}

fn frames(segments: impl IntoIterator<Item = Segment>) -> Vec<Frame> {
    segments.into_iter().enumerate().map(|(number, segment)| segment.frame(number)).collect()
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A kind of option: its number, for Multipath TCP the octet after the length, and the lengths it may have.
type Known = (u8, Option<u8>, &'static [u8]);

const KNOWN: [Known; 34] = [
    (2, None, &[4]),
    (3, None, &[3]),
    (4, None, &[2]),
    (5, None, &[2, 10, 18, 26, 34]),
    (6, None, &[6]),
    (7, None, &[6]),
    (8, None, &[10]),
    (11, None, &[6]),
    (12, None, &[6]),
    (13, None, &[6]),
    (19, None, &[18]),
    (20, None, &[4]),
    (28, None, &[4]),
    (29, None, &[2, 3, 4, 5, 16]),
    (34, None, &[2, 3, 6, 10, 11, 18, 20]),
    (253, None, &[2, 6]),
    (254, None, &[2, 3, 4, 8, 10]),
    (77, None, &[2, 3, 9]),
    (30, Some(0x00), &[4, 12, 20, 22]),
    (30, Some(0x01), &[4, 12, 20, 22]),
    (30, Some(0x02), &[12]),
    (30, Some(0x10), &[12, 16, 24]),
    (30, Some(0x11), &[12, 16, 24]),
    (30, Some(0x20), &[3, 4, 8, 12, 18, 20, 22, 24, 26, 28]),
    (30, Some(0x30), &[8, 10, 16, 18, 20, 22, 28, 30]),
    (30, Some(0x31), &[8, 10, 16, 18, 20, 22, 28, 30]),
    (30, Some(0x34), &[8, 10, 16, 18]),
    (30, Some(0x36), &[20, 22, 28, 30]),
    (30, Some(0x40), &[3, 4, 6]),
    (30, Some(0x50), &[3, 4]),
    (30, Some(0x51), &[3, 4]),
    (30, Some(0x60), &[12]),
    (30, Some(0x70), &[12]),
    (30, Some(0x80), &[3, 4]),
];

/// An option that says it has `length` octets, cut or filled up to `there`.
fn option(random: &mut Random, (kind, subtype, _): Known, length: u8, there: usize) -> Vec<u8> {
    let mut option = vec![kind, length];
    option.extend(subtype);
    if kind == 254 && random.below(2) == 0 {
        option.extend([0xf9, 0x89]);
    }
    while option.len() < there {
        let any = random.below(256) as u8;
        option.push(random.pick(&[any, any, any, any, 0, 1, 2, 3, 5, 0x0f, 0x1f, 0x80, 0xff]));
    }
    option.truncate(there);
    option
}

#[test]
fn every_flag_of_both_families() {
    let all = (0..512).flat_map(|flags| {
        [false, true].map(|six| Segment {
            six,
            flags,
            payload: usize::from(flags % 3),
            urgent: 7,
            ..Segment::default()
        })
    });
    compare("flags", &frames(all), &["-tt"]);
}

#[test]
fn every_option_alone_with_right_and_wrong_lengths() {
    let mut random = Random(1);
    let mut segments = Vec::new();
    for known in KNOWN {
        for &right in known.2 {
            for length in [right, right + 1, right - 1, 0, 1, 2, 40, 255] {
                for there in [usize::from(right), usize::from(length), 2, 3] {
                    for flags in [SYN, SYN | ACK, ACK] {
                        let options = option(&mut random, known, length, there.min(40));
                        segments.push(Segment { options, flags, payload: 1, ..Segment::default() });
                    }
                }
            }
        }
    }
    compare("options", &frames(segments), &["-t"]);
}

#[test]
fn runs_of_random_options() {
    let mut random = Random(2);
    let segments = (0..6000).map(|_| {
        let mut options = Vec::new();
        while options.len() < 40 && random.below(8) > 0 {
            let known = random.pick(&KNOWN);
            let right = random.pick(known.2);
            let length = if random.below(8) == 0 { random.below(44) as u8 } else { right };
            match random.below(16) {
                0 => options.push(0),
                1..4 => options.extend([1, 1]),
                _ => options.extend(option(&mut random, known, length, usize::from(right))),
            }
        }
        options.truncate(40);
        Segment {
            six: random.below(2) == 0,
            back: random.below(2) == 0,
            ports: random.pick(&[[40_000, 9], [9, 40_000], [9, 9]]),
            seq: random.pick(&[0, 1, u32::MAX, 0x8000_0000, 77]),
            ack: random.pick(&[0, 1, u32::MAX, 0x8000_0000, 77]),
            flags: random.pick(&[SYN, SYN | ACK, ACK, ACK, ACK | 8, 4, 0x14, 0x11, 0x38]),
            urgent: 3,
            options,
            payload: random.below(3),
            offset_error: 0,
        }
    });
    let frames = frames(segments);
    compare("random", &frames, &["-ttttt"]);
    compare("random-absolute", &frames, &["-S", "-ttt"]);
}

#[test]
fn cut_at_every_octet_of_the_options() {
    let mut random = Random(3);
    let mut cut = Vec::new();
    for six in [false, true] {
        for known in KNOWN {
            for &right in known.2 {
                for before in [&[][..], &[1], &[30, 3, 0x50]] {
                    let mut options = before.to_vec();
                    options.extend(option(&mut random, known, right, usize::from(right)));
                    options.resize(40, 1);
                    let whole = Segment { six, options, payload: 5, ..Segment::default() }.frame(cut.len());
                    let end = whole.octets.len() - 5;
                    cut.extend(
                        (end - 40..=end).map(|kept| Frame { octets: whole.octets[..kept].to_vec(), ..whole.clone() }),
                    );
                }
            }
        }
    }
    compare("cut", &cut, &["-tttt"]);
}

#[test]
fn cut_behind_the_window() {
    let cut = [false, true].into_iter().flat_map(|six| {
        let whole = Segment { six, options: vec![1; 12], payload: 5, ..Segment::default() }.frame(0);
        let header = whole.octets.len() - 5 - 12 - 20;
        (16..20).map(move |kept| Frame { octets: whole.octets[..header + kept].to_vec(), ..whole.clone() })
    });
    compare("cut-header", &cut.collect::<Vec<_>>(), &["-tttt"]);
}

#[test]
fn data_offsets_beyond_the_segment() {
    let segments = (0..=15).flat_map(|words| {
        [0, 3, 12, 40].map(|payload| Segment {
            payload,
            offset_error: words - 5,
            flags: ACK | SYN,
            ..Segment::default()
        })
    });
    compare("offsets", &frames(segments), &[]);
}

#[test]
fn first_fragments_are_printed_as_captured() {
    let mut all = Vec::new();
    for more in [0x20, 0x00] {
        for offset in [0, 1] {
            let mut frame = Segment { payload: 44, ..Segment::default() }.frame(all.len());
            frame.octets[20] = more;
            frame.octets[21] = offset;
            all.push(frame);
        }
    }
    compare("fragments", &all, &[]);
}

/// What a line says of a frame: its number, its time, and the innermost packet up to `length N`. `None` for lines that
/// are about no segment, or give its ports without addresses as tcpdump does behind extension headers.
fn innermost(line: &str) -> Option<(u64, (String, String))> {
    let mut words = line.split_ascii_whitespace();
    let (number, time) = (words.next()?.parse().ok()?, words.next()?);
    let (before, _) = line.rsplit_once(": Flags [")?;
    let (before, _) = before.rsplit_once(" > ")?;
    let ends = &line[before.rfind(' ')? + 1..];
    let has_address = ends.split(' ').next()?.contains('.');
    has_address.then(|| (number, (time.to_owned(), up_to_length(ends))))
}

#[test]
fn captures_that_this_project_did_not_make() {
    let (Some(folder), true) = (corpus::corpus(), tcpdump_is_there()) else {
        eprintln!("SKIPPED: the corpus or tcpdump 4.99 is not there, no line is compared");
        return;
    };
    let mut compared = 0;
    for entry in fs::read_dir(folder).expect("the corpus can be read") {
        let file = entry.expect("the corpus can be read").path();
        if !file.is_file() {
            continue;
        }
        let segments = |command: &mut Command| -> BTreeMap<_, _> {
            let output = command.output().expect("the program runs");
            String::from_utf8_lossy(&output.stdout).lines().filter_map(innermost).collect()
        };
        let theirs = segments(Command::new("tcpdump").args(["-#", "-tt", "-n", "-r"]).arg(&file));
        let ours = segments(Command::new(env!("CARGO_BIN_EXE_observer")).args(["packets", "-#", "-tt"]).arg(&file));
        for (number, theirs) in &theirs {
            assert_eq!(ours.get(number), Some(theirs), "{} frame {number}", file.display());
        }
        compared += theirs.len();
    }
    assert!(compared > 20_000, "only {compared} lines were compared");
}

#[test]
fn nanoseconds() {
    let segments = (0..9).map(|_| Segment::default());
    compare("nanoseconds", &frames(segments), &["-tt", "--time-stamp-precision=nano"]);
}

#[test]
fn says_what_each_segment_did() {
    let client = |seq, flags, payload| Segment { seq, flags, payload, ack: 501, ..Segment::default() };
    let server = |flags| Segment { back: true, seq: 500, ack: 101, flags, ..Segment::default() };
    let segments = [
        Segment { ack: 0, ..client(100, SYN, 0) },
        server(SYN | ACK),
        client(101, ACK, 0),
        client(101, ACK, 9),
        client(101, ACK, 9),
        Segment { seq: 501, ..server(ACK | 1) },
        client(110, ACK | 4, 0),
    ];
    let file = write_capture("state", &frames(segments));
    let output = observer(&["--state"], &file);
    let text = String::from_utf8(output.stdout).expect("lines are ASCII");
    let said: Vec<_> = text.lines().filter_map(|line| line.split_once(" | ")).map(|(_, said)| said).collect();
    assert_eq!(
        said,
        [
            "client SYN-SENT, server unknown",
            "client ESTAB, server SYN-RECV",
            "client ESTAB, server ESTAB",
            "client ESTAB, server ESTAB",
            "client ESTAB, server ESTAB | retransmission",
            "client CLOSE-WAIT, server FIN-WAIT-1",
            "client CLOSED, server CLOSED",
        ]
    );
}

#[test]
fn exit_status_tells_what_could_not_be_read() {
    let whole = write_capture("whole", &frames(vec![Segment::default(); 3]));
    assert_eq!(observer(&[], &whole).status.code(), Some(0));
    assert_eq!(observer(&["--filter", "tcp port"], &whole).status.code(), Some(2));

    let mut octets = fs::read(&whole).expect("it was just written");
    octets.pop();
    let cut = whole.with_file_name("packets-cut-short.pcap");
    fs::write(&cut, octets).expect("the temporary directory can be written");
    let output = observer(&[], &cut);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(output.stdout.split(|&octet| octet == b'\n').count(), 3, "two lines, and nothing after them");
    assert!(said.starts_with("observer: ") && said.contains("packets-cut-short.pcap"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    let file = write_capture("pipe", &frames(vec![Segment::default(); 20_000]));
    let mut child = Command::new(env!("CARGO_BIN_EXE_observer"))
        .arg("packets")
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn stops_after_so_many_lines() {
    let file = write_capture("count", &frames(vec![Segment::default(); 9]));
    let run = |count| observer(&["-c", count], &file).stdout.split(|&octet| octet == b'\n').count() - 1;
    assert_eq!((run("0"), run("4"), run("10")), (0, 4, 9));
}

fn observer(switches: &[&str], file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.arg("packets").args(switches).arg(file).output().expect("the program runs")
}
