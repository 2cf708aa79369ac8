//! The timeline of one connection while it is being made: what is alike and unremarkable is folded into runs.

use std::collections::VecDeque;

use super::analysis::AnalysisSet;
use super::pack::pack_fields;
use crate::packet::Flags;
use crate::record::{EntryKind, RetransmissionCause, Side, Sides, Source, TcpState, TimelineEntry};
use crate::time::{Nanos, Timestamp};

/// A pause that ends a run: the smallest retransmission timeout of Linux (TCP_RTO_MIN), so that a wait stands out.
const LONGEST_PAUSE: Nanos = Nanos::from_millis(200);

/// What is unremarkable about a segment in a run.
const ORDINARY: AnalysisSet = AnalysisSet::WINDOW_UPDATE;

/// One entry, directions not yet turned into client and server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) frame: u64,
    pub(super) file: u16,
    pub(super) from: u8,
    pub(super) kind: EntryKind,
    pub(super) bytes: u64,
    pub(super) flags: Flags,
    pub(super) analysis: AnalysisSet,
    pub(super) retransmission: Option<RetransmissionCause>,
    /// State of both directions' senders after it.
    pub(super) states: [TcpState; 2],
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) window: u32,
}

/// An entry and what was folded into it.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Entry,
    until: Timestamp,
    last_frame: u64,
    packets: u64,
    bytes: u64,
    acks: u64,
}

/// The first entries and the last; what would exceed the bound is cut from the middle.
#[derive(Debug, Default)]
pub(super) struct Log {
    head: Vec<Run>,
    tail: VecDeque<Run>,
    cut: u64,
}

impl Log {
    /// Adds a segment, keeping at most `most` entries.
    pub(super) fn add(&mut self, entry: Entry, most: usize) {
        let last = self.tail.back_mut().or(self.head.last_mut());
        if last.is_some_and(|run| run.take(&entry)) {
            return;
        }
        let run =
            Run { first: entry, until: entry.at, last_frame: entry.frame, packets: 1, bytes: entry.bytes, acks: 0 };
        let head = most.div_ceil(2);
        if self.head.len() < head && self.tail.is_empty() {
            self.head.push(run);
            return;
        }
        if self.tail.len() >= (most - head).max(1) {
            self.tail.pop_front();
            self.cut += 1;
        }
        self.tail.push_back(run);
    }

    /// Entries that were cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// The entries, in order; `client` is the client's direction.
    pub(super) fn entries(&self, client: u8) -> impl Iterator<Item = TimelineEntry> + '_ {
        self.head.iter().chain(&self.tail).map(move |run| run.record(client))
    }
}

impl Run {
    /// Folds a segment into this run, if it continues it.
    fn take(&mut self, next: &Entry) -> bool {
        let first = &self.first;
        let plain = |entry: &Entry| {
            matches!(entry.kind, EntryKind::Data | EntryKind::Ack)
                && ORDINARY.contains(entry.analysis)
                && entry.retransmission.is_none()
                && !entry.flags.intersects(Flags::URG)
        };
        let alike = plain(first)
            && plain(next)
            && first.states == next.states
            && first.file == next.file
            && next.at.since(self.until) < LONGEST_PAUSE;
        let same_way = first.from == next.from;
        match (first.kind, next.kind) {
            _ if !alike => return false,
            (EntryKind::Data, EntryKind::Data) | (EntryKind::Ack, EntryKind::Ack) if same_way => {
                self.packets += 1;
                self.bytes += next.bytes;
            }
            // The other end's ACKs of the data in the run.
            (EntryKind::Data, EntryKind::Ack) if !same_way => self.acks += 1,
            _ => return false,
        }
        self.until = self.until.max(next.at);
        self.last_frame = next.frame;
        true
    }

    fn record(&self, client: u8) -> TimelineEntry {
        let Entry { at, frame, file, from, kind, flags, analysis, retransmission, states, seq, ack, window, .. } =
            self.first;
        let [low, high] = states;
        let (of_client, of_server) = if client == 0 { (low, high) } else { (high, low) };
        TimelineEntry {
            at,
            until: self.until,
            frame,
            last_frame: self.last_frame,
            file,
            from: if from == client { Side::Client } else { Side::Server },
            kind,
            packets: self.packets,
            bytes: self.bytes,
            acks: self.acks,
            flags,
            analysis,
            retransmission,
            state: Sides { client: of_client, server: of_server },
            seq,
            ack,
            window,
            detail: None,
            source: Source::Packets,
        }
    }
}

pack_fields! {
    Log { head, tail, cut }
    Run { first, until, last_frame, packets, bytes, acks }
    Entry { at, frame, file, from, kind, bytes, flags, analysis, retransmission, states, seq, ack, window }
}
