//! Was it the name or the network?

use std::any::Any;
use std::net::IpAddr;

use super::dns_failure::Failures;
use super::tally::{Bounded, Few, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Tally, Verdict};
use crate::record::{About, ConnectionRecord, LookupRecord, Severity};
use crate::units;

/// See [`PAGE`].
pub struct NameOrNetwork;

const PAGE: Page = Page {
    name: "name-or-network",
    title: "the name, not the network",
    severity: Severity::Info,
    rests_on: RestsOn::Absence,
    meaning: "A lookup failed, and the client tried no connection afterwards: what looks like \"the network is down\" ended at \
              the name. The way to the server was never asked for.",
    causes: &["See dns-failure: what failed is the lookup."],
    rule: &[
        "A client's lookup of a name failed (dns-failure; RFC 1035, section 4.1.1).",
        "The client sent no SYN in the name_or_network that followed, and the input goes on that long.",
    ],
    remedy: &[
        "Look at the resolver first: `observer explain dns-failure`",
        "Try the way itself, by address: `curl --resolve {NAME}:443:ADDRESS https://{NAME}/`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::names_that_nobody_knows",
        near_miss: "observer/src/finding/tests/many.rs::names_that_nobody_knows",
    },
};

impl Finding for NameOrNetwork {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Attempts::default()))
    }
}

/// Lookups that failed, and when clients tried to connect.
#[derive(Debug, Default)]
struct Attempts {
    failures: Failures,
    clients: Bounded<IpAddr, Seconds>,
}

/// Seconds in which a client sent a SYN, in their order, up to [`SECONDS`].
#[derive(Debug, Default)]
struct Seconds(Few<u64, SECONDS>);

/// Seconds that are kept of one client.
const SECONDS: usize = 1024;

impl Tally for Attempts {
    fn connection(&mut self, record: &ConnectionRecord) {
        let syn = record.handshake.syn.or(record.socket(crate::record::Side::Client).map(|socket| socket.first_seen));
        if let Some(syn) = syn {
            self.clients.of(&record.client.ip).0.add(syn.split().0);
        }
    }

    fn lookup(&mut self, record: &LookupRecord) {
        self.failures.lookup(record);
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.failures.merge(Box::new(other.failures));
            self.clients.merge(other.clients);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let wait = context.thresholds.name_or_network;
        let mut verdicts = Vec::new();
        for (client, name, lookups) in self.failures.failed(context) {
            let Some(failed) = lookups.last_at().filter(|at| context.waited(*at) >= wait) else { continue };
            let (from, until) = (failed.split().0, failed.plus(wait).split().0);
            let may_have_tried = match self.clients.get(&client) {
                Some(Seconds(seconds)) => !seconds.between(&from, &until).is_empty() || seconds.is_full(),
                None => self.clients.has_forgotten(),
            };
            if may_have_tried {
                continue;
            }
            let (_, why) = lookups.why();
            let what = format!(
                "{client} looked up {name} in vain ({why}) and tried no connection in the {} after: the network was never \
                 asked.",
                units::time(wait)
            );
            let about = About { host: Some(client), name: Some(name.to_string()), ..About::default() };
            verdicts.push((about, Verdict::new(Severity::Info, what).likely().by(lookups.evidence())));
        }
        verdicts
    }
}

impl Weigh for Seconds {
    fn weight(&self) -> u64 {
        self.0.all().len() as u64
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}
