//! A FIN that nobody answers.

use super::readings::{self, Readings};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{About, ConnectionRecord, GaugeRecord, NotableKind, Severity, Side, TcpState};
use crate::units;

/// See [`PAGE`].
pub struct StuckClosing;

const PAGE: Page = Page {
    name: "stuck-closing",
    title: "stuck in FIN-WAIT-1, FIN-WAIT-2, CLOSING or LAST-ACK",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "One end has closed and waits: for the ACK of its FIN (FIN-WAIT-1, CLOSING, LAST-ACK), or for the other end's own \
              FIN (FIN-WAIT-2). Its program is done, the kernel keeps the socket until tcp_orphan_retries or \
              tcp_fin_timeout run out.",
    causes: &[
        "The other end has gone without a word: a crash, a lost route, a NAT that has forgotten the connection.",
        "Packets in one direction are dropped.",
        "FIN-WAIT-2: the other end's program does not close (it is in CLOSE-WAIT).",
    ],
    rule: &[
        "One end has sent its FIN (RFC 9293, section 3.6).",
        "The FIN was not acknowledged for stuck_closing or longer; or it was, this host holds the socket, and the other \
         end's FIN has not come for close_wait or longer.",
        "No RST ended the connection.",
        "Or, of sockets of this host: in TCP_FIN_WAIT1, TCP_CLOSING or TCP_LAST_ACK what they sent has not been \
         acknowledged for stuck_closing or longer, by what was seen, or by how often it was sent again (icsk_retransmits, \
         from TCP_RTO_MIN on); in TCP_FIN_WAIT2 sockets that no process has any more have waited for fin_wait_2 or longer, \
         by what is left of their timer of tcp_fin_timeout.",
    ],
    remedy: &[
        "See them and their timers: `ss -tno state fin-wait-1 state fin-wait-2 state last-ack state closing`",
        "See whether the other end is there: `mtr -n {PEER}`",
        "See how long the kernel waits: `sysctl net.ipv4.tcp_fin_timeout net.ipv4.tcp_orphan_retries`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/live/verdicts.rs::a_fin_that_nobody_acknowledges_is_no_loss_of_segments",
        near_miss: "observer/src/finding/tests.rs::a_fin_that_nobody_acknowledges",
    },
};

impl Finding for StuckClosing {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        use TcpState::{Closing, FinWait1, FinWait2, LastAck};
        if record.close.rst.client.or(record.close.rst.server).is_some() || evidence::is_one_way(record) {
            return None;
        }
        let thresholds = context.thresholds;
        let stuck = [Side::Client, Side::Server].into_iter().find_map(|side| {
            let fin = (*record.close.fin.of(side))?;
            let waited = context.waited(fin);
            let here = record.socket(side).is_some_and(|socket| socket.gone.is_none());
            let there = record.socket(side.other()).is_some();
            // Where not every packet is passed on, only the kernel knows what was acknowledged.
            let known = record.packets.is_some() || here;
            let holds = match record.tcp_state.of(side) {
                FinWait1 | Closing | LastAck => known && waited >= thresholds.stuck_closing,
                FinWait2 => here && !there && waited >= thresholds.close_wait,
                _ => false,
            };
            holds.then_some((side, fin, waited))
        });
        let (side, fin, waited) = stuck?;
        let who = super::verdict::name(side);
        let state = record.tcp_state.of(side).name();
        let what = format!("The {who} has been in {state} for {}.", units::time(waited));
        let verdict = Verdict::new(Severity::Warning, what).by([evidence::at(fin, side, "FIN")]).by(evidence::notable(
            record,
            NotableKind::Retransmission,
            side,
            "retransmission",
        ));
        Some(verdict.with("PEER", evidence::address(record, side.other())))
    }

    fn gauges(&self, readings: Readings<'_>, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let thresholds = context.thresholds;
        let verdict = |reading: &GaugeRecord| {
            let state = reading.subject.state?;
            let (longest, waits) = match state {
                TcpState::FinWait2 => (thresholds.fin_wait_2, "the other end has not closed"),
                _ => (thresholds.stuck_closing, "nobody acknowledges what was sent"),
            };
            let oldest = reading.ages?.oldest_ns;
            if oldest < longest {
                return None;
            }
            let subject = &reading.subject;
            let listener = subject.listener.map(|listener| format!(" of {}", units::end(listener)));
            let destination = subject.destination.map(|destination| format!(" to {}", units::end(destination)));
            let what = format!(
                "{}{} in {}, the oldest for {} or longer: {waits}.",
                units::number_of(reading.value.0 as u64, "connection"),
                listener.or(destination).unwrap_or_default(),
                state.name(),
                units::time(oldest),
            );
            let verdict = Verdict::new(Severity::Warning, what).by([readings::evidence(reading)]);
            Some((readings::about(reading), verdict.with_known("PEER", subject.destination.map(|end| end.ip))))
        };
        readings.of("closing").filter_map(verdict).collect()
    }
}
