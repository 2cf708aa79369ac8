//! What codes, flags and analysis names mean, in plain words.

use observer::record::{
    Agreed, ConnState, ConnectionRecord, EntryKind, Offer, OwnerHow, ProcessRecord, RetransmissionCause, RolesFrom,
    Side, Sides, TimelineEntry, Transport, Turn,
};
use observer::time::{Nanos, Timestamp};
use observer::tracker::AnalysisSet;

use super::page::{Line, Tone};
use super::units;

/// An outcome in words, and how it is to be taken.
pub const fn outcome(state: ConnState) -> (&'static str, Tone) {
    match state {
        ConnState::S0 => ("no answer", Tone::Bad),
        ConnState::S1 => ("still open", Tone::Plain),
        ConnState::SF => ("closed normally", Tone::Good),
        ConnState::REJ => ("refused", Tone::Bad),
        ConnState::S2 => ("closed by the client only", Tone::Notice),
        ConnState::S3 => ("closed by the server only", Tone::Notice),
        ConnState::RSTO => ("reset by the client", Tone::Notice),
        ConnState::RSTR => ("reset by the server", Tone::Bad),
        ConnState::RSTOS0 => ("given up by the client", Tone::Notice),
        ConnState::RSTRH => ("SYN-ACK then RST, no SYN", Tone::Notice),
        ConnState::SH => ("only the client was seen", Tone::Notice),
        ConnState::SHR => ("only the server was seen", Tone::Notice),
        ConnState::OTH => ("seen from the middle", Tone::Plain),
    }
}

/// The outcome of a connection in words, whatever its transport protocol.
pub fn outcome_of(record: &ConnectionRecord) -> (&'static str, Tone) {
    match &record.quic {
        Some(quic) => super::quic::outcome(record, quic),
        None if record.transport == Transport::Udp && record.conn_state == ConnState::SF => {
            match record.tls.as_ref().is_some_and(|tls| tls.established) {
                true => ("established", Tone::Good),
                false => ("handshake not finished", Tone::Notice),
            }
        }
        None if record.conn_state == ConnState::S0 => (attempt(record), Tone::Bad),
        None => outcome(record.conn_state),
    }
}

/// What became of an attempt to connect that no segment answered.
fn attempt(record: &ConnectionRecord) -> &'static str {
    let error = record.socket(Side::Client).and_then(|socket| socket.error.as_deref());
    match error {
        Some("ETIMEDOUT") => "timed out",
        Some("EHOSTUNREACH") => "host unreachable",
        Some("ENETUNREACH") => "net unreachable",
        _ if record.icmp.iter().any(|error| error.to == Side::Client) => "rejected by ICMP",
        _ => "no answer",
    }
}

/// How the roles were decided.
pub const fn roles(from: RolesFrom) -> &'static str {
    match from {
        RolesFrom::Syn => "the client sent the SYN",
        RolesFrom::SynAck => "the client was sent the SYN-ACK",
        RolesFrom::Initial => "the client sent the first Initial packet",
        RolesFrom::SimultaneousOpen => "both ends sent a SYN, the client first",
        RolesFrom::Kernel => "the kernel saw the client connect or the server accept",
        RolesFrom::Port => "no SYN seen, the server has the well-known port",
        RolesFrom::FirstPacket => "no SYN seen, the client sent the first packet",
    }
}

/// `curl[1234]`, as strace and lsof name processes, and its container.
pub fn process(process: &ProcessRecord) -> String {
    let name = process.name.as_deref().map_or("?".to_string(), plain);
    let pid = process.pid.map_or(String::new(), |pid| format!("[{pid}]"));
    let container = process.container.as_ref().map_or(String::new(), |container| format!("@{}", plain(container)));
    format!("{name}{pid}{container}")
}

/// A text of somebody else's, which may not control the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Adds the network namespace, where it has to be said.
pub fn place(text: &mut Line, place: Option<&str>) {
    if let Some(place) = place {
        text.push(Tone::Dim, " · ");
        text.push(Tone::Plain, plain(place));
    }
}

/// How a process is known to be the one.
pub const fn how(how: OwnerHow) -> &'static str {
    match how {
        OwnerHow::Connect => "connected",
        OwnerHow::Listen => "listens",
        OwnerHow::Accept => "accepted",
        OwnerHow::Descriptor => "had it open",
        OwnerHow::Close => "closed it",
        OwnerHow::Listener => "listens on the port",
        OwnerHow::User => "by the user of its socket",
    }
}

/// What makes a connection remarkable while it goes on.
pub const fn turn(turn: Turn) -> (&'static str, Tone) {
    match turn {
        Turn::SynUnanswered => ("no answer to its SYN yet", Tone::Bad),
        Turn::Retransmissions => ("sends again and again", Tone::Bad),
        Turn::ZeroWindow => ("one end has no room: zero window", Tone::Bad),
        Turn::Reset => ("a RST was seen", Tone::Bad),
        Turn::CloseWait => ("CLOSE-WAIT for a minute: its program does not close it", Tone::Bad),
        Turn::State => ("now ", Tone::Notice),
    }
}

/// What one packet of a transport protocol is called.
pub const fn packet(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "segment",
        Transport::Udp | Transport::Quic => "datagram",
    }
}

/// Which end.
pub const fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

/// The tone of what an end sends.
pub const fn tone(side: Side) -> Tone {
    match side {
        Side::Client => Tone::Client,
        Side::Server => Tone::Server,
    }
}

/// What a SYN offers: `MSS 1460, window scale 7, SACK`.
pub fn offer(offer: &Offer) -> String {
    let mut parts = Vec::new();
    parts.extend(offer.mss.map(|mss| format!("MSS {mss}")));
    parts.extend(offer.window_scale.map(|shift| format!("window scale {shift}")));
    let flags = [(offer.sack, "SACK"), (offer.timestamps, "timestamps"), (offer.ecn, "ECN"), (offer.mptcp, "MPTCP")];
    parts.extend(flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1.to_string()));
    parts.extend(offer.fast_open_cookie.map(|octets| match octets {
        0 => "Fast Open (asks for a cookie)".to_string(),
        _ => "Fast Open".to_string(),
    }));
    if parts.is_empty() { "no options".to_string() } else { parts.join(", ") }
}

/// What both ends may use: `MSS 1460, SACK, timestamps`.
pub fn agreed(agreed: &Agreed) -> String {
    let flags = [
        (agreed.window_scale, "window scaling"),
        (agreed.sack, "SACK"),
        (agreed.timestamps, "timestamps"),
        (agreed.ecn, "ECN"),
        (agreed.mptcp, "MPTCP"),
        (agreed.fast_open, "Fast Open"),
    ];
    let names = flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1);
    std::iter::once(format!("MSS {}", agreed.mss)).chain(names.map(str::to_string)).collect::<Vec<_>>().join(", ")
}

/// Whether an entry is trouble, or part of it.
pub fn is_remarkable(entry: &TimelineEntry) -> bool {
    let quiet = AnalysisSet::WINDOW_UPDATE | AnalysisSet::KEEP_ALIVE | AnalysisSet::KEEP_ALIVE_ACK;
    !entry.analysis.difference(quiet).is_empty()
        || entry.retransmission.is_some()
        || !matches!(entry.kind, EntryKind::Data | EntryKind::Ack | EntryKind::HandshakeAck)
}

/// Whether an entry is worse than worth a note: something was lost, refused or held up.
pub fn is_trouble(entry: &TimelineEntry) -> bool {
    entry.retransmission.is_some()
        || matches!(
            entry.kind,
            EntryKind::Rst
                | EntryKind::Icmp
                | EntryKind::Retransmit
                | EntryKind::SynAckRetransmit
                | EntryKind::ResetSent
                | EntryKind::ResetReceived
                | EntryKind::Drop
                | EntryKind::Error
        )
        || entry.analysis.intersects(
            AnalysisSet::RETRANSMISSION
                | AnalysisSet::FAST_RETRANSMISSION
                | AnalysisSet::SPURIOUS_RETRANSMISSION
                | AnalysisSet::LOST_SEGMENT
                | AnalysisSet::ZERO_WINDOW,
        )
}

/// What was said before an entry of the ladder, as far as its own words depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    syn: Sides<u32>,
    syn_ack: Sides<u32>,
    syn_data: bool,
    data: Sides<bool>,
    fin: Sides<bool>,
    /// When each end sent something last.
    last: Sides<Option<Timestamp>>,
    /// Whether each end's last word was that it has no room.
    full: Sides<bool>,
}

impl Said {
    /// What `entry` means, given what came before it.
    pub fn meaning(&mut self, record: &ConnectionRecord, entry: &TimelineEntry) -> Line {
        let mut line = Line::new();
        match entry.kind {
            EntryKind::Syn => self.syn(&mut line, record, entry),
            EntryKind::SynAck => self.syn_ack(&mut line, record, entry),
            EntryKind::HandshakeAck => {
                line.push(Tone::Plain, "ACK: the handshake is complete");
                if let Some(rtt) = record.handshake.rtt_ns {
                    line.push(Tone::Plain, format!(", RTT {}", units::time(rtt)));
                }
                if entry.bytes > 0 {
                    line.push(Tone::Plain, format!(", with {}", units::bytes(entry.bytes)));
                }
            }
            EntryKind::Data => self.data(&mut line, entry),
            EntryKind::Ack => ack(&mut line, entry),
            EntryKind::Fin => self.fin(&mut line, entry),
            EntryKind::Rst => reset(&mut line, record, entry),
            EntryKind::Icmp => return icmp(record, entry),
            EntryKind::State
            | EntryKind::Retransmit
            | EntryKind::NotRetransmitted
            | EntryKind::SynAckRetransmit
            | EntryKind::ResetSent
            | EntryKind::ResetReceived
            | EntryKind::Drop
            | EntryKind::Error
            | EntryKind::Congestion => return kernel(entry),
        }
        let before = self.last.of_mut(entry.from).replace(entry.until);
        *self.full.of_mut(entry.from) = entry.analysis.contains(AnalysisSet::ZERO_WINDOW);
        let silent = before.map(|before| entry.at.since(before));
        // Linux probes a window of 0 with what otherwise is a keep-alive.
        let probes = *self.full.of(entry.from.other());
        remarks(&mut line, entry, silent, probes);
        line
    }

    fn syn(&mut self, line: &mut Line, record: &ConnectionRecord, entry: &TimelineEntry) {
        let sent = self.syn.of_mut(entry.from);
        *sent += 1;
        if *sent > 1 {
            line.push(Tone::Bad, "SYN again: no answer yet");
            if entry.from == Side::Client
                && let Some(first) = record.handshake.syn
            {
                line.push(Tone::Plain, format!(" after {}", units::time(entry.at.since(first))));
            }
            return;
        }
        line.push(Tone::Plain, "SYN");
        if let Some(offered) = record.handshake.offered.of(entry.from) {
            line.push(Tone::Plain, format!(": {}", offer(offered)));
        }
        if entry.bytes > 0 {
            line.push(Tone::Plain, format!(", with {} of data", units::bytes(entry.bytes)));
            self.syn_data = true;
        }
    }

    fn syn_ack(&mut self, line: &mut Line, record: &ConnectionRecord, entry: &TimelineEntry) {
        let sent = self.syn_ack.of_mut(entry.from);
        *sent += 1;
        if *sent > 1 {
            line.push(Tone::Bad, "SYN-ACK again: its ACK has not come");
            return;
        }
        line.push(Tone::Plain, "SYN-ACK");
        if let Some(offered) = record.handshake.offered.of(entry.from) {
            line.push(Tone::Plain, format!(": {}", offer(offered)));
        }
    }

    fn data(&mut self, line: &mut Line, entry: &TimelineEntry) {
        if entry.analysis.intersects(AnalysisSet::KEEP_ALIVE | AnalysisSet::ZERO_WINDOW_PROBE) {
            return;
        }
        line.push(Tone::Plain, units::bytes(entry.bytes));
        let spent = entry.until.since(entry.at);
        let segments = units::number_of(entry.packets, "segment");
        match (entry.packets, entry.acks) {
            (0..=1, 0) => {}
            (0..=1, _) => line.push(Tone::Plain, format!(", acknowledged {}", lasting("within", spent))),
            (_, 0) => line.push(Tone::Plain, format!(" in {segments} {}", lasting("over", spent))),
            (_, acks) => {
                let acks = units::number_of(acks, "ACK");
                line.push(Tone::Plain, format!(" in {segments} {}, {acks}", lasting("over", spent)));
            }
        }
        let first = !std::mem::replace(self.data.of_mut(entry.from), true);
        if first && self.syn_data && entry.from == Side::Client && entry.retransmission.is_some() {
            line.push(Tone::Plain, ": what the SYN carried, which the server did not take");
        } else if first {
            line.push(Tone::Plain, format!(": the {}'s first data", side(entry.from)));
        }
    }

    fn fin(&mut self, line: &mut Line, entry: &TimelineEntry) {
        let other = *self.fin.of(entry.from.other());
        let again = std::mem::replace(self.fin.of_mut(entry.from), true);
        let words = match (again, other) {
            (true, _) => "FIN again",
            (false, false) => "FIN: has no more to send",
            (false, true) => "FIN: closes as well",
        };
        line.push(if again { Tone::Notice } else { Tone::Plain }, words);
        if entry.bytes > 0 {
            line.push(Tone::Plain, format!(", with {}", units::bytes(entry.bytes)));
        }
    }
}

fn ack(line: &mut Line, entry: &TimelineEntry) {
    let quiet = entry.analysis.intersects(
        AnalysisSet::KEEP_ALIVE
            | AnalysisSet::KEEP_ALIVE_ACK
            | AnalysisSet::ZERO_WINDOW_PROBE
            | AnalysisSet::ZERO_WINDOW_PROBE_ACK
            | AnalysisSet::DUPLICATE_ACK
            | AnalysisSet::ZERO_WINDOW
            | AnalysisSet::WINDOW_UPDATE,
    );
    if entry.packets > 1 {
        line.push(Tone::Plain, units::number_of(entry.packets, "ACK"));
    } else if !quiet {
        line.push(Tone::Plain, "ACK");
    }
    if let Some(ack) = entry.ack
        && entry.packets == 1
        && !quiet
    {
        line.push(Tone::Plain, format!(" up to\u{a0}{}", units::count(ack.into())));
    }
}

fn reset(line: &mut Line, record: &ConnectionRecord, entry: &TimelineEntry) {
    let words = match (record.conn_state, entry.from) {
        (ConnState::REJ, Side::Server) => "RST: refuses the connection",
        _ => "RST: gives the connection up at once",
    };
    line.push(Tone::Bad, words);
}

fn icmp(record: &ConnectionRecord, entry: &TimelineEntry) -> Line {
    let Some(error) = record.icmp.iter().find(|error| error.frame == entry.frame && error.at == entry.at) else {
        return Line::new().then(Tone::Bad, "ICMP error");
    };
    let mut text = format!("{} from {}", error.name, error.from);
    if let Some(mtu) = error.mtu {
        text.push_str(&format!(": packets may have {mtu} octets at most"));
    }
    Line::new().then(Tone::Bad, text)
}

/// How long something took: `over 3.2 ms`, `within 3.2 ms`, or `at once` where no time passed.
fn lasting(preposition: &str, time: Nanos) -> String {
    if time == Nanos(0) { "at once".to_string() } else { format!("{preposition} {}", units::time(time)) }
}

/// What the kernel did or was told at one end.
fn kernel(entry: &TimelineEntry) -> Line {
    let who = side(entry.from);
    let because = entry.detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
    let over = || lasting("over", entry.until.since(entry.at));
    let (tone, text) = match entry.kind {
        EntryKind::Retransmit if entry.packets > 1 => {
            let segments = units::number_of(entry.packets, "segment");
            (Tone::Bad, format!("the {who}'s kernel sends {segments} again {}{because}", over()))
        }
        EntryKind::Retransmit => (Tone::Bad, format!("the {who}'s kernel sends a segment again{because}")),
        EntryKind::Drop if entry.packets > 1 => {
            let packets = units::number_of(entry.packets, "packet");
            (Tone::Bad, format!("{packets} of the {who} are dropped {}{because}", over()))
        }
        EntryKind::NotRetransmitted => {
            (Tone::Bad, format!("the {who}'s kernel does not send the segment again{because}"))
        }
        EntryKind::SynAckRetransmit => (Tone::Bad, format!("the {who}'s kernel sends its SYN-ACK again")),
        EntryKind::ResetSent => (Tone::Bad, format!("the {who}'s kernel sends a RST{because}")),
        EntryKind::ResetReceived => (Tone::Bad, format!("the {who}'s socket takes the RST")),
        EntryKind::Drop => (Tone::Bad, format!("a packet of the {who} is dropped{because}")),
        EntryKind::Error => (Tone::Bad, format!("the {who}'s program is told{because}")),
        EntryKind::Congestion => {
            let state = entry.detail.as_deref().unwrap_or_default();
            let tone = if state == "Open" { Tone::Plain } else { Tone::Notice };
            (tone, format!("the {who}'s congestion control is in {state}"))
        }
        _ => (Tone::Plain, format!("the {who}'s socket is {}", entry.state.of(entry.from).name())),
    };
    Line::new().then(tone, text)
}

/// Adds what the segment analysis says of a segment whose sender was silent for so long, and whose receiver has no room
/// if `probes`.
fn remarks(line: &mut Line, entry: &TimelineEntry, silent: Option<Nanos>, probes: bool) {
    let mut remark = |tone, words: String| {
        if !line.is_empty() {
            line.push(Tone::Plain, "; ");
        }
        line.push(tone, words);
    };
    if let Some(cause) = entry.retransmission
        && matches!(entry.kind, EntryKind::Data | EntryKind::Fin | EntryKind::Ack)
    {
        let mut words = cause_words(cause).to_string();
        if let Some(silent) = silent.filter(|time| cause == RetransmissionCause::Rto && *time >= LEAST_TIMEOUT) {
            words.push_str(&format!(": its timer ran out after {}", units::time(silent)));
        }
        remark(Tone::Bad, words);
    }
    for flag in entry.analysis.iter() {
        let retransmission =
            AnalysisSet::RETRANSMISSION | AnalysisSet::FAST_RETRANSMISSION | AnalysisSet::SPURIOUS_RETRANSMISSION;
        if retransmission.contains(flag)
            && (entry.retransmission.is_some() || matches!(entry.kind, EntryKind::Syn | EntryKind::SynAck))
        {
            continue;
        }
        let flag = if probes && flag == AnalysisSet::KEEP_ALIVE { AnalysisSet::ZERO_WINDOW_PROBE } else { flag };
        if let Some((tone, words)) = analysis_words(flag, entry) {
            remark(tone, words);
        }
    }
}

/// Linux's TCP_RTO_MIN: what is sent again sooner was hardly sent by a timer.
const LEAST_TIMEOUT: Nanos = Nanos::from_millis(200);

const fn cause_words(cause: RetransmissionCause) -> &'static str {
    match cause {
        RetransmissionCause::Rto => "retransmission",
        RetransmissionCause::Fast => "fast retransmission: duplicate ACKs asked for it",
        RetransmissionCause::TailLossProbe => "tail loss probe: the last segment again, to draw an ACK",
        RetransmissionCause::Spurious => "needless retransmission: it had been acknowledged",
        RetransmissionCause::SackRepaired => "retransmission: fills a hole that SACK reported",
    }
}

fn analysis_words(flag: AnalysisSet, entry: &TimelineEntry) -> Option<(Tone, String)> {
    let several = entry.packets > 1;
    let asked =
        || entry.ack.map_or(String::new(), |ack| format!(" still waits for octet {}", units::count(ack.into())));
    Some(match flag {
        AnalysisSet::RETRANSMISSION => (Tone::Bad, "retransmission".to_string()),
        AnalysisSet::FAST_RETRANSMISSION => (Tone::Bad, cause_words(RetransmissionCause::Fast).to_string()),
        AnalysisSet::SPURIOUS_RETRANSMISSION => (Tone::Bad, cause_words(RetransmissionCause::Spurious).to_string()),
        AnalysisSet::OUT_OF_ORDER => (Tone::Notice, "out of order: came after later data".to_string()),
        AnalysisSet::LOST_SEGMENT => (Tone::Bad, "gap: what comes before it is missing".to_string()),
        AnalysisSet::ACK_LOST_SEGMENT => (Tone::Notice, "acknowledges data that was not captured".to_string()),
        AnalysisSet::DUPLICATE_ACK if several => (Tone::Notice, format!("all duplicates:{}", asked())),
        AnalysisSet::DUPLICATE_ACK => (Tone::Notice, format!("duplicate ACK:{}", asked())),
        AnalysisSet::ZERO_WINDOW => (Tone::Bad, "zero window: its receive buffer is full".to_string()),
        AnalysisSet::ZERO_WINDOW_PROBE => (Tone::Notice, "zero window probe: is there room again?".to_string()),
        AnalysisSet::ZERO_WINDOW_PROBE_ACK => (Tone::Notice, "answer to the probe: still no room".to_string()),
        AnalysisSet::KEEP_ALIVE => (Tone::Dim, "keep-alive: are you there?".to_string()),
        AnalysisSet::KEEP_ALIVE_ACK => (Tone::Dim, "answer to the keep-alive".to_string()),
        AnalysisSet::WINDOW_FULL => (Tone::Notice, "fills the window the other end offered".to_string()),
        AnalysisSet::WINDOW_UPDATE => {
            (Tone::Dim, format!("window update: room for {}", units::bytes(entry.window.into())))
        }
        AnalysisSet::REUSED_PORTS => (Tone::Notice, "the ports of an earlier connection".to_string()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_no_time_is_at_once() {
        assert_eq!(lasting("over", Nanos(0)), "at once");
        assert_eq!(lasting("within", Nanos(3_200_000)), "within 3.2\u{a0}ms");
    }
}
