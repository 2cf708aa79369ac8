//! Has the protocols take what connections carry, and keeps what they hold of it within bounds.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Config;
use super::connection::Connection;
use crate::input::PacketInput;
use crate::keylog::Keys;
use crate::packet::{Flags, Segment};
use crate::protocol::dns::Heard;
use crate::protocol::{Conversation, Payload};
use crate::record::{Application, LookupRecord};
use crate::time::Timestamp;

/// Connections that may hold payload at once.
const MOST_HOLDING: usize = 1 << 16;

impl Connection {
    /// Has the protocol take what the segment at hand brings.
    #[inline]
    pub(super) fn listen(
        &mut self,
        from: u8,
        input: &PacketInput<'_>,
        segment: &Segment,
        config: &Config,
        keys: Option<&Arc<Keys>>,
    ) {
        let brings = segment.len > 0 || segment.flags.intersects(Flags::FIN | Flags::RST);
        if brings && !self.is_unknown && config.protocols {
            self.hear(from, input, segment, config, keys);
        }
    }

    #[inline(never)]
    fn hear(
        &mut self,
        from: u8,
        input: &PacketInput<'_>,
        segment: &Segment,
        config: &Config,
        keys: Option<&Arc<Keys>>,
    ) {
        let at = input.packet.at;
        let start = segment.seq.plus(segment.flags.contains(Flags::SYN).into());
        if config.sampled
            && segment.flags.intersection(Flags::ACK | Flags::RST) == Flags::ACK
            && let Some(conversation) = &mut self.conversation
        {
            // Who only closes may have had all for long.
            let is_message = segment.len > 0;
            conversation.acknowledged(from ^ 1, segment.ack, at, is_message);
        }
        if segment.len > 0 {
            let [own, other] = super::connection::both(&mut self.sent, from);
            let (acknowledged, first) = (other.acked(), own.isn().map(|isn| isn.plus(1)));
            let payload = Payload { start, data: input.payload, len: segment.len, at, acknowledged, first };
            let opener = self.outcome.originator();
            let conversation = self.conversation.get_or_insert_with(|| Box::new(Conversation::new(opener)));
            keys.into_iter().for_each(|keys| conversation.unlock(keys));
            conversation.payload(from, &payload);
        }
        let Some(conversation) = &mut self.conversation else { return };
        if segment.flags.contains(Flags::FIN) {
            let end = start.plus(segment.len);
            if config.sampled {
                conversation.fin_of_sample(from, end, at);
            } else {
                conversation.fin(from, end, at);
            }
        }
        if segment.flags.contains(Flags::RST) {
            [0, 1].into_iter().for_each(|from| conversation.end(from, at));
        }
        if conversation.is_void() {
            self.is_unknown = true;
            if conversation.lookup.is_none() {
                self.conversation = None;
            }
        }
    }

    /// The messages of DNS that the segment at hand has brought, where the connection is one that is told.
    #[inline]
    pub(super) fn heard(&mut self, segment: &Segment, config: &Config) -> Option<Heard> {
        // Most connections are of no known protocol soon, or carry much that is passed over.
        let brings = segment.len > 0 || segment.flags.intersects(Flags::FIN | Flags::RST);
        if self.is_unknown || !brings || self.conversation.is_none() {
            return None;
        }
        self.heard_of_conversation(config)
    }

    #[inline(never)]
    fn heard_of_conversation(&mut self, config: &Config) -> Option<Heard> {
        let heard = self.conversation.as_mut()?.heard()?;
        (!self.passes(config)).then_some(heard)
    }

    /// Notes the lookup that gave the client the server's address.
    pub(super) fn looked_up(&mut self, lookup: Arc<LookupRecord>) {
        let opener = self.outcome.originator();
        self.conversation.get_or_insert_with(|| Box::new(Conversation::new(opener))).lookup = Some(lookup);
    }

    /// Octets of payload that are kept.
    pub(super) fn held(&self) -> usize {
        self.conversation.as_ref().map_or(0, |conversation| conversation.held())
    }

    /// What the protocols showed.
    pub(super) fn application(&self, config: &Config) -> Option<Application> {
        self.conversation.as_ref()?.record(config.show_secrets)
    }
}

/// What all connections together hold.
#[derive(Debug, Default)]
pub(super) struct Holding {
    octets: usize,
    /// Hash and identifier of those that began to hold something, the first one first. Some hold nothing any more.
    since: VecDeque<(u64, u64)>,
}

impl Holding {
    /// Notes what `connection` holds now, having held `before`.
    pub(super) fn change(&mut self, connection: &Connection, hash: u64, before: usize) {
        let now = connection.held();
        if before == 0 && now > 0 {
            self.since.push_back((hash, connection.id));
        }
        self.octets = (self.octets + now).saturating_sub(before);
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, connection: &Connection) {
        self.octets = self.octets.saturating_sub(connection.held());
    }

    pub(super) fn is_too_much(&self, most: usize) -> bool {
        self.octets > most || self.since.len() > MOST_HOLDING
    }

    /// The connection that has held something for the longest, which is left out from now on.
    pub(super) fn oldest(&mut self) -> Option<(u64, u64)> {
        self.since.pop_front()
    }

    /// Has a connection give up what it holds.
    pub(super) fn give_up(&mut self, connection: &mut Connection, at: Timestamp) {
        let before = connection.held();
        if let Some(conversation) = connection.conversation.as_mut().filter(|_| before > 0) {
            conversation.give_up(at);
            self.octets = (self.octets + connection.held()).saturating_sub(before);
        }
    }
}
