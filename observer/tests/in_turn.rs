//! `observer replay --output json` of much: objects go out while the file is read, in the order of first frames.

mod exchange;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use exchange::{Pcap, SYN_OPTIONS, Segment};
use serde_json::Value;

const SERVER: (u8, u16) = (200, 443);
const PATIENT: (u8, u16) = (201, 40_000);

/// More text than is kept while nobody takes it: 3 kB a connection.
const CONNECTIONS: usize = 20_000;

fn observer(capture: &Path, threads: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.args(["replay", "--output", "json", "--threads", threads]).arg(capture).stdin(Stdio::null());
    command
}

/// Short connections, and one besides them that is open from before `opened` of them to before `closed`.
fn capture(folder: &Path, [opened, closed]: [usize; 2]) -> PathBuf {
    let mut pcap = Pcap::new();
    for number in 0..CONNECTIONS {
        let at = number as u64 * 2_000;
        if number == opened {
            segments(&mut pcap, at, PATIENT, &[(true, "S", 1, 0), (false, "S.", 5, 2), (true, ".", 2, 6)]);
        }
        if number == closed {
            segments(&mut pcap, at, PATIENT, &[(true, "F.", 2, 6), (false, "F.", 6, 3), (true, ".", 3, 7)]);
        }
        let client = (1 + (number / 30_000) as u8, 20_000 + (number % 30_000) as u16);
        let [open, close] = [
            &[(true, "S", 1, 0), (false, "S.", 5, 2), (true, ".", 2, 6)],
            &[(true, "F.", 2, 6), (false, "F.", 6, 3), (true, ".", 3, 7)],
        ];
        segments(&mut pcap, at + 100, client, open);
        segments(&mut pcap, at + 1_000, client, close);
    }
    let path = folder.join("much.pcap");
    fs::write(&path, pcap.bytes()).expect("a file is written");
    path
}

fn segments(pcap: &mut Pcap, at: u64, client: (u8, u16), all: &[(bool, &str, u32, u32)]) {
    for (step, &(from_client, flags, seq, ack)) in (0..).zip(all) {
        let (from, to) = if from_client { (client, SERVER) } else { (SERVER, client) };
        let options = if flags.contains('S') { SYN_OPTIONS } else { &[] };
        pcap.segment(Segment { at: at + step * 50, from, to, flags, seq, ack, options, window: 500, len: 0 });
    }
}

fn id(line: &str) -> Option<u64> {
    let object: Value = serde_json::from_str(line).expect("JSON");
    object["id"].as_u64()
}

#[test]
fn objects_go_out_while_the_file_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = capture(folder.path(), [CONNECTIONS, CONNECTIONS]);
    let mut child = observer(&capture, "2").stdout(Stdio::piped()).spawn().expect("observer starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(id(&line), Some(1));
    // Nobody takes more: there is a bound to what it reads ahead.
    let size = fs::metadata(&capture).expect("a file").len();
    let read = position(child.id(), &capture);
    assert!(read < size, "{read} of {size} octets are read");
    drop(stdout);
    assert!(child.wait().expect("observer ends").success(), "whoever reads may go away");
}

#[test]
fn what_is_open_for_long_keeps_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for ends in [[CONNECTIONS, CONNECTIONS], [1_000, 16_000], [10, CONNECTIONS]] {
        let capture = capture(folder.path(), ends);
        let [one, three] = ["1", "3"].map(|threads| {
            let output = observer(&capture, threads).output().expect("observer runs");
            assert!(output.status.success());
            String::from_utf8(output.stdout).expect("JSON is text")
        });
        assert!(one == three, "{ends:?}");
        let ids: Vec<_> = one.lines().filter_map(id).collect();
        assert!(ids.is_sorted() && ids.len() == CONNECTIONS + usize::from(ends[0] < CONNECTIONS), "{ends:?}");
    }
}

/// How far the process has read the file.
fn position(process: u32, file: &Path) -> u64 {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let is_it = |name: &String| fs::read_link(folder.join("fd").join(name)).is_ok_and(|target| target == *file);
    let entries = fs::read_dir(folder.join("fd")).expect("descriptors").flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let name = names.find(is_it).expect("the file is open");
    let mut text = String::new();
    File::open(folder.join("fdinfo").join(name))
        .and_then(|mut info| info.read_to_string(&mut text))
        .expect("it is told");
    let position = text.lines().find_map(|line| line.strip_prefix("pos:"));
    position.and_then(|position| position.trim().parse().ok()).expect("a position")
}
