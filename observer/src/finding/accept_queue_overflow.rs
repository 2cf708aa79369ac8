//! A server does not accept connections as fast as they come: its kernel drops the ACK that completes the handshake.

use super::readings::{self, Readings, grows};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{About, ConnectionRecord, Doubt, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct AcceptQueueOverflow;

const PAGE: Page = Page {
    name: "accept-queue-overflow",
    title: "accept queue full",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "The client completed the handshake, and the server sent its SYN-ACK again as if it had not: the listener's \
              accept queue is full, and the kernel drops the ACK. To the client the connection is open; what it sends is \
              dropped as well, until the program accepts or the client gives up.",
    causes: &[
        "The program accepts too slowly: it is overloaded, blocked, or has no free worker.",
        "The backlog is too small for bursts (listen(2), net.core.somaxconn).",
        "The ACK was lost between the capture and the server.",
    ],
    rule: &[
        "The ACK of the SYN-ACK was seen.",
        "The server sent its SYN-ACK again afterwards, twice or more, or once more than a second after (tcp_check_req() in \
         the kernel: LINUX_MIB_LISTENOVERFLOWS).",
        "Or, of a listener of this host: more connections wait to be accepted (sk_ack_backlog) than its backlog says \
         (sk_max_ack_backlog): sk_acceptq_is_full. It is an error where the listener drops connections meanwhile \
         (its sk_drops), also where its queue is not full whenever it is looked at, as long as ListenOverflows grows too.",
    ],
    remedy: &[
        "On {SERVER}, compare the queue with its bound: `ss -ltn 'sport = :{PORT}'` (Recv-Q, Send-Q), `nstat -az \
         TcpExtListenOverflows TcpExtListenDrops`",
        "Make room for bursts: `sysctl -w net.core.somaxconn=4096`, and a larger backlog in the program (nginx `listen 443 \
         backlog=4096;`)",
        "See why it does not accept: `strace -fp {PID} -e trace=accept4,epoll_wait`",
    ],
    instead_of: &["slow-handshake"],
    proof: Proof {
        shown: "tests/tests/gauges/main.rs::a_listener_that_does_not_accept_overflows",
        near_miss: "observer/src/finding/tests.rs::a_syn_ack_after_the_ack_is_a_full_accept_queue",
    },
};

impl Finding for AcceptQueueOverflow {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let ack = record.handshake.ack?;
        let again = evidence::of(record, NotableKind::SynAckAgain, Side::Server).filter(|again| again.last > ack)?;
        let waited = again.last.since(ack);
        let several = again.count >= 2 && again.first > ack;
        if !several && waited.0 < SECOND {
            return None;
        }
        let what = format!(
            "The server sent its SYN-ACK again up to {} after the client had completed the handshake.",
            units::time(waited)
        );
        let verdict = Verdict::new(Severity::Warning, what)
            .by([evidence::at(ack, Side::Client, "ACK of the SYN-ACK")])
            .by(evidence::notable(record, NotableKind::SynAckAgain, Side::Server, "SYN-ACK sent again"));
        let owner = record.processes.iter().find(|process| process.side == Some(Side::Server));
        let verdict = verdict.with_known("PID", owner.and_then(|owner| owner.pid));
        Some(if several { verdict } else { verdict.doubt(Doubt::CapturePoint) })
    }

    fn tells_of_passing(&self) -> bool {
        true
    }

    fn gauges(&self, all: Readings<'_>, _: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for reading in all.of("accept_queue") {
            let limit = reading.limit.unwrap_or(u64::MAX);
            let waiting = reading.value.0 as u64;
            let drops = all.beside(reading, "listener_drops");
            let is_dropping = drops.is_some_and(grows);
            // As many as the backlog says may wait, and one more.
            let is_full = waiting > limit;
            let overflows = all.of("listen_overflows").find(|other| other.netns == reading.netns);
            // A listener drops for other reasons as well.
            let was_full = is_dropping && overflows.is_some_and(grows);
            if !is_full && !was_full {
                continue;
            }
            let subject = &reading.subject;
            let who = subject.process.as_ref();
            let name = who.map_or(String::new(), |who| format!(" of {}[{}]", who.name, who.pid));
            let listener = subject.listener.map_or("a listener".to_string(), units::end);
            let (waiting, limit) = (units::number_of(waiting, "connection"), units::count(limit));
            let what = match (is_full, is_dropping) {
                (true, true) => format!(
                    "The queue of {listener}{name} is full: {waiting} wait to be accepted, {limit} may, and others are \
                     dropped."
                ),
                (true, false) => {
                    format!("The queue of {listener}{name} is full: {waiting} wait to be accepted, {limit} may.")
                }
                (false, _) => format!(
                    "The queue of {listener}{name} fills up at times, and connections are dropped; now {waiting} wait to be \
                     accepted, {limit} may."
                ),
            };
            let shown = [Some(reading), drops, overflows].into_iter().flatten().map(readings::evidence);
            let severity = if is_dropping { Severity::Error } else { Severity::Warning };
            let verdict = Verdict::new(severity, what).by(shown).with_known("PID", who.map(|who| who.pid));
            verdicts.push((readings::about(reading), verdict));
        }
        verdicts
    }
}

/// The first timeout of a SYN-ACK (TCP_TIMEOUT_INIT), less what clocks may differ, in nanoseconds.
const SECOND: u64 = 900_000_000;
