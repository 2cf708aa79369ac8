//! Many senders answer one receiver at once, and their packets drown each other.

use std::any::Any;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Tally, Verdict, evidence};
use crate::record::{About, ConnectionRecord, Evidence, NotableKind, Severity, Side};
use crate::time::Timestamp;
use crate::units;

/// See [`PAGE`].
pub struct Incast;

const PAGE: Page = Page {
    name: "incast",
    title: "TCP incast",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "Many hosts sent to one receiver at the same moment, the last switch's buffer overflowed, and several of them lost \
              so much at once that only a timeout helped: all wait 200 ms and then collide again.",
    causes: &["A request that is fanned out to many servers whose answers come together (search, storage, MapReduce)."],
    rule: &[
        "incast_senders or more senders to one receiver sent something again on a timeout (RFC 6298).",
        "The first of these retransmissions of each fell into the same incast_window.",
    ],
    remedy: &[
        "Ask fewer servers at once, or let each wait a random while before it answers",
        "Mark instead of drop: ECN with DCTCP in the data centre (`sysctl -w net.ipv4.tcp_congestion_control=dctcp`)",
        "Shorten the least timeout on that path: `ip route change … rto_min 5ms`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::senders_that_time_out_together_are_an_incast",
        near_miss: "observer/src/finding/tests/many.rs::senders_that_time_out_together_are_an_incast",
    },
};

impl Finding for Incast {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Receivers::default()))
    }
}

/// Retransmissions on timeouts by receiver.
#[derive(Debug, Default)]
struct Receivers(Bounded<IpAddr, Receiver>);

#[derive(Debug, Default)]
struct Receiver {
    /// When each sender first sent something again, with its frame; up to [`SENDERS`].
    timeouts: BTreeSet<(Timestamp, u64, IpAddr)>,
}

/// Timeouts that are kept of one receiver.
const SENDERS: usize = 512;

impl Tally for Receivers {
    fn connection(&mut self, record: &ConnectionRecord) {
        let Some(causes) = record.retransmissions else { return };
        for side in [Side::Client, Side::Server] {
            let (sender, receiver) = match side {
                Side::Client => (record.client.ip, record.server.ip),
                Side::Server => (record.server.ip, record.client.ip),
            };
            let again = evidence::of(record, NotableKind::Retransmission, side);
            if let Some(again) = again.filter(|_| causes.of(side).rto > 0 && sender != receiver) {
                let receiver = self.0.of(&receiver);
                if receiver.timeouts.len() < SENDERS {
                    receiver.timeouts.insert((again.first, again.first_frame, sender));
                }
            }
        }
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let thresholds = context.thresholds;
        let mut verdicts = Vec::new();
        for (ip, receiver) in self.0.iter() {
            let all: Vec<_> = receiver.timeouts.iter().collect();
            let within = |start: usize| {
                let from = all.get(start).map_or(Timestamp::default(), |first| first.0);
                all.iter().skip(start).take_while(move |one| one.0.since(from) <= thresholds.incast_window)
            };
            let senders = |start: usize| within(start).map(|one| one.2).collect::<BTreeSet<_>>().len();
            let Some(start) = (0..all.len()).max_by_key(|start| (senders(*start), usize::MAX - start)) else {
                continue;
            };
            let count = senders(start) as u64;
            let (Some(first), Some(last)) = (within(start).next(), within(start).last()) else { continue };
            if count < thresholds.incast_senders {
                continue;
            }
            let what = format!(
                "{} to {ip} ran into a retransmission timeout within {}.",
                units::number_of(count, "sender"),
                units::time(last.0.since(first.0))
            );
            let evidence = Evidence {
                until: Some(last.0),
                last_frame: Some(last.1),
                at: Some(first.0),
                frame: Some(first.1),
                ..evidence::fact(format!("first retransmissions of {}", units::number_of(count, "sender")))
            };
            let about = About { host: Some(*ip), ..About::default() };
            verdicts.push((about, Verdict::new(Severity::Warning, what).likely().by([evidence])));
        }
        verdicts
    }
}

impl Weigh for Receiver {
    fn weight(&self) -> u64 {
        self.timeouts.len() as u64
    }

    fn merge(&mut self, other: Self) {
        let room = SENDERS.saturating_sub(self.timeouts.len());
        self.timeouts.extend(other.timeouts.into_iter().take(room));
    }
}
