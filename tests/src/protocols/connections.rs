//! Connection by connection, all that tshark and observer both say of it: for captures in which every connection counts.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::made::Made;
use super::tshark::{DNS, compare_dns, rows};
use super::{Corpus, Ends, Records, Tally, end, list, place, sorted, text};

const TOOL: &str = "tshark";

/// What is asked of each packet. TLS of several messages in one packet has their values in one list, the first message's
/// first.
const FIELDS: [&str; 53] = [
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "udp.srcport",
    "tcp.dstport",
    "udp.dstport",
    "tls.handshake.type",
    "tls.handshake.extensions_server_name",
    "tls.handshake.extensions_alpn_str",
    "tls.handshake.ja3",
    "tls.handshake.ja3_full",
    "tls.handshake.ja3s",
    "tls.handshake.ja3s_full",
    "tls.handshake.version",
    "tls.handshake.extensions.supported_version",
    "tls.handshake.sig_hash_alg",
    "tls.handshake.session_id",
    "tls.handshake.extensions_key_share_group",
    "tls.handshake.server_named_curve",
    "tls.alert_message.desc",
    "http.request.method",
    "http.request.uri",
    "http.host",
    STATUS,
    "http2.headers.method",
    "http2.headers.path",
    "http2.headers.status",
    "quic.version",
    "dtls.handshake.type",
    "dtls.handshake.extensions_server_name",
    "dtls.handshake.extensions_alpn_str",
    "dtls.handshake.ja3",
    "dtls.handshake.ja3_full",
    "dtls.handshake.ja3s",
    "dtls.handshake.ja3s_full",
    "dtls.handshake.version",
    "dtls.handshake.sig_hash_alg",
    "dtls.handshake.session_id",
    "dtls.handshake.server_named_curve",
    "dtls.alert_message.desc",
    "memcache.command",
    "resp.array",
    "resp.error",
    "mqtt.msgtype",
    DNS[0],
    DNS[1],
    DNS[2],
    DNS[3],
    DNS[4],
    DNS[5],
    DNS[6],
];
const FILTER: &str = "(tls.handshake or tls.alert_message or http or http2 or quic.version or dtls or resp or mqtt or dns) and \
                      not icmp and not icmpv6";

const STATUS: &str = "http.response.code";

/// The fields of one packet by their names, those that it has.
type Row = HashMap<&'static str, String>;

/// The first of a field's values.
fn first<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).map_or("", |values| values.split(';').next().unwrap_or_default())
}

/// All of a field's values.
fn all<'a>(row: &'a Row, name: &str) -> impl Iterator<Item = &'a str> {
    row.get(name).into_iter().flat_map(|values| values.split(';'))
}

pub(super) fn compare(observer: &Path, made: &Made, tally: &mut Tally) -> Result<()> {
    let (names, keys) = (Names::ask()?, made.keys());
    let corpus = Corpus { observer, folder: &keys };
    let keys = keys.to_string_lossy();
    for capture in made.captures() {
        let records = corpus.replay(&capture, &["--keylog", &keys])?;
        let option = format!("tls.keylog_file:{keys}");
        let mut theirs: BTreeMap<Ends, Vec<Row>> = BTreeMap::new();
        for row in rows(&capture, &["-o", &option], FILTER, &FIELDS)? {
            let row = named(row);
            if row.contains_key(DNS[0]) {
                let fields = DNS.map(|name| row.get(name).cloned().unwrap_or_default());
                compare_dns(&capture, &fields, &records.lookups, tally);
            } else {
                theirs.entry(ends(&row)).or_default().push(row);
            }
        }
        let late = late_statuses(&capture, &option)?;
        for (ends, packets) in &mut theirs {
            if !packets.iter().any(|row| row.contains_key(STATUS)) {
                packets.extend(late.get(ends).cloned().unwrap_or_default());
            }
            let mut connection = Connection { place: place(&capture, ends), same: true, tally: &mut *tally };
            connection.compare(&records, ends, packets, &names);
            let (place, same) = (connection.place, connection.same);
            tally.note(&place, (TOOL, "whole connections"), same, || "not all of it is the same".to_owned());
        }
    }
    Ok(())
}

/// HTTP/1's responses over TLS by their heads alone: tshark does not see that one ends with its connection, and leaves it out.
fn late_statuses(capture: &Path, keys: &str) -> Result<HashMap<Ends, Vec<Row>>> {
    let mut late: HashMap<_, Vec<Row>> = HashMap::new();
    for row in rows(capture, &["-o", keys, "-o", "http.desegment_body:FALSE"], "http.response and tls", &FIELDS)? {
        let row = named(row);
        let status = row.get(STATUS).map(|status| Row::from([(STATUS, status.clone())]));
        late.entry(ends(&row)).or_default().extend(status);
    }
    Ok(late)
}

/// A packet's fields by their names.
fn named(row: Vec<String>) -> Row {
    // What is DTLS's goes by TLS's names.
    let name = |name: &'static str| name.strip_prefix('d').filter(|name| name.starts_with("tls.")).unwrap_or(name);
    let values = FIELDS.into_iter().zip(row).filter(|(_, values)| !values.is_empty());
    values.map(|(field, values)| (name(field), values)).collect()
}

fn ends(row: &Row) -> Ends {
    let end = |v4, v6, tcp, udp| {
        let [v4, v6, tcp, udp] = [v4, v6, tcp, udp].map(|name| first(row, name));
        let address = if v4.is_empty() { v6 } else { v4 };
        let port = if tcp.is_empty() { udp } else { tcp };
        (address.to_owned(), port.parse().unwrap_or_default())
    };
    sorted(
        end("ip.src", "ipv6.src", "tcp.srcport", "udp.srcport"),
        end("ip.dst", "ipv6.dst", "tcp.dstport", "udp.dstport"),
    )
}

/// Numbers of TLS by tshark's names for them, by field.
struct Names(HashMap<(&'static str, u32), String>);

impl Names {
    fn ask() -> Result<Self> {
        const NAMED: [&str; 4] = [
            "tls.handshake.ciphersuite",
            "tls.handshake.version",
            "tls.handshake.server_named_curve",
            "tls.alert_message.desc",
        ];
        let mut command = Command::new(TOOL);
        command.args(["-G", "values"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("starting tshark")?;
        let mut names = HashMap::new();
        for line in BufReader::new(child.stdout.take().context("no pipe from tshark")?).split(b'\n') {
            let line = line.context("reading tshark's names")?;
            // There are a million others.
            if !line.starts_with(b"V\ttls.") {
                continue;
            }
            let line = String::from_utf8_lossy(&line);
            let cells: Vec<_> = line.split('\t').collect();
            let [_, field, value, name] = cells[..] else { continue };
            if let (Some(field), Some(value)) = (NAMED.into_iter().find(|named| *named == field), number(value)) {
                names.insert((field, value), name.to_owned());
            }
        }
        child.wait().context("waiting for tshark")?;
        Ok(Self(names))
    }

    fn of(&self, field: &'static str, value: Option<u32>) -> String {
        value.and_then(|value| self.0.get(&(field, value))).cloned().unwrap_or_default()
    }
}

fn number(text: &str) -> Option<u32> {
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
}

/// One connection at which both are looked at.
struct Connection<'t> {
    place: String,
    same: bool,
    tally: &'t mut Tally,
}

impl Connection<'_> {
    fn says(&mut self, name: &'static str, ours: &str, theirs: &str) {
        self.same &= ours == theirs;
        self.tally.compare(&self.place, (TOOL, name), ours, theirs);
    }

    fn compare(&mut self, records: &Records, ends: &Ends, packets: &[Row], names: &Names) {
        let carrier = match () {
            () if packets.iter().any(|row| row.contains_key("quic.version")) => QUIC,
            () if packets.iter().any(|row| row.contains_key("udp.srcport")) => DTLS,
            () => TCP,
        };
        let ours = if carrier == QUIC { &records.quic } else { &records.connections };
        let Some([record]) = ours.get(ends).map(Vec::as_slice) else {
            return self.says("whole connections", "none, or several", "one");
        };
        let client = end(record, "client").1.to_string();
        let port = if carrier == TCP { "tcp.srcport" } else { "udp.srcport" };
        let (sent, received): (Vec<_>, Vec<_>) = packets.iter().partition(|row| first(row, port) == client);
        let find = |rows: &[&Row], kind: &str| -> Option<Row> {
            rows.iter().find(|row| all(row, "tls.handshake.type").any(|one| one == kind)).map(|row| (*row).clone())
        };
        if let Some(hello) = find(&sent, CLIENT_HELLO) {
            self.compare_client_hello(&hello, &record["tls"], carrier);
            let last = received.iter().rfind(|row| row.contains_key("tls.handshake.ja3s_full"));
            if let Some(answer) = last {
                self.compare_server_hello(&hello, answer, &received, (&record["tls"], carrier), names);
            }
        }
        if carrier == QUIC {
            let version = received.iter().chain(&sent).find_map(|row| number(first(row, "quic.version")));
            let version = match version {
                Some(1) => "v1".to_owned(),
                other => other.map_or(String::new(), |version| format!("{version:#010x}")),
            };
            return self.says("QUIC version", &text(record, "/quic/version"), &version);
        }
        // Suites that observer does not open say nothing of what is inside.
        let cipher = text(record, "/tls/cipher");
        if !cipher.contains("_CBC_") {
            self.compare_alerts(packets, record, names);
            if record["calls"].is_null() {
                self.compare_http(packets, record);
            } else {
                self.compare_calls(&sent, &received, record);
            }
        }
    }

    fn compare_client_hello(&mut self, hello: &Row, tls: &Value, carrier: char) {
        self.says("TLS server name", &text(tls, "/sni"), first(hello, "tls.handshake.extensions_server_name"));
        let alpn: Vec<_> = all(hello, "tls.handshake.extensions_alpn_str").collect();
        self.says("TLS ALPN offered", &list(tls, "/offer/alpn"), &alpn.join(";"));
        self.says("JA3", &text(tls, "/ja3"), first(hello, "tls.handshake.ja3"));
        self.says("JA4", &text(tls, "/ja4"), &ja4(hello, carrier));
    }

    fn compare_server_hello(
        &mut self,
        hello: &Row,
        answer: &Row,
        received: &[&Row],
        (tls, carrier): (&Value, char),
        names: &Names,
    ) {
        let kinds: Vec<_> = received.iter().flat_map(|row| all(row, "tls.handshake.type")).collect();
        let (version, cipher, extensions) = server_hello(answer);
        let is_1_3 = version == Some(0x0304);
        self.says("TLS version", &text(tls, "/version"), &names.of("tls.handshake.version", version));
        self.says("TLS cipher", &text(tls, "/cipher"), &names.of("tls.handshake.ciphersuite", cipher));
        let group = if is_1_3 {
            number(first(answer, "tls.handshake.extensions_key_share_group"))
        } else {
            received.iter().find_map(|row| number(first(row, "tls.handshake.server_named_curve")))
        };
        self.says("TLS group", &text(tls, "/group"), &names.of("tls.handshake.server_named_curve", group));
        let mut chosen = received.iter().map(|row| first(row, "tls.handshake.extensions_alpn_str"));
        let chosen = chosen.rfind(|alpn| !alpn.is_empty()).unwrap_or_default();
        if carrier != QUIC {
            self.says("TLS ALPN chosen", &text(tls, "/alpn"), chosen);
        }
        self.says("JA3S", &text(tls, "/ja3s"), first(answer, "tls.handshake.ja3s"));
        let alpn = if is_1_3 { "" } else { chosen };
        self.says("JA4S", &text(tls, "/ja4s"), &ja4s(version, cipher, &extensions, alpn, carrier));
        let resumed = if is_1_3 {
            extensions.contains(&PRE_SHARED_KEY)
        } else {
            let session = first(answer, "tls.handshake.session_id");
            let same = session == first(hello, "tls.handshake.session_id");
            same && !session.is_empty() && !kinds.contains(&CERTIFICATE)
        };
        self.says("TLS resumed", &text(tls, "/resumed"), &resumed.to_string());
        let hellos = kinds.iter().filter(|kind| **kind == SERVER_HELLO).count();
        let retried = hellos > 1 || kinds.contains(&HELLO_VERIFY_REQUEST);
        self.says("TLS retried", &text(tls, "/retried"), &retried.to_string());
        if carrier != QUIC && tls["client_certificate_requested"].is_boolean() {
            let asked = kinds.contains(&CERTIFICATE_REQUEST);
            self.says("TLS client certificate", &text(tls, "/client_certificate_requested"), &asked.to_string());
        }
    }

    fn compare_alerts(&mut self, packets: &[Row], record: &Value, names: &Names) {
        const ALERT: &str = "tls.alert_message.desc";
        let theirs = packets.iter().flat_map(|row| all(row, ALERT));
        let theirs: Vec<_> =
            theirs.map(|desc| names.of(ALERT, number(desc)).to_lowercase().replace(' ', "_")).collect();
        let ours = record["tls"]["alerts"].as_array().into_iter().flatten();
        let ours: Vec<_> = ours.map(|alert| text(alert, "/description")).collect();
        if !(ours.is_empty() && theirs.is_empty()) {
            self.says("TLS alerts", &ours.join(" "), &theirs.join(" "));
        }
    }

    /// How often Redis, memcached and MQTT are asked for something, and how often the answer is an error.
    fn compare_calls(&mut self, sent: &[&Row], received: &[&Row], record: &Value) {
        // CONNECT, SUBSCRIBE, UNSUBSCRIBE and PINGREQ; PUBACK and PUBREC, each for a PUBLISH that wants it.
        const ASKED: [&str; 4] = ["1", "8", "10", "12"];
        const TAKEN: [&str; 2] = ["4", "5"];
        let count = |rows: &[&Row], name| rows.iter().flat_map(|row| all(row, name)).count().to_string();
        let of = |what| text(record, &format!("/calls/{what}"));
        match record["protocol"].as_str() {
            Some("redis") => {
                self.says("Redis commands", &of("requests"), &count(sent, "resp.array"));
                self.says("Redis errors", &of("errors"), &count(received, "resp.error"));
            }
            Some("memcached") => self.says("memcached commands", &of("requests"), &count(sent, "memcache.command")),
            Some("mqtt") => {
                let kinds = |rows: &[&Row], wanted: &[&str]| {
                    rows.iter().flat_map(|row| all(row, "mqtt.msgtype")).filter(|kind| wanted.contains(kind)).count()
                };
                let asked = kinds(sent, &ASKED) + kinds(received, &TAKEN);
                self.says("MQTT calls", &of("requests"), &asked.to_string());
            }
            _ => {}
        }
    }

    /// Each request and each status, HTTP/1's in their order.
    fn compare_http(&mut self, packets: &[Row], record: &Value) {
        let values = |name| packets.iter().flat_map(move |row| all(row, name)).map(str::to_owned);
        let requests = |method, target| values(method).zip(values(target)).map(|(one, other)| format!("{one} {other}"));
        let is_final = |status: &String| !status.starts_with('1') || status == "101";
        let mut theirs: Vec<_> = requests("http.request.method", "http.request.uri").collect();
        let mut statuses: Vec<_> = values(STATUS).filter(is_final).collect();
        let entries = record["exchanges"]["entries"].as_array().into_iter().flatten();
        let mut ours: Vec<_> = entries
            .clone()
            .filter(|one| !one["method"].is_null())
            .map(|one| format!("{} {}", text(one, "/method"), text(one, "/path")))
            .collect();
        let mut answers: Vec<_> =
            entries.filter(|one| !one["status"].is_null()).map(|one| text(one, "/status")).collect();
        let second = requests("http2.headers.method", "http2.headers.path");
        let second_statuses = values("http2.headers.status").filter(is_final);
        if record["http2"].is_object() {
            // The request that led to HTTP/2 is its first one: what answers it comes there.
            statuses.retain(|status| status != "101");
            theirs.extend(second);
            statuses.extend(second_statuses);
            [&mut theirs, &mut statuses, &mut ours, &mut answers].into_iter().for_each(|list| list.sort());
        }
        if !(theirs.is_empty() && ours.is_empty()) {
            self.says("HTTP requests", &ours.join(", "), &theirs.join(", "));
            self.says("HTTP statuses", &answers.join(", "), &statuses.join(", "));
        }
    }
}

/// Handshake messages.
const CLIENT_HELLO: &str = "1";
const SERVER_HELLO: &str = "2";
const HELLO_VERIFY_REQUEST: &str = "3";
const CERTIFICATE: &str = "11";
const CERTIFICATE_REQUEST: &str = "13";

const PRE_SHARED_KEY: u32 = 41;

/// What TLS goes over, in the letters of JA4.
const TCP: char = 't';
const QUIC: char = 'q';
const DTLS: char = 'd';

/// Version, suite and extensions of a ServerHello, which may have others behind it.
fn server_hello(row: &Row) -> (Option<u32>, Option<u32>, Vec<u32>) {
    let full: Vec<Vec<u32>> = first(row, "tls.handshake.ja3s_full").split(',').map(numbers).collect();
    let one = |index: usize| full.get(index).and_then(|list| list.first()).copied();
    let version = number(first(row, "tls.handshake.extensions.supported_version")).or(one(0));
    (version, one(1), full.get(2).cloned().unwrap_or_default())
}

/// The numbers of a part of JA3's text.
fn numbers(list: &str) -> Vec<u32> {
    list.split('-').filter_map(|value| value.parse().ok()).collect()
}

/// Values that say nothing (RFC 8701).
fn is_grease(value: u32) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// The fingerprint of a ClientHello, as its makers describe it, from tshark's fields.
fn ja4(hello: &Row, carrier: char) -> String {
    let full: Vec<Vec<u32>> = first(hello, "tls.handshake.ja3_full").split(',').map(numbers).collect();
    let list = |index: usize| -> Vec<u32> {
        full.get(index).into_iter().flatten().copied().filter(|value| !is_grease(*value)).collect()
    };
    let (mut ciphers, extensions) = (list(1), list(2));
    let offered = all(hello, "tls.handshake.extensions.supported_version").filter_map(number);
    let version = offered.filter(|version| !is_grease(*version)).max().or(list(0).first().copied());
    let name = if extensions.contains(&0) { 'd' } else { 'i' };
    let front = front(version, carrier);
    let alpn = ends_of(first(hello, "tls.handshake.extensions_alpn_str"));
    let (suites, count) = (ciphers.len().min(99), extensions.len().min(99));
    ciphers.sort_unstable();
    let mut named: Vec<_> = extensions.into_iter().filter(|kind| ![0, 16].contains(kind)).collect();
    named.sort_unstable();
    let signatures: Vec<_> = all(hello, "tls.handshake.sig_hash_alg").filter_map(number).collect();
    let mut rest = hexes(&named);
    if !signatures.is_empty() {
        rest = format!("{rest}_{}", hexes(&signatures));
    }
    format!("{front}{name}{suites:02}{count:02}{alpn}_{}_{}", digest(&hexes(&ciphers)), digest(&rest))
}

fn ja4s(version: Option<u32>, cipher: Option<u32>, extensions: &[u32], alpn: &str, carrier: char) -> String {
    let (front, alpn, count) = (front(version, carrier), ends_of(alpn), extensions.len().min(99));
    format!("{front}{count:02}{alpn}_{:04x}_{}", cipher.unwrap_or_default(), digest(&hexes(extensions)))
}

fn front(version: Option<u32>, carrier: char) -> String {
    let version = match version {
        Some(0x0304) => "13",
        Some(0x0303) => "12",
        Some(0x0302) => "11",
        Some(0x0301) => "10",
        Some(0x0300) => "s3",
        Some(0xfefd) => "d2",
        Some(0xfeff) => "d1",
        _ => "00",
    };
    format!("{carrier}{version}")
}

/// A text's first and last character.
fn ends_of(text: &str) -> String {
    let ends = text.chars().next().zip(text.chars().next_back());
    ends.map_or("00".to_owned(), |(first, last)| format!("{first}{last}"))
}

fn hexes(values: &[u32]) -> String {
    values.iter().map(|value| format!("{value:04x}")).collect::<Vec<_>>().join(",")
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).map(|octet| format!("{octet:02x}")).collect()
}
