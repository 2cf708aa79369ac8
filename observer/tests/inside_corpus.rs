//! HTTP/2 and WebSocket, in the clear and inside of TLS whose secrets the capture brings, as tshark sees them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use observer::decode::Checksums;
use observer::record::{ConnectionRecord, Http2Record, WebSocketFrames};
use observer::tracker::Config;

mod corpus;

/// A connection by both its ports, the lower first: that is enough to tell those of one capture apart.
type Ports = (u16, u16);

fn captures(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).expect("the corpus can be listed").filter_map(Result::ok);
    let is_capture = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["http2", "websocket", "grpc", "h2c"].iter().any(|part| name.contains(part))
    };
    let mut files: Vec<_> = files.map(|file| file.path()).filter(is_capture).collect();
    files.sort();
    files
}

fn by_ports(capture: &Path) -> BTreeMap<Ports, Vec<ConnectionRecord>> {
    let config = Config { show_secrets: true, ..Config::default() };
    let mut by_ports: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for connection in corpus::replay(capture, Checksums::Count, config).0 {
        by_ports.entry(ports(connection.client.port, connection.server.port)).or_default().push(connection);
    }
    by_ports
}

fn ports(one: u16, other: u16) -> Ports {
    (one.min(other), one.max(other))
}

/// The fields of the packets that `filter` lets through, behind their ports; several values of one field are apart by `;`.
fn tshark(capture: &Path, filter: &str, fields: &[&str]) -> Vec<(Ports, u16, Vec<String>)> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=;"]);
    command.args(["-e", "tcp.srcport", "-e", "tcp.dstport"]).args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.output().expect("tshark runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |line: &str| {
        let mut words = line.split('\t').map(str::to_owned);
        let from = words.next()?.parse().ok()?;
        Some((ports(from, words.next()?.parse().ok()?), from, words.collect()))
    };
    text.lines().filter_map(row).collect()
}

fn corpus_with_tshark() -> Option<PathBuf> {
    let corpus = corpus::corpus();
    let has_tshark = Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success());
    if corpus.is_none() || !has_tshark {
        eprintln!("skipped: no corpus beside the checkout, or tshark is not installed");
    }
    corpus.filter(|_| has_tshark)
}

#[test]
fn http_2_is_what_tshark_says() {
    let Some(corpus) = corpus_with_tshark() else { return };
    let mut compared = 0;
    for capture in captures(&corpus) {
        let fields = ["http2.headers.method", "http2.headers.status", "http2.type", "http2.headers.path"];
        let mut theirs: BTreeMap<Ports, [Vec<String>; 4]> = BTreeMap::new();
        for (ends, _, row) in tshark(&capture, "http2 and tcp", &fields) {
            let all = theirs.entry(ends).or_default();
            for (all, values) in all.iter_mut().zip(row) {
                all.extend(values.split(';').filter(|value| !value.is_empty()).map(str::to_owned));
            }
        }
        let ours = by_ports(&capture);
        for (ends, [mut methods, mut statuses, kinds, mut paths]) in theirs {
            let place = format!("{} {ends:?}", capture.display());
            let own = ours.get(&ends).into_iter().flatten().find(|one| one.http2.is_some());
            let own = own.unwrap_or_else(|| panic!("{place}: no HTTP/2"));
            let entries = own.exchanges.as_ref().map_or(&[][..], |all| &all.entries);
            let entries = || entries.iter().filter(|one| one.status != Some(101));
            let texts = |mut list: Vec<String>| {
                list.sort();
                list
            };
            statuses.retain(|status| !status.starts_with('1'));
            [&mut methods, &mut statuses, &mut paths].into_iter().for_each(|list| list.sort());
            let upgraded = own.via.len() > 1 || own.http.as_ref().is_some_and(|http| http.upgrade.is_some());
            if !upgraded {
                assert_eq!(texts(entries().filter_map(|one| one.method.clone()).collect()), methods, "{place}");
                assert_eq!(texts(entries().filter_map(|one| one.path.clone()).collect()), paths, "{place}");
            }
            let status = |one: &observer::record::Exchange| one.status.map(|status| status.to_string());
            assert_eq!(texts(entries().filter_map(status).collect()), statuses, "{place}");
            let Http2Record { goaways, resets, .. } = own.http2.as_deref().expect("it is HTTP/2");
            let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
            assert_eq!(goaways.len(), count("7"), "{place}: GOAWAY");
            let resets: u64 = resets.iter().map(|reset| reset.count).sum();
            assert_eq!(resets, count("3") as u64, "{place}: RST_STREAM");
            compared += methods.len() + statuses.len();
        }
    }
    assert!(compared > 30, "only {compared} values to compare");
}

#[test]
fn websocket_is_what_tshark_says() {
    let Some(corpus) = corpus_with_tshark() else { return };
    let mut compared = 0;
    for capture in captures(&corpus) {
        let mut theirs: BTreeMap<(Ports, u16), WebSocketFrames> = BTreeMap::new();
        for (ends, from, row) in tshark(&capture, "websocket", &["websocket.opcode"]) {
            let frames = theirs.entry((ends, from)).or_default();
            for kind in row.iter().flat_map(|kinds| kinds.split(';')) {
                *match kind {
                    "0" => &mut frames.continuation,
                    "1" => &mut frames.text,
                    "2" => &mut frames.binary,
                    "8" => &mut frames.close,
                    "9" => &mut frames.ping,
                    "10" => &mut frames.pong,
                    other => panic!("{}: a frame of kind {other}", capture.display()),
                } += 1;
            }
        }
        let ours = by_ports(&capture);
        for ((ends, from), frames) in theirs {
            let place = format!("{} {ends:?} from {from}", capture.display());
            let own = ours.get(&ends).into_iter().flatten().find(|one| one.websocket.is_some());
            let own = own.unwrap_or_else(|| panic!("{place}: no WebSocket"));
            let socket = own.websocket.as_deref().expect("it is WebSocket");
            let sent = if own.client.port == from { socket.frames.client } else { socket.frames.server };
            assert_eq!(sent, frames, "{place}");
            compared += frames.total();
        }
    }
    assert!(compared > 0, "nothing to compare");
}
