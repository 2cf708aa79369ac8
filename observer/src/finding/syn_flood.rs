//! A listener is sent SYNs whose senders never complete the handshake.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::readings::{self, Readings, grows, growth};
use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Span, Tally, Verdict, evidence};
use crate::record::{About, ConnectionRecord, Endpoint, Evidence, GaugeRecord, Severity, Side};
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
        "Of a listener of this host it is said whether SYN cookies take over: net.ipv4.tcp_syncookies, and whether SyncookiesSent \
         grows (tcp_syn_flood_action).",
    ],
    remedy: &[
        "On {SERVER}, see the backlog: `ss -tn state syn-recv 'sport = :{PORT}' | wc -l`, `nstat -az TcpExtSyncookiesSent \
         TcpExtListenDrops`",
        "Let SYN cookies take over, where they are off: `sysctl -w net.ipv4.tcp_syncookies=1`",
        "Filter before the server: a synproxy (`nft add rule … synproxy mss 1460 wscale 7 timestamp sack-perm`), or the \
         provider's protection",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::attempts_that_are_left_open_are_a_flood",
        near_miss: "observer/src/finding/tests/many.rs::attempts_that_are_left_open_are_a_flood",
    },
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
struct Listeners {
    all: Bounded<Endpoint, Listener>,
    /// Of the listeners of this host that have the most handshakes under way, where that is known.
    cookies: Vec<(Endpoint, Cookies)>,
}

/// Whether the kernel answers SYNs with cookies.
#[derive(Clone, Debug)]
struct Cookies {
    /// `net.ipv4.tcp_syncookies`.
    setting: Option<f64>,
    /// How many are sent in a second.
    rate: f64,
    shown: Vec<Evidence>,
}

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
        let listener = self.all.of(&record.server);
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
            self.all.merge(other.all);
            self.cookies.extend(other.cookies);
        }
    }

    fn gauges(&mut self, readings: Readings<'_>) {
        let of_listener = |backlog: &GaugeRecord| {
            let setting = readings.whole(backlog, "tcp_syncookies");
            let sent = readings.whole(backlog, "syn_cookies_sent");
            let cookies = Cookies {
                setting: setting.map(|setting| setting.value.0),
                rate: sent.filter(|sent| grows(sent)).and_then(|sent| sent.rate).map_or(0.0, |rate| rate.0),
                shown: [Some(backlog), setting, sent].into_iter().flatten().map(readings::evidence).collect(),
            };
            Some((backlog.subject.listener?, cookies))
        };
        self.cookies = readings.of("syn_backlog").filter_map(of_listener).collect();
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let thresholds = context.thresholds;
        let mut verdicts = Vec::new();
        for (server, listener) in self.all.iter() {
            let worst = listener.seconds.values().copied().max().unwrap_or(0);
            let is_most = listener.left_open * 100 >= listener.attempts.saturating_mul(thresholds.syn_flood_percent);
            if worst < thresholds.syn_flood_per_second || !is_most {
                continue;
            }
            let many = if listener.sources.len() < SOURCES { "" } else { " or more" };
            let mut what = format!(
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
            let cookies = self.cookies_at(*server);
            what.push_str(&cookies.map_or(String::new(), Cookies::words));
            let verdict = Verdict::new(Severity::Error, what).by(evidence);
            let verdict = verdict.by(cookies.into_iter().flat_map(|cookies| cookies.shown.clone()));
            let are_on = cookies.and_then(|cookies| cookies.setting).is_some_and(|setting| setting > 0.0);
            verdicts.push((about, if are_on { verdict.without("tcp_syncookies=1") } else { verdict }));
        }
        verdicts
    }
}

impl Listeners {
    /// What is known of cookies at a listener of this host: that of the address, or of any address.
    fn cookies_at(&self, server: Endpoint) -> Option<&Cookies> {
        let of = |wanted: &dyn Fn(IpAddr) -> bool| {
            let mut all = self.cookies.iter();
            all.find(|(listener, _)| listener.port == server.port && wanted(listener.ip)).map(|(_, cookies)| cookies)
        };
        of(&|ip| ip.to_canonical() == server.ip).or_else(|| of(&|ip| ip.is_unspecified()))
    }
}

impl Cookies {
    /// Whether they take over, in a sentence.
    fn words(&self) -> String {
        match self.setting {
            _ if self.rate > 0.0 => format!(" Its kernel answers with SYN cookies ({}).", growth(self.rate)),
            Some(0.0) => " SYN cookies are off (tcp_syncookies = 0).".to_string(),
            Some(_) => " No SYN cookie was needed so far.".to_string(),
            None => String::new(),
        }
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
