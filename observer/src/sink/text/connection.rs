//! One connection: head line, facts, waterfall and ladder.

use observer::record::{
    CapturePoint, ConnState, ConnectionRecord, Encapsulation, NatRecord, NotableKind, RolesFrom, RttStats, Side, Sides,
    Tags, Transport, TunnelRecord,
};
use observer::time::Nanos;

use super::page::{Line, Page, Tone};
use super::{application, finding, ladder, units, waterfall, words};

/// How much is said of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// As one of several.
    Brief,
    /// All there is, as for `--connection`.
    Full,
    /// The same, of a recording: Wireshark numbers its marks as well as its packets.
    Recorded,
}

/// Ladder entries of a connection that is one of several.
const BRIEF_LADDER: usize = 60;

/// Columns of a fact's name.
const NAME: usize = 14;

/// Draws one connection; `place` is the network namespace, where it has to be said.
pub fn draw(page: &Page, out: &mut String, record: &ConnectionRecord, detail: Detail, place: Option<&str>) {
    head(page, out, record, place);
    for (name, text) in facts(record, detail) {
        let mut first = Line::new().then(Tone::Dim, format!("  {name}"));
        first.pad(NAME);
        page.paragraph(out, &first, &text);
    }
    page.blank(out);
    let before = out.len();
    waterfall::draw(page, out, record);
    if out.len() > before && record.timeline.is_some() {
        page.blank(out);
    }
    let limit = match detail {
        Detail::Brief => BRIEF_LADDER,
        Detail::Full | Detail::Recorded => usize::MAX,
    };
    ladder::draw(page, out, record, limit);
    page.blank(out);
}

/// Who, to whom, outcome, duration.
fn head(page: &Page, out: &mut String, record: &ConnectionRecord, place: Option<&str>) {
    let id = record.first_frame().map_or_else(Line::new, |frame| Line::new().then(Tone::Dim, format!("#{frame} ")));
    let (words, tone) = words::outcome_of(record);
    let mut text =
        Line::new().then(Tone::Strong, format!("{} →\u{a0}{}", units::end(record.client), units::end(record.server)));
    words::place(&mut text, place);
    text.push(Tone::Dim, " · ");
    text.push(tone, format!("{words} ({:?})", record.conn_state));
    if record.duration_ns.0 > 0 {
        text.push(Tone::Dim, " · ");
        text.push(Tone::Plain, units::time(record.duration_ns));
    }
    page.paragraph(out, &id, &text);
}

fn facts(record: &ConnectionRecord, detail: Detail) -> Vec<(&'static str, Line)> {
    let full = detail != Detail::Brief;
    let mut facts = Vec::new();
    if full {
        facts.push(("first seen", plain(record.first_seen.to_string())));
        facts.push(("roles", plain(words::roles(record.roles_from))));
        facts.extend(record.handshake.agreed.map(|agreed| ("agreed", plain(words::agreed(&agreed)))));
        facts.push(("client", plain(sent(record, Side::Client))));
        facts.push(("server", plain(sent(record, Side::Server))));
    } else {
        if !matches!(record.roles_from, RolesFrom::Syn | RolesFrom::Initial) {
            facts.push(("roles", plain(words::roles(record.roles_from))));
        }
        let of = |side| format!("{} {}", words::side(side), short_sent(record, side));
        facts.push(("sent", plain(format!("{}; {}", of(Side::Client), of(Side::Server)))));
    }
    facts.extend(processes(record, full).map(|text| ("processes", text)));
    facts.extend(application::facts(record, full));
    facts.extend(handshake_time(record).map(|text| ("RTT", plain(text))));
    if full {
        facts.extend(round_trips(&record.rtt.by_ack).map(|text| ("RTT by ACK", plain(text))));
        facts.extend(round_trips(&record.rtt.by_timestamps).map(|text| ("RTT by TS", plain(text))));
        facts.extend(offloaded(record).map(|text| ("checksums", plain(text))));
    }
    facts.extend(trouble(record).map(|text| ("trouble", text)));
    facts.extend(finding::facts(record, full).into_iter().map(|text| ("finding", text)));
    facts.extend(record.nat.as_ref().map(|nat| ("translated", plain(translation(nat)))));
    facts.extend(record.tunnel.as_ref().map(|tunnel| ("around it", plain(encapsulation(tunnel)))));
    if full {
        facts.extend(record.history.as_ref().map(|history| ("history", plain(history.clone()))));
        facts.push(("community", plain(record.community_id.to_string())));
        facts.push(("Wireshark", plain(display_filter(record, detail))));
    }
    facts
}

/// Who is at which end: `client curl[4711]; server nginx[80] of nginx.service`; in full with user and command line.
fn processes(record: &ConnectionRecord, full: bool) -> Option<Line> {
    let mut line = Line::new();
    for process in &record.processes {
        if !line.is_empty() {
            line.push(Tone::Plain, "; ");
        }
        if let Some(side) = process.side {
            line.push(words::tone(side), format!("{} ", words::side(side)));
        }
        line.push(Tone::Plain, words::process(process));
        line.push(Tone::Plain, process.how.map_or(String::new(), |how| format!(" ({})", words::how(how))));
        let place = process.pod.as_ref().or(process.unit.as_ref());
        line.push(Tone::Plain, place.map_or(String::new(), |place| format!(" of {}", words::plain(place))));
        if full {
            let uid = process.uid.map_or(String::new(), |uid| format!(", user {uid}"));
            let command = process.command.iter().chain(&process.args).cloned().collect::<Vec<_>>().join(" ");
            let command = if command.is_empty() { command } else { format!(": {}", words::plain(&command)) };
            line.push(Tone::Plain, format!("{uid}{command}"));
        }
    }
    (!line.is_empty()).then_some(line)
}

/// What is behind the addresses: `10.96.0.1:443 leads to 10.244.0.5:8443; 10.0.0.1:4711 shows as 192.0.2.1:4711`.
fn translation(nat: &NatRecord) -> String {
    let server = nat
        .translates_destination()
        .then(|| format!("{} leads to {}", units::end(nat.original.destination), units::end(nat.reply.source)));
    let client = nat
        .translates_source()
        .then(|| format!("{} shows as {}", units::end(nat.original.source), units::end(nat.reply.destination)));
    server.into_iter().chain(client).collect::<Vec<_>>().join("; ")
}

fn plain(text: impl AsRef<str> + Into<String>) -> Line {
    Line::new().then(Tone::Plain, text)
}

fn short_sent(record: &ConnectionRecord, side: Side) -> String {
    let Some(packets) = record.packets_of(side) else { return "not counted".to_string() };
    let segments = units::number_of(packets, words::packet(record.transport));
    match record.bytes_of(side) {
        None | Some(0) => segments,
        Some(bytes) => format!("{} in {segments}", units::bytes(bytes)),
    }
}

fn sent(record: &ConnectionRecord, side: Side) -> String {
    let mut text = short_sent(record, side);
    let twice = record.bytes.zip(record.unique_bytes).map_or(0, |(all, unique)| all.of(side) - unique.of(side));
    if twice > 0 {
        text.push_str(&format!(", {} of them more than once", units::bytes(twice)));
    }
    let flow = record.flow.unwrap_or_default();
    let flow = flow.of(side);
    let mut more = |part: String| text.push_str(&format!("; {part}"));
    if let Some(rate) = flow.throughput_bps {
        more(units::rate(rate));
    }
    if flow.max_in_flight > 0 {
        more(format!("at most {} in flight", units::bytes(flow.max_in_flight)));
    }
    if flow.max_segment > 0 {
        more(format!("segments of up to {}\u{a0}B", flow.max_segment));
    }
    if let Some(window) = flow.window {
        more(format!("window {} to {}", units::bytes(window.min.into()), units::bytes(window.max.into())));
    }
    if let Some(ttl) = flow.ttl {
        let range = if ttl.min == ttl.max { ttl.min.to_string() } else { format!("{} to {}", ttl.min, ttl.max) };
        more(format!("TTL {range}, {} away", units::number_of(ttl.hops.into(), "hop")));
    }
    if flow.urgent > 0 {
        more(format!("urgent data in {}", units::number_of(flow.urgent, "segment")));
    }
    if flow.ecn.ect > 0 {
        more(format!("ECN-capable in {}", units::number_of(flow.ecn.ect, "packet")));
    }
    if !record.tcp_state.is_absent() {
        more(record.tcp_state.of(side).name().to_string());
    }
    text
}

fn handshake_time(record: &ConnectionRecord) -> Option<String> {
    let point = match record.rtt.capture_point {
        Some(CapturePoint::NearClient) => ", captured near the client",
        Some(CapturePoint::NearServer) => ", captured near the server",
        Some(CapturePoint::Middle) => ", captured between the two",
        None => "",
    };
    let mut text = format!("{} (handshake{point})", units::time(handshake_rtt(record)?));
    if let Some(connect) = record.handshake.connect_ns.filter(|_| record.handshake.syn_retransmissions > 0) {
        text.push_str(&format!("; connecting took {}", units::time(connect)));
    }
    Some(text)
}

/// `client's data min 40 ms, median 41 ms, p99 60 ms of 12`, and the server's.
fn round_trips(sides: &Sides<Option<RttStats>>) -> Option<String> {
    let of = |side: Side| {
        let stats = sides.of(side).as_ref()?;
        let (min, median, p99) = (units::time(stats.min_ns), units::time(stats.median_ns), units::time(stats.p99_ns));
        let (who, samples) = (words::side(side), units::count(stats.samples));
        Some(format!("{who}'s data min {min}, median {median}, p99 {p99} of\u{a0}{samples}"))
    };
    let parts: Vec<_> = [of(Side::Client), of(Side::Server)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The handshake's round-trip time, where there was a handshake: Wireshark's has one for a refused SYN as well.
pub fn handshake_rtt(record: &ConnectionRecord) -> Option<Nanos> {
    let of_quic = || record.quic.as_ref().and_then(|quic| quic.rtt_ns);
    record.handshake.rtt_ns.filter(|_| record.handshake.syn_ack.is_some()).or_else(of_quic)
}

/// What was captured before the sender's network card was done with it.
fn offloaded(record: &ConnectionRecord) -> Option<String> {
    let partial = record.partial_checksums?;
    let segments = units::number_of(partial.client + partial.server, "segment");
    Some(format!("of {segments} still to be completed by the sender's network card (offloading)"))
}

/// What went wrong, in one paragraph.
fn trouble(record: &ConnectionRecord) -> Option<Line> {
    let mut parts: Vec<(Tone, String)> = Vec::new();
    for side in [Side::Client, Side::Server] {
        let who = words::side(side);
        parts.extend(retransmitted(record, side).map(|text| (Tone::Bad, format!("{who} {text}"))));
        let (flow, analysis) = (record.flow.unwrap_or_default(), record.analysis.unwrap_or_default());
        let flow = flow.of(side);
        if flow.zero_window_ns > Nanos(0) {
            parts.push((Tone::Bad, format!("{who} held its window at 0 for {}", units::time(flow.zero_window_ns))));
        }
        if flow.ecn.ce > 0 {
            let marked = units::number_of(flow.ecn.ce, "packet");
            parts.push((Tone::Notice, format!("{marked} of the {who} marked as congested")));
        }
        let counts = [
            (analysis.out_of_order, "came out of order"),
            (analysis.lost_segment, "came after a gap"),
            (analysis.ack_lost_segment, "acknowledged data that was not captured"),
        ];
        for (count, words) in counts {
            if *count.of(side) > 0 {
                parts.push((
                    Tone::Notice,
                    format!("{} of the {who} {words}", units::number_of(*count.of(side), "segment")),
                ));
            }
        }
    }
    for alike in record.icmp.chunk_by(|one, next| (one.name, one.from) == (next.name, next.from)) {
        let Some(error) = alike.first() else { continue };
        let times = if alike.len() > 1 { format!("{} times ", alike.len()) } else { String::new() };
        parts.push((Tone::Bad, format!("ICMP: {times}{} from {}", error.name, error.from)));
    }
    let bad = record.damaged();
    if bad > 0 {
        parts.push((Tone::Notice, format!("{} with a bad checksum", units::number_of(bad, "segment"))));
    }
    if record.duplicates > 0 {
        parts.push((Tone::Notice, format!("{} captured twice", units::number_of(record.duplicates, "packet"))));
    }
    if record.evicted {
        parts.push((Tone::Notice, "given up to stay within --max-connections".to_string()));
    }
    let mut line = Line::new();
    for (tone, text) in parts {
        if !line.is_empty() {
            line.push(Tone::Plain, "; ");
        }
        line.push(tone, text);
    }
    (!line.is_empty()).then_some(line)
}

/// `sent 3 segments again (2 after a timeout, 1 fast)`.
fn retransmitted(record: &ConnectionRecord, side: Side) -> Option<String> {
    let Some(causes) = record.retransmissions else {
        let again = record.retransmitted_by(side);
        return (again > 0).then(|| format!("sent {} again", units::number_of(again, "segment")));
    };
    let causes = causes.of(side);
    let named = [
        (causes.rto, if side == Side::Client && tried_again(record) { "after a refusal" } else { "after a timeout" }),
        (causes.fast, "fast"),
        (causes.sack_repaired, "SACK-repaired"),
        (
            causes.tail_loss_probe,
            if causes.tail_loss_probe == 1 { "as a tail loss probe" } else { "as tail loss probes" },
        ),
        (causes.spurious, "needlessly"),
    ];
    let total: u64 = named.iter().map(|cause| cause.0).sum();
    if total == 0 {
        return None;
    }
    let parts: Vec<_> = named
        .iter()
        .filter(|cause| cause.0 > 0)
        .map(|(count, words)| format!("{} {words}", units::count(*count)))
        .collect();
    Some(format!("sent {} again ({})", units::number_of(total, "segment"), parts.join(", ")))
}

/// Whether the client sent its SYN again because a RST had refused it: that came at once, and no timer ran out.
fn tried_again(record: &ConnectionRecord) -> bool {
    let refused = record.reset.as_deref().filter(|reset| reset.from == Side::Server);
    let again = record.notable.iter().find(|one| one.kind == NotableKind::SynAgain && one.from == Side::Client);
    let refused_first = refused.zip(again).is_some_and(|(refused, again)| refused.at <= again.first);
    record.conn_state == ConnState::REJ && refused_first
}

fn encapsulation(around: &Encapsulation) -> String {
    let mut parts: Vec<_> = around.tunnels.iter().map(tunnel).collect();
    if around.tags.client == around.tags.server {
        parts.extend(tags(&around.tags.client));
    } else {
        for side in [Side::Client, Side::Server] {
            parts.extend(tags(around.tags.of(side)).map(|tags| format!("{}: {tags}", words::side(side))));
        }
    }
    parts.join("; ")
}

fn tunnel(tunnel: &TunnelRecord) -> String {
    let [one, other] = tunnel.ends;
    format!("{} between {one} and {other}", tunnel.kind.name())
}

fn tags(tags: &Tags) -> Option<String> {
    fn list<T: ToString>(values: impl Iterator<Item = T>) -> String {
        values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
    }
    let named = [
        ("VLAN", list(tags.vlan.iter())),
        ("MPLS label", list(tags.mpls.iter())),
        ("PBB service", list(tags.pbb.iter())),
        ("PPPoE session", list(tags.pppoe.iter())),
        ("tunnel id", list(tags.tunnel_id.iter().flatten())),
    ];
    let parts: Vec<_> =
        named.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name} {list}")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The display filter that selects this connection in Wireshark and tshark. The ends alone do not where ports were used
/// again, so it names the frames as well, or the times where frames have other numbers there.
fn display_filter(record: &ConnectionRecord, detail: Detail) -> String {
    let transport = if record.transport == Transport::Tcp { "tcp" } else { "udp" };
    let family = if record.client.ip.is_ipv4() { "ip" } else { "ipv6" };
    let ends = format!(
        "{family}.addr == {} && {family}.addr == {} && {transport}.port == {} && {transport}.port == {}",
        record.client.ip, record.server.ip, record.client.port, record.server.port
    );
    let entries = record.timeline.as_ref().map_or(&[][..], |timeline| &timeline.entries);
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) if first.file == last.file && detail != Detail::Recorded => {
            let end = entries.iter().map(|entry| entry.last_frame).max().unwrap_or(last.last_frame);
            format!("{ends} && frame.number >= {} && frame.number <= {end}", first.frame)
        }
        _ => {
            let (from, until) = (record.first_seen.split(), record.last_seen.split());
            format!(
                "{ends} && frame.time_epoch >= {}.{:09} && frame.time_epoch <= {}.{:09}",
                from.0, from.1, until.0, until.1
            )
        }
    }
}
