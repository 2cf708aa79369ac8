//! `--output summary`: all connections taken together, in constant memory.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use observer::record::{
    Analysis, CaptureRecord, ConnState, ConnectionRecord, Endpoint, LookupRecord, Retransmissions, Severity, Sides,
    Transport,
};

use super::Sink;
use super::lookups::Lookups;
use super::order::{Order, retransmitted};
use super::remark::REMARKS;
use super::sketch::{Distribution, Load, Talkers, Top};
use super::text::{self, Overview, Page};
use super::together::Together;

/// Adds connections up.
pub struct Summary {
    totals: Totals,
    lookups: Lookups,
    /// `None` where counts alone are wanted: to look at connections together takes time and memory for each client and server.
    together: Option<Together>,
    page: Page,
    /// The command that shows one connection, without its `id`.
    show_one: Option<String>,
}

impl Summary {
    /// A summary that lists `top` connections: the first by `order`, or the most remarkable ones. `show_one` is the
    /// command that shows a connection, without its `id`.
    pub fn new(
        page: Page,
        top: usize,
        order: Option<Order>,
        show_one: Option<String>,
        together: Option<Together>,
    ) -> Self {
        Self { totals: Totals::new(top, order), lookups: Lookups::default(), together, page, show_one }
    }
}

impl Sink for Summary {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        self.totals.add(&record);
        self.together.iter_mut().for_each(|together| together.connection(&record));
        Ok(())
    }

    fn lookup(&mut self, record: Box<LookupRecord>) -> Result<()> {
        self.lookups.add(&record);
        self.together.iter_mut().for_each(|together| together.lookup(&record));
        Ok(())
    }

    fn has_printed(&self) -> bool {
        self.totals.connections > 0
    }

    fn finish(sinks: Vec<Self>, capture: &CaptureRecord, out: &mut dyn Write) -> Result<()> {
        let merged = sinks.into_iter().reduce(|mut one, other| {
            one.totals.merge(other.totals);
            one.lookups.merge(other.lookups);
            if let (Some(own), Some(other)) = (&mut one.together, other.together) {
                own.merge(other);
            }
            one
        });
        let Some(Self { totals, lookups, together, page, show_one }) = merged else { return Ok(()) };
        let together = together.map_or_else(Vec::new, |together| together.finish(capture));
        let mut text = String::new();
        text::summary(&page, &mut text, Overview { totals, lookups, together }, capture, show_one.as_deref());
        out.write_all(text.as_bytes())?;
        Ok(())
    }
}

/// What is known of all connections together.
pub struct Totals {
    /// How many.
    pub connections: u64,
    /// How many of them speak QUIC.
    pub quic: u64,
    /// How many of each outcome, and whether they speak QUIC.
    pub outcomes: BTreeMap<(ConnState, bool), u64>,
    /// Segments of TCP sent.
    pub packets: u64,
    /// Datagrams of QUIC sent.
    pub datagrams: u64,
    /// Octets of payload on the wire.
    pub bytes: u64,
    /// Octets of payload, each sequence number once.
    pub unique_bytes: u64,
    /// Segments sent again, by cause.
    pub retransmissions: Retransmissions,
    /// Further trouble: how many segments, in how many connections.
    pub trouble: [Trouble; TROUBLES.len()],
    /// In how many connections something is wrong, by name of the finding.
    pub findings: BTreeMap<&'static str, (Severity, u64)>,
    /// Round-trip times of the handshakes.
    pub rtt: Distribution,
    /// Who accepted connections.
    pub servers: Talkers,
    /// Who opened them.
    pub clients: Talkers,
    /// The connections to list.
    pub list: List,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// How often.
    pub count: u64,
    /// In how many connections.
    pub connections: u64,
}

/// How often something happened in a connection.
type Count = fn(&ConnectionRecord) -> u64;

/// What is counted besides retransmissions: in words, and how often it happened in a connection.
pub const TROUBLES: [(&str, Count); 9] = [
    ("SYN sent again", |record| record.handshake.syn_retransmissions.into()),
    ("SYN-ACK sent again", |record| record.handshake.syn_ack_retransmissions.into()),
    ("out of order", |record| named(record, |analysis| analysis.out_of_order)),
    ("after a gap", |record| named(record, |analysis| analysis.lost_segment)),
    ("ACK of what was not captured", |record| named(record, |analysis| analysis.ack_lost_segment)),
    ("zero window", |record| named(record, |analysis| analysis.zero_window)),
    ("ICMP error", |record| record.icmp.len() as u64),
    ("bad checksum", ConnectionRecord::damaged),
    ("captured twice", |record| record.duplicates),
];

/// Segments of both ends to which the analysis gives a name; 0 where not all segments were seen.
fn named(record: &ConnectionRecord, count: fn(&Analysis) -> Sides<u64>) -> u64 {
    record.analysis.as_ref().map(count).map_or(0, |sides| sides.client + sides.server)
}

/// Some connections out of many.
pub enum List {
    /// The most remarkable ones, by each rule.
    Remarkable(usize, Vec<Top<Row>>),
    /// The first ones in an order.
    Ordered(Order, Top<Row>),
}

/// One connection of a list.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its `id`.
    pub id: u64,
    /// Who opened it.
    pub client: Endpoint,
    /// Who accepted it.
    pub server: Endpoint,
    /// How it ended.
    pub state: ConnState,
    /// Why it is in the list.
    pub why: String,
}

impl Totals {
    fn new(top: usize, order: Option<Order>) -> Self {
        let list = match order {
            None => List::Remarkable(top, REMARKS.iter().map(|remark| Top::new(top.min(remark.most))).collect()),
            Some(order) => List::Ordered(order, Top::new(top)),
        };
        Self {
            connections: 0,
            quic: 0,
            outcomes: BTreeMap::new(),
            packets: 0,
            datagrams: 0,
            bytes: 0,
            unique_bytes: 0,
            retransmissions: Retransmissions::default(),
            trouble: [Trouble::default(); _],
            findings: BTreeMap::new(),
            rtt: Distribution::new(),
            servers: Talkers::new(true),
            clients: Talkers::new(false),
            list,
        }
    }

    fn add(&mut self, record: &ConnectionRecord) {
        self.connections += 1;
        let over_udp = record.transport != Transport::Tcp;
        self.quic += u64::from(record.transport == Transport::Quic);
        *self.outcomes.entry((record.conn_state, over_udp)).or_default() += 1;
        let segments = if over_udp { 0 } else { record.total_packets() };
        self.datagrams += record.total_packets() - segments;
        let load = Load {
            bytes: record.total_bytes(),
            connections: 1,
            packets: segments,
            retransmitted: retransmitted(record),
        };
        self.packets += load.packets;
        self.bytes += load.bytes;
        self.unique_bytes += record.unique_bytes.map_or(load.bytes, |unique| unique.client + unique.server);
        let causes = record.retransmissions.unwrap_or_default();
        add(&mut self.retransmissions, &causes.client);
        add(&mut self.retransmissions, &causes.server);
        for (trouble, (_, count)) in self.trouble.iter_mut().zip(TROUBLES) {
            let count = count(record);
            trouble.count += count;
            trouble.connections += u64::from(count > 0);
        }
        for finding in &record.findings {
            self.found(finding.name, finding.severity, 1);
        }
        if let Some(rtt) = text::handshake_rtt(record) {
            self.rtt.add(rtt);
        }
        self.servers.add(record.server, load);
        self.clients.add(record.client, load);
        self.list.add(record);
    }

    fn merge(&mut self, other: Self) {
        self.connections += other.connections;
        self.quic += other.quic;
        self.datagrams += other.datagrams;
        for (state, count) in other.outcomes {
            *self.outcomes.entry(state).or_default() += count;
        }
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.unique_bytes += other.unique_bytes;
        add(&mut self.retransmissions, &other.retransmissions);
        for (own, other) in self.trouble.iter_mut().zip(other.trouble) {
            own.count += other.count;
            own.connections += other.connections;
        }
        for (name, (severity, count)) in other.findings {
            self.found(name, severity, count);
        }
        self.rtt.merge(&other.rtt);
        self.servers.merge(other.servers);
        self.clients.merge(other.clients);
        self.list.merge(other.list);
    }
}

impl Totals {
    fn found(&mut self, name: &'static str, severity: Severity, count: u64) {
        let (worst, connections) = self.findings.entry(name).or_insert((severity, 0));
        *worst = severity.max(*worst);
        *connections += count;
    }
}

fn add(sum: &mut Retransmissions, more: &Retransmissions) {
    sum.rto += more.rto;
    sum.fast += more.fast;
    sum.tail_loss_probe += more.tail_loss_probe;
    sum.spurious += more.spurious;
    sum.sack_repaired += more.sack_repaired;
}

impl List {
    fn add(&mut self, record: &ConnectionRecord) {
        let row = |why: String| Row {
            id: record.id,
            client: record.client,
            server: record.server,
            state: record.conn_state,
            why,
        };
        match self {
            Self::Remarkable(_, tops) => {
                for (top, remark) in tops.iter_mut().zip(&REMARKS) {
                    let weight = (remark.weight)(record);
                    if weight > 0 {
                        top.offer(weight, record.id, || row((remark.why)(record)));
                    }
                }
            }
            Self::Ordered(order, top) => {
                let (key, id) = order.key(record);
                top.offer(u64::MAX - key, id, || row(order.words(record)));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Remarkable(_, own), Self::Remarkable(_, other)) => {
                own.iter_mut().zip(other).for_each(|(own, other)| own.merge(other));
            }
            (Self::Ordered(_, own), Self::Ordered(_, other)) => own.merge(other),
            _ => {}
        }
    }

    /// The rows to show. Of the remarkable ones each rule gives its first, then each its second, and so on, so that
    /// many of one kind do not hide the others; a connection is listed once.
    pub fn into_rows(self) -> Vec<Row> {
        match self {
            Self::Ordered(_, top) => top.into_sorted(),
            Self::Remarkable(most, tops) => {
                let mut rules: Vec<_> = tops.into_iter().map(|top| top.into_sorted().into_iter()).collect();
                let mut rows: Vec<Row> = Vec::new();
                loop {
                    let before = rows.len();
                    for rule in &mut rules {
                        let next = rule.find(|row| rows.iter().all(|listed| listed.id != row.id));
                        rows.extend(next.filter(|_| rows.len() < most));
                    }
                    if rows.len() == before {
                        return rows;
                    }
                }
            }
        }
    }
}
