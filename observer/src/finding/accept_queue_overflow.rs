//! The server drops the ACK that completes the handshake.

use super::{Context, Finding, Page, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Doubt, NotableKind, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct AcceptQueueOverflow;

const PAGE: Page = Page {
    name: "accept-queue-overflow",
    title: "accept queue full",
    severity: Severity::Warning,
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
    ],
    remedy: &[
        "On {SERVER}, compare the queue with its bound: `ss -ltn 'sport = :{PORT}'` (Recv-Q, Send-Q), `nstat -az \
         TcpExtListenOverflows TcpExtListenDrops`",
        "Make room for bursts: `sysctl -w net.core.somaxconn=4096`, and a larger backlog in the program (nginx `listen 443 \
         backlog=4096;`)",
        "See why it does not accept: `strace -fp PID -e trace=accept4,epoll_wait`",
    ],
    instead_of: &["slow-handshake"],
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
        Some(if several { verdict } else { verdict.doubt(Doubt::CapturePoint) })
    }
}

/// The first timeout of a SYN-ACK (TCP_TIMEOUT_INIT), less what clocks may differ, in nanoseconds.
const SECOND: u64 = 900_000_000;
