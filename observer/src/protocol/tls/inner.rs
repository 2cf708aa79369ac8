//! What is inside of TLS: the octets that were sealed, as a conversation of their own.

use std::sync::Arc;

use super::super::dns::Heard;
use super::super::{Conversation, Payload};
use crate::keylog::Keys;
use crate::record::{Application, Side, Sides};
use crate::sequence::Seq;
use crate::time::Timestamp;

/// Octets of early data that wait for the server's word on them.
const MOST_EARLY: usize = 64 << 10;

/// The octets of both ends.
#[derive(Debug)]
pub(super) struct Inner {
    conversation: Conversation,
    /// How many octets there were, numbered as a segment's are.
    sent: Sides<Seq>,
    early: Vec<Opened>,
    /// When there was more of it than is kept.
    early_cut: Option<Timestamp>,
}

/// What one record held.
#[derive(Debug)]
struct Opened {
    text: Vec<u8>,
    begun: Timestamp,
    at: Timestamp,
}

impl Inner {
    /// Nothing yet. `depth` is how many times over it is inside.
    pub(super) fn new(keys: &Arc<Keys>, depth: u8) -> Self {
        let mut conversation = Conversation::within(depth);
        conversation.unlock(keys);
        Self { conversation, sent: Sides::default(), early: Vec::new(), early_cut: None }
    }

    pub(super) fn unlock(&mut self, keys: &Arc<Keys>) {
        self.conversation.unlock(keys);
    }

    /// Takes in what a record held that came from `begun` to `at`.
    pub(super) fn take(&mut self, from: Side, text: &[u8], begun: Timestamp, at: Timestamp) {
        let Some((first, rest)) = text.split_at_checked(1) else { return };
        // What is answered is answered by the last octet, and begins with the first.
        if begun < at {
            self.payload(from, first, 1, begun);
            self.payload(from, rest, rest.len(), at);
        } else {
            self.payload(from, text, text.len(), at);
        }
    }

    /// Takes in early data, of which it is not known yet whether the server takes it.
    pub(super) fn take_early(&mut self, text: &[u8], begun: Timestamp, at: Timestamp) {
        let held: usize = self.early.iter().map(|opened| opened.text.len()).sum();
        if self.early_cut.is_some() || held + text.len() > MOST_EARLY {
            self.early_cut.get_or_insert(at);
        } else {
            self.early.push(Opened { text: text.to_vec(), begun, at });
        }
    }

    /// The server has taken the early data, or not.
    pub(super) fn settle_early(&mut self, is_accepted: bool) {
        let (early, cut) = (std::mem::take(&mut self.early), self.early_cut.take());
        if is_accepted {
            early.iter().for_each(|Opened { text, begun, at }| self.take(Side::Client, text, *begun, *at));
            cut.into_iter().for_each(|at| self.lose(Side::Client, at));
        }
    }

    /// Octets of an end that would be passed over unread.
    pub(super) fn passes(&self, from: Side) -> u64 {
        self.conversation.passes(direction(from), *self.sent.of(from))
    }

    /// Passes over so many octets, unread.
    pub(super) fn pass(&mut self, from: Side, octets: usize, at: Timestamp) {
        self.payload(from, &[], octets, at);
    }

    /// Octets are missing, nobody knows how many.
    pub(super) fn lose(&mut self, from: Side, at: Timestamp) {
        self.conversation.lose(direction(from), at);
    }

    /// Nothing more comes from one end.
    pub(super) fn end(&mut self, from: Side, at: Timestamp) {
        self.conversation.end(direction(from), at);
    }

    /// Hands over the messages of DNS that came since this was asked last.
    pub(super) fn hand_over(&mut self, into: &mut Heard) {
        self.conversation.hand_over(into);
    }

    /// Octets that are kept.
    pub(super) fn held(&self) -> usize {
        let early = self.early.iter().map(|opened| opened.text.capacity()).sum::<usize>();
        self.conversation.held() + early
    }

    /// Adds what was learnt to the record.
    pub(super) fn record(&self, into: &mut Application) {
        self.conversation.tell(into);
    }

    fn payload(&mut self, from: Side, data: &[u8], len: usize, at: Timestamp) {
        let sent = self.sent.of_mut(from);
        let start = *sent;
        // A record has no more than 2¹⁶ octets.
        let len = len as u32;
        *sent = start.plus(len);
        let payload = Payload { start, data, len, at, acknowledged: None, first: None };
        self.conversation.payload(direction(from), &payload);
    }
}

const fn direction(from: Side) -> u8 {
    match from {
        Side::Client => 0,
        Side::Server => 1,
    }
}
