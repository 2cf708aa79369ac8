//! A resolver takes its time.

use std::any::Any;
use std::net::IpAddr;

use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Tally, Verdict, evidence};
use crate::record::{About, DnsService, Evidence, LookupRecord, Severity};
use crate::time::{Nanos, Timestamp};
use crate::units;

/// See [`PAGE`].
pub struct SlowDns;

const PAGE: Page = Page {
    name: "slow-dns",
    title: "slow name lookups",
    severity: Severity::Warning,
    rests_on: RestsOn::Presence,
    meaning: "A resolver took long to answer. Every connection to a name that is not in the client's cache begins with that \
              wait; a query that is lost costs five seconds, the resolver library's timeout.",
    causes: &[
        "Queries or answers are lost, and asked again after a timeout.",
        "The resolver is overloaded, far away, or asks slow servers.",
        "The first resolver in the list does not answer, and the second one does.",
    ],
    rule: &[
        "A lookup over UDP or TCP (RFC 1035, section 4.2) was answered slow_dns or more after the first query for it, of \
         whichever resolver that was asked: the same client asked for the same name and type, and had no answer yet.",
        "It was not multicast (RFC 6762).",
    ],
    remedy: &[
        "Measure it: `dig @{RESOLVER} {NAME} | grep 'Query time'`, twice: the second answer comes from the cache",
        "Use a cache on the host: systemd-resolved, unbound or dnsmasq",
        "Ask the next one sooner: `options timeout:1 attempts:3 rotate` in /etc/resolv.conf",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::a_resolver_that_takes_its_time",
        near_miss: "observer/src/finding/tests/many.rs::a_resolver_that_takes_its_time",
    },
};

impl Finding for SlowDns {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Resolvers::default()))
    }
}

/// Lookups by resolver.
#[derive(Debug, Default)]
struct Resolvers(Bounded<IpAddr, Resolver>);

#[derive(Debug, Default)]
struct Resolver {
    answered: u64,
    /// The slowest, up to [`SLOWEST`].
    slowest: Vec<Slow>,
}

/// One lookup; the slower, the greater.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slow {
    waited: Nanos,
    /// The query that was answered.
    at: Timestamp,
    frame: u64,
    queries: u64,
    name: String,
    /// Who answered.
    by: IpAddr,
}

/// Lookups that are kept of one resolver.
const SLOWEST: usize = 64;
/// Lookups that are named.
const NAMED: usize = 3;

impl Tally for Resolvers {
    fn lookup(&mut self, record: &LookupRecord) {
        let lookup = &record.lookup;
        let Some(waited) = lookup.waited().filter(|_| lookup.service == DnsService::Dns) else { return };
        // Who was asked first made the client wait.
        let by = record.server.ip;
        let resolver = self.0.of(&lookup.repeats.as_ref().map_or(by, |repeats| repeats.server));
        resolver.answered += 1;
        let (at, queries, name) = (lookup.at, lookup.asked(), lookup.name.clone());
        resolver.slowest.push(Slow { waited, at, frame: record.id, queries, name, by });
        if resolver.slowest.len() >= 2 * SLOWEST {
            resolver.make_room();
        }
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for (ip, resolver) in self.0.iter() {
            let mut slow: Vec<_> =
                resolver.slowest.iter().filter(|slow| slow.waited >= context.thresholds.slow_dns).collect();
            slow.sort_by(|a, b| b.cmp(a));
            let Some(worst) = slow.first() else { continue };
            let more = if slow.len() >= SLOWEST { " or more" } else { "" };
            let (waited, name) = (units::time(worst.waited), &worst.name);
            let what = if worst.by == *ip {
                format!("{ip} took up to {waited} to answer, for {name}")
            } else {
                format!(
                    "{ip} did not answer in time, and {} did in the end: up to {waited} went by, for {name}",
                    worst.by
                )
            };
            let what = format!(
                "{what}. {}{more} of {} took long.",
                units::count(slow.len() as u64),
                units::number_of(resolver.answered, "lookup"),
            );
            let evidence = slow.iter().take(NAMED).map(|Slow { waited, at, frame, queries, name, .. }| {
                let again = if *queries > 1 { format!(", asked {queries} times") } else { String::new() };
                let what = format!("lookup of {name}, {}{again}", units::time(*waited));
                Evidence { at: Some(*at), frame: Some(*frame), ..evidence::fact(what) }
            });
            let about = About { host: Some(*ip), ..About::default() };
            let verdict = Verdict::new(Severity::Warning, what).by(evidence).with("RESOLVER", ip).with("NAME", name);
            verdicts.push((about, verdict));
        }
        verdicts
    }
}

impl Resolver {
    fn make_room(&mut self) {
        self.slowest.sort_by(|a, b| b.cmp(a));
        self.slowest.truncate(SLOWEST);
    }
}

impl Weigh for Resolver {
    fn weight(&self) -> u64 {
        self.answered
    }

    fn merge(&mut self, other: Self) {
        self.answered += other.answered;
        self.slowest.extend(other.slowest);
        self.make_room();
    }
}
