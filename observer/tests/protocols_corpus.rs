//! What connections are for, against tshark, Zeek and the ja4 project on captures that this project did not make.
//!
//! Reads each capture of the corpus through the library. At least 98 of 100 values agree; what differs, and why, is listed
//! in `docs/conformance.md`. Where there is no corpus, or no tshark, the test is skipped, loudly.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use observer::decode::Checksums;
use observer::record::{ConnectionRecord, LookupRecord, TlsRecord};
use observer::tracker::Config;

mod corpus;

/// Ends of a connection in text, the lower one first.
type Ends = [(String, u16); 2];

/// Values compared, by their name.
#[derive(Default)]
struct Tally {
    counts: HashMap<&'static str, (u64, u64)>,
    differences: Vec<String>,
}

impl Tally {
    fn compare(&mut self, place: &str, name: &'static str, ours: &str, theirs: &str) {
        self.note(place, name, ours == theirs, || format!("ours {ours:?}, theirs {theirs:?}"));
    }

    fn note(&mut self, place: &str, name: &'static str, same: bool, difference: impl FnOnce() -> String) {
        let (all, right) = self.counts.entry(name).or_default();
        *all += 1;
        *right += u64::from(same);
        if !same {
            self.differences.push(format!("{place}: {name}: {}", difference()));
        }
    }

    /// Every value agrees in 98 of 100 cases, and there were at least `least` in all.
    fn judge(self, least: u64) {
        let mut names: Vec<_> = self.counts.iter().collect();
        names.sort();
        names.iter().for_each(|(name, (all, right))| println!("{name}: {right} of {all}"));
        self.differences.iter().for_each(|difference| println!("    {difference}"));
        let total: u64 = self.counts.values().map(|(all, _)| all).sum();
        assert!(total >= least, "only {total} values have been compared");
        for (name, (all, right)) in names {
            // One that differs of a few is none of a hundred.
            assert!(right * 100 >= all * 98 || all - right <= 1, "{name}: {right} of {all}: {:#?}", self.differences);
        }
    }
}

fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}: protocols are not held against other tools");
}

fn captures(corpus: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(corpus).expect("the corpus is a folder").map(|entry| entry.expect("listed").path());
    let is_capture = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        path.is_file() && !["md", "tsv", "gz"].contains(&extension)
    };
    let mut files: Vec<_> = files.filter(is_capture).collect();
    files.sort();
    files
}

fn replay(capture: &Path) -> (HashMap<Ends, Vec<ConnectionRecord>>, Vec<LookupRecord>) {
    let config = Config { show_secrets: true, ..Config::default() };
    let (connections, lookups) = corpus::replay(capture, Checksums::Count, config);
    let mut by_ends: HashMap<_, Vec<_>> = HashMap::new();
    for connection in connections {
        let [client, server] = [connection.client, connection.server].map(|end| (end.ip.to_string(), end.port));
        by_ends.entry(sorted(client, server)).or_default().push(connection);
    }
    (by_ends, lookups)
}

fn sorted(one: (String, u16), other: (String, u16)) -> Ends {
    let mut ends = [one, other];
    ends.sort();
    ends
}

fn tls_of<'a>(ours: &'a HashMap<Ends, Vec<ConnectionRecord>>, ends: &Ends) -> Option<&'a TlsRecord> {
    ours.get(ends)?.iter().find_map(|connection| connection.tls.as_deref())
}

/// The fields of the packets that `filter` lets through; several values of one field are apart by `;`.
fn tshark(capture: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=;"]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.output().expect("tshark runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn has_tshark() -> bool {
    Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The innermost ends in the first six of a packet's fields.
fn ends(row: &[String]) -> Option<Ends> {
    const EACH: usize = 3;
    let end = |fields: &[String]| {
        let [v4, v6, port] = fields else { return None };
        let address = if v6.is_empty() { v4 } else { v6 };
        Some((address.rsplit(';').next()?.to_owned(), port.rsplit(';').next()?.parse().ok()?))
    };
    Some(sorted(end(row.get(..EACH)?)?, end(row.get(EACH..2 * EACH)?)?))
}

const TCP_ENDS: [&str; 6] = ["ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport"];

#[test]
fn tls_is_what_tshark_says() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    if !has_tshark() {
        return skipped("tshark is not installed");
    }
    let mut tally = Tally::default();
    let fields = [
        "tls.handshake.type",
        "tls.handshake.extensions_server_name",
        "tls.handshake.ja3",
        "tls.handshake.ja3s",
        "tls.handshake.extensions_alpn_str",
    ];
    let fields = [&TCP_ENDS[..], &fields].concat();
    for capture in captures(&corpus) {
        let rows = tshark(&capture, "tls.handshake.type in {1, 2} and tcp and not quic", &fields);
        if rows.is_empty() {
            continue;
        }
        let (ours, _) = replay(&capture);
        // In a tunnel of another family, the innermost ends are not told from these fields.
        let known: HashMap<_, _> = ours.keys().map(|ends| (ends.clone(), ())).collect();
        let mut seen = HashMap::new();
        for row in rows {
            let Some(ends) = ends(&row).filter(|ends| known.contains_key(ends)) else { continue };
            let [kind, name, ja3, ja3s, alpn] = &row[6..] else { panic!("five more fields, not {row:?}") };
            let is_client = kind.starts_with('1');
            if seen.insert((ends.clone(), is_client), ()).is_some() {
                continue;
            }
            let place = format!("{} {ends:?}", capture.display());
            let Some(tls) = tls_of(&ours, &ends) else {
                tally.compare(&place, "TLS", "none", "TLS");
                continue;
            };
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            if is_client {
                tally.compare(&place, "server name", &text(&tls.sni), name);
                tally.compare(&place, "JA3", &text(&tls.ja3), ja3);
                let offered = tls.offer.as_ref().map_or(String::new(), |offer| offer.alpn.join(";"));
                tally.compare(&place, "ALPN offered", &offered, alpn);
            } else if !tls.retried {
                tally.compare(&place, "JA3S", &text(&tls.ja3s), ja3s);
                // What TLS 1.3 seals is in another message.
                if tls.decryption.is_none() {
                    tally.compare(&place, "ALPN chosen", &text(&tls.alpn), alpn);
                }
            }
        }
    }
    tally.judge(500);
}

#[test]
fn http_is_what_tshark_says() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    if !has_tshark() {
        return skipped("tshark is not installed");
    }
    let mut tally = Tally::default();
    let fields = [&TCP_ENDS[..], &["http.request.method", "http.request.uri", "http.response.code"]].concat();
    for capture in captures(&corpus) {
        let rows = tshark(&capture, "(http.request or http.response) and tcp", &fields);
        if rows.is_empty() {
            continue;
        }
        let (ours, _) = replay(&capture);
        let mut counts: HashMap<Ends, (u64, u64)> = HashMap::new();
        for row in rows {
            let Some(ends) = ends(&row).filter(|ends| ours.contains_key(ends)) else { continue };
            let [methods, targets, codes] = &row[6..] else { panic!("three more fields, not {row:?}") };
            let place = format!("{} {ends:?}", capture.display());
            let exchanges = || ours[&ends].iter().filter_map(|one| one.exchanges.as_ref()).flat_map(|all| &all.entries);
            let (requests, responses) = counts.entry(ends.clone()).or_default();
            for (method, target) in methods.split(';').zip(targets.split(';')).filter(|(method, _)| !method.is_empty())
            {
                *requests += 1;
                // A target with `;` in it is cut by the list it stands in.
                let is_it = |target: &str, ours: &str| ours.starts_with(target) || target.ends_with(ours);
                let escaped = target.replace(' ', "%20");
                let found = *requests > 100
                    || exchanges().any(|one| {
                        let own = one.path.as_deref().or(one.host.as_deref()).unwrap_or_default();
                        one.method.as_deref() == Some(method) && is_it(&escaped, own)
                    });
                tally.note(&place, "request", found, || format!("{method} {target} is missing"));
            }
            for code in codes.split(';').filter(|code| !code.is_empty() && !code.starts_with("10")) {
                *responses += 1;
                let all = exchanges().filter(|one| one.status.is_some()).count() as u64;
                let same = exchanges().any(|one| one.status.is_some_and(|status| status.to_string() == code));
                tally.note(&place, "status", same && (*responses <= all.max(100)), || format!("{code} is missing"));
            }
        }
    }
    tally.judge(800);
}

#[test]
fn dns_is_what_tshark_says() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    if !has_tshark() {
        return skipped("tshark is not installed");
    }
    let mut tally = Tally::default();
    let fields = ["dns.id", "dns.qry.name", "dns.flags.response", "dns.time"];
    for capture in captures(&corpus) {
        let filter = "(dns or mdns or llmnr) and not icmp and not icmpv6 and not tls and not http and not http2 \
            and dns.flags.opcode == 0 and dns.count.queries == 1";
        let rows = tshark(&capture, filter, &fields);
        if rows.is_empty() {
            continue;
        }
        let (_, lookups) = replay(&capture);
        for row in rows {
            let [id, name, is_response, time] = &row[..] else { panic!("four fields, not {row:?}") };
            if id.contains(';') || id.is_empty() {
                continue;
            }
            let id = u16::from_str_radix(id.trim_start_matches("0x"), 16).expect("an identifier");
            let name = name.split(';').next().unwrap_or_default().replace("<Root>", ".");
            let place = format!("{} {id:#06x} {name}", capture.display());
            let own: Vec<_> = lookups
                .iter()
                .filter(|own| own.lookup.query_id == id && own.lookup.name.eq_ignore_ascii_case(&name))
                .collect();
            let what = if is_response == "1" { "answer" } else { "question" };
            tally.note(&place, what, !own.is_empty(), || "is missing".to_owned());
            if let Ok(seconds) = time.parse::<f64>() {
                let nanos = (seconds * 1e9).round() as u64;
                let is_near = |own: &&LookupRecord| {
                    own.lookup.latency_ns.is_some_and(|latency| latency.0.abs_diff(nanos) <= 1000)
                };
                tally.note(&place, "latency", own.iter().any(is_near), || format!("{seconds} s: {own:?}"));
            }
        }
    }
    tally.judge(500);
}

#[test]
fn fingerprints_are_those_of_the_ja4_project() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    let mut tally = Tally::default();
    let folder = corpus.join("expected/ja4");
    for entry in std::fs::read_dir(&folder).expect("the corpus has the ja4 project's results") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().expect("a folder has a name").to_owned();
        let (ours, _) = replay(&corpus.join(&name));
        for file in std::fs::read_dir(&path).expect("a folder can be listed") {
            let file = file.expect("a folder can be listed").path();
            let is_python = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python__"));
            if !is_python {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("results are text");
            let streams: Vec<serde_json::Value> = serde_json::from_str(&text).expect("results are JSON");
            for stream in &streams {
                let text = |name: &str| stream[name].as_str().unwrap_or_default().to_owned();
                let end = |ip, port| Some((text(ip), text(port).parse().ok()?));
                let Some(ends) = end("src", "srcport").zip(end("dst", "dstport")) else { continue };
                let Some(tls) = tls_of(&ours, &sorted(ends.0, ends.1)) else { continue };
                let place = format!("{} stream {}", file.display(), stream["stream"]);
                for (name, field, own) in [("JA4", "JA4.1", &tls.ja4), ("JA4S", "JA4S", &tls.ja4s)] {
                    if stream[field].is_string() {
                        tally.compare(&place, name, own.as_deref().unwrap_or_default(), &text(field));
                    }
                }
            }
        }
    }
    tally.judge(100);
}

#[test]
fn tls_went_as_zeek_says() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    let mut tally = Tally::default();
    for (capture, row) in zeek_rows(&corpus, "ssl.log") {
        let text = |name: &str| row.get(name).cloned().unwrap_or_default();
        let (Ok(from), Ok(to)) = (text("id.orig_p").parse(), text("id.resp_p").parse()) else { continue };
        let ends = sorted((text("id.orig_h"), from), (text("id.resp_h"), to));
        let (ours, _) = replay(&capture);
        // Over QUIC it is not TCP's.
        let Some(_) = ours.get(&ends) else { continue };
        let place = format!("{} {ends:?}", capture.display());
        let Some(tls) = tls_of(&ours, &ends) else {
            tally.compare(&place, "TLS", "none", "TLS");
            continue;
        };
        let or_none = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
        let flag = |value: bool| if value { "T" } else { "F" }.to_owned();
        let version = or_none(&tls.version).replace(['.', ' '], "").replace("TLS", "TLSv").replace("SSL", "SSLv");
        let alert = tls.alerts.iter().rev().find(|alert| alert.description != "close_notify");
        let alert = alert.map_or("-".to_owned(), |alert| alert.description.clone());
        for (name, field, own) in [
            ("version", "version", version),
            ("cipher", "cipher", or_none(&tls.cipher)),
            ("group", "curve", or_none(&tls.group)),
            ("server name", "server_name", or_none(&tls.sni)),
            ("resumed", "resumed", flag(tls.resumed == Some(true))),
            ("alert", "last_alert", alert),
            ("ALPN", "next_protocol", or_none(&tls.alpn)),
            ("established", "established", flag(tls.established)),
        ] {
            tally.compare(&place, name, &own, &text(field));
        }
    }
    tally.judge(30);
}

/// The rows of every log of this kind, with their capture.
fn zeek_rows(corpus: &Path, kind: &str) -> Vec<(PathBuf, HashMap<String, String>)> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(corpus.join("expected/zeek")).expect("the corpus has Zeek's results") {
        let logs = entry.expect("a folder can be listed").path();
        let capture = corpus.join(logs.file_name().expect("a folder has a name"));
        for log in std::fs::read_dir(&logs).expect("a folder can be listed") {
            let log = log.expect("a folder can be listed").path();
            if !log.to_string_lossy().ends_with(kind) {
                continue;
            }
            let text = std::fs::read_to_string(&log).expect("a log is text");
            let names = text.lines().find_map(|line| line.strip_prefix("#fields\t")).unwrap_or_default();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            rows.extend(lines.map(|line| {
                let values = line.split('\t').map(str::to_owned);
                (capture.clone(), names.split('\t').map(str::to_owned).zip(values).collect())
            }));
        }
    }
    rows
}
