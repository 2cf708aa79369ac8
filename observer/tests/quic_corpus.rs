//! QUIC against tshark, Zeek and the ja4 project on captures that this project did not make.
//!
//! Reads each capture of the corpus through the library. At least 98 of 100 values agree; what differs, and why, is listed
//! in `docs/conformance.md`. Where there is no corpus, or no tshark, the test is skipped, loudly.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use observer::decode::Checksums;
use observer::record::{ConnectionRecord, QuicRecord, Transport};
use observer::tracker::Config;

mod corpus;
mod held;

use held::{Tally, captures, ends, has_tshark, skipped, sorted, tshark, zeek_rows};

/// Addresses and ports of a datagram, as tshark has them.
const UDP_ENDS: [&str; 6] = ["ip.src", "ipv6.src", "udp.srcport", "ip.dst", "ipv6.dst", "udp.dstport"];

/// The connections of a capture that speak QUIC, the first one first.
fn replay(capture: &Path) -> Vec<ConnectionRecord> {
    let (connections, _) = corpus::replay(capture, Checksums::Count, Config::default());
    connections.into_iter().filter(|connection| connection.transport == Transport::Quic).collect()
}

fn quic_of(connection: &ConnectionRecord) -> &QuicRecord {
    connection.quic.as_deref().expect("a connection over QUIC has its facts")
}

/// What tshark says of one packet of QUIC, several packets of a datagram apart by `;`.
struct Row {
    from_client: bool,
    versions: Vec<String>,
    kinds: Vec<String>,
    dcid: String,
    scid: Option<String>,
    sni: String,
    alpn: String,
    ciphers: String,
    ja3: String,
}

const FIELDS: [&str; 10] = [
    "quic.version",
    "quic.long.packet_type",
    "quic.long.packet_type_v2",
    "quic.dcid",
    "quic.scid",
    "quic.scil",
    "tls.handshake.extensions_server_name",
    "tls.handshake.extensions_alpn_str",
    "tls.handshake.ciphersuite",
    "tls.handshake.ja3",
];

#[test]
fn quic_is_what_tshark_says() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    if !has_tshark() {
        return skipped("tshark is not installed");
    }
    let mut tally = Tally::default();
    for capture in captures(&corpus) {
        let fields: Vec<_> = UDP_ENDS.iter().chain(&FIELDS).copied().collect();
        let mut theirs: HashMap<_, Vec<Vec<String>>> = HashMap::new();
        for row in tshark(&capture, "quic.header_form == 1", &fields) {
            let Some(ends) = ends(&row) else { continue };
            theirs.entry(ends).or_default().push(row);
        }
        let ours = replay(&capture);
        let place = |what: &dyn std::fmt::Debug| format!("{} {what:?}", capture.display());
        for connection in &ours {
            let [client, server] = [connection.client, connection.server].map(|end| (end.ip.to_string(), end.port));
            let ends = sorted(client.clone(), server);
            let place = place(&ends);
            let Some(rows) = theirs.remove(&ends) else {
                tally.compare(&place, "connection", "QUIC", "not QUIC");
                continue;
            };
            tally.compare(&place, "connection", "QUIC", "QUIC");
            let rows: Vec<Row> = rows.iter().map(|row| Row::new(row, client.1)).collect();
            compare(&mut tally, &place, connection, &rows);
        }
        for ends in theirs.keys() {
            tally.compare(&place(ends), "connection", "not QUIC", "QUIC");
        }
    }
    tally.judge(200);
}

impl Row {
    fn new(row: &[String], client_port: u16) -> Self {
        let [version, kind, kind_v2, dcid, scid, scil, sni, alpn, ciphers, ja3] = &row[UDP_ENDS.len()..] else {
            panic!("as many fields as were asked for: {row:?}");
        };
        let list = |text: &String| text.split(';').filter(|value| !value.is_empty()).map(str::to_owned).collect();
        let first = |text: &String| text.split(';').next().unwrap_or_default().to_owned();
        let is_empty = first(scil) == "0";
        Self {
            from_client: row[2] == client_port.to_string(),
            versions: list(version),
            kinds: if kind.is_empty() { v1_kinds(kind_v2) } else { list(kind) },
            dcid: first(dcid),
            scid: (is_empty || !scid.is_empty()).then(|| if is_empty { String::new() } else { first(scid) }),
            sni: first(sni),
            alpn: alpn.clone(),
            ciphers: ciphers.clone(),
            ja3: first(ja3),
        }
    }

    /// Whether it is or holds a packet of this kind, by version 1's numbers.
    fn has(&self, kind: &str) -> bool {
        self.kinds.iter().any(|own| own == kind)
    }
}

/// Version 2 numbers the kinds of packets otherwise.
fn v1_kinds(kinds: &str) -> Vec<String> {
    let number = |kind: &str| kind.parse().ok().map(|kind: u8| (kind.wrapping_sub(1) & 3).to_string());
    kinds.split(';').filter_map(number).collect()
}

fn compare(tally: &mut Tally, place: &str, connection: &ConnectionRecord, rows: &[Row]) {
    const INITIAL: &str = "0";
    const KINDS: [(&str, &str); 3] = [("Initial packets", INITIAL), ("0-RTT packets", "1"), ("Handshake packets", "2")];
    const RETRY: &str = "3";
    let quic = quic_of(connection);
    let tls = connection.tls.as_deref().cloned().unwrap_or_default();
    let from = |client: bool| rows.iter().filter(move |row| row.from_client == client);
    let first = |client: bool, value: &dyn Fn(&Row) -> String| {
        from(client).map(value).find(|value| !value.is_empty()).unwrap_or_default()
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    tally.compare(place, "SNI", &text(&tls.sni), &first(true, &|row| row.sni.clone()));
    let alpn = tls.offer.map(|offer| offer.alpn.join(";")).unwrap_or_default();
    tally.compare(place, "ALPN offered", &alpn, &first(true, &|row| row.alpn.clone()));
    tally.compare(place, "JA3", &text(&tls.ja3), &first(true, &|row| row.ja3.clone()));
    let cipher = match tls.cipher.as_deref() {
        Some("TLS_AES_128_GCM_SHA256") => "0x1301",
        Some("TLS_AES_256_GCM_SHA384") => "0x1302",
        Some("TLS_CHACHA20_POLY1305_SHA256") => "0x1303",
        other => other.unwrap_or_default(),
    };
    tally.compare(place, "cipher", cipher, &first(false, &|row| row.ciphers.clone()));
    let version = rows.iter().filter(|row| !row.from_client).chain(from(true)).find_map(|row| row.versions.first());
    let number = match quic.version.as_deref() {
        Some("v1") => "0x00000001".to_owned(),
        Some("v2") => "0x6b3343cf".to_owned(),
        other => other.unwrap_or_default().to_owned(),
    };
    tally.compare(place, "version", &number, version.map_or("", |version| version));
    tally.compare(place, "original DCID", &text(&quic.original_dcid), &first(true, &|row| row.dcid.clone()));
    for (name, side, client) in [("client SCID", &quic.scid.client, true), ("server SCID", &quic.scid.server, false)] {
        let theirs = from(client).filter(|row| !row.has(RETRY)).find_map(|row| row.scid.clone());
        tally.compare(place, name, &text(side), &theirs.unwrap_or_default());
    }
    let retry = from(false).find(|row| row.has(RETRY)).and_then(|row| row.scid.clone()).unwrap_or_default();
    let own = quic.retry.as_ref().map(|retry| retry.scid.clone()).unwrap_or_default();
    tally.compare(place, "Retry", &own, &retry);
    for (name, kind) in KINDS {
        let count = |client| from(client).flat_map(|row| &row.kinds).filter(|own| *own == kind).count();
        let (ours, theirs) = (quic.packets, [count(true), count(false)]);
        let ours = [ours.client, ours.server].map(|packets| match name {
            "Initial packets" => packets.initial,
            "0-RTT packets" => packets.zero_rtt,
            _ => packets.handshake,
        });
        tally.compare(place, name, &format!("{ours:?}"), &format!("{theirs:?}"));
    }
}

#[test]
fn quic_went_as_zeek_says() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    let mut tally = Tally::default();
    for (capture, row) in zeek_rows(&corpus, "quic.log") {
        let text = |name: &str| row.get(name).cloned().unwrap_or_default();
        let id = text("client_initial_dcid");
        let place = format!("{} {id}", capture.display());
        let ours = replay(&capture);
        // After a Retry, Zeek begins another row.
        let is_it = |connection: &&ConnectionRecord| quic_of(connection).original_dcid.as_ref() == Some(&id);
        let by_retry =
            |connection: &&ConnectionRecord| quic_of(connection).retry.as_ref().is_some_and(|retry| retry.scid == id);
        let Some(own) = ours.iter().find(|own| is_it(own) || by_retry(own)) else {
            tally.compare(&place, "connection", "none", "QUIC");
            continue;
        };
        let quic = quic_of(own);
        let or_none = |value: &Option<String>| match value.as_deref() {
            None => "-".to_owned(),
            Some("") => "(empty)".to_owned(),
            Some(value) => value.to_owned(),
        };
        let tls = own.tls.as_deref().cloned().unwrap_or_default();
        let version = match quic.version.as_deref() {
            Some("v1") => "1",
            Some("v2") => "quicv2",
            other => other.unwrap_or("-"),
        };
        tally.compare(&place, "version", version, &text("version"));
        tally.compare(&place, "client SCID", &or_none(&quic.scid.client), &text("client_scid"));
        if !(is_it(&own) && quic.retry.is_some()) {
            tally.compare(&place, "server SCID", &or_none(&quic.scid.server), &text("server_scid"));
        }
        tally.compare(&place, "SNI", &or_none(&tls.sni), &text("server_name"));
        let alpn = tls.offer.and_then(|offer| offer.alpn.into_iter().next());
        tally.compare(&place, "ALPN offered", &or_none(&alpn), &text("client_protocol"));
        let (began, ended) = (own.client, own.server);
        let ends = format!("{} {} {} {}", began.ip, began.port, ended.ip, ended.port);
        let theirs = ["id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"].map(text).join(" ");
        tally.compare(&place, "ends", &ends, &theirs);
    }
    tally.judge(25);
}

/// The ja4 project's own results: fingerprints by ports, in a list that its Rust program writes.
#[test]
fn fingerprints_are_those_of_the_ja4_project() {
    let Some(corpus) = corpus::corpus() else { return skipped("no corpus beside the checkout") };
    let mut tally = Tally::default();
    for (capture, stream) in ja4_streams(&corpus.join("expected/ja4")) {
        let value = |name: &str| stream.get(name).cloned().unwrap_or_default();
        if value("transport") != "udp" || !value("ja4").starts_with('q') {
            continue;
        }
        let port: u16 = value("src_port").parse().unwrap_or_default();
        let place = format!("{} {port}", capture.display());
        let ours = replay(&corpus.join(&capture));
        let tls = ours.iter().find(|own| own.client.port == port).and_then(|own| own.tls.as_deref());
        let own = |print: fn(&observer::record::TlsRecord) -> &Option<String>| {
            tls.and_then(|tls| print(tls).clone()).unwrap_or_default()
        };
        tally.compare(&place, "JA4", &own(|tls| &tls.ja4), &value("ja4"));
        if !value("ja4s").is_empty() {
            tally.compare(&place, "JA4S", &own(|tls| &tls.ja4s), &value("ja4s"));
        }
    }
    tally.judge(30);
}

/// Each stream of the results, by the names in it, with its capture.
fn ja4_streams(folder: &Path) -> Vec<(PathBuf, HashMap<String, String>)> {
    let mut streams = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the corpus has the ja4 project's results") {
        let results = entry.expect("a folder can be listed").path();
        let capture = PathBuf::from(results.file_name().expect("a folder has a name"));
        for list in std::fs::read_dir(&results).expect("a folder can be listed") {
            let list = list.expect("a folder can be listed").path();
            if list.extension().is_none_or(|extension| extension != "snap") {
                continue;
            }
            let text = std::fs::read_to_string(&list).expect("a list is text");
            for line in text.lines() {
                if line.starts_with("- ") {
                    streams.push((capture.clone(), HashMap::new()));
                }
                let pair = line.trim_start_matches(['-', ' ']).split_once(": ");
                if let (Some((_, stream)), Some((name, value))) = (streams.last_mut(), pair) {
                    stream.entry(name.to_owned()).or_insert_with(|| value.trim_matches(['"', '\'']).to_owned());
                }
            }
        }
    }
    streams
}
