//! What is kept of all connections together: which packets may be copied, which connections are over, what is counted.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::{Connection, Listed};
use super::duplicate::Duplicates;
use super::hearing::Holding;
use super::segment::Done;
use super::table::Key;
use super::{Config, Counts};
use crate::input::PacketInput;
use crate::keylog::Keys;
use crate::packet::{Packet, Segment};
use crate::time::Timestamp;

/// What is kept of all connections together.
#[derive(Debug, Default)]
pub(super) struct Books {
    duplicates: Duplicates,
    /// Connections that are over, and since when; the longest first. Some may be gone, or not over any more.
    pub(super) over: VecDeque<Over>,
    /// The same of those that are over as far as is known, but whose other end should have a socket here as well.
    pub(super) half_over: VecDeque<Over>,
    pub(super) holding: Holding,
    pub(super) counts: Counts,
    /// What opens encrypted records, where anything does.
    pub(super) keys: Option<Arc<Keys>>,
}

/// A connection that is over, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) since: Timestamp,
    pub(super) hash: u64,
    pub(super) id: u64,
}

impl Books {
    /// Has what a segment will need fetched.
    #[inline]
    pub(super) fn foresee(&self, packet: &Packet, segment: &Segment) {
        self.duplicates.foresee(packet, segment);
    }

    /// Has `connection` take in a segment that direction `from` sent.
    #[inline]
    pub(super) fn take(
        &mut self,
        connection: &mut Connection,
        key: &Key<'_>,
        from: u8,
        input: &PacketInput<'_>,
        segment: &Segment,
        config: &Config,
    ) -> Done {
        let held = if segment.len > 0 { connection.held() } else { 0 };
        let done = connection.segment(from, input, segment, config, (&mut self.duplicates, self.keys.as_ref()));
        if segment.len > 0 {
            self.holding.change(connection, key.hash, held);
        }
        self.counts.duplicates += u64::from(done.duplicate);
        self.list_if_over(connection, key.hash, config);
        done
    }

    #[inline]
    pub(super) fn list_if_over(&mut self, connection: &mut Connection, hash: u64, config: &Config) {
        if connection.listed != Listed::Over && connection.is_over() {
            self.list_over(connection, hash, config);
        }
    }

    #[inline(never)]
    fn list_over(&mut self, connection: &mut Connection, hash: u64, config: &Config) {
        let over = Over { since: connection.last_seen, hash, id: connection.id };
        if !connection.lacks_a_socket(config) {
            connection.listed = Listed::Over;
            self.over.push_back(over);
        } else if connection.listed == Listed::No {
            connection.listed = Listed::HalfOver;
            self.half_over.push_back(over);
        }
    }
}
