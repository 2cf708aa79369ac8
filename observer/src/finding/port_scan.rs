//! One client tries many ports, or many servers, in vain.

use std::any::Any;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::tally::{Bounded, Few, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Span, Tally, Verdict, evidence};
use crate::record::{About, ConnState, ConnectionRecord, Endpoint, Severity};
use crate::units;

/// See [`PAGE`].
pub struct PortScan;

const PAGE: Page = Page {
    name: "port-scan",
    title: "port scan",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "One client tried many ports of a server, or many servers, and hardly any attempt came to anything: it looks \
              for what is open.",
    causes: &[
        "Somebody looks for a way in, or a worm does.",
        "An inventory, a vulnerability scanner or a monitoring system that is meant to do so.",
        "A program with a wrong list of servers.",
    ],
    rule: &[
        "Attempts of one client at port_scan_targets or more pairs of server and port were refused (a RST from CLOSED: RFC \
         9293, section 3.10.7.1), not answered, or given up without payload.",
        "At least four fifths of all pairs that it tried are such.",
    ],
    remedy: &[
        "Find out what {CLIENT} is: on it, `ss -tnp state syn-sent`",
        "Where it is not meant to: `nft add rule inet filter input ip saddr {CLIENT} drop`",
        "See what it found open: `observer replay FILE --filter 'host {CLIENT}' --output json | jq \
         'select(.conn_state == \"SF\") | .server'`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::many_ports_in_vain_are_a_scan",
        near_miss: "observer/src/finding/tests/many.rs::many_ports_in_vain_are_a_scan",
    },
};

impl Finding for PortScan {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Clients::default()))
    }
}

/// What clients tried.
#[derive(Debug, Default)]
struct Clients(Bounded<IpAddr, Client>);

#[derive(Debug, Default)]
struct Client {
    /// Tried in vain.
    in_vain: Few<Endpoint, TARGETS>,
    /// Where something came of it.
    used: Few<Endpoint, TARGETS>,
    seen: Span,
}

/// Targets of one client that are told apart.
const TARGETS: usize = 1024;

impl Tally for Clients {
    fn connection(&mut self, record: &ConnectionRecord) {
        if record.handshake.syn.is_none() {
            return;
        }
        let failed = matches!(record.conn_state, ConnState::S0 | ConnState::REJ | ConnState::RSTOS0)
            || matches!(record.conn_state, ConnState::RSTO | ConnState::RSTR) && record.total_bytes() == 0;
        if failed && evidence::is_one_way(record) {
            return;
        }
        let client = self.0.of(&record.client.ip);
        let targets = if failed { &mut client.in_vain } else { &mut client.used };
        targets.add(record.server);
        if failed {
            client.seen.add(record.first_seen, record.id);
        }
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, context: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for (ip, client) in self.0.iter() {
            let in_vain: Vec<&Endpoint> =
                client.in_vain.all().iter().filter(|target| client.used.all().binary_search(target).is_err()).collect();
            let count = in_vain.len() as u64;
            let is_most = count * 5 >= (count + client.used.all().len() as u64) * 4;
            if count < context.thresholds.port_scan_targets || !is_most {
                continue;
            }
            let servers: BTreeSet<IpAddr> = in_vain.iter().map(|target| target.ip).collect();
            let ports: BTreeSet<u16> = in_vain.iter().map(|target| target.port).collect();
            let more = if client.in_vain.is_full() { " or more" } else { "" };
            let of = match (servers.len(), servers.first()) {
                (1, Some(server)) => server.to_string(),
                (count, _) => units::number_of(count as u64, "server"),
            };
            let what = format!(
                "{ip} tried {}{more} of {of} in vain within {}.",
                units::number_of(ports.len() as u64, "port"),
                units::time(client.seen.length())
            );
            let evidence = client.seen.evidence(format!("SYNs to {count} pairs of server and port"));
            let about = About { host: Some(*ip), ..About::default() };
            verdicts.push((about, Verdict::new(Severity::Warning, what).by(evidence)));
        }
        verdicts
    }
}

impl Weigh for Client {
    fn weight(&self) -> u64 {
        self.in_vain.all().len() as u64
    }

    fn merge(&mut self, other: Self) {
        self.in_vain.merge(other.in_vain);
        self.used.merge(other.used);
        self.seen.merge(other.seen);
    }
}
