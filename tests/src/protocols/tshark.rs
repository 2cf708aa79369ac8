//! TLS hellos, HTTP/1 messages and DNS messages, packet by packet, as tshark dissects them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Corpus, Ends, Records, Tally, list, place, sorted, text};

const TOOL: &str = "tshark";
const TCP_ENDS: [&str; 6] = ["ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport"];

/// Exchanges that observer keeps of one connection.
const KEPT: u64 = 100;

/// What is asked of each packet, behind its ends.
const TLS: [&str; 5] = [
    "tls.handshake.type",
    "tls.handshake.extensions_server_name",
    "tls.handshake.ja3",
    "tls.handshake.ja3s",
    "tls.handshake.extensions_alpn_str",
];
const HTTP: [&str; 3] = ["http.request.method", "http.request.uri", "http.response.code"];
pub(super) const DNS: [&str; 7] = [
    "dns.id",
    "dns.qry.name",
    "dns.flags.response",
    "dns.time",
    "dns.flags.opcode",
    "dns.count.queries",
    "dns.flags.rcode",
];
/// What `dns.flags.rcode` stands for (RFC 1035, section 4.1.1).
const CODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
const PROTOCOLS: &str = "frame.protocols";

pub(super) fn compare(corpus: &Corpus<'_>, capture: &Path, tally: &mut Tally) -> Result<()> {
    let filter = "tls.handshake.type in {1, 2} or http.request or http.response or dns or mdns or llmnr";
    let fields = [&TCP_ENDS[..], &TLS, &HTTP, &DNS, &[PROTOCOLS]].concat();
    let rows = rows(capture, &[], filter, &fields)?;
    if rows.is_empty() {
        return Ok(());
    }
    let records = corpus.replay(capture, &[])?;
    let (mut hellos, mut counts) = (HashSet::new(), HashMap::new());
    for row in &rows {
        let Some((ends, rest)) = row.split_at_checked(TCP_ENDS.len()) else { continue };
        let Some((tls, rest)) = rest.split_first_chunk() else { continue };
        let Some((http, rest)) = rest.split_first_chunk() else { continue };
        let Some((dns, [protocols])) = rest.split_first_chunk() else { continue };
        let has = |wanted: &[&str]| protocols.split(':').any(|protocol| wanted.contains(&protocol));
        if let Some(ends) = self::ends(ends, &records).filter(|_| has(&["tcp"])) {
            if !has(&["quic"]) && hellos.insert((ends.clone(), is_client(tls))) {
                compare_tls(capture, tls, &ends, &records, tally);
            }
            compare_http(capture, http, ends, &records, &mut counts, tally);
        }
        if !has(&["icmp", "icmpv6", "tls", "http", "http2"]) {
            compare_dns(capture, dns, &records.lookups, tally);
        }
    }
    Ok(())
}

/// Whether the client's hello is among a packet's handshake messages, or the server's; `None` for neither.
fn is_client(tls: &[String; TLS.len()]) -> Option<bool> {
    let [kinds, ..] = tls;
    let has = |wanted| kinds.split(';').any(|kind| kind == wanted);
    (has("1") || has("2")).then(|| has("1"))
}

/// The fields of the packets that `filter` lets through; several values of one field are apart by `;`.
pub(super) fn rows(capture: &Path, switches: &[&str], filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new(TOOL);
    command.args(switches).arg("-r").arg(capture).args([
        "-Y",
        filter,
        "-T",
        "fields",
        "-E",
        "separator=/t",
        "-E",
        "aggregator=;",
    ]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    // It fails on files that are cut, having said what it could.
    let output = command.output().context("starting tshark")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// The innermost ends of a packet. In a tunnel of another family its fields do not tell them.
fn ends(fields: &[String], records: &Records) -> Option<Ends> {
    const EACH: usize = 3;
    let end = |fields: &[String]| {
        let [v4, v6, port] = fields else { return None };
        let address = if v6.is_empty() { v4 } else { v6 };
        Some((address.rsplit(';').next()?.to_owned(), port.rsplit(';').next()?.parse().ok()?))
    };
    let (source, destination) = fields.split_at_checked(EACH)?;
    let ends = sorted(end(source)?, end(destination)?);
    records.connections.contains_key(&ends).then_some(ends)
}

fn compare_tls(capture: &Path, row: &[String; TLS.len()], ends: &Ends, records: &Records, tally: &mut Tally) {
    let Some(is_client) = is_client(row) else { return };
    let [_, name, ja3, ja3s, alpn] = row;
    let place = place(capture, ends);
    let Some(tls) = records.tls(ends) else { return tally.compare(&place, (TOOL, "TLS"), "none", "TLS") };
    if is_client {
        tally.compare(&place, (TOOL, "TLS server name"), &text(tls, "/sni"), name);
        tally.compare(&place, (TOOL, "JA3"), &text(tls, "/ja3"), ja3);
        tally.compare(&place, (TOOL, "TLS ALPN offered"), &list(tls, "/offer/alpn"), alpn);
    } else if tls["retried"] == false {
        tally.compare(&place, (TOOL, "JA3S"), &text(tls, "/ja3s"), ja3s);
        // What TLS 1.3 seals is in another message.
        if tls["decryption"].is_null() {
            tally.compare(&place, (TOOL, "TLS ALPN chosen"), &text(tls, "/alpn"), alpn);
        }
    }
}

/// `counts` has the requests and responses so far, by connection.
fn compare_http(
    capture: &Path,
    [methods, targets, codes]: &[String; HTTP.len()],
    ends: Ends,
    records: &Records,
    counts: &mut HashMap<Ends, (u64, u64)>,
    tally: &mut Tally,
) {
    let place = place(capture, &ends);
    let exchanges = records.exchanges(&ends);
    let (requests, responses) = counts.entry(ends).or_default();
    for (method, target) in methods.split(';').zip(targets.split(';')).filter(|(method, _)| !method.is_empty()) {
        *requests += 1;
        // A target with `;` in it is cut by the list it stands in.
        let escaped = target.replace(' ', "%20");
        let is_it = |one: &&Value| {
            let path = if one["path"].is_null() { text(one, "/host") } else { text(one, "/path") };
            one["method"] == method && (path.starts_with(&escaped) || escaped.ends_with(&path))
        };
        let found = *requests > KEPT || exchanges.iter().any(is_it);
        tally.note(&place, (TOOL, "HTTP request"), found, || format!("{method} {target} is missing"));
    }
    for code in codes.split(';').filter(|code| !code.is_empty() && !code.starts_with("10")) {
        *responses += 1;
        let all = exchanges.iter().filter(|one| !one["status"].is_null()).count() as u64;
        let same = exchanges.iter().any(|one| text(one, "/status") == code) && *responses <= all.max(KEPT);
        tally.note(&place, (TOOL, "HTTP status"), same, || format!("{code} is missing"));
    }
}

pub(super) fn compare_dns(capture: &Path, row: &[String; DNS.len()], lookups: &[Value], tally: &mut Tally) {
    let [id, name, is_response, time, opcode, questions, code] = row;
    let Ok(id) = u16::from_str_radix(id.trim_start_matches("0x"), 16) else { return };
    if opcode != "0" || questions != "1" {
        return;
    }
    let name = name.split(';').next().unwrap_or_default().replace("<Root>", ".");
    let place = place(capture, &format!("{id:#06x} {name}"));
    let is_it = |own: &&Value| own["query_id"] == id && text(own, "/name").eq_ignore_ascii_case(&name);
    let own: Vec<_> = lookups.iter().filter(is_it).collect();
    let is_response = is_response == "1" || is_response == "True";
    let what = if is_response { "DNS answer" } else { "DNS question" };
    tally.note(&place, (TOOL, what), !own.is_empty(), || "is missing".to_owned());
    let code = code.parse().ok().and_then(|code: usize| CODES.get(code)).filter(|_| is_response && !own.is_empty());
    if let Some(code) = code {
        let same = own.iter().any(|own| text(own, "/code") == *code);
        tally.note(&place, (TOOL, "DNS code"), same, || format!("{code} is missing"));
    }
    if let Ok(seconds) = time.parse::<f64>() {
        let nanos = (seconds * 1e9).round() as u64;
        let is_near = |own: &&Value| own["latency_ns"].as_u64().is_some_and(|ours| ours.abs_diff(nanos) <= 1000);
        tally.note(&place, (TOOL, "DNS latency"), own.iter().any(is_near), || format!("{seconds} s"));
    }
}
