//! Databases and queues, lightly: what was asked for by name, when the answer came, and whether it was an error.
//!
//! Each protocol has a file that reads the heads of its messages (`Wire`); bodies are passed over. What the messages hold
//! is in no record: names of commands and codes of errors are.

mod amqp;
mod kafka;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod postgres;
mod redis;

pub(super) use self::amqp::recognise as recognise_amqp;
pub(super) use self::kafka::recognise as recognise_kafka;
pub(super) use self::memcached::recognise as recognise_memcached;
pub(super) use self::mongodb::recognise as recognise_mongodb;
pub(super) use self::mqtt::recognise as recognise_mqtt;
pub(super) use self::mysql::recognise as recognise_mysql;
pub(super) use self::postgres::recognise as recognise_postgres;
pub(super) use self::redis::recognise as recognise_redis;

use std::collections::VecDeque;
use std::fmt::Debug;

use super::text::clean;
use super::{Arrival, Next, Protocol, Take};
use crate::record::{Application, CallsRecord, Exchange, ProtocolName, Side, Sides, Spread};
use crate::time::Timestamp;

/// Exchanges that are kept, and calls that wait for their answers.
const MOST_EXCHANGES: usize = 100;
const MOST_WAITING: usize = 1000;
/// Octets of a head.
const MOST_HEAD: usize = 64 << 10;
/// Characters of a command's name.
const MOST_NAME: usize = 32;

/// How the messages of a protocol begin.
trait Wire: Debug + Send {
    /// The protocol.
    const NAME: ProtocolName;

    /// Reads what stands at the front of a direction, which is no less than one octet.
    fn head(&mut self, from: Side, octets: &[u8]) -> Head;
}

/// What stands at the front of a direction.
#[derive(Debug)]
enum Head {
    /// Too little to tell: there must be so many octets.
    Need(usize),
    /// A message, or a part of one.
    Part(Part),
    /// Nothing that the protocol knows.
    Malformed,
    /// Another protocol, behind so many octets.
    Change(usize),
    /// Nothing more is wanted of this direction.
    Over,
}

/// A message, or a part of one.
#[derive(Debug, Default)]
struct Part {
    /// Octets, its head included.
    length: u64,
    /// A call begins here.
    ask: Option<Ask>,
    /// The call that began last is sent as a whole with this part.
    asked: bool,
    /// This belongs to the answer of the call with this key; of the first that waits where there is none.
    answers: Option<Option<u64>>,
    /// The answer ends here.
    done: bool,
    /// The code of an error.
    error: Option<String>,
}

/// A call.
#[derive(Debug)]
struct Ask {
    /// What its answer is known by.
    key: u64,
    /// What is asked for.
    name: String,
    /// How it is answered.
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// At once.
    Prompt,
    /// When there is something: how long that takes says nothing of the server.
    Patient,
    /// Not at all.
    Silent,
}

impl Part {
    /// Octets that say nothing of calls.
    fn of(length: u64) -> Self {
        Self { length, ..Self::default() }
    }

    /// A whole call.
    fn call(length: u64, key: u64, name: &str, kind: Kind) -> Self {
        let ask = Ask { key, name: clean(name.as_bytes(), MOST_NAME), kind };
        Self { length, ask: Some(ask), asked: true, ..Self::default() }
    }

    /// A part of an answer; the last one where it is `done`.
    fn answer(length: u64, key: Option<u64>, done: bool) -> Self {
        Self { length, answers: Some(key), done, ..Self::default() }
    }

    fn with_error(self, error: Option<String>) -> Self {
        Self { error, ..self }
    }
}

/// A connection that speaks one of these protocols.
#[derive(Debug)]
struct Calls<W> {
    wire: W,
    /// The part of each end that goes by.
    parts: Sides<Option<Part>>,
    exchanges: Vec<Exchange>,
    waiting: VecDeque<Waiting>,
    /// The exchange that began last.
    last: Option<usize>,
    facts: CallsRecord,
    malformed: u64,
}

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    key: u64,
    /// Which exchange it is, where that is kept.
    exchange: Option<usize>,
    answered: bool,
}

impl<W> Calls<W> {
    fn new(wire: W) -> Self {
        Self {
            wire,
            parts: Sides::default(),
            exchanges: Vec::new(),
            waiting: VecDeque::new(),
            last: None,
            facts: CallsRecord::default(),
            malformed: 0,
        }
    }
}

impl<W: Wire> Protocol for Calls<W> {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, at: Timestamp) -> Take {
        match arrival {
            Arrival::Octets([]) => Take::used(0),
            Arrival::Octets(octets) => match self.wire.head(from, octets) {
                Head::Need(least) if least > MOST_HEAD => self.give_up(),
                Head::Need(least) => Take::wait_for(least.max(octets.len() + 1)),
                Head::Part(part) => {
                    let length = part.length.max(1);
                    self.begin(&part, at);
                    *self.parts.of_mut(from) = Some(part);
                    Take::then(0, Next::Pass(length))
                }
                Head::Change(octets) => Take::then(octets, Next::Change),
                Head::Malformed => self.give_up(),
                Head::Over => Take::nothing(),
            },
            Arrival::Passed(octets) => {
                if let Some(part) = self.parts.of_mut(from).take().filter(|part| part.length <= octets) {
                    self.end(part, at);
                }
                Take::used(0)
            }
            // Where the next message begins is not known, nor what it answers.
            Arrival::Gap(_) => {
                self.waiting.clear();
                *self.facts.gap.of_mut(from) = true;
                *self.parts.of_mut(from) = None;
                Take::nothing()
            }
            Arrival::End => Take::nothing(),
        }
    }

    fn record(&self, into: &mut Application) {
        into.speaks(W::NAME);
        into.malformed += self.malformed;
        if self.facts.requests == 0 && self.facts.gap == Sides::default() {
            return;
        }
        let first_byte_ns = Spread::of(self.exchanges.iter().filter_map(Exchange::first_byte_ns));
        into.calls = Some(CallsRecord { first_byte_ns, ..self.facts });
        into.exchanges.entries.extend_from_slice(&self.exchanges);
        into.exchanges.cut += self.facts.requests.saturating_sub(self.exchanges.len() as u64);
    }
}

impl<W: Wire> Calls<W> {
    /// A part has begun.
    fn begin(&mut self, part: &Part, at: Timestamp) {
        if let Some(Ask { key, name, kind }) = &part.ask {
            self.settle();
            self.facts.requests += 1;
            self.last = None;
            if *kind != Kind::Patient && self.exchanges.len() < MOST_EXCHANGES {
                self.last = Some(self.exchanges.len());
                let (method, complete) = (Some(name.clone()), *kind == Kind::Silent);
                self.exchanges.push(Exchange { method, complete, request: Some(at), ..Exchange::default() });
            }
            if self.waiting.len() == MOST_WAITING {
                self.waiting.pop_front();
            }
            if *kind != Kind::Silent {
                self.waiting.push_back(Waiting { key: *key, exchange: self.last, answered: false });
            }
        }
        if let Some(key) = part.answers
            && let Some(waiting) = self.waits(key)
            && !std::mem::replace(&mut waiting.answered, true)
        {
            let exchange = waiting.exchange;
            self.facts.responses += 1;
            if let Some(exchange) = self.exchange(exchange) {
                exchange.response = Some(at);
            }
        }
    }

    /// A part has gone by.
    fn end(&mut self, part: Part, at: Timestamp) {
        if part.asked
            && let Some(exchange) = self.exchange(self.last)
        {
            exchange.request_end = Some(at);
        }
        self.facts.errors += u64::from(part.error.is_some());
        let Some(key) = part.answers else { return };
        let Some(waiting) = self.waits(key).copied() else { return };
        if let Some(exchange) = self.exchange(waiting.exchange) {
            exchange.response_end = Some(at);
            exchange.complete |= part.done;
            exchange.error = exchange.error.take().or(part.error);
        }
        if part.done
            && let Some(place) = self.waiting.iter().position(|other| other.key == waiting.key)
        {
            self.waiting.remove(place);
        }
    }

    /// Where the end of an answer does not show, the next call shows it.
    fn settle(&mut self) {
        if let Some(waiting) = self.waiting.front().copied().filter(|waiting| waiting.answered) {
            self.waiting.pop_front();
            if let Some(exchange) = self.exchange(waiting.exchange) {
                exchange.complete = true;
            }
        }
    }

    fn waits(&mut self, key: Option<u64>) -> Option<&mut Waiting> {
        match key {
            None => self.waiting.front_mut(),
            Some(key) => self.waiting.iter_mut().find(|waiting| waiting.key == key),
        }
    }

    fn exchange(&mut self, index: Option<usize>) -> Option<&mut Exchange> {
        self.exchanges.get_mut(index?)
    }

    fn give_up(&mut self) -> Take {
        self.malformed += 1;
        Take::nothing()
    }
}

/// The line at the front, without its end; and how many octets it takes with it.
fn line(octets: &[u8]) -> Option<(&[u8], usize)> {
    let end = octets.iter().position(|octet| *octet == b'\n')?;
    let line = octets.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// A decimal number.
fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
