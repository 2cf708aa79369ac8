//! Something on the way that changes what the ends say: a RST that its alleged sender did not send, options taken out.

use std::any::Any;

use super::tally::{Bounded, Weigh};
use super::{Context, Finding, Page, Proof, RestsOn, Tally, Verdict, evidence};
use crate::record::{About, ConnectionRecord, Endpoint, NotableKind, Severity, Side, Sides, SynOptions};
use crate::time::{Nanos, Timestamp};

/// See [`PAGE`].
pub struct Middlebox;

const PAGE: Page = Page {
    name: "middlebox-interference",
    title: "middlebox interference",
    severity: Severity::Warning,
    rests_on: RestsOn::Presence,
    meaning: "Something between the ends changes what they say to each other. Either the RST that ended the connection came \
              from another distance than everything else that its sender sent: by its time to live it was made somewhere on \
              the way, in the name of that end, which knows nothing of it. Or a SYN had options when it was captured at one \
              place and lacked them at another: without window scaling no more than 65,535 octets are under way at once, \
              without SACK each loss costs more. What was captured at one place cannot show that: nothing tells options \
              that were taken out from options that were never there.",
    causes: &[
        "A firewall or intrusion prevention system that ends connections it does not like.",
        "A load balancer or NAT that has given the connection up.",
        "A firewall that takes out options it does not know or was told to (`reset tcp option` of nft, TCPOPTSTRIP of \
         iptables), or a proxy that opens a connection of its own.",
        "A censor.",
    ],
    rule: &[
        "The end in whose name the RST came had sent packets before, all with the same time to live (RFC 791, section 3.1); \
         by the next usual start of a time to live (64, 128, 255) the RST passed ttl_hops or more routers more or fewer.",
        "Or the same SYN or SYN-ACK was captured twice (in two files, on two interfaces; live, in two network namespaces), \
         and an option that it offered (RFC 9293, section 3.1; RFC 7323, RFC 2018, RFC 7413, RFC 8684) is in one of them \
         and not in the other.",
    ],
    remedy: &[
        "Find what stands at that distance: `traceroute -T -p {PORT} {SERVER}`",
        "Capture at both ends at once (`tcpdump -ni any -w here.pcap 'tcp port {PORT}'`) and compare: `observer doctor \
         here.pcap there.pcap`",
        "Look at the rules of the firewalls on the way for `reject with tcp reset` and `reset tcp option`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/gauges/namespaces.rs::options_that_are_taken_out_between_two_namespaces",
        near_miss: "observer/src/finding/tests.rs::a_rst_from_another_distance_is_somebody_elses",
    },
};

impl Finding for Middlebox {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        foreign_reset(record, context).or_else(|| stripped(record))
    }

    fn tally(&self) -> Option<Box<dyn Tally>> {
        Some(Box::new(Offers::default()))
    }
}

fn foreign_reset(record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
    let reset = record.reset.as_deref()?;
    let before = reset.ttl_before.filter(|ttl| ttl.min == ttl.max)?;
    let hops = [64, 128, 255].into_iter().find(|start| *start >= reset.ttl)? - reset.ttl;
    if u64::from(hops.abs_diff(before.hops)) < context.thresholds.ttl_hops {
        return None;
    }
    let who = super::verdict::name(reset.from);
    let what = format!(
        "The {who}'s RST came with a TTL of {}, everything else of it with {}: something on the way made it.",
        reset.ttl, before.max
    );
    let rst = evidence::notable(record, NotableKind::Rst, reset.from, "RST");
    Some(Verdict::new(Severity::Warning, what).likely().by(rst))
}

/// Options that one capture point saw and another did not.
fn stripped(record: &ConnectionRecord) -> Option<Verdict> {
    let handshake = &record.handshake;
    let sides = [Side::Client, Side::Server].into_iter();
    let changed: Vec<Side> = sides.filter(|side| !handshake.stripped.of(*side).is_empty()).collect();
    let said = |side: &Side| format!("the {} lost {}", syn_of(*side), handshake.stripped.of(*side).words());
    let said: Vec<String> = changed.iter().map(said).collect();
    if said.is_empty() {
        return None;
    }
    let what = format!("Between two capture points {}.", said.join("; "));
    let copies = changed.into_iter().filter_map(|side| {
        let one = format!("{} with other options", if side == Side::Client { "SYN" } else { "SYN-ACK" });
        evidence::notable(record, NotableKind::OptionsDiffer, side, &one)
    });
    Some(Verdict::new(Severity::Warning, what).by(copies))
}

const fn syn_of(side: Side) -> &'static str {
    match side {
        Side::Client => "client's SYN",
        Side::Server => "server's SYN-ACK",
    }
}

/// What SYNs offered in each network namespace that they were seen in, live: there each has its records.
#[derive(Debug, Default)]
struct Offers(Bounded<(Endpoint, Endpoint), Sightings>);

/// Where one connection was seen, the last [`MOST_SIGHTINGS`] times.
#[derive(Debug, Default)]
struct Sightings(Vec<Sighting>);

#[derive(Clone, Copy, Debug)]
struct Sighting {
    netns: u32,
    syn: Timestamp,
    id: u64,
    offered: Sides<Option<SynOptions>>,
}

/// Namespaces that one connection crosses, and connections of the same ports, that are kept.
const MOST_SIGHTINGS: usize = 4;

/// How far apart one host sees a SYN in two of its namespaces: the same ports with the same addresses in both at nearly the
/// same time are one connection.
const ONE_SYN_WITHIN: Nanos = Nanos::from_millis(100);

impl Tally for Offers {
    fn connection(&mut self, record: &ConnectionRecord) {
        let handshake = &record.handshake;
        // A SYN that is sent again may leave options out itself.
        let again = handshake.syn_retransmissions + handshake.syn_ack_retransmissions > 0;
        let (Some(netns), Some(syn), false) = (record.netns, handshake.syn, again) else { return };
        let offered = handshake.offered.map(|offer| offer.as_ref().map(SynOptions::of));
        self.0.of(&(record.client, record.server)).add(Sighting { netns, syn, id: record.id, offered });
    }

    fn compares_namespaces(&self) -> bool {
        true
    }

    fn merge(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.0.merge(other.0);
        }
    }

    fn verdicts(&self, _: &Context<'_>) -> Vec<(About, Verdict)> {
        let mut verdicts = Vec::new();
        for ((client, server), sightings) in self.0.iter() {
            let Some((one, other)) = sightings.of_one_syn() else { continue };
            for side in [Side::Client, Side::Server] {
                let Some((first, second)) = one.differs(other, side) else { continue };
                let what = format!(
                    "Between network namespaces {} and {} the {} lost {}.",
                    one.netns,
                    other.netns,
                    syn_of(side),
                    first.symmetric_difference(second).words()
                );
                let seen = |sighting: &Sighting, offered: SynOptions| {
                    let words = if offered.is_empty() { "no options".to_string() } else { offered.words() };
                    evidence::at(sighting.syn, side, format!("in namespace {}: {words}", sighting.netns))
                };
                let about = About {
                    connection: Some(one.id),
                    client: Some(*client),
                    server: Some(*server),
                    ..About::default()
                };
                let seen = [seen(one, first), seen(other, second)];
                verdicts.push((about, Verdict::new(Severity::Warning, what).likely().by(seen)));
            }
        }
        verdicts
    }
}

impl Sighting {
    /// What one end offered here and there, where that was seen at both and is not the same.
    fn differs(&self, other: &Self, side: Side) -> Option<(SynOptions, SynOptions)> {
        self.offered.of(side).zip(*other.offered.of(side)).filter(|(here, there)| here != there)
    }
}

impl Sightings {
    fn add(&mut self, sighting: Sighting) {
        if self.0.len() >= MOST_SIGHTINGS {
            let oldest = (0..self.0.len()).min_by_key(|place| self.0.get(*place).map(|known| known.syn));
            oldest.map(|place| self.0.swap_remove(place));
        }
        self.0.push(sighting);
    }

    /// Two sightings of one SYN that differ, the earlier first.
    fn of_one_syn(&self) -> Option<(&Sighting, &Sighting)> {
        let mut in_time: Vec<&Sighting> = self.0.iter().collect();
        in_time.sort_by_key(|sighting| (sighting.syn, sighting.netns));
        let is_one = |(one, other): &(&Sighting, &Sighting)| {
            let differ = [Side::Client, Side::Server].into_iter().any(|side| one.differs(other, side).is_some());
            one.netns != other.netns && other.syn.since(one.syn) <= ONE_SYN_WITHIN && differ
        };
        let next = in_time.iter().skip(1).copied();
        in_time.iter().copied().zip(next).find(is_one)
    }
}

impl Weigh for Sightings {
    /// What was seen last may still have its counterpart to come.
    fn weight(&self) -> u64 {
        self.0.iter().map(|sighting| sighting.syn.as_nanos()).max().unwrap_or(0)
    }

    fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|sighting| self.add(sighting));
    }
}
