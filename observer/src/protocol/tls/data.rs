//! The first request and its answer, by nothing but the lengths and times of encrypted records.

use crate::record::{Side, TlsData};
use crate::time::{Nanos, Timestamp};

/// Octets of a record that may be a session ticket (RFC 8446, section 4.6.1), and how many of them servers send.
const TICKET: std::ops::RangeInclusive<u16> = 60..=1200;
const MOST_TICKETS: usize = 2;

/// Servers send their tickets at once, and answer later: after no less than this.
const PAUSE: Nanos = Nanos::from_millis(1);

/// Records of application data after the handshake.
#[derive(Debug, Default)]
pub(super) struct FirstData {
    /// When the request began and ended.
    request: Option<(Timestamp, Timestamp)>,
    /// The first records of the answer, one more than may be tickets: when each began and how long it is.
    answer: Vec<(Timestamp, u16)>,
    answer_end: Option<Timestamp>,
    /// How many records came before the request: tickets.
    tickets: usize,
    /// The client has sent the next request, or the server spoke first.
    is_over: bool,
}

impl FirstData {
    /// A record begins. `has_tickets` where the version sends session tickets like data.
    pub(super) fn begin(&mut self, from: Side, length: u16, at: Timestamp, has_tickets: bool) {
        if self.is_over {
            return;
        }
        match (from, &mut self.request) {
            (Side::Client, None) => self.request = Some((at, at)),
            (Side::Client, Some((_, end))) => {
                if self.answer.iter().all(|(_, length)| has_tickets && TICKET.contains(length))
                    && self.answer.len() <= MOST_TICKETS
                {
                    self.answer.clear();
                    *end = at;
                } else {
                    self.is_over = true;
                }
            }
            (Side::Server, None) => {
                self.tickets += 1;
                self.is_over = !has_tickets;
            }
            (Side::Server, Some(_)) => {
                if self.answer.len() <= MOST_TICKETS {
                    self.answer.push((at, length));
                }
                self.answer_end = Some(at);
            }
        }
    }

    /// The record at hand is at its end.
    pub(super) fn end(&mut self, from: Side, at: Timestamp) {
        match (from, &mut self.request) {
            _ if self.is_over => {}
            (Side::Client, Some((_, end))) if self.answer.is_empty() => *end = at,
            (Side::Server, Some(_)) => self.answer_end = self.answer_end.map(|_| at),
            _ => {}
        }
    }

    /// What was seen. Leading records that may be tickets are none of the answer where something follows them later.
    pub(super) fn seen(&self, has_tickets: bool) -> Option<TlsData> {
        let (request, request_end) = self.request?;
        let first = self.answer.first().map(|(at, _)| *at);
        let may_be_tickets = |count: usize| {
            let tickets = self.answer.get(..count).unwrap_or_default();
            has_tickets
                && count + self.tickets <= MOST_TICKETS
                && tickets.iter().all(|(_, length)| TICKET.contains(length))
        };
        let is_later = |pair: &[(Timestamp, u16)]| match pair {
            [(before, _), (after, _)] => after.since(*before) >= PAUSE,
            _ => false,
        };
        let pause = self.answer.windows(2).position(is_later).map(|before| before + 1);
        let later = pause.filter(|count| may_be_tickets(*count)).and_then(|count| self.answer.get(count));
        let response = later.map(|(at, _)| *at).or(first);
        Some(TlsData { request, request_end, response, response_end: self.answer_end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn tickets_are_not_the_answer() {
        let mut data = FirstData::default();
        data.begin(Side::Client, 90, at(1), true);
        data.end(Side::Client, at(2));
        [(3, 250), (3, 250), (103, 500), (104, 9000)]
            .into_iter()
            .for_each(|(time, length)| data.begin(Side::Server, length, at(time), true));
        data.end(Side::Server, at(110));
        data.begin(Side::Client, 90, at(200), true);
        data.begin(Side::Server, 90, at(210), true);
        let seen = TlsData { request: at(1), request_end: at(2), response: Some(at(103)), response_end: Some(at(110)) };
        assert_eq!(data.seen(true), Some(seen));
    }

    #[test]
    fn a_server_that_speaks_first_answers_nothing() {
        let mut data = FirstData::default();
        data.begin(Side::Server, 50, at(1), false);
        data.begin(Side::Client, 50, at(2), false);
        assert_eq!(data.seen(false), None);
    }
}
