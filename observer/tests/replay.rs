//! `observer replay` as a whole: what it prints, in every width, and how it ends.
//!
//! `OBSERVER_BLESS=1 cargo test -p observer --test replay` writes the golden files anew; read the difference before
//! committing it.

mod exchange;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use exchange::{Pcap, SYN_OPTIONS, Segment};
use serde_json::Value;

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 443);

#[test]
fn few_connections_are_drawn_in_full() {
    let folder = Folder::new();
    folder.write("exchange.pcap", exchange().bytes());
    for width in ["60", "80", "120", "200"] {
        let output = folder.observer(&["replay", "exchange.pcap"]).env("COLUMNS", width).output();
        golden(&format!("few-{width}.txt"), &text(&output.expect("observer runs")));
    }
}

#[test]
fn one_connection_is_drawn_with_all_there_is() {
    let folder = Folder::new();
    folder.write("exchange.pcap", exchange().bytes());
    for width in ["80", "120"] {
        let output = folder.observer(&["replay", "exchange.pcap", "--connection", "1"]).env("COLUMNS", width).output();
        golden(&format!("one-{width}.txt"), &text(&output.expect("observer runs")));
    }
}

#[test]
fn many_connections_are_summed_up() {
    let folder = Folder::new();
    folder.write("many.pcap", many().bytes());
    for width in ["60", "80", "120"] {
        let output = folder.observer(&["replay", "many.pcap"]).env("COLUMNS", width).output();
        golden(&format!("many-{width}.txt"), &text(&output.expect("observer runs")));
    }
    let output = folder.observer(&["replay", "many.pcap", "--sort", "bytes", "--top", "3"]).output();
    golden("many-by-bytes.txt", &text(&output.expect("observer runs")));
}

#[test]
fn colours_are_for_terminals_and_those_who_ask() {
    let folder = Folder::new();
    folder.write("exchange.pcap", exchange().bytes());
    let run = |color: &str| {
        let mut command = folder.observer(&["replay", "exchange.pcap", "--color", color]);
        text(&command.output().expect("observer runs"))
    };
    assert!(!run("auto").contains('\u{1b}'));
    assert!(run("always").contains('\u{1b}'));
    let plain: String = without_codes(&run("always"));
    assert_eq!(plain, run("never"));
}

#[test]
fn every_line_fits_the_terminal() {
    let mut captures = captures("../shared/corpus");
    captures.extend(captures_of_this_project());
    let folder = Folder::new();
    for capture in captures {
        for width in [40, 60, 80, 120, 200] {
            let output = folder.observer(&["replay"]).arg(&capture).env("COLUMNS", width.to_string()).output();
            let printed = String::from_utf8(output.expect("observer runs").stdout).expect("UTF-8");
            for line in printed.lines() {
                let columns = line.chars().count();
                assert!(columns <= width, "{} at {width}: {columns} columns: {line}", capture.display());
                assert!(!line.contains(char::is_control), "{} at {width}: {line:?}", capture.display());
            }
        }
    }
}

#[test]
fn every_object_fits_the_schema() {
    let folder = Folder::new();
    folder.write("exchange.pcap", exchange().bytes());
    let schema = folder.observer(&["schema"]).output().expect("observer runs");
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("the schema is JSON");
    let mut captures = captures("../shared/corpus");
    captures.extend(captures_of_this_project());
    captures.push(folder.path("exchange.pcap"));
    for capture in captures {
        let output = folder.observer(&["replay", "--output", "json", "--timeline"]).arg(&capture).output();
        let printed = String::from_utf8(output.expect("observer runs").stdout).expect("UTF-8");
        let objects: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        for object in &objects {
            if let Err(error) = fits(object, &schema, &schema) {
                panic!("{}: {error}", capture.display());
            }
        }
        let (last, others) = objects.split_last().expect("there is a capture object");
        assert_eq!(last["type"], "capture", "{}", capture.display());
        // What many connections show together is told behind all of them.
        let together = others.iter().rev().take_while(|object| object["type"] == "finding").count();
        let (others, _) = others.split_at(others.len() - together);
        let (connections, lookups): (Vec<_>, Vec<_>) = others.iter().partition(|object| object["type"] == "connection");
        assert!(lookups.iter().all(|object| object["type"] == "lookup"));
        assert_eq!(last["connections"], connections.len(), "{}", capture.display());
        assert_eq!(last["lookups"].as_u64().unwrap_or(0), lookups.len() as u64, "{}", capture.display());
        let ids: Vec<_> = others.iter().map(|object| object["id"].as_u64()).collect();
        assert!(ids.is_sorted(), "{}: {ids:?}", capture.display());
    }
}

#[test]
fn output_does_not_depend_on_the_number_of_threads() {
    let folder = Folder::new();
    folder.write("many.pcap", many().bytes());
    let mut captures = captures_of_this_project();
    captures.push(folder.path("many.pcap"));
    for capture in captures {
        for output in ["text", "json", "summary"] {
            let run = |threads: &str| {
                let mut command = folder.observer(&["replay", "--output", output, "--threads", threads]);
                command.arg(&capture).output().expect("observer runs").stdout
            };
            let one = run("1");
            assert!(one == run("2") && one == run("5"), "{output} of {}", capture.display());
        }
    }
}

#[test]
fn a_stream_is_printed_as_it_closes() {
    let folder = Folder::new();
    let mut pcap = Pcap::new();
    talk(&mut pcap, 0, CLIENT, SERVER, 1000, true);
    let mut child = folder
        .observer(&["replay", "--output", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("observer starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(pcap.bytes()).expect("observer reads");
    stdin.flush().expect("observer reads");
    // Nothing more comes, and standard input stays open: the line must come by itself.
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    let object: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&object["id"], &object["conn_state"]), (&Value::from(1), &Value::from("SF")));
    drop(stdin);
    line.clear();
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    assert!(line.contains("\"type\":\"capture\""), "{line}");
    assert!(child.wait().expect("observer ends").success());
}

#[test]
fn a_connection_is_cut_out_whole() {
    let folder = Folder::new();
    folder.write("many.pcap", many().bytes());
    let objects = |file: &str| -> Vec<Value> {
        let printed = text(&folder.observer(&["replay", "--output", "json", file]).output().expect("observer runs"));
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    for original in objects("many.pcap").iter().filter(|object| object["type"] == "connection") {
        let id = original["id"].to_string();
        let arguments = ["replay", "many.pcap", "--connection", &id, "--write", "one.pcapng"];
        assert!(text(&folder.observer(&arguments).output().expect("observer runs")).contains("one.pcapng"));
        let cut = objects("one.pcapng");
        let [connection, _] = &cut[..] else { panic!("connection {id} makes {cut:#?}") };
        let packets = |object: &Value, side: &str| object["packets"][side].as_u64().expect("a number");
        for field in ["client", "server", "packets", "bytes", "first_seen", "last_seen", "history", "conn_state"] {
            assert_eq!(connection[field], original[field], "{field} of {id}");
        }
        let frames = packets(original, "client") + packets(original, "server");
        assert_eq!(cut[1]["frames"], frames, "{id}");
    }
    let output = folder.observer(&["replay", "many.pcap", "--connection", "1", "--write", "many.pcap"]).output();
    assert_eq!(output.expect("observer runs").status.code(), Some(1), "the file that is read is left alone");
    assert_eq!(objects("many.pcap").len(), 41);
}

#[test]
fn exit_status_says_how_it_went() {
    let folder = Folder::new();
    let whole = exchange();
    folder.write("whole.pcap", whole.bytes());
    folder.write("cut.pcap", &whole.bytes()[..whole.bytes().len() - 7]);
    folder.write("none.pcap", b"this is no capture");
    let run = |arguments: &[&str]| {
        let output = folder.observer(arguments).output().expect("observer runs");
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), error, String::from_utf8(output.stdout).expect("UTF-8"))
    };
    assert_eq!(run(&["replay", "whole.pcap"]).0, Some(0));

    let (status, error, printed) = run(&["replay", "cut.pcap"]);
    assert_eq!((status, error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("cut.pcap") && error.contains("byte "), "{error}");
    assert!(printed.contains("10.0.0.1:40000"), "{printed}");

    for file in ["none.pcap", "missing.pcap", "."] {
        let (status, error, _) = run(&["replay", file, "--output", "json"]);
        assert_eq!((status, error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.contains(file), "{error}");
    }
    let (status, error, printed) = run(&["replay", "whole.pcap", "--connection", "999"]);
    assert_eq!((status, printed.as_str()), (Some(1), ""));
    assert!(error.contains("no connection 999"), "{error}");

    for wrong in [
        &["replay"][..],
        &["replay", "whole.pcap", "--output", "xml"],
        &["replay", "whole.pcap", "--timeline"],
        &["replay", "whole.pcap", "--output", "json", "--all"],
        &["replay", "whole.pcap", "--sort", "colour"],
        &["completions", "basic"],
        &["man", "woman"],
    ] {
        assert_eq!(run(wrong).0, Some(2), "{wrong:?}");
    }
}

#[test]
fn help_has_examples() {
    let folder = Folder::new();
    for command in ["replay", "packets", "schema", "completions", "man"] {
        let output = folder.observer(&[command, "--help"]).output().expect("observer runs");
        assert!(text(&output).contains(&format!("observer {command}")), "{command}");
        assert!(text(&output).contains("Example"), "{command}");
    }
    let help = folder.observer(&["--help"]).output().expect("observer runs");
    assert!(text(&help).lines().count() < 25, "{}", text(&help));
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.observer(&["completions", shell]).output().expect("observer runs");
        assert!(text(&script).contains("max-connections"), "{shell}");
    }
    let page = folder.observer(&["man", "replay"]).output().expect("observer runs");
    assert!(text(&page).contains(".TH observer-replay 1"), "{}", text(&page));
}

/// A connection in which much happens, one that is refused, and one that nobody answers.
fn exchange() -> Pcap {
    let mut pcap = Pcap::new();
    let mut send = |at: u64, from_client: bool, flags: &str, seq: u32, ack: u32, window: u16, len: usize| {
        let (from, to) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let options = if flags.contains('S') { SYN_OPTIONS } else { &[] };
        pcap.segment(Segment { at, from, to, flags, seq, ack, window, options, len });
    };
    send(0, true, "S", 100, 0, 64_240, 0);
    send(40_000, false, "S.", 500, 101, 65_160, 0);
    send(40_200, true, ".", 101, 501, 502, 0);
    send(41_000, true, "P.", 101, 501, 502, 517);
    send(81_000, false, ".", 501, 618, 501, 0);
    for segment in 0..10 {
        send(95_000 + u64::from(segment) * 120, false, ".", 501 + segment * 1460, 618, 501, 1460);
        if segment % 2 == 1 {
            send(95_050 + u64::from(segment) * 120, true, ".", 618, 501 + (segment + 1) * 1460, 480, 0);
        }
    }
    // The eleventh is lost, three duplicate ACKs ask for it.
    for segment in 11..15 {
        send(96_500 + u64::from(segment) * 120, false, ".", 501 + segment * 1460, 618, 501, 1460);
        send(96_550 + u64::from(segment) * 120, true, ".", 618, 15_101, 480, 0);
    }
    send(138_700, false, ".", 15_101, 618, 501, 1460);
    send(138_900, true, ".", 618, 22_401, 420, 0);
    // The client's program sleeps.
    send(150_000, true, ".", 618, 22_401, 0, 0);
    send(600_000, false, ".", 22_400, 618, 501, 0);
    send(600_300, true, ".", 618, 22_401, 0, 0);
    send(1_200_000, true, ".", 618, 22_401, 502, 0);
    send(1_240_000, false, "P.", 22_401, 618, 501, 700);
    send(1_480_000, false, "P.", 22_401, 618, 501, 700);
    send(1_480_400, true, ".", 618, 23_101, 502, 0);
    send(1_500_000, true, "F.", 618, 23_101, 502, 0);
    send(1_540_000, false, "F.", 23_101, 619, 501, 0);
    send(1_540_200, true, ".", 619, 23_102, 502, 0);
    let refused = (3, 50_000);
    pcap.segment(Segment { at: 1_600_000, from: refused, to: SERVER, flags: "S", seq: 7, ..Segment::default() });
    pcap.segment(Segment { at: 1_600_180, from: SERVER, to: refused, flags: "R.", ack: 8, ..Segment::default() });
    for (at, again) in [(1_700_000, 0u32), (2_700_000, 1), (4_700_000, 2)] {
        let window = 64_240 - again as u16;
        let syn = Segment { at, from: (4, 50_001), to: (9, 22), flags: "S", seq: 9, window, ..Segment::default() };
        pcap.segment(Segment { options: SYN_OPTIONS, ..syn });
    }
    pcap
}

/// Forty connections, some of them in trouble.
fn many() -> Pcap {
    let mut pcap = Pcap::new();
    for number in 0..40u16 {
        let at = u64::from(number) * 100_000;
        let (client, server) = ((1 + (number % 5) as u8, 40_000 + number), (100 + (number % 3) as u8, 443));
        match number {
            7 | 8 => {
                pcap.segment(Segment { at, from: client, to: server, flags: "S", seq: 7, ..Segment::default() });
                let reset =
                    Segment { at: at + 90, from: server, to: client, flags: "R.", ack: 8, ..Segment::default() };
                pcap.segment(reset);
            }
            9 => {
                for wait in [0, 1_000_000, 3_000_000] {
                    let syn = Segment { at: at + wait, from: client, to: server, flags: "S", ..Segment::default() };
                    pcap.segment(Segment { seq: 7, options: SYN_OPTIONS, ..syn });
                }
            }
            _ => talk(&mut pcap, at, client, server, usize::from(number) * 300, number != 20),
        }
    }
    pcap
}

/// A handshake, data of the server, and a close where `close` says so.
fn talk(pcap: &mut Pcap, at: u64, client: (u8, u16), server: (u8, u16), len: usize, close: bool) {
    let rtt = 1_000 + u64::from(client.1 % 7) * 4_000;
    let mut now = at;
    let mut send = |from_client: bool, wait: u64, flags: &str, seq: u32, ack: u32, len: usize| {
        now += wait;
        let (from, to) = if from_client { (client, server) } else { (server, client) };
        let options = if flags.contains('S') { SYN_OPTIONS } else { &[] };
        pcap.segment(Segment { at: now, from, to, flags, seq, ack, window: 500, options, len });
    };
    send(true, 0, "S", 100, 0, 0);
    send(false, rtt, "S.", 500, 101, 0);
    send(true, 50, ".", 101, 501, 0);
    send(true, 10, "P.", 101, 501, 80);
    let mut seq = 501;
    while seq < 501 + len as u32 {
        let part = (501 + len as u32 - seq).min(1460);
        send(false, rtt, "P.", seq, 181, part as usize);
        seq += part;
        send(true, 30, ".", 181, seq, 0);
    }
    if close {
        send(true, 500, "F.", 181, seq, 0);
        send(false, rtt, "F.", seq, 182, 0);
        send(true, 40, ".", 182, seq + 1, 0);
    }
}

/// A folder that is gone at the end, and observer in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file is written");
    }

    fn observer(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("COLUMNS").env_remove("NO_COLOR");
        command
    }
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{} {error}", output.status);
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn golden(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("OBSERVER_BLESS").is_some() {
        std::fs::write(&path, printed).expect("the golden file is written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there");
    assert!(golden == printed, "{} differs; observer printed:\n{printed}", path.display());
}

fn without_codes(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, code)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = code.split_once('m').expect("a code ends").1;
    }
    plain + rest
}

/// The captures beside the checkout, or where `OBSERVER_CORPUS` says.
fn captures(corpus: &str) -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(corpus);
    let folder = std::env::var_os("OBSERVER_CORPUS").map_or(beside, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("SKIPPED: no corpus at {}", folder.display());
        return Vec::new();
    }
    files(&folder, |name| ![".tsv", ".md", ".toml", ".json"].iter().any(|end| name.ends_with(end)))
}

fn captures_of_this_project() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures");
    files(&folder, |name| name.ends_with(".pcapng"))
}

fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    let mut files: Vec<_> = paths.filter(|path| path.is_file() && wanted(&path.to_string_lossy())).collect();
    files.sort();
    files
}

/// Whether `value` is what `schema` describes, with every field of it described. Knows the words that observer's schema
/// uses, and panics at others.
fn fits(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let Value::Object(words) = schema else {
        return if schema == true { Ok(()) } else { Err(format!("{value} is not allowed")) };
    };
    for (word, rule) in words {
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => {}
            // An object's fields are looked at together with those of what `$ref` names.
            "properties" | "required" => {}
            "$ref" => {
                let name = rule.as_str().and_then(|path| path.strip_prefix("#/$defs/")).expect("a local name");
                if !value.is_object() {
                    fits(value, &root["$defs"][name], root)?;
                }
            }
            "type" => is_type(value, rule)?,
            "const" if value == rule => {}
            "const" => return Err(format!("{value} is not {rule}")),
            "enum" if rule.as_array().is_some_and(|all| all.contains(value)) => {}
            "enum" => return Err(format!("{value} is none of {rule}")),
            "minimum" if value.as_f64() >= rule.as_f64() || !value.is_number() => {}
            "maximum" if value.as_f64() <= rule.as_f64() || !value.is_number() => {}
            "minimum" | "maximum" => return Err(format!("{value} is out of range ({word} {rule})")),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    fits(item, rule, root)?;
                }
            }
            "minItems" | "maxItems" => {
                let (length, limit) = (value.as_array().map_or(0, Vec::len) as u64, rule.as_u64().expect("a number"));
                if (word == "minItems" && length < limit) || (word == "maxItems" && length > limit) {
                    return Err(format!("{value} has {length} items, {word} is {limit}"));
                }
            }
            "oneOf" | "anyOf" => {
                let results: Vec<_> =
                    rule.as_array().expect("a list").iter().map(|one| fits(value, one, root)).collect();
                if !results.iter().any(Result::is_ok) {
                    return Err(format!("fits none: {results:?}"));
                }
            }
            other => panic!("the schema uses {other}, which this test does not know"),
        }
    }
    if let Value::Object(fields) = value
        && !words.contains_key("oneOf")
        && !words.contains_key("anyOf")
    {
        let named = words.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        let parts: Vec<&Value> = std::iter::once(schema).chain(named.map(|name| &root["$defs"][name])).collect();
        if named.is_some_and(|name| root["$defs"][name].get("properties").is_none()) {
            return fits(value, parts[1], root);
        }
        for (name, field) in fields {
            let rule = parts.iter().find_map(|part| part["properties"].get(name));
            let rule = rule.ok_or_else(|| format!("{name} is not in the schema"))?;
            fits(field, rule, root).map_err(|error| format!("{name}: {error}"))?;
        }
        for part in parts {
            for name in part["required"].as_array().into_iter().flatten() {
                let name = name.as_str().expect("a name");
                if !fields.contains_key(name) {
                    return Err(format!("{name} is missing"));
                }
            }
        }
    }
    Ok(())
}

fn is_type(value: &Value, rule: &Value) -> Result<(), String> {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        other => panic!("the schema uses type {other:?}"),
    };
    let fits = rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is));
    if fits { Ok(()) } else { Err(format!("{value} is not of type {rule}")) }
}
