//! Lookups of names by datagrams: questions and answers put together, and the names that they gave to addresses.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{Config, Event};
use crate::packet::{Packet, Segment, Tuple};
use crate::protocol::dns::{self, Message};
use crate::record::{DnsService, Endpoint, LookupRecord, Transport};
use crate::time::{Nanos, Timestamp};

/// Questions that wait for their answers, and addresses whose names are known.
const MOST_OPEN: usize = 4096;
const MOST_NAMES: usize = 4096;

/// Answers that were too long for a datagram, and for how long it may be asked again over TCP.
const MOST_TRUNCATED: usize = 256;
const ASKED_AGAIN: Nanos = Nanos::from_secs(10);

/// How long an answer is waited for.
const PATIENCE: Nanos = Nanos::from_secs(10);

/// How long a name is good for at least: a client may well use an address whose time to live is 0, once.
const LEAST_TTL: u32 = 30;

/// Every lookup that was seen.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    open: HashMap<Asked, LookupRecord>,
    /// The open ones, the first one first. Some are answered.
    order: VecDeque<(Timestamp, Asked)>,
    /// By client and address; 127.0.0.1 stands for any client on the host that the lookups were seen on.
    names: HashMap<(IpAddr, IpAddr), Known>,
    /// The names in the order they were learnt. Some were learnt anew.
    learnt: VecDeque<(IpAddr, IpAddr, Timestamp)>,
    /// The last ones whose answers were too long for a datagram.
    truncated: VecDeque<LookupRecord>,
    out: Vec<LookupRecord>,
    netns: Option<u32>,
    /// Answers are told only with their questions: where not every packet is seen, the others are for other hosts.
    sampled: bool,
}

/// What finds the question to an answer: who asked whom, and the identifier.
type Asked = (Endpoint, Endpoint, u16);

#[derive(Debug)]
struct Known {
    at: Timestamp,
    until: Timestamp,
    lookup: Arc<LookupRecord>,
}

impl Known {
    /// The lookup, where its answer may still be used.
    fn lookup_at(&self, at: Timestamp) -> Option<Arc<LookupRecord>> {
        (self.at <= at && at <= self.until).then(|| Arc::clone(&self.lookup))
    }
}

impl Lookups {
    /// None seen yet.
    pub(super) fn new(config: &Config) -> Self {
        Self { netns: config.netns, sampled: config.sampled, ..Self::default() }
    }

    /// Takes in a datagram that may be a message of DNS.
    pub(super) fn datagram(&mut self, packet: &Packet, payload: &[u8]) {
        let at = packet.at;
        self.give_up_before(at);
        let Tuple { src, dst, sport, dport, version } = packet.tuple;
        let [from, to] = [(src, sport), (dst, dport)].map(|(ip, port)| Endpoint::new(ip, version, port));
        let Some(message) = Message::parse(payload) else {
            if let Some(open) = dns::answers(payload).and_then(|id| self.open.get_mut(&(to, from, id))) {
                open.lookup.malformed += 1;
            }
            return;
        };
        let service = match (from.port, to.port) {
            (5353, _) | (_, 5353) => DnsService::Mdns,
            (5355, _) | (_, 5355) => DnsService::Llmnr,
            _ => DnsService::Dns,
        };
        let (client, server) = if message.is_response { (to, from) } else { (from, to) };
        let asked = (client, server, message.id);
        let id = packet.number;
        let netns = self.netns;
        let record = |lookup| LookupRecord { id, client, server, transport: Transport::Udp, netns, lookup };
        if !message.is_response {
            match self.open.get_mut(&asked) {
                Some(open) if message.is_about(&open.lookup) => open.lookup.queries += 1,
                _ => {
                    let mut open = record(message.begin(at));
                    open.lookup.service = service;
                    self.ask(asked, open);
                }
            }
            return;
        }
        // Multicast answers go to everyone.
        let open = self.open.remove(&asked).filter(|open| message.is_about(&open.lookup));
        let is_whole = open.is_some() || !self.sampled;
        let (id, lookup) = open.map_or((id, None), |open| (open.id, Some(open.lookup)));
        let mut answered = LookupRecord { id, ..record(message.answer(lookup, at)) };
        answered.lookup.service = service;
        self.learn(&answered, at);
        if answered.lookup.truncated {
            self.truncated.truncate(MOST_TRUNCATED - 1);
            self.truncated.push_front(answered.clone());
        }
        if is_whole {
            self.out.push(answered);
        }
    }

    /// Notes in a lookup over TCP which one over UDP it repeats.
    pub(super) fn join(&self, over_tcp: &mut LookupRecord) {
        let LookupRecord { client, server, lookup, .. } = &*over_tcp;
        let is_it = |before: &&LookupRecord| {
            let same = before.lookup.kind == lookup.kind && before.lookup.name.eq_ignore_ascii_case(&lookup.name);
            let since = lookup.at.checked_since(before.lookup.at);
            (before.client.ip, before.server.ip) == (client.ip, server.ip)
                && same
                && since.is_some_and(|since| since <= ASKED_AGAIN)
        };
        over_tcp.lookup.after = self.truncated.iter().find(is_it).map(|before| before.id);
    }

    /// It is `now`: what was asked too long ago has no answer.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        self.give_up_before(now);
    }

    /// What has been answered, or given up, since it was asked last.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.out.drain(..).map(|record| Event::Lookup(Box::new(record)))
    }

    /// The input is at its end: no more answers come.
    pub(super) fn finish(&mut self) {
        while let Some((_, asked)) = self.order.pop_front() {
            self.out.extend(self.open.remove(&asked));
        }
    }

    /// The lookup that gave the opener of a connection the address it goes to, whose first segment is at hand.
    pub(super) fn of(&self, tuple: &Tuple, segment: &Segment, at: Timestamp) -> Option<Arc<LookupRecord>> {
        if self.names.is_empty() {
            return None;
        }
        let [src, dst] = [tuple.src, tuple.dst].map(|address| address.to_ip(tuple.version));
        let there = (!segment.flags.is_syn_ack()).then(|| self.of_client(src, dst)).flatten();
        let back = (!segment.flags.is_bare_syn()).then(|| self.of_client(dst, src)).flatten();
        there.or(back).and_then(|known| known.lookup_at(at))
    }

    /// The lookup that gave the source of `tuple` the address of its destination.
    pub(super) fn known(&self, tuple: &Tuple, at: Timestamp) -> Option<Arc<LookupRecord>> {
        let [client, address] = [tuple.src, tuple.dst].map(|address| address.to_ip(tuple.version));
        self.of_client(client, address)?.lookup_at(at)
    }

    fn of_client(&self, client: IpAddr, address: IpAddr) -> Option<&Known> {
        self.names.get(&(client, address)).or_else(|| self.names.get(&(IpAddr::V4(Ipv4Addr::LOCALHOST), address)))
    }

    fn ask(&mut self, asked: Asked, open: LookupRecord) {
        self.order.push_back((open.lookup.at, asked));
        self.out.extend(self.open.insert(asked, open));
        if self.order.len() > MOST_OPEN
            && let Some((since, asked)) = self.order.pop_front()
        {
            self.give_up(since, asked);
        }
    }

    fn give_up_before(&mut self, now: Timestamp) {
        while let Some((since, asked)) = self.order.front().copied()
            && now.since(since) > PATIENCE
        {
            self.order.pop_front();
            self.give_up(since, asked);
        }
    }

    /// Gives up the question that was asked at `since`, if it still waits.
    fn give_up(&mut self, since: Timestamp, asked: Asked) {
        if self.open.get(&asked).is_some_and(|open| open.lookup.at == since) {
            self.out.extend(self.open.remove(&asked));
        }
    }

    fn learn(&mut self, answered: &LookupRecord, at: Timestamp) {
        if answered.lookup.addresses.is_empty() {
            return;
        }
        let ttl = answered.lookup.ttl.unwrap_or_default().max(LEAST_TTL);
        let lookup = Arc::new(answered.clone());
        for address in &answered.lookup.addresses {
            // Who asks a resolver on the same host connects from another address.
            let asked_here = answered.client.ip.is_loopback();
            let client = if asked_here { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { answered.client.ip };
            let until = at.plus(Nanos::from_secs(ttl.into()));
            self.names.insert((client, *address), Known { at, until, lookup: Arc::clone(&lookup) });
            self.learnt.push_back((client, *address, at));
        }
        while self.learnt.len() > MOST_NAMES
            && let Some((client, address, learnt)) = self.learnt.pop_front()
        {
            if self.names.get(&(client, address)).is_some_and(|known| known.at == learnt) {
                self.names.remove(&(client, address));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Address, IpVersion};
    use crate::record::Lookup;

    const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
    const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 53);

    fn packet(number: u64, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Packet {
        let (src, dst) = (Address::v4(from.0), Address::v4(to.0));
        let tuple = Tuple { src, dst, sport: from.1, dport: to.1, version: IpVersion::V4 };
        Packet::placeholder(Timestamp::from_nanos(number * 1_000_000), number, tuple)
    }

    fn query() -> Vec<u8> {
        b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x03lab\x00\x00\x01\x00\x01".to_vec()
    }

    /// An answer with these flags besides its being one, and without records.
    fn answer(flags: u8) -> Vec<u8> {
        let mut answer = query();
        answer[2] = 0x81 | flags;
        answer
    }

    fn records(lookups: &mut Lookups) -> Vec<LookupRecord> {
        let record = |event| match event {
            Event::Lookup(record) => *record,
            other => unreachable!("only lookups are made here: {other:?}"),
        };
        lookups.drain().map(record).collect()
    }

    #[test]
    fn a_lookup_over_tcp_comes_after_the_one_that_was_cut() {
        const TRUNCATED: u8 = 2;
        let mut lookups = Lookups::new(&Config::default());
        lookups.datagram(&packet(1, CLIENT, SERVER), &query());
        lookups.datagram(&packet(2, SERVER, CLIENT), &answer(TRUNCATED));
        let cut = records(&mut lookups);
        assert!(cut.first().is_some_and(|cut| cut.id == 1 && cut.lookup.truncated), "{cut:?}");
        let over_tcp = |name: &str, client: [u8; 4], seconds: u64| {
            let lookup = Lookup {
                at: Timestamp::from_nanos(seconds * 1_000_000_000),
                name: name.to_string(),
                kind: "A".to_string(),
                ..Lookup::default()
            };
            let end = |(ip, port)| Endpoint::new(Address::v4(ip), IpVersion::V4, port);
            let (client, server) = (end((client, 50_000)), end(SERVER));
            let mut record = LookupRecord { id: 9, client, server, transport: Transport::Tcp, netns: None, lookup };
            lookups.join(&mut record);
            record.lookup.after
        };
        assert_eq!(over_tcp("A.lab", CLIENT.0, 1), Some(1), "from another port, and written otherwise");
        assert_eq!(over_tcp("b.lab", CLIENT.0, 1), None, "another name");
        assert_eq!(over_tcp("a.lab", [10, 0, 0, 9], 1), None, "another client");
        assert_eq!(over_tcp("a.lab", CLIENT.0, 60), None, "long after");
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_counted() {
        let mut lookups = Lookups::new(&Config::default());
        lookups.datagram(&packet(1, CLIENT, SERVER), &query());
        let mut looped = answer(0);
        looped.splice(12..14, [0xc0, 12]);
        lookups.datagram(&packet(2, SERVER, CLIENT), &looped);
        lookups.datagram(&packet(3, SERVER, CLIENT), &looped);
        lookups.datagram(&packet(4, SERVER, CLIENT), &answer(0));
        let all = records(&mut lookups);
        let [lookup] = &all[..] else { panic!("one lookup, not {all:?}") };
        assert_eq!((lookup.lookup.malformed, lookup.lookup.code.as_deref()), (2, Some("NOERROR")));
    }
}
