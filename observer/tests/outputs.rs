//! Outputs for other programs: `har`, `otlp-json`, `perfetto`. What these programs want of them is checked on every capture
//! there is.
//!
//! `OBSERVER_BLESS=1 cargo test -p observer --test outputs` writes the golden files anew; read the difference before
//! committing it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const OUTPUTS: [&str; 3] = ["har", "otlp-json", "perfetto"];

fn captures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = std::env::var_os("OBSERVER_CORPUS").map_or(own.join("../../shared/corpus"), PathBuf::from);
    if !corpus.is_dir() {
        eprintln!("SKIPPED: no corpus at {}", corpus.display());
    }
    let files = [own.join("../captures"), corpus].into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let paths = files.flatten().map(|entry| entry.expect("a folder can be listed").path());
    let is_capture = |path: &PathBuf| {
        path.is_file() && [".json", ".toml", ".md", ".tsv"].iter().all(|end| !path.to_string_lossy().ends_with(end))
    };
    paths.filter(is_capture).collect()
}

fn replay(capture: &Path, output: &str) -> String {
    replay_with(capture, output, &[])
}

fn replay_with(capture: &Path, output: &str, switches: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.args(["replay", "--output", output]).args(switches).arg(capture).stdin(Stdio::null());
    String::from_utf8(command.output().expect("observer runs").stdout).expect("UTF-8")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn golden() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (output, name) in OUTPUTS.into_iter().zip(["http.har", "http.otlp.jsonl", "http.perfetto.json"]) {
        let path = own.join("tests/golden").join(name);
        let printed = replay(&own.join("../captures/http.pcapng"), output);
        if std::env::var_os("OBSERVER_BLESS").is_some() {
            std::fs::write(&path, &printed).expect("the golden file is written");
        }
        let golden = std::fs::read_to_string(&path).expect("the golden file is there");
        assert!(golden == printed, "{} differs; observer printed:\n{printed}", path.display());
    }
}

/// The rules of HAR 1.2: fields that must be there and their kinds, times that add up.
#[test]
fn har_is_what_its_specification_says() {
    let mut entries = 0;
    for capture in captures() {
        let archive = parsed(&replay(&capture, "har"));
        let log = &archive["log"];
        assert_eq!(log["version"], "1.2");
        assert!(log["creator"]["name"].is_string() && log["creator"]["version"].is_string());
        let mut begun = String::new();
        for entry in log["entries"].as_array().expect("a list") {
            entries += 1;
            har_entry(entry);
            let next = entry["startedDateTime"].as_str().expect("a time").to_owned();
            assert!(begun <= next, "{}: {begun} before {next}", capture.display());
            begun = next;
        }
    }
    assert!(entries >= 2, "{entries} entries");
}

fn har_entry(entry: &Value) {
    let (request, response, timings) = (&entry["request"], &entry["response"], &entry["timings"]);
    for text in ["method", "url", "httpVersion"].map(|name| &request[name]) {
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{entry}");
    }
    assert!(request["url"].as_str().is_some_and(|url| url.starts_with("http://") || url.starts_with("https://")));
    for text in ["statusText", "httpVersion", "redirectURL"].map(|name| &response[name]) {
        assert!(text.is_string(), "{entry}");
    }
    assert!(response["content"]["mimeType"].is_string() && response["content"]["size"].is_i64(), "{entry}");
    for message in [request, response] {
        assert!(message["cookies"].is_array() && message["headers"].is_array(), "{entry}");
        assert!(message["headersSize"].is_i64() && message["bodySize"].is_i64(), "{entry}");
    }
    for pair in request["queryString"].as_array().expect("a list") {
        assert!(pair["name"].is_string() && pair["value"].is_string(), "{entry}");
    }
    assert!(response["status"].is_u64() && entry["cache"].is_object() && entry["connection"].is_string(), "{entry}");
    assert!(entry["serverIPAddress"].as_str().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()), "{entry}");
    let [blocked, dns, connect, ssl] = ["blocked", "dns", "connect", "ssl"].map(|name| number(&timings[name]));
    let [send, wait, receive] = ["send", "wait", "receive"].map(|name| number(&timings[name]));
    assert!([send, wait, receive].iter().all(|time| *time >= 0.0), "{entry}");
    assert!([blocked, dns, connect, ssl].iter().all(|time| *time >= 0.0 || *time == -1.0), "{entry}");
    assert!(ssl <= connect, "{entry}");
    let sum: f64 = [blocked, dns, connect, send, wait, receive].into_iter().filter(|time| *time > 0.0).sum();
    assert!((number(&entry["time"]) - sum).abs() < 1e-6, "{entry}");
}

/// The rules of OTLP/JSON: identifiers in hexadecimal, 64-bit numbers as text, one trace with one root a line.
#[test]
fn otlp_is_what_the_protocol_says() {
    let mut ids = HashSet::new();
    for capture in captures() {
        for line in replay(&capture, "otlp-json").lines() {
            let request = parsed(line);
            let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list");
            let trace = &spans[0]["traceId"];
            let is_hex = |id: &Value, length| {
                let is_digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
                id.as_str().is_some_and(|id| id.len() == length && id.bytes().all(is_digit))
            };
            assert!(is_hex(trace, 32), "{trace}");
            assert!(ids.insert((capture.clone(), trace.to_string())), "{}: {trace} twice", capture.display());
            let known: HashSet<_> = spans.iter().map(|span| span["spanId"].to_string()).collect();
            assert_eq!(known.len(), spans.len(), "{line}");
            for (index, span) in spans.iter().enumerate() {
                assert!(span["traceId"] == *trace && is_hex(&span["spanId"], 16), "{span}");
                match span.get("parentSpanId") {
                    None => assert_eq!(index, 0, "{span}"),
                    Some(parent) => assert!(known.contains(&parent.to_string()), "{span}"),
                }
                let at = |name: &str| -> u64 {
                    let text = span[name].as_str().unwrap_or_else(|| panic!("{span}"));
                    text.parse().expect("a number")
                };
                assert!(at("startTimeUnixNano") <= at("endTimeUnixNano"), "{span}");
                assert!(span["kind"].is_u64() && span["name"].as_str().is_some_and(|name| !name.is_empty()), "{span}");
                let is_error = span["status"]["code"] == 2;
                let attributes = span["attributes"].as_array().expect("a list");
                let names: HashSet<_> = attributes.iter().map(|attribute| attribute["key"].to_string()).collect();
                assert_eq!(names.len(), attributes.len(), "{span}");
                assert_eq!(is_error, names.contains("\"error.type\""), "{span}");
                let of = |key: &str| {
                    let it = attributes.iter().find(|attribute| attribute["key"] == key)?;
                    it["value"]["stringValue"].as_str()
                };
                let is_call = of("db.system.name").or(of("messaging.system")).is_some();
                let is_http = names.iter().any(|name| name.starts_with("\"http.") || name.starts_with("\"url."));
                assert!(!is_http || (!is_call && of("network.protocol.name") == Some("http")), "{span}");
                attributes.iter().for_each(|attribute| otlp_value(&attribute["value"]));
            }
        }
    }
    assert!(ids.len() > 20, "{} traces", ids.len());
}

fn otlp_value(value: &Value) {
    let fields = value.as_object().expect("an object");
    let (name, value) = fields.iter().next().expect("a field");
    assert_eq!(fields.len(), 1);
    match name.as_str() {
        "stringValue" => assert!(value.is_string()),
        "boolValue" => assert!(value.is_boolean()),
        "intValue" => assert!(value.as_str().is_some_and(|number| number.parse::<i64>().is_ok()), "{value}"),
        "arrayValue" => value["values"].as_array().expect("a list").iter().for_each(otlp_value),
        other => panic!("no kind of value: {other}"),
    }
}

/// The rules of the Trace Event Format: slices of one thread lie within one another, async ones begin and end.
#[test]
fn perfetto_is_what_the_format_says() {
    let mut slices = 0;
    for capture in captures() {
        let trace = parsed(&replay(&capture, "perfetto"));
        let mut threads: HashMap<u64, Vec<(f64, f64)>> = HashMap::new();
        let mut open = HashMap::new();
        let mut processes: HashMap<u64, String> = HashMap::new();
        for event in trace["traceEvents"].as_array().expect("a list") {
            let (pid, tid) = (event["pid"].as_u64().expect("a number"), event["tid"].as_u64().expect("a number"));
            assert!(event["name"].as_str().is_some_and(|name| !name.is_empty()), "{event}");
            match event["ph"].as_str().expect("a phase") {
                "M" if event["name"] == "process_name" => {
                    let name = event["args"]["name"].as_str().expect("a name");
                    let within = name.strip_suffix(')').and_then(|name| name.rsplit_once('('));
                    let server = within.map_or(name, |(_, server)| server);
                    let known = processes.entry(pid).or_insert_with(|| server.to_owned());
                    assert_eq!(known, server, "two servers are one process");
                }
                "M" => assert!(event["args"]["name"].is_string(), "{event}"),
                "X" => {
                    slices += 1;
                    let (start, length) = (number(&event["ts"]), number(&event["dur"]));
                    let end = start + length;
                    let around = threads.entry(tid).or_default();
                    around.retain(|(_, end)| *end > start);
                    let is_within = around.last().is_none_or(|(from, to)| *from <= start && end <= *to);
                    assert!(is_within, "{}: {event} crosses {around:?}", capture.display());
                    around.push((start, end));
                }
                "b" => assert!(open.insert(event["id"].to_string(), number(&event["ts"])).is_none(), "{event}"),
                "e" => {
                    let begun = open.remove(&event["id"].to_string()).expect("it has begun");
                    assert!(begun <= number(&event["ts"]), "{event}");
                }
                "i" => assert!(event["s"] == "t" && event["ts"].is_u64(), "{event}"),
                other => panic!("{other} in {event}"),
            }
        }
        assert!(open.is_empty(), "{}: {open:?}", capture.display());
    }
    assert!(slices > 50, "{slices} slices");
}

#[test]
fn values_of_queries_are_told_only_where_asked_for() {
    let request = b"GET http://user:hunter2@shop.lab/cart?session=hunter2&x= HTTP/1.1\r\nHost: shop.lab\r\n\
        Authorization: Basic hunter2\r\nCookie: id=hunter2\r\nContent-Length: 0\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=hunter2\r\nContent-Length: 2\r\n\r\nok";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = folder.path().join("secrets.pcap");
    std::fs::write(&capture, conversation(request, response)).expect("a file is written");
    for output in OUTPUTS.into_iter().chain(["json", "text"]) {
        let printed = replay(&capture, output);
        assert!(printed.contains("shop.lab") && printed.contains("session="), "{output}: {printed}");
        assert!(!printed.contains("hunter2"), "{output}: {printed}");
    }
    let archive = replay_with(&capture, "har", &["--show-secrets"]);
    assert!(archive.contains(r#"{"name":"session","value":"hunter2"}"#), "{archive}");
}

/// Calls of databases and queues are none of HTTP: they have their own names, and are answered without a status.
#[test]
fn calls_are_told_as_calls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = folder.path().join("calls.pcap");
    let redis = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    // CONNECT of MQTT 3.1.1 without a name, and CONNACK.
    let mqtt: [&[u8]; 2] = [&[16, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0], &[32, 2, 0, 0]];
    let cases = [
        (&redis[..], &b"$1\r\nb\r\n"[..], "GET → ok after", ("db", "redis", "GET"), None),
        (
            &redis[..],
            b"-WRONGTYPE of a key\r\n",
            "GET → error WRONGTYPE after",
            ("db", "redis", "GET"),
            Some("WRONGTYPE"),
        ),
        (&redis[..], b"", "GET → no response", ("db", "redis", "GET"), Some("no_response")),
        (mqtt[0], mqtt[1], "CONNECT → ok after", ("messaging", "mqtt", "CONNECT"), None),
    ];
    for (request, response, line, (kind, system, command), error) in cases {
        std::fs::write(&capture, conversation(request, response)).expect("a file is written");
        let printed = replay(&capture, "text");
        assert!(printed.contains(line), "{printed}");
        let line = replay(&capture, "otlp-json");
        let request = parsed(&line);
        let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list");
        let span = spans.iter().find(|span| span["name"] == command).unwrap_or_else(|| panic!("{line}"));
        let attributes = span["attributes"].as_array().expect("a list");
        let of = |key: &str| {
            let it = attributes.iter().find(|attribute| attribute["key"] == key)?;
            it["value"]["stringValue"].as_str()
        };
        let [system_key, operation_key] = if kind == "db" {
            ["db.system.name", "db.operation.name"]
        } else {
            ["messaging.system", "messaging.operation.name"]
        };
        assert_eq!(
            (of(system_key), of(operation_key), of("error.type")),
            (Some(system), Some(command), error),
            "{span}"
        );
        assert!(!line.contains("\"http.") && !line.contains("\"url."), "{line}");
        let archive = parsed(&replay(&capture, "har"));
        assert_eq!(archive["log"]["entries"].as_array().map(Vec::len), Some(0));
    }
}

/// A ClientHello that is answered with an alert: that is why the connection failed, and the handshake ended there.
#[test]
fn a_fatal_alert_is_the_error_of_its_connection() {
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let hello = [&[22, 3, 1, 0, 4 + body.len() as u8, 1, 0, 0, body.len() as u8][..], &body].concat();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = folder.path().join("alert.pcap");
    std::fs::write(&capture, conversation(&hello, &[21, 3, 3, 0, 2, 2, 40])).expect("a file is written");
    let line = replay(&capture, "otlp-json");
    let request = parsed(&line);
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list");
    for (name, span) in [("TCP connection", &spans[0]), ("TLS", &spans[1])] {
        assert_eq!(span["name"], name);
        let attributes = span["attributes"].as_array().expect("a list");
        let error =
            attributes.iter().find(|attribute| attribute["key"] == "error.type").unwrap_or_else(|| panic!("{span}"));
        assert_eq!(error["value"]["stringValue"], "handshake_failure");
        assert_eq!(span["status"]["code"], 2);
    }
    let length = |time: &str| spans[1][time].as_str().map_or(0, |time| time.parse::<u64>().expect("a number"));
    assert_eq!(length("endTimeUnixNano") - length("startTimeUnixNano"), 1_000_000_000);
}

/// Wherever a target or an authority has a password or a value, in both versions of HTTP.
#[test]
fn passwords_and_values_are_told_only_where_asked_for() {
    const HTTP_1: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let http_2 = [frame(4, 0, 0, b""), frame(1, 4, 1, &[0x88]), frame(0, 1, 1, b"ok")].concat();
    // Method, target, authority, and whether the secret is in the path: in front of a host it is never told.
    let cases = [
        ("CONNECT", "me:hunter2@shop.lab:443", "shop.lab", false),
        ("GET", "/x", "me:hunter2@shop.lab", false),
        ("GET", "http://me:hunter2@shop.lab/x", "shop.lab", false),
        ("GET", "http://me:hunter2?a@shop.lab/x", "shop.lab", false),
        ("GET", "http://me:hunter2/a@shop.lab/x", "shop.lab", false),
        ("OPTIONS", "me:hunter2@shop.lab", "shop.lab", true),
        ("GET", "//me:hunter2@shop.lab/x", "shop.lab", true),
        ("GET", "/proxy/http://me:hunter2@shop.lab/x", "shop.lab", true),
        ("GET", "/x#token=hunter2", "shop.lab", true),
        ("GET", "/x;jsessionid=hunter2?a=b", "shop.lab", true),
        ("GET", "/x%3Ftoken=hunter2", "shop.lab", true),
        ("GET", "/x?token=hunter2&hunter2", "shop.lab", true),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = folder.path().join("secrets.pcap");
    for (method, target, authority, is_path) in cases {
        let first = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes();
        // An absolute target is HTTP/2's to forward as it is: a part of its path.
        let is_path_2 = is_path || target.starts_with("http:");
        let (path, authority_2) = if method == "CONNECT" { (None, target) } else { (Some(target), authority) };
        let second = http_2_request(method, path, authority_2);
        for (request, response, is_path) in [(first, HTTP_1, is_path), (second, &http_2[..], is_path_2)] {
            std::fs::write(&capture, conversation(&request, response)).expect("a file is written");
            for output in OUTPUTS.into_iter().chain(["json", "text"]) {
                let printed = replay(&capture, output);
                let place = format!("{output} of {:?}", String::from_utf8_lossy(&request));
                assert!(printed.contains("shop.lab") || output == "text", "{place}: {printed}");
                assert!(!printed.contains("hunter2") && printed.contains(method), "{place}: {printed}");
                let printed = replay_with(&capture, output, &["--show-secrets"]);
                assert_eq!(printed.contains("hunter2"), is_path, "{place}: {printed}");
            }
        }
    }
}

fn http_2_request(method: &str, path: Option<&str>, authority: &str) -> Vec<u8> {
    let fields = [(":method", Some(method)), (":authority", Some(authority)), (":path", path)];
    // Literals that are not put into the table (RFC 7541, section 6.2.2).
    let literal = |(name, value): (&str, Option<&str>)| {
        value.map(|value| [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat())
    };
    let block: Vec<u8> = fields.into_iter().filter_map(literal).flatten().collect();
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b""), &frame(1, 5, 1, &block)].concat()
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// A request and its response, a segment each, on a connection from before the capture began: a pcap file of raw IPv4.
fn conversation(request: &[u8], response: &[u8]) -> Vec<u8> {
    const LINKTYPE_RAW: u32 = 101;
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&262_144u32.to_le_bytes());
    file.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
    let sent = request.len() as u32;
    for (second, (from, to), (seq, ack), payload) in
        [(1u32, (1, 2), (1u32, 1u32), request), (2, (2, 1), (1, 1 + sent), response)]
    {
        let ports = |end: u8| if end == 1 { 40_000u16 } else { 80 }.to_be_bytes();
        let length = (40 + payload.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[0, second as u8, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
        packet.extend_from_slice(&[ports(from), ports(to)].concat());
        packet.extend_from_slice(&[seq.to_be_bytes(), ack.to_be_bytes()].concat());
        packet.extend_from_slice(&[5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend_from_slice(payload);
        for field in [second, 0, packet.len() as u32, packet.len() as u32] {
            file.extend_from_slice(&field.to_le_bytes());
        }
        file.extend_from_slice(&packet);
    }
    file
}
