//! Captures through [`open`], as everything else reads them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use observer::capture::{Chunk, Frame};
use observer::record::FileRecord;

use super::{Fill, Options, Source, open};

/// A frame with its bytes and comments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whole {
    frame: Frame,
    data: Vec<u8>,
    comments: Vec<Vec<u8>>,
}

impl Whole {
    fn nanos(&self) -> u64 {
        self.frame.at.as_nanos()
    }
}

fn append(chunk: &Chunk, all: &mut Vec<Whole>) {
    for frame in &chunk.frames {
        let comments = chunk.comments_on(frame.number).map(|(_, text)| text.to_vec()).collect();
        let frame_at_zero = Frame { start: 0, ..*frame };
        all.push(Whole { frame: frame_at_zero, data: chunk.data(frame).to_vec(), comments });
    }
}

fn read_with(paths: &[PathBuf], options: Options) -> (Vec<Whole>, Vec<FileRecord>, u64) {
    let mut source = open(paths, options).expect("the filter is right");
    let (mut chunk, mut all) = (Chunk::default(), Vec::new());
    loop {
        let fill = source.fill(&mut chunk).expect("trouble with a file is kept in its record");
        append(&chunk, &mut all);
        if fill == Fill::End {
            return (all, source.files(), source.filtered());
        }
    }
}

fn read(path: &Path) -> (Vec<Whole>, FileRecord) {
    let (frames, mut files, _) = read_with(&[path.to_owned()], Options::default());
    (frames, files.pop().expect("a record for each file"))
}

fn write(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).expect("writing a test's file");
    path
}

/// A little-endian pcap of Ethernet frames with nanoseconds: their times and contents.
fn pcap(frames: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::from(0xa1b2_3c4d_u32.to_le_bytes());
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for (at, data) in frames {
        let len = data.len() as u64;
        for field in [at / 1_000_000_000, at % 1_000_000_000, len, len] {
            bytes.extend((field as u32).to_le_bytes());
        }
        bytes.extend(*data);
    }
    bytes
}

fn counted_frames(count: u32, step: u64) -> Vec<u8> {
    let frames: Vec<_> = (0..count).map(|i| (1_000 + u64::from(i) * step, [0xab; 60])).collect();
    let frames: Vec<_> = frames.iter().map(|(at, data)| (*at, &data[..])).collect();
    pcap(&frames)
}

/// The captures that are not a part of this project; `None` where they are not at hand.
fn corpus() -> Option<Vec<PathBuf>> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let dir = std::env::var_os("OBSERVER_CORPUS").map_or_else(default, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&dir) else {
        eprintln!("skipped: there is no {}", dir.display());
        return None;
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("reading the corpus").path()).collect();
    paths.retain(|path| path.is_file() && !path.extension().is_some_and(|ext| ext == "tsv" || ext == "md"));
    paths.sort();
    Some(paths)
}

#[test]
fn reads_every_capture_of_the_corpus_as_tshark_does() {
    let Some(paths) = corpus() else { return };
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.len",
        "-e",
        "frame.cap_len",
        "-e",
        "frame.encap_type",
    ];
    let check = |path: &PathBuf| {
        let output = Command::new("tshark").args(["-n", "-r"]).arg(path).args(fields).output();
        let Ok(output) = output else {
            eprintln!("skipped: there is no tshark");
            return;
        };
        // tshark numbers custom blocks too; they have no encapsulation.
        let expected = String::from_utf8_lossy(&output.stdout);
        let expected: Vec<_> = expected.lines().filter(|line| !line.ends_with('\t')).collect();
        let (frames, record) = read(path);
        assert_eq!(frames.len(), expected.len(), "{}: frames; {:?}", path.display(), record.error);
        for (Whole { frame, data, .. }, expected) in frames.iter().zip(expected) {
            let [_, at, wire_len, captured, _] = expected.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{}: a line of tshark's: {expected:?}", path.display());
            };
            // Simple packet blocks have no time; damaged captures have more nanoseconds than a second does.
            let (seconds, nanos) = at.split_once('.').unwrap_or(("0", "0"));
            let number_of = |text: &str| text.parse::<u64>().expect("a number");
            let past = frame.at.as_nanos() - number_of(seconds) * 1_000_000_000;
            let label = || format!("{} frame {}", path.display(), frame.number);
            // tshark counts them in 32 bits.
            assert_eq!(past as u32, number_of(nanos) as u32, "{}", label());
            assert!(past < 1 << 42, "{}", label());
            assert_eq!(u64::from(frame.captured), number_of(captured), "{}", label());
            assert_eq!(data.len(), frame.captured as usize, "{}", label());
            // tshark's field has a sign.
            assert_eq!(u64::from(frame.wire_len.min(i32::MAX as u32)), number_of(wire_len), "{}", label());
        }
        assert_eq!(record.frames, frames.len() as u64);
        assert_eq!(record.error.is_none(), output.status.success(), "{}: {:?}", path.display(), record.error);
    };
    let (some, others) = paths.split_at(paths.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| some.iter().for_each(check));
        others.iter().for_each(check);
    });
}

/// Fills until `count` frames were there.
fn wait_for(source: &mut dyn Source, count: usize) -> Vec<Whole> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut chunk, mut all) = (Chunk::default(), Vec::new());
    while all.len() < count {
        assert!(Instant::now() < deadline, "{count} frames in time, got {}", all.len());
        source.fill(&mut chunk).expect("a fill");
        append(&chunk, &mut all);
    }
    all
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressing");
    encoder.finish().expect("compressing")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut out, bytes, 1).expect("compressing");
    out
}

fn lz4(bytes: &[u8], mode: lz4_flex::frame::BlockMode) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new().block_mode(mode).block_checksums(true).content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).expect("compressing");
    encoder.finish().expect("compressing")
}

/// What each compression makes of `bytes`, alone and as two pieces behind each other.
fn compressed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    use lz4_flex::frame::BlockMode;
    let (front, back) = bytes.split_at(bytes.len() / 3);
    vec![
        ("gzip", gzip(bytes)),
        ("gzip", [gzip(front), gzip(back), vec![0; 512]].concat()),
        ("zstd", zstd(bytes)),
        ("zstd", [zstd(front), zstd(back)].concat()),
        ("zstd", [vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], zstd(bytes)].concat()),
        ("lz4", lz4(bytes, BlockMode::Independent)),
        ("lz4", lz4(bytes, BlockMode::Linked)),
        (
            "lz4",
            [lz4(front, BlockMode::Linked), vec![0x5f, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9], lz4(back, BlockMode::Linked)]
                .concat(),
        ),
    ]
}

/// Frames that do not compress to nothing.
fn varied_frames(count: u64) -> Vec<u8> {
    let frames: Vec<_> = (0..count)
        .map(|i| {
            let len = 60 + (i * 7919 % 1400) as usize;
            let mut state = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let data: Vec<u8> = (0..len)
                .map(|at| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    if at % 3 == 0 { state as u8 } else { 0x55 }
                })
                .collect();
            (i * 1_000_000, data)
        })
        .collect();
    pcap(&frames.iter().map(|(at, data)| (*at, &data[..])).collect::<Vec<_>>())
}

#[test]
fn compressed_captures_read_like_plain_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let plain = varied_frames(5_000);
    let (expected, record) = read(&write(&dir, "plain", &plain));
    assert_eq!((expected.len(), record.error, record.compression), (5_000, None, None));
    for (index, (name, bytes)) in compressed(&plain).into_iter().enumerate() {
        let (frames, record) = read(&write(&dir, name, &bytes));
        assert_eq!(record.error, None, "{name} {index}");
        assert_eq!((record.compression, record.format), (Some(name), Some("pcap")), "{name} {index}");
        assert!(frames == expected, "{name} {index}: the same frames");
    }
}

#[test]
fn a_cut_compressed_capture_gives_what_comes_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let plain = varied_frames(200);
    let (expected, _) = read(&write(&dir, "plain", &plain));
    for (index, (name, bytes)) in compressed(&plain).into_iter().enumerate() {
        let mut most = 0;
        for cut in (0..bytes.len()).step_by(997) {
            let (frames, record) = read(&write(&dir, name, &bytes[..cut]));
            assert!(expected.starts_with(&frames), "{name} {index} cut at {cut}: frames from the front");
            // A cut between two pieces behind each other cannot be told from the end of one.
            assert!(record.error.is_some() || frames.len() == expected.len(), "{name} {index} cut at {cut}");
            assert!(frames.len() >= most, "{name} {index} cut at {cut}: more bytes, no fewer frames");
            most = frames.len();
        }
    }
}

#[test]
fn damage_in_compressed_data_loses_nothing_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let plain = varied_frames(2_000);
    let (expected, _) = read(&write(&dir, "plain", &plain));
    for (name, mut bytes) in [("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
        let at = bytes.len() / 2;
        bytes[at..at + 64].fill(0xff);
        let (frames, record) = read(&write(&dir, name, &bytes));
        let error = record.error.expect("an error");
        assert!(error.contains("of what it decompresses to"), "{name}: {error}");
        assert!(frames.len() > 600 && frames.len() < 1_500, "{name}: {} frames", frames.len());
        let same = frames.iter().zip(&expected).take_while(|(got, expected)| got == expected).count();
        assert!(same > 600, "{name}: {same} frames as they were");
    }
}

#[test]
fn a_frame_cut_short_is_told_by_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = counted_frames(3, 1);
    let (frames, record) = read(&write(&dir, "cut", &whole[..whole.len() - 1]));
    assert_eq!(frames.len(), 2);
    assert_eq!(record.error.as_deref(), Some("at byte 176: cut short: the packet takes 76 octets, 75 are left"));
    let (frames, record) = read(&write(&dir, "cut", &gzip(&whole[..30])));
    assert_eq!(frames.len(), 0);
    let expected = "at byte 24 of what it decompresses to: cut short: the packet header takes 16 octets, 6 are left";
    assert_eq!(record.error.as_deref(), Some(expected));
}

#[test]
fn what_is_no_capture_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = |name: &str, bytes: &[u8]| read(&write(&dir, name, bytes)).1.error.expect("an error");
    assert_eq!(error("empty", b""), "the file is empty");
    let elf = "not a capture: it starts with 7f 45 4c 46, and neither pcap, pcapng nor snoop does";
    assert_eq!(error("elf", b"\x7fELF....."), elf);
    assert_eq!(error("elf.gz", &gzip(b"\x7fELF.....")), elf);
    let missing = read(&dir.path().join("missing")).1.error.expect("an error");
    assert_eq!(missing, "cannot open it: No such file or directory (os error 2)");
    let directory = read(dir.path()).1.error.expect("an error");
    assert_eq!(directory, "at byte 0: Is a directory (os error 21)");
}

#[test]
fn merges_files_by_time_and_the_order_they_were_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = write(&dir, "first", &pcap(&[(10, b"a"), (30, b"c"), (30, b"d"), (90, b"i")]));
    let second = write(&dir, "second", &gzip(&pcap(&[(20, b"b"), (30, b"e"), (80, b"h")])));
    let third = write(&dir, "third", &pcap(&[(40, b"f"), (50, b"g")]));
    let empty = write(&dir, "empty", &pcap(&[]));
    let broken = write(&dir, "broken", b"no capture");
    let paths = [first, second, third, empty, broken];
    let (frames, files, _) = read_with(&paths, Options::default());
    let text: Vec<u8> = frames.iter().flat_map(|frame| frame.data.clone()).collect();
    assert_eq!(String::from_utf8_lossy(&text), "abcdefghi");
    assert!(frames.iter().map(|frame| frame.frame.number).eq(1..=9), "numbered through");
    let ids: Vec<_> = frames.iter().map(|frame| (frame.frame.id.file, frame.frame.id.number)).collect();
    assert_eq!(ids, [(0, 1), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (2, 2), (1, 3), (0, 4)]);
    assert_eq!(files.iter().map(|file| file.frames).collect::<Vec<_>>(), [4, 3, 2, 0, 0]);
    assert_eq!(files.iter().map(|file| file.error.is_some()).collect::<Vec<_>>(), [false, false, false, false, true]);
}

/// A rotated capture: more files than stay open, each of several chunks, one behind the other and overlapping.
#[test]
fn merges_more_files_than_stay_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |index: u64| {
        let data = [index as u8; 1_000];
        let frames: Vec<_> = (0..300).map(|i| ((index / 2) * 1_000 + i * 2 + index % 2, &data[..])).collect();
        write(&dir, &format!("{index}"), &pcap(&frames))
    };
    let paths: Vec<_> = (0..150).map(file).collect();
    let (frames, files, _) = read_with(&paths, Options::default());
    assert_eq!(frames.len(), 150 * 300);
    assert!(frames.iter().map(|frame| frame.frame.number).eq(1..=150 * 300), "numbered through");
    assert!(frames.is_sorted_by_key(Whole::nanos), "in the order of time");
    assert!(frames.iter().all(|frame| frame.data == [frame.frame.id.file as u8; 1_000]), "each with its bytes");
    assert!(files.iter().all(|file| file.frames == 300 && file.error.is_none()), "all of each");
}

#[test]
fn follows_a_growing_file_until_told_to_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = counted_frames(10, 1_000);
    for compressed in [false, true] {
        let bytes = if compressed { gzip(&bytes) } else { bytes.clone() };
        let path = write(&dir, "growing", b"");
        let options = Options { follow: true, ..Options::default() };
        let mut source = open(std::slice::from_ref(&path), options.clone()).expect("no filter");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("opening to append");
        let (front, back) = bytes.split_at(bytes.len() / 2);
        file.write_all(front).expect("growing");
        if !compressed {
            assert_eq!(wait_for(&mut *source, 4).len(), 4, "half of the file holds four whole frames");
        }
        file.write_all(back).expect("growing");
        wait_for(&mut *source, if compressed { 10 } else { 6 });
        file.write_all(&[0; 7]).expect("growing");
        options.stop.store(true, Ordering::Relaxed);
        let mut chunk = Chunk::default();
        assert_eq!(source.fill(&mut chunk).expect("a fill"), Fill::End);
        assert_eq!(source.files()[0].error, None, "a file still growing may end anywhere");
        assert_eq!(source.files()[0].frames, 10);
    }
}

/// It would wait for ever for a file to reach where it had been.
#[test]
fn a_followed_file_that_is_cut_short_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write(&dir, "rotated", &counted_frames(5, 1));
    let options = Options { follow: true, ..Options::default() };
    let mut source = open(std::slice::from_ref(&path), options).expect("no filter");
    assert_eq!(wait_for(&mut *source, 5).len(), 5);
    File::options().write(true).open(&path).expect("opening").set_len(30).expect("cutting");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut chunk = Chunk::default();
    while source.fill(&mut chunk).expect("a fill") == Fill::More {
        assert!(Instant::now() < deadline, "the end in time");
    }
    let expected = "at byte 404: the file was cut short while it was followed";
    assert_eq!(source.files()[0].error.as_deref(), Some(expected));
}

#[test]
fn follows_several_files_without_waiting_for_the_quiet_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let quiet = write(&dir, "quiet", &counted_frames(0, 1));
    let busy = write(&dir, "busy", &counted_frames(5, 1));
    let options = Options { follow: true, ..Options::default() };
    let mut source = open(&[quiet, busy], options).expect("no filter");
    assert_eq!(wait_for(&mut *source, 5).len(), 5);
}

/// Frames come out of a pipe while its writer still has it open.
#[test]
fn hands_frames_on_as_a_pipe_brings_them() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader)));
    let mut source = open(&[path], Options::default()).expect("no filter");
    for byte in counted_frames(2, 1).chunks(50) {
        writer.write_all(byte).expect("writing to the pipe");
    }
    assert_eq!(wait_for(&mut *source, 2).len(), 2, "while the pipe is open");
    drop(writer);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut chunk = Chunk::default();
    while source.fill(&mut chunk).expect("a fill") == Fill::More {
        assert!(Instant::now() < deadline, "the end in time");
    }
    assert_eq!(source.files()[0].error, None);
    assert_eq!(source.progress().get(), None, "nobody knows how much a pipe brings");
}

#[test]
fn knows_how_far_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = gzip(&varied_frames(100));
    let paths = [write(&dir, "one", &bytes), write(&dir, "two", &bytes)];
    let mut source = open(&paths, Options::default()).expect("no filter");
    let progress = source.progress();
    let total = 2 * bytes.len() as u64;
    assert_eq!(progress.get(), Some((0, total)));
    let mut chunk = Chunk::default();
    while source.fill(&mut chunk).expect("a fill") == Fill::More {}
    assert_eq!(progress.get(), Some((total, total)));
}

/// A file that is cut short while it is read just ends.
#[test]
fn survives_a_file_that_shrinks() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write(&dir, "shrinks", &varied_frames(10_000));
    let mut source = open(std::slice::from_ref(&path), Options::default()).expect("no filter");
    let mut chunk = Chunk::default();
    source.fill(&mut chunk).expect("a fill");
    File::options().write(true).open(&path).expect("opening").set_len(100).expect("cutting");
    while source.fill(&mut chunk).expect("a fill") == Fill::More {}
    let error = source.files()[0].error.clone().expect("an error");
    assert!(error.contains("cut short"), "{error}");
}

/// Gigabytes of one octet in a small file: read on, chunk by chunk.
#[test]
fn a_decompression_bomb_takes_no_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    // A block to skip of nearly 4 GiB, as far as a test has time for.
    let mut head = counted_section();
    head.extend([0xad, 0x0b, 0, 0]);
    head.extend(0xffff_fff0_u32.to_le_bytes());
    encoder.write_all(&head).expect("compressing");
    for _ in 0..256 {
        encoder.write_all(&vec![0; 1 << 20]).expect("compressing");
    }
    let path = write(&dir, "bomb.gz", &encoder.finish().expect("compressing"));
    let mut source = open(&[path], Options::default()).expect("no filter");
    let mut chunk = Chunk::default();
    while source.fill(&mut chunk).expect("a fill") == Fill::More {
        assert!(chunk.bytes.capacity() <= 4 << 20, "{} octets", chunk.bytes.capacity());
    }
    let error = source.files()[0].error.clone().expect("an error");
    assert!(error.contains("cut short: the rest of a block"), "{error}");
}

/// A pcapng section header.
fn counted_section() -> Vec<u8> {
    let mut bytes = vec![0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    bytes.extend([0xff; 8]);
    bytes.extend([28, 0, 0, 0]);
    bytes
}

/// tcpdump compiles the same expressions and runs them by libpcap's own interpreter.
#[test]
fn filters_as_tcpdump_does() {
    let Some(paths) = corpus() else { return };
    let expressions = [
        "tcp",
        "tcp port 443 or port 80",
        "host 10.0.0.1 or net 192.168.0.0/16",
        "greater 1000",
        "less 80",
        "ip6",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "vlan and tcp",
        "ip[2:2] - ((ip[0] & 0xf) << 2) > 100",
        "icmp or udp portrange 50-1024",
        "len % 3 = 1",
        "ip6 protochain 6",
        "not tcp and not udp",
    ];
    let tcpdump = |path: &Path, expression: &str| {
        let output = Command::new("tcpdump").args(["-r"]).arg(path).args(["-w", "-", expression]).output().ok()?;
        // It refuses some files, and some expressions for their link type.
        output.status.success().then_some(output.stdout)
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut compared = 0;
    for path in paths.iter().step_by(3).filter(|path| path.metadata().is_ok_and(|meta| meta.len() < 200_000)) {
        for expression in expressions {
            let Some(expected) = tcpdump(path, expression) else { continue };
            let (expected, _) = read(&write(&dir, "expected", &expected));
            let options = Options { filter: Some(expression.to_owned()), ..Options::default() };
            let (got, files, filtered) = read_with(std::slice::from_ref(path), options);
            assert_eq!(files[0].error, None);
            assert_eq!(filtered + got.len() as u64, files[0].frames, "all frames are counted");
            let data = |frames: Vec<Whole>| frames.into_iter().map(|frame| frame.data).collect::<Vec<_>>();
            assert!(data(got) == data(expected), "{} with {expression:?}", path.display());
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} runs compared: is there a tcpdump?");
}

#[test]
fn a_filter_that_libpcap_refuses_is_told_with_its_message() {
    let open = |filter: &str| {
        let options = Options { filter: Some(filter.to_owned()), ..Options::default() };
        open(&[PathBuf::from("none")], options).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(
        open("tcp prot 80").expect_err("a wrong filter"),
        "libpcap does not understand the filter `tcp prot 80`: can't parse filter expression: syntax error"
    );
    assert_eq!(open("tcp port 80"), Ok(()));
    assert_eq!(open("type mgt"), Ok(()), "for 802.11 only");
    assert_eq!(open(""), Ok(()));
}

/// Other frames of the same file are read all the same.
#[test]
fn a_filter_that_makes_no_sense_for_a_link_type_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let filtered = |link: u8| {
        let mut bytes = counted_frames(2, 1);
        bytes[20] = link;
        let options = Options { filter: Some("vlan and vlan".to_owned()), ..Options::default() };
        let (frames, mut files, filtered) = read_with(&[write(&dir, "capture", &bytes)], options);
        (frames.len(), filtered, files.pop().and_then(|file| file.error))
    };
    assert_eq!(filtered(1), (0, 2, None));
    let (frames, left_out, error) = filtered(113);
    assert_eq!((frames, left_out), (0, 2));
    let error = error.expect("an error");
    assert!(error.starts_with("the filter `vlan and vlan` does not apply to link type 113"), "{error}");
}
