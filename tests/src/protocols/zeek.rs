//! Zeek's `ssl.log`, `http.log` and `dns.log`, as its own tests have them. Times of day are masked there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::{Corpus, Ends, Records, Tally, list, place, sorted, text};

const TOOL: &str = "Zeek";

/// One row of a log, by the names of its columns.
type Row = HashMap<String, String>;

pub(super) fn compare(corpus: &Corpus<'_>, tally: &mut Tally) -> Result<()> {
    let mut replayed: HashMap<PathBuf, Records> = HashMap::new();
    // Several of Zeek's tests make the same log.
    let mut seen = HashSet::new();
    for (capture, log) in corpus.results("zeek")? {
        let name = log.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let compare = match name.rsplit("__").next() {
            Some("ssl.log") => compare_ssl,
            Some("http.log") => compare_http,
            Some("dns.log") => compare_dns,
            _ => continue,
        };
        if !replayed.contains_key(&capture) {
            replayed.insert(capture.clone(), corpus.replay(&capture, &[])?);
        }
        let Some(records) = replayed.get(&capture) else { continue };
        for row in rows(&fs::read_to_string(&log)?) {
            let columns =
                ["id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "trans_depth", "trans_id", "query", "qtype"];
            let key = columns.map(|column| row.get(column).cloned().unwrap_or_default());
            if seen.insert((name.rsplit("__").next().map(str::to_owned), capture.clone(), key)) {
                compare(&capture, &row, records, tally);
            }
        }
    }
    Ok(())
}

fn rows(log: &str) -> Vec<Row> {
    let names = log.lines().find_map(|line| line.strip_prefix("#fields\t")).unwrap_or_default();
    let lines = log.lines().filter(|line| !line.starts_with('#'));
    let values = |line: &str| names.split('\t').map(str::to_owned).zip(line.split('\t').map(str::to_owned)).collect();
    lines.map(values).collect()
}

/// A column's text; Zeek writes `-` for nothing.
fn column<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).map_or("", String::as_str).trim_start_matches('-')
}

/// The ends of a TCP connection that observer has: what goes over QUIC, and addresses that are masked, are none.
fn ends(row: &Row, records: &Records) -> Option<Ends> {
    let end = |ip, port| Some((column(row, ip).to_owned(), column(row, port).parse().ok()?));
    let ends = sorted(end("id.orig_h", "id.orig_p")?, end("id.resp_h", "id.resp_p")?);
    records.connections.contains_key(&ends).then_some(ends)
}

fn compare_ssl(capture: &Path, row: &Row, records: &Records, tally: &mut Tally) {
    let Some(ends) = ends(row, records) else { return };
    let place = place(capture, &ends);
    let Some(tls) = records.tls(&ends) else { return tally.compare(&place, (TOOL, "TLS"), "none", "TLS") };
    let version = text(tls, "/version").replace(['.', ' '], "").replace("TLS", "TLSv").replace("SSL", "SSLv");
    let alerts = tls["alerts"].as_array().into_iter().flatten().map(|alert| text(alert, "/description"));
    let alert = alerts.rev().find(|alert| alert != "close_notify");
    let flag = |value: bool| if value { "T" } else { "F" }.to_owned();
    for (name, field, own) in [
        ("TLS version", "version", version),
        ("TLS cipher", "cipher", text(tls, "/cipher")),
        ("TLS group", "curve", text(tls, "/group")),
        ("TLS server name", "server_name", text(tls, "/sni")),
        ("TLS resumed", "resumed", flag(tls["resumed"] == true)),
        ("TLS alert", "last_alert", alert.unwrap_or_default()),
        ("TLS ALPN", "next_protocol", text(tls, "/alpn")),
        ("TLS established", "established", flag(tls["established"] == true)),
    ] {
        tally.compare(&place, (TOOL, name), &own, column(row, field));
    }
}

fn compare_http(capture: &Path, row: &Row, records: &Records, tally: &mut Tally) {
    let Some(ends) = ends(row, records) else { return };
    let depth = column(row, "trans_depth");
    let place = place(capture, &(&ends, depth));
    let exchanges = records.exchanges(&ends);
    let index = depth.parse::<usize>().unwrap_or_default();
    let Some(exchange) = index.checked_sub(1).and_then(|index| exchanges.get(index)) else {
        return tally.compare(&place, (TOOL, "HTTP"), "none", "a request");
    };
    let is_tunnel = exchange["method"] == "CONNECT";
    let target = if is_tunnel { text(exchange, "/host") } else { text(exchange, "/path") };
    tally.compare(&place, (TOOL, "HTTP method"), &text(exchange, "/method"), column(row, "method"));
    tally.compare(&place, (TOOL, "HTTP target"), &unescaped(&target), &unescaped(column(row, "uri")));
    tally.compare(&place, (TOOL, "HTTP status"), &text(exchange, "/status"), column(row, "status_code"));
    if !is_tunnel {
        let host = text(exchange, "/host");
        let host = host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host);
        tally.compare(&place, (TOOL, "HTTP host"), host, column(row, "host"));
    }
    let sent = text(exchange, "/request_bytes");
    tally.compare(&place, (TOOL, "HTTP request body"), &sent, column(row, "request_body_len"));
}

/// With `%` and two digits as the octet they stand for. Zeek does so in what it logs.
fn unescaped(target: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = target.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after.first_chunk::<2>().filter(|_| *first == b'%');
        let octet = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        octets.push(octet.unwrap_or(*first));
        rest = if octet.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn compare_dns(capture: &Path, row: &Row, records: &Records, tally: &mut Tally) {
    const NETBIOS: &str = "137";
    // Announcements of multicast DNS answer nobody's question.
    if column(row, "qtype").is_empty() || column(row, "id.resp_p") == NETBIOS {
        return;
    }
    let asked = [("/client/ip", "id.orig_h"), ("/client/port", "id.orig_p"), ("/server/ip", "id.resp_h")];
    let question = [("/query_id", "trans_id"), ("/kind", "qtype_name")];
    let is_it = |own: &&Value| {
        let is = |(place, name): &(&str, &str)| text(own, place) == column(row, name);
        asked.iter().chain(&question).all(is) && text(own, "/name").eq_ignore_ascii_case(column(row, "query"))
    };
    let place = place(capture, &(column(row, "trans_id"), column(row, "query"), column(row, "qtype_name")));
    let Some(own) = records.lookups.iter().find(is_it) else {
        return tally.compare(&place, (TOOL, "DNS"), "none", "a query");
    };
    tally.compare(&place, (TOOL, "DNS code"), &text(own, "/code"), column(row, "rcode_name"));
    let answers = list(own, "/answers");
    tally.compare(&place, (TOOL, "DNS answers"), &answers, &column(row, "answers").replace(',', ";"));
    let least = column(row, "TTLs").split(',').filter_map(|ttl| ttl.parse::<f64>().ok()).reduce(f64::min);
    let least = least.map_or(String::new(), |ttl| format!("{ttl:.0}"));
    tally.compare(&place, (TOOL, "DNS TTL"), &text(own, "/ttl"), &least);
    // Zeek has it of answers with records only.
    if let Ok(seconds) = column(row, "rtt").parse::<f64>() {
        let nanos = (seconds * 1e9).round() as u64;
        let is_near = own["latency_ns"].as_u64().is_some_and(|ours| ours.abs_diff(nanos) <= 1000);
        tally.note(&place, (TOOL, "DNS latency"), is_near, || format!("{seconds} s, {}", own["latency_ns"]));
    }
}
