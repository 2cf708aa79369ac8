//! Connections that speak DNS over TCP and are followed by another tracker: what they say names addresses for everyone.

use std::collections::{HashMap, VecDeque};

use super::Tracker;
use crate::input::PacketInput;
use crate::packet::{Body, Flags, Packet, Segment};
use crate::protocol::dns::Heard;
use crate::protocol::{Conversation, Payload};
use crate::sequence::Seq;

/// Connections that are listened to, and octets of unfinished messages that they may keep together.
const MOST: usize = 1024;
const MOST_HELD: usize = 4 << 20;

/// What is overheard.
#[derive(Debug, Default)]
pub(super) struct Overheard {
    /// By the flow's hash.
    connections: HashMap<u64, Overhearing>,
    /// The order in which they were first heard. Some are over.
    order: VecDeque<u64>,
    held: usize,
}

/// One connection. Its directions are numbered as everywhere: by the order of the ends in the key.
#[derive(Debug)]
struct Overhearing {
    conversation: Conversation,
    /// What each end has acknowledged.
    acked: [Option<Seq>; 2],
}

impl Tracker {
    /// Takes in the messages of DNS that a segment of direction `from` brought.
    pub(super) fn look_up(&mut self, packet: &Packet, from: u8, heard: Heard) {
        self.lookups.over_tcp(packet, from, heard);
        self.out.extend(self.lookups.drain());
    }

    /// Takes in a segment of a connection that speaks DNS and is followed by another tracker, for what it says of names.
    /// That tracker gives out the same lookups.
    pub fn overhear(&mut self, input: &PacketInput<'_>) {
        if let Body::Tcp(segment) = &input.packet.body
            && self.config.protocols
        {
            let (from, heard) = self.overheard.take(input, segment);
            if let Some(heard) = heard {
                self.look_up(input.packet, from, heard);
            }
        }
    }
}

impl Overheard {
    /// Takes in a segment: its direction, and the messages that it completes.
    pub(super) fn take(&mut self, input: &PacketInput<'_>, segment: &Segment) -> (u8, Option<Heard>) {
        let packet = input.packet;
        let from = u8::from(!packet.tuple.is_canonical());
        if segment.flags.contains(Flags::SYN) {
            // Another connection, with the same ends.
            self.forget(packet.hash);
        }
        let connection = self.connections.entry(packet.hash).or_insert_with(|| {
            self.order.push_back(packet.hash);
            Overhearing { conversation: Conversation::new(from), acked: [None; 2] }
        });
        let before = connection.conversation.held();
        connection.segment(from, input, segment);
        let heard = connection.conversation.heard();
        self.held = (self.held + connection.conversation.held()).saturating_sub(before);
        if segment.flags.contains(Flags::RST) {
            self.forget(packet.hash);
        }
        while (self.order.len() > MOST || self.held > MOST_HELD)
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(oldest);
        }
        (from, heard)
    }

    fn forget(&mut self, hash: u64) {
        if let Some(connection) = self.connections.remove(&hash) {
            self.held = self.held.saturating_sub(connection.conversation.held());
        }
    }
}

impl Overhearing {
    fn segment(&mut self, from: u8, input: &PacketInput<'_>, segment: &Segment) {
        let at = input.packet.at;
        let [own, other] = super::connection::both(&mut self.acked, from);
        if segment.flags.contains(Flags::ACK) {
            *own = Some(own.map_or(segment.ack, |own| own.latest(segment.ack)));
        }
        let start = segment.seq.plus(segment.flags.contains(Flags::SYN).into());
        if segment.len > 0 {
            // What the other end wants next is what comes next, where nothing has come yet.
            let (acknowledged, first) = (*other, *other);
            let payload = Payload { start, data: input.payload, len: segment.len, at, acknowledged, first };
            self.conversation.payload(from, &payload);
        }
        if segment.flags.contains(Flags::FIN) {
            self.conversation.fin(from, start.plus(segment.len), at);
        }
        if segment.flags.contains(Flags::RST) {
            [0, 1].into_iter().for_each(|from| self.conversation.end(from, at));
        }
    }
}
