//! Messages of DNS (RFC 1035).

mod tcp;

use std::fmt::Display;
use std::net::IpAddr;

use domain::base::Message as Wire;
use domain::base::iana::{Opcode, Rtype};
use domain::rdata::{A, Aaaa, Cname, Mx, Ns, Ptr, Srv};

pub(super) use self::tcp::recognise;
pub use self::tcp::{Heard, Speakers};
use super::text::clean;
use crate::packet::Tuple;
use crate::record::Lookup;
use crate::time::Timestamp;

/// Octets of a message's header.
const HEADER: usize = 12;
/// Answers that are kept of one message, and addresses.
const MOST_ANSWERS: usize = 32;
/// Characters of a name.
const MOST_NAME: usize = 255;

/// The port of multicast DNS (RFC 6762, section 3).
pub const MULTICAST_PORT: u16 = 5353;

/// A message, as far as records need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its identifier.
    pub id: u16,
    /// Whether it answers.
    pub is_response: bool,
    /// Whether it has a question. Multicast answers need none (RFC 6762, section 6), nor those of a zone transfer after the
    /// first (RFC 5936, section 2.2).
    pub has_question: bool,
    /// The first question's name and type; without one, those of the first answer.
    pub name: String,
    /// See `name`.
    pub kind: String,
    /// The answer's code by name.
    pub code: String,
    /// It was cut to fit a datagram.
    pub truncated: bool,
    /// It has an OPT record.
    pub edns: bool,
    /// The answers in words.
    pub answers: Vec<String>,
    /// Addresses among them.
    pub addresses: Vec<IpAddr>,
    /// CNAMEs among them.
    pub cnames: u64,
    /// The smallest time to live among them.
    pub ttl: Option<u32>,
}

/// Whether a datagram may hold a message: a standard query or its answer, with one question; or a multicast query, which
/// may have several, and answers that are known already (RFC 6762, sections 7.1 and 18); or, with a port of multicast DNS,
/// an answer without a question (section 6).
pub fn may_be_message(octets: &[u8], tuple: &Tuple) -> bool {
    let is_multicast = tuple.sport == MULTICAST_PORT || tuple.dport == MULTICAST_PORT;
    match *octets {
        [_, _, 0x80..=0x87, _, 0, 0, a, b, ..] if is_multicast => u16::from_be_bytes([a, b]) > 0 && has_room(octets),
        [0, 0, 0 | 2, 0, a, b, ..] => u16::from_be_bytes([a, b]) > 0 && has_room(octets),
        _ => may_be_unicast(octets),
    }
}

/// Whether octets may be a standard query or its answer, with one question.
fn may_be_unicast(octets: &[u8]) -> bool {
    let &[_, _, flags, more, q, r, a, b, c, d, e, f, ..] = octets else { return false };
    let is_response = flags & 0x80 != 0;
    let opcode = flags >> 3 & 0xf;
    let [answers, authorities, additional] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
    let is_query = answers == 0 && authorities == 0 && additional <= 2 && more & 0xf == 0;
    opcode == 0 && [q, r] == [0, 1] && (is_query || is_response) && more & 0x40 == 0 && has_room(octets)
}

/// Whether a message is long enough for as many questions and records as it counts.
fn has_room(octets: &[u8]) -> bool {
    const QUESTION: usize = 5;
    const RECORD: usize = 11;
    let Some((&[_, _, _, _, q, r, a, b, c, d, e, f], rest)) = octets.split_first_chunk::<HEADER>() else {
        return false;
    };
    let records = [[a, b], [c, d], [e, f]].map(|count| usize::from(u16::from_be_bytes(count)));
    let questions = usize::from(u16::from_be_bytes([q, r]));
    rest.len() >= questions * QUESTION + records.iter().sum::<usize>() * RECORD
}

/// The identifier of the query that octets answer, by their header alone.
pub fn answers(octets: &[u8]) -> Option<u16> {
    let [a, b, flags, ..] = *octets else { return None };
    (flags & 0x80 != 0).then_some(u16::from_be_bytes([a, b]))
}

impl Message {
    /// Reads a message; `None` where it contradicts itself.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let wire = Wire::from_octets(octets).ok()?;
        let header = wire.header();
        if header.opcode() != Opcode::QUERY {
            return None;
        }
        let question = wire.first_question().map(|question| (name(&question.qname()), question.qtype().to_string()));
        let has_question = question.is_some();
        let of_answer = || {
            let first = wire.answer().ok()?.next()?.ok()?;
            Some((name(&first.owner()), first.rtype().to_string()))
        };
        let (name_asked, kind) = question.or_else(of_answer)?;
        let mut message = Self {
            id: header.id(),
            is_response: header.qr(),
            has_question,
            name: name_asked,
            kind,
            code: wire.opt_rcode().to_string(),
            truncated: header.tc(),
            edns: wire.opt().is_some(),
            ..Self::default()
        };
        for record in wire.answer().ok()?.take(MOST_ANSWERS) {
            // A message that was cut may end within a record.
            let Ok(record) = record else {
                return (!message.answers.is_empty() || message.truncated).then_some(message);
            };
            // Who answers without being asked one thing says what else there is under other names.
            if !has_question && !name(&record.owner()).eq_ignore_ascii_case(&message.name) {
                continue;
            }
            let ttl = record.ttl().as_secs();
            message.ttl = Some(message.ttl.map_or(ttl, |least| least.min(ttl)));
            let text = match record.rtype() {
                Rtype::A => record.to_record::<A>().ok()?.map(|record| message.address(record.data().addr().into())),
                Rtype::AAAA => {
                    record.to_record::<Aaaa>().ok()?.map(|record| message.address(record.data().addr().into()))
                }
                Rtype::CNAME => {
                    message.cnames += 1;
                    record.to_record::<Cname<_>>().ok()?.map(|record| name(record.data().cname()))
                }
                Rtype::PTR => record.to_record::<Ptr<_>>().ok()?.map(|record| name(record.data().ptrdname())),
                Rtype::NS => record.to_record::<Ns<_>>().ok()?.map(|record| name(record.data().nsdname())),
                Rtype::MX => record.to_record::<Mx<_>>().ok()?.map(|record| name(record.data().exchange())),
                Rtype::SRV => record.to_record::<Srv<_>>().ok()?.map(|record| name(record.data().target())),
                _ => None,
            };
            message.answers.push(text.unwrap_or_else(|| record.rtype().to_string()));
        }
        Some(message)
    }

    fn address(&mut self, ip: IpAddr) -> String {
        self.addresses.push(ip);
        ip.to_string()
    }

    /// The lookup that this query begins, at `at`.
    pub fn begin(self, at: Timestamp) -> Lookup {
        Lookup {
            at,
            query_id: self.id,
            name: self.name,
            kind: self.kind,
            edns: self.edns,
            queries: 1,
            ..Lookup::default()
        }
    }

    /// Whether this answers the lookup, or asks the same again.
    pub fn is_about(&self, lookup: &Lookup) -> bool {
        self.id == lookup.query_id && self.kind == lookup.kind && self.name.eq_ignore_ascii_case(&lookup.name)
    }

    /// Ends a lookup with this answer, at `at`; one without a query begins with it.
    pub fn answer(self, lookup: Option<Lookup>, at: Timestamp) -> Lookup {
        let latency_ns = lookup.as_ref().map(|lookup| at.since(lookup.at));
        let Self { id, name, kind, code, truncated, answers, addresses, cnames, ttl, .. } = self;
        let query = lookup.unwrap_or_else(|| Lookup { at, query_id: id, name, kind, ..Lookup::default() });
        Lookup { code: Some(code), latency_ns, truncated, answers, addresses, cnames, ttl, ..query }
    }
}

/// Whether a Content-Type says that a body is a message (RFC 8484, section 6).
pub(super) fn is_content_type(value: &[u8]) -> bool {
    let kind = value.split(|octet| *octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/dns-message")
}

fn name(name: &impl Display) -> String {
    clean(name.to_string().as_bytes(), MOST_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Address, IpVersion};

    /// A message of these flags and counts, behind which come these octets.
    fn message(id: u16, flags: [u8; 2], counts: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let counts = counts.map(|count| [0, count]).concat();
        [&id.to_be_bytes()[..], &flags, &counts, rest].concat()
    }

    /// Whether it may be one on its way between these ports.
    fn may_be(octets: &[u8], port: u16) -> bool {
        let [src, dst] = [[10, 0, 0, 1], [224, 0, 0, 251]].map(Address::v4);
        may_be_message(octets, &Tuple { src, dst, sport: port, dport: port, version: IpVersion::V4 })
    }

    const QUESTION: &[u8] = b"\x01a\x03lab\x00\x00\x0f\x00\x01";

    #[test]
    fn answers_of_many_types_are_named() {
        // MX 10 mx.a.lab, NS ns.a.lab, and a type that is not known, 300 s each.
        let answers = b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x01\x2c\x00\x07\x00\x0a\x02mx\xc0\x0c\
            \xc0\x0c\x00\x02\x00\x01\x00\x00\x01\x2c\x00\x05\x02ns\xc0\x0c\
            \xc0\x0c\xff\x00\x00\x01\x00\x00\x01\x2c\x00\x00";
        let octets = message(7, [0x81, 0x80], [1, 3, 0, 0], &[QUESTION, answers].concat());
        assert!(may_be(&octets, 53));
        let message = Message::parse(&octets).expect("it is a message");
        assert_eq!(message.answers, ["mx.a.lab", "ns.a.lab", "TYPE65280"]);
        assert_eq!((message.name.as_str(), message.kind.as_str(), message.ttl), ("a.lab", "MX", Some(300)));
    }

    #[test]
    fn multicast_queries_may_have_more() {
        let known = b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x01\x2c\x00\x07\x00\x0a\x02mx\xc0\x0c";
        let two = [QUESTION, b"\xc0\x0c\x00\x01\x00\x01", known].concat();
        assert!(may_be(&message(0, [0, 0], [2, 1, 0, 0], &two), 5353));
        // Not of unicast, nor without room for what it counts.
        assert!(!may_be(&message(9, [0, 0], [2, 1, 0, 0], &two), 5353));
        assert!(!may_be(&message(0, [0, 0], [9, 9, 0, 0], &two), 5353));
        assert!(!may_be(&message(0, [0, 0], [0, 0, 0, 0], &two), 5353));
    }

    #[test]
    fn multicast_answers_need_no_question() {
        const OWNER: &[u8] = b"\x01a\x05local\0";
        const AN_ADDRESS: &[u8] = b"\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\0\0\x09";
        let another = [&b"\x01b\x05local\0"[..], AN_ADDRESS].concat();
        let octets = message(0, [0x84, 0], [0, 2, 0, 0], &[OWNER, AN_ADDRESS, &another].concat());
        assert!(may_be(&octets, 5353));
        assert!(!may_be(&octets, 53), "elsewhere they do");
        let parsed = Message::parse(&octets).expect("it is a message");
        assert_eq!((parsed.name.as_str(), parsed.kind.as_str(), parsed.has_question), ("a.local", "A", false));
        assert_eq!(parsed.addresses, [IpAddr::from([10, 0, 0, 9])], "not that of another name");
        assert_eq!(Message::parse(&message(0, [0x84, 0], [0, 0, 0, 0], &[])), None, "neither question nor answer");
        let looped = message(0, [0x84, 0], [0, 1, 0, 0], &[&b"\x01a\xc0\x0c"[..], AN_ADDRESS].concat());
        assert_eq!(Message::parse(&looped), None);
    }

    #[test]
    fn names_that_refer_to_themselves_end() {
        let octets = message(7, [1, 0], [1, 0, 0, 0], b"\x01a\xc0\x0c\x00\x01\x00\x01");
        assert_eq!(Message::parse(&octets), None);
    }
}
