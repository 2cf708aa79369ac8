//! A listener is sent SYNs whose senders never complete the handshake.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, RestsOn, Span, Tally, Verdict, evidence};
use crate::record::{About, ConnectionRecord, Endpoint, Severity, Side};
use crate::units;

/// See [`PAGE`].
pub struct SynFlood;

const PAGE: Page = Page {
    name: "syn-flood",
    title: "SYN flood",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "A listener gets many SYNs in a short time whose handshakes are never completed. They fill its SYN backlog, and \
              SYNs of those who mean it are dropped, unless SYN cookies take over.",
    causes: &[
        "An attack, mostly with forged addresses.",
        "The answers do not reach the clients: the way back is broken for all of them.",
        "A load test or a scanner that does not complete handshakes.",
    ],
    rule: &[
        "Within one second syn_flood_per_second or more attempts at one listener were left open: a SYN, and never an ACK of \
         the SYN-ACK, nor a reset by the server (RFC 4987, section 2).",
        "Those are syn_flood_percent or more of all attempts at it.",
    ],
    remedy: &[
        "On {SERVER}, see the backlog: `ss -tn state syn-recv 'sport = :{PORT}' | wc -l`, `nstat -az TcpExtSyncookiesSent \
         TcpExtListenDrops`",
        "Let SYN cookies take over: `sysctl -w net.ipv4.tcp_syncookies=1`",
        "Filter before the server: a synproxy (`nft add rule … synproxy mss 1460 wscale 7 timestamp sack-perm`), or the \
         provider's protection",
    ],
    instead_of: &[],
};

impl Finding for SynFlood {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Listeners::default()))
    }
}

/// Attempts by listener.
#[derive(Debug, Default)]
struct Listeners(Bounded<Endpoint, Listener>);

#[derive(Debug, Default)]
struct Listener {
    attempts: u64,
    left_open: u64,
    /// By second: how many were left open, of those that hold the most.
    seconds: BTreeMap<u64, u64>,
    /// Up to [`SOURCES`].
    sources: BTreeSet<IpAddr>,
    seen: Span,
}

/// Sources that are told apart.
const SOURCES: usize = 256;
/// Seconds that are counted of one listener.
const SECONDS: usize = 64;

impl Tally for Listeners {
    fn connection(&mut self, record: &ConnectionRecord) {
        let handshake = &record.handshake;
        let Some(syn) = handshake.syn else { return };
        let answered = evidence::went_on(record)
            || record.close.rst.server.is_some()
            || record.socket(Side::Server).is_some()
            || record.bytes_of(Side::Client).is_some_and(|bytes| bytes > 0);
        let listener = self.0.of(&record.server);
        listener.attempts += 1;
        if answered {
            return;
        }
        listener.left_open += 1;
        *listener.seconds.entry(syn.split().0).or_default() += 1;
        listener.make_room();
        if listener.sources.len() < SOURCES {
            listener.sources.insert(record.client.ip);
        }
        listener.seen.add(syn, record.id);
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let thresholds = context.thresholds;
        let mut verdicts = Vec::new();
        for (server, listener) in self.0.iter() {
            let worst = listener.seconds.values().copied().max().unwrap_or(0);
            let is_most = listener.left_open * 100 >= listener.attempts.saturating_mul(thresholds.syn_flood_percent);
            if worst < thresholds.syn_flood_per_second || !is_most {
                continue;
            }
            let many = if listener.sources.len() < SOURCES { "" } else { " or more" };
            let what = format!(
                "{} was sent {} in {} whose handshakes were never completed, {} of them within one second, from \
                 {}{many}.",
                units::end(*server),
                units::number_of(listener.left_open, "SYN"),
                units::time(listener.seen.length()),
                units::count(worst),
                units::number_of(listener.sources.len() as u64, "address"),
            );
            let evidence = listener.seen.evidence(units::number_of(listener.left_open, "SYN"));
            let about = About { server: Some(*server), ..About::default() };
            verdicts.push((about, Verdict::new(Severity::Error, what).by(evidence)));
        }
        verdicts
    }
}

impl Listener {
    /// Leaves the seconds that hold the most.
    fn make_room(&mut self) {
        if self.seconds.len() <= SECONDS {
            return;
        }
        let least = self.seconds.iter().min_by_key(|(second, count)| (**count, **second)).map(|(second, _)| *second);
        if let Some(least) = least {
            self.seconds.remove(&least);
        }
    }
}

impl Weigh for Listener {
    fn weight(&self) -> u64 {
        self.left_open
    }

    fn merge(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.left_open += other.left_open;
        for (second, count) in other.seconds {
            *self.seconds.entry(second).or_default() += count;
            self.make_room();
        }
        let room = SOURCES.saturating_sub(self.sources.len());
        self.sources.extend(other.sources.into_iter().take(room));
        self.seen.merge(other.seen);
    }
}
