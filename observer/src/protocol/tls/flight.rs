//! The flights of a handshake: what one end sends before it waits for the other (RFC 6347, section 4.2.4; RFC 8446,
//! section 2).

use crate::record::{Side, TlsFlight};
use crate::time::Timestamp;

/// Flights that are kept: a handshake has five at most, and whoever has more makes no handshake.
const MOST_FLIGHTS: usize = 12;

/// The flights so far.
#[derive(Debug, Default)]
pub(super) struct Flights(Vec<TlsFlight>);

impl Flights {
    /// An end has sent something that came from `start` to `end`.
    pub(super) fn note(&mut self, from: Side, start: Timestamp, end: Timestamp) {
        let has_room = self.0.len() < MOST_FLIGHTS;
        match self.0.last_mut() {
            Some(last) if last.from == from => last.end = end,
            _ if has_room => self.0.push(TlsFlight { from, start, end }),
            _ => {}
        }
    }

    /// More of what an end has begun to send has come.
    pub(super) fn extend(&mut self, from: Side, end: Timestamp) {
        self.0.last_mut().into_iter().filter(|last| last.from == from).for_each(|last| last.end = end);
    }

    pub(super) fn told(&self) -> Vec<TlsFlight> {
        self.0.clone()
    }
}
