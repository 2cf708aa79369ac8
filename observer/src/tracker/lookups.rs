//! Lookups of names: questions and answers put together, and the names that they gave to addresses.

mod multicast;
mod names;
mod repeats;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use self::multicast::Askers;
use self::names::Names;
use self::repeats::{Topic, Unsettled};
use super::opened::Opened;
use super::{Config, Event};
use crate::packet::{Notes, Packet, Segment, Tuple};
use crate::protocol::dns::{self, Heard, MULTICAST_PORT, Message};
use crate::record::{DnsService, Endpoint, Lookup, LookupRecord, Transport};
use crate::time::{Nanos, Timestamp};

/// Questions that wait for their answers.
const MOST_OPEN: usize = 4096;

/// How long after the last query an answer is waited for, or one more query is taken for a repetition.
const PATIENCE: Nanos = Nanos::from_secs(10);

/// Every lookup that was seen.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    open: HashMap<Asked, Open>,
    /// The last query of each of the open ones, the first one first. Some are answered, or were asked again since.
    order: VecDeque<Queried>,
    /// The open ones in the order in which they were asked first.
    opened: Opened<Asked>,
    /// Queries so far.
    queries: u64,
    unsettled: Unsettled,
    askers: Askers,
    names: Names,
    out: Vec<LookupRecord>,
    /// Datagrams that contradict themselves, and answer nothing that was asked.
    malformed: u64,
    netns: Option<u32>,
    /// Answers are told only with their questions: where not every packet is seen, the others are for other hosts.
    sampled: bool,
}

/// What finds the question to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    client: Endpoint,
    server: Endpoint,
    transport: Transport,
    id: u16,
    /// What for, of multicast questions: those of mDNS have no identifier, and nobody knows who will answer.
    topic: Option<Topic>,
}

/// How a message came.
#[derive(Clone, Copy, Debug)]
struct Way {
    client: Endpoint,
    server: Endpoint,
    transport: Transport,
    service: DnsService,
    /// The number of its packet.
    number: u64,
    at: Timestamp,
    /// What it says names addresses.
    names: bool,
}

/// A lookup that waits for its answer.
#[derive(Debug)]
struct Open {
    record: LookupRecord,
    /// The number of its last query.
    last: u64,
}

/// One query: its number, for several may have one time, and time may run backwards.
#[derive(Clone, Copy, Debug)]
struct Queried {
    at: Timestamp,
    number: u64,
    asked: Asked,
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
            let asked = |id| Asked { client: to, server: from, transport: Transport::Udp, id, topic: None };
            if let Some(open) = dns::answers(payload).and_then(|id| self.open.get_mut(&asked(id))) {
                open.record.lookup.malformed += 1;
            } else {
                self.malformed += 1;
            }
            return;
        };
        let service = match (from.port, to.port) {
            (MULTICAST_PORT, _) | (_, MULTICAST_PORT) => DnsService::Mdns,
            (5355, _) | (_, 5355) => DnsService::Llmnr,
            _ => DnsService::Dns,
        };
        let (client, server) = if message.is_response { (to, from) } else { (from, to) };
        let (transport, number) = (Transport::Udp, packet.number);
        self.message(message, Way { client, server, transport, service, number, at, names: true });
    }

    /// Takes in messages that a segment of direction `from` brought, in whichever direction they were sent.
    pub(super) fn over_tcp(&mut self, packet: &Packet, from: u8, heard: Heard) {
        let (at, number) = (packet.at, packet.number);
        self.give_up_before(at);
        let tuple = if from == heard.client { packet.tuple } else { packet.tuple.reversed() };
        let client = Endpoint::new(tuple.src, tuple.version, tuple.sport);
        let server = Endpoint::new(tuple.dst, tuple.version, tuple.dport);
        let (transport, service) = (Transport::Tcp, DnsService::Dns);
        // What was opened is known where its connection is followed, and nowhere else.
        let way = Way { client, server, transport, service, number, at, names: !heard.opened };
        heard.messages.into_iter().for_each(|message| self.message(message, way));
    }

    fn message(&mut self, message: Message, way: Way) {
        let Way { client, server, transport, service, number: id, at, .. } = way;
        let is_multicast = service != DnsService::Dns;
        let topic = is_multicast.then(|| Topic::new(client.ip, &message.name, &message.kind));
        let asked = Asked { client, server, transport, id: message.id, topic };
        let about = |lookup| LookupRecord { id, client, server, transport, netns: self.netns, lookup };
        if message.is_response && is_multicast {
            self.answer_everyone(message, about(Lookup { service, ..Lookup::default() }), way);
        } else if message.is_response {
            self.answer(asked, message, about(Lookup { service, ..Lookup::default() }), way);
        } else if let Some(open) = self.open.get_mut(&asked).filter(|open| message.is_about(&open.record.lookup)) {
            open.ask_again(self.queries);
            self.unsettled.ask_again(self::topic(&open.record), at);
            self.queried(asked, at);
        } else {
            let record = about(Lookup { service, ..message.begin(at) });
            self.ask(asked, record);
        }
    }

    /// Datagrams that contradict themselves, and answer nothing that was asked.
    pub(super) const fn malformed(&self) -> u64 {
        self.malformed
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
        while let Some(query) = self.order.pop_front() {
            self.out.extend(self.open.remove(&query.asked).map(|open| open.record));
        }
    }

    /// The number of the first lookup that waits for its answer.
    pub(super) fn first_open(&mut self) -> Option<u64> {
        let Self { open, opened, .. } = self;
        let all = open.iter().map(|(asked, open)| (open.record.id, *asked));
        opened.first(all, |id, asked| is_open(open, asked, id))
    }

    /// The lookup that gave the opener of a connection the address it goes to, whose first segment is at hand.
    pub(super) fn of(&self, packet: &Packet, segment: &Segment) -> Option<Arc<LookupRecord>> {
        if self.names.is_empty() {
            return None;
        }
        let there = (!segment.flags.is_syn_ack()).then(|| self.known(packet, true)).flatten();
        let back = || (!segment.flags.is_bare_syn()).then(|| self.known(packet, false)).flatten();
        there.or_else(back)
    }

    /// The lookup that gave one end of a packet the address of the other: that of its sender, where `by_sender`.
    pub(super) fn known(&self, packet: &Packet, by_sender: bool) -> Option<Arc<LookupRecord>> {
        let Tuple { src, dst, version, .. } = if by_sender { packet.tuple } else { packet.tuple.reversed() };
        let [client, address] = [src, dst].map(|address| address.to_ip(version));
        // Where the source says what was sent from here, others do not pass for this host.
        let may_be_here = !self.sampled || packet.notes.contains(Notes::OUTBOUND) == by_sender;
        self.names.of(client, address, may_be_here, packet.at)
    }

    fn ask(&mut self, asked: Asked, mut record: LookupRecord) {
        let at = record.lookup.at;
        // Who asks everyone may well ask again while answers come.
        if record.lookup.service == DnsService::Dns {
            let repeats = self.unsettled.ask(topic(&record), record.id, record.server.ip, at);
            record.lookup.repeats = repeats.map(Box::new);
        }
        if asked.topic.is_some() {
            self.askers.ask(Askers::topic(&record.lookup.name, &record.lookup.kind), asked);
        }
        let Self { open, opened, .. } = self;
        opened.push(record.id, asked, open.len(), |id, asked| is_open(open, asked, id));
        let before = self.open.insert(asked, Open { record, last: self.queries });
        self.out.extend(before.map(|open| open.record));
        self.queried(asked, at);
    }

    /// Takes in a multicast answer: it answers whoever asked, and tells who it is from.
    fn answer_everyone(&mut self, message: Message, unasked: LookupRecord, way: Way) {
        const ANY: &str = "ANY";
        let alone = Some(way.client.ip).filter(|ip| !ip.is_multicast());
        let mut asked = self.askers.answer(Askers::topic(&message.name, &message.kind), alone);
        asked.extend(self.askers.answer(Askers::topic(&message.name, ANY), alone));
        for open in asked.iter().filter_map(|asked| self.open.remove(asked)) {
            let lookup = message.clone().answer(Some(open.record.lookup), way.at);
            let answered = LookupRecord { server: way.server, lookup, ..open.record };
            self.names.learn(&answered, self.sampled, way.at);
            self.out.push(answered);
        }
        // What is said unasked, and is no answer to a question, is no lookup.
        if asked.is_empty() && message.has_question && !self.sampled {
            let service = unasked.lookup.service;
            let lookup = Lookup { service, ..message.answer(None, way.at) };
            self.out.push(LookupRecord { lookup, ..unasked });
        }
    }

    /// Takes in an answer. `unasked` is the record of it where no question was seen.
    fn answer(&mut self, asked: Asked, message: Message, unasked: LookupRecord, way: Way) {
        if !message.has_question {
            return;
        }
        let at = way.at;
        let is_open = self.open.get(&asked).is_some_and(|open| message.is_about(&open.record.lookup));
        let open = if is_open { self.open.remove(&asked).map(|open| open.record) } else { None };
        let truncated = message.truncated;
        let mut answered = match open {
            Some(open) => LookupRecord { lookup: message.answer(Some(open.lookup), at), ..open },
            None => {
                let service = unasked.lookup.service;
                LookupRecord { lookup: Lookup { service, ..message.answer(None, at) }, ..unasked }
            }
        };
        if is_open {
            answered.lookup.settle(self.unsettled.answer(topic(&answered), truncated).map(|chain| chain.queries));
        }
        if way.names {
            // What is passed on to where not every packet is seen are this host's own lookups.
            self.names.learn(&answered, self.sampled, at);
        }
        if is_open || !self.sampled {
            self.out.push(answered);
        }
    }

    /// Notes the query at hand, and keeps what waits within bounds: what was asked last the longest ago is given up.
    fn queried(&mut self, asked: Asked, at: Timestamp) {
        self.order.push_back(Queried { at, number: self.queries, asked });
        self.queries += 1;
        if self.order.len() > 2 * MOST_OPEN {
            self.order.retain(|query| self.open.get(&query.asked).is_some_and(|open| open.last == query.number));
        }
        while self.open.len() > MOST_OPEN
            && let Some(query) = self.order.pop_front()
        {
            self.give_up(query);
        }
    }

    fn give_up_before(&mut self, now: Timestamp) {
        while let Some(query) = self.order.front().copied()
            && now.since(query.at) > PATIENCE
        {
            self.order.pop_front();
            self.give_up(query);
        }
    }

    /// Gives up the question that this was the last query of, if it still waits.
    fn give_up(&mut self, Queried { number, asked, .. }: Queried) {
        if self.open.get(&asked).is_some_and(|open| open.last == number)
            && let Some(Open { record, .. }) = self.open.remove(&asked)
        {
            if asked.topic.is_some() {
                self.askers.give_up(Askers::topic(&record.lookup.name, &record.lookup.kind), &asked);
            }
            self.out.push(record);
        }
    }
}

fn is_open(open: &HashMap<Asked, Open>, asked: &Asked, id: u64) -> bool {
    open.get(asked).is_some_and(|open| open.record.id == id)
}

impl Open {
    fn ask_again(&mut self, query: u64) {
        self.last = query;
        self.record.lookup.queries += 1;
        if let Some(repeats) = &mut self.record.lookup.repeats {
            repeats.queries += 1;
        }
    }
}

/// What a lookup is about.
fn topic(record: &LookupRecord) -> Topic {
    Topic::new(record.client.ip, &record.lookup.name, &record.lookup.kind)
}

#[cfg(test)]
mod tests;
