//! A program does not close what the other end has closed.

use super::close_wait_leak::is_leak;
use super::readings::{self, Readings, growth};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{About, ConnectionRecord, GaugeRecord, Severity, Side, TcpState};
use crate::units;

/// See [`PAGE`].
pub struct CloseWait;

const PAGE: Page = Page {
    name: "close-wait",
    title: "CLOSE-WAIT: not closed by its program",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "One end has closed, and the other one's program has not answered that for a long time: its socket stays in \
              CLOSE-WAIT, for which the kernel has no timer. Where many gather, the program runs out of file descriptors \
              (EMFILE) and can neither accept nor connect.",
    causes: &[
        "The program leaks connections: a path through it (mostly an error) does not close the socket.",
        "A connection pool keeps connections without looking at them.",
        "The program hangs.",
    ],
    rule: &[
        "One end sent a FIN, which the other one acknowledged (RFC 9293, section 3.6).",
        "The other end is in CLOSE-WAIT, and has been for close_wait or longer.",
        "Or, of this host: one or more sockets of a process have been in TCP_CLOSE_WAIT for longer than close_wait, by what \
         was seen, or by the time since the last acknowledgment came (tcpi_last_ack_recv). Of many see close-wait-leak.",
    ],
    remedy: &[
        "At {HOLDER}, see whose they are and how many: `ss -tnp state close-wait`",
        "See how near the program is to its limit: `ls /proc/{PID}/fd | wc -l; grep 'open files' /proc/{PID}/limits`",
        "Mend the program; until then restart it. Keep-alive does not help: the other end is gone, not silent",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests.rs::a_program_that_does_not_close",
        near_miss: "observer/src/finding/tests.rs::a_program_that_does_not_close",
    },
};

impl Finding for CloseWait {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let waits = |side: &Side| *record.tcp_state.of(*side) == TcpState::CloseWait;
        let by = [Side::Client, Side::Server].into_iter().find(waits)?;
        let fin = (*record.close.fin.of(by.other()))?;
        let since = context.waited(fin);
        let gone = record.socket(by).is_some_and(|socket| socket.gone.is_some());
        if since < context.thresholds.close_wait || gone || evidence::is_one_way(record) {
            return None;
        }
        let owner = record.processes.iter().find(|process| process.side == Some(by));
        let whose = owner.and_then(|owner| Some(format!(" ({}[{}])", owner.name.as_ref()?, owner.pid?)));
        let (who, other) = (super::verdict::name(by), super::verdict::name(by.other()));
        let what = format!(
            "The {who}{} has not closed its socket for {} since the {other} closed.",
            whose.unwrap_or_default(),
            units::time(since)
        );
        let holder = if by == Side::Client { record.client.ip } else { record.server.ip };
        let verdict = Verdict::new(Severity::Warning, what)
            .by([evidence::at(fin, by.other(), "FIN")])
            .with("HOLDER", holder)
            .with_known("PID", owner.and_then(|owner| owner.pid));
        Some(verdict)
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let is_old = |reading: &&GaugeRecord| {
            let oldest = reading.ages.unwrap_or_default().oldest_ns;
            oldest > context.thresholds.close_wait && !is_leak(reading, context.thresholds)
        };
        let verdict = |reading: &GaugeRecord| {
            let who = reading.subject.process.as_ref();
            let verdict = Verdict::new(Severity::Warning, left_open(reading)?)
                .by([readings::evidence(reading)])
                .with("HOLDER", "this host")
                .with_known("PID", who.map(|who| who.pid));
            Some((readings::about(reading), verdict))
        };
        readings.of("close_wait").filter(is_old).filter_map(verdict).collect()
    }
}

/// What a process leaves in CLOSE-WAIT, in a sentence; `None` of a reading without ages.
pub(super) fn left_open(reading: &GaugeRecord) -> Option<String> {
    let ages = reading.ages?;
    let who = reading.subject.process.as_ref();
    let name = who.map_or("A process".to_string(), |who| format!("{}[{}]", who.name, who.pid));
    let (old, age) = if ages.over_1min > 0 { (ages.over_1min, "a minute") } else { (ages.over_1s, "a second") };
    let mut what = format!(
        "{name} has not closed {} whose other end is done: {} of them for longer than {age}, the oldest for {}",
        units::number_of(reading.value.0 as u64, "socket"),
        units::count(old),
        units::time(ages.oldest_ns),
    );
    if let Some(rate) = reading.rate.filter(|rate| rate.0 > 0.0) {
        what.push_str(&format!(", {}", growth(rate.0)));
    }
    if let Some(left) = reading.time_left_ns {
        what.push_str(&format!(", EMFILE in {}", units::time(left)));
    }
    what.push('.');
    Some(what)
}
