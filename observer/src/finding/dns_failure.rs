//! A name cannot be looked up.

use std::any::Any;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Tally, Verdict, evidence};
use crate::record::{About, DnsService, Endpoint, Evidence, LookupRecord, Severity};
use crate::time::Timestamp;
use crate::units;

/// See [`PAGE`].
pub struct DnsFailure;

const PAGE: Page = Page {
    name: "dns-failure",
    title: "name lookup failed",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "A client asked for a name and got no answer, or an error, and never an answer that helps. What it wanted to do \
              ended there: getaddrinfo(3) fails, mostly after seconds.",
    causes: &[
        "No answer: the resolver is down or not reachable, or something drops UDP port 53.",
        "SERVFAIL: the resolver could not ask the servers of the domain, or DNSSEC does not verify.",
        "REFUSED: the resolver does not serve this client.",
        "NXDOMAIN: the name does not exist: a typing error, a search domain, a record that was not made yet.",
    ],
    rule: &[
        "A query for an address (A, AAAA, HTTPS; RFC 1035) was not answered within unanswered_dns, or with another code than \
         NOERROR.",
        "No query of the same client for the same name was answered with NOERROR; nor, where there is no such name, for the \
         name with a domain of a search list added or taken away (resolv.conf(5)).",
        "It was not multicast: there, silence is an answer.",
        "An error where nobody answers or the resolver fails; where the name does not exist, it is worth knowing only.",
    ],
    remedy: &[
        "Ask for yourself: `dig @{RESOLVER} {NAME}`, and others: `dig +trace {NAME}`",
        "See which resolvers are used: `resolvectl status`, `cat /etc/resolv.conf`",
        "See whether answers come back: `tcpdump -ni any 'port 53 and host {RESOLVER}'`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::names_that_nobody_knows",
        near_miss: "observer/src/finding/tests/many.rs::names_that_nobody_knows",
    },
};

impl Finding for DnsFailure {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Failures::default()))
    }
}

/// Lookups by client and name.
#[derive(Debug, Default)]
pub struct Failures(Bounded<(IpAddr, String), Lookups>);

/// What became of the lookups of one name by one client.
#[derive(Debug, Default)]
pub struct Lookups {
    answered: u64,
    failed: u64,
    /// Codes of the answers; `None` stands for no answer.
    codes: BTreeSet<Option<String>>,
    /// The first and the last that failed: time, frame and server.
    first: Option<(Timestamp, u64, Endpoint)>,
    last: Option<(Timestamp, u64, Endpoint)>,
    /// How often those without an answer were asked.
    queries: u64,
}

const ADDRESSES: [&str; 3] = ["A", "AAAA", "HTTPS"];

impl Failures {
    /// The names that a client never got an answer for, of which something can be said when the input ends at
    /// `context.until`.
    pub fn failed(&self, context: &Context<'_>) -> impl Iterator<Item = (IpAddr, &str, &Lookups)> {
        let failed = move |lookups: &Lookups| {
            let waited = lookups.last.is_some_and(|(at, ..)| context.waited(at) >= context.thresholds.unanswered_dns);
            let told = lookups.codes.iter().any(Option::is_some);
            lookups.answered == 0 && lookups.failed > 0 && (told || waited)
        };
        let all = || self.0.iter().map(|((client, name), lookups)| (*client, name.as_str(), lookups));
        let known: BTreeSet<(IpAddr, &str)> =
            all().filter(|(.., lookups)| lookups.answered > 0).map(|(client, name, _)| (client, name)).collect();
        all().filter(move |(client, name, lookups)| {
            failed(lookups) && !(lookups.is_unknown() && was_found(&known, *client, name))
        })
    }
}

/// Whether a client found `name` after all, with the domains of its search list (resolv.conf(5)): it knows the name that
/// they were added to, or one that they make of it.
fn was_found(known: &BTreeSet<(IpAddr, &str)>, client: IpAddr, name: &str) -> bool {
    let bare =
        name.match_indices('.').any(|(dot, _)| name.get(..dot).is_some_and(|bare| known.contains(&(client, bare))));
    let begin = format!("{name}.");
    let longer = known.range((client, begin.as_str())..).next();
    bare || longer.is_some_and(|(ip, longer)| *ip == client && longer.starts_with(&begin))
}

impl Tally for Failures {
    fn lookup(&mut self, record: &LookupRecord) {
        let lookup = &record.lookup;
        if lookup.service != DnsService::Dns || !ADDRESSES.contains(&lookup.kind.as_str()) || lookup.queries == 0 {
            return;
        }
        let lookups = self.0.of(&(record.client.ip, lookup.name.clone()));
        if lookup.code.as_deref() == Some("NOERROR") {
            lookups.answered += 1;
            return;
        }
        lookups.failed += 1;
        if lookup.code.is_none() {
            lookups.queries += lookup.queries;
        }
        lookups.codes.insert(lookup.code.clone());
        let moment = (lookup.at, record.id, record.server);
        lookups.first = Some(lookups.first.map_or(moment, |first| first.min(moment)));
        lookups.last = lookups.last.max(Some(moment));
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let verdict = |(client, name, lookups): (IpAddr, &str, &Lookups)| {
            let (severity, why) = lookups.why();
            let (_, _, server) = lookups.first?;
            let what = format!("{client} looked up {name}, and {} {why}.", server.ip);
            let about = About { host: Some(client), name: Some(name.to_string()), ..About::default() };
            let verdict = Verdict::new(severity, what).by(lookups.evidence()).with("RESOLVER", server.ip);
            Some((about, verdict))
        };
        self.failed(context).filter_map(verdict).collect()
    }
}

impl Lookups {
    /// Every answer said that there is no such name.
    fn is_unknown(&self) -> bool {
        self.codes.iter().all(|code| code.as_deref() == Some("NXDOMAIN"))
    }

    /// How bad it is, and what the resolver did.
    pub fn why(&self) -> (Severity, String) {
        let codes: Vec<&str> = self.codes.iter().flatten().map(String::as_str).collect();
        let silent = self.codes.contains(&None);
        match (silent, codes.as_slice()) {
            (true, []) => {
                let queries =
                    if self.queries == 1 { "a query".to_string() } else { format!("{} queries", self.queries) };
                (Severity::Error, format!("did not answer {queries}"))
            }
            (_, ["NXDOMAIN"]) => (Severity::Info, "knows no such name (NXDOMAIN)".to_string()),
            (_, codes) => (Severity::Error, format!("answered {}", codes.join(", "))),
        }
    }

    /// When the last lookup failed.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.last.map(|(at, ..)| at)
    }

    /// The first and the last lookup.
    pub fn evidence(&self) -> Option<Evidence> {
        let ((at, frame, server), (until, last, _)) = (self.first?, self.last?);
        let several = until > at;
        Some(Evidence {
            at: Some(at),
            frame: Some(frame),
            until: several.then_some(until),
            last_frame: several.then_some(last),
            ..evidence::fact(format!("{} to {}", units::number_of(self.failed, "lookup"), server.ip))
        })
    }
}

impl Weigh for Lookups {
    fn weight(&self) -> u64 {
        if self.answered == 0 { self.failed } else { 0 }
    }

    fn merge(&mut self, other: Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.queries += other.queries;
        self.codes.extend(other.codes);
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
    }
}
