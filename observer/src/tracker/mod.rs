//! Follows connections: packets go in, records come out.
//!
//! `handle` takes in, `poll` gives out; time is an argument.

pub mod analysis;

use std::collections::VecDeque;

pub use analysis::AnalysisSet;

use crate::input::Input;
use crate::record::{ConnectionRecord, Side, Sides, TcpState};
use crate::time::Timestamp;

/// How a tracker works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many connections may be open at once; beyond it the least recently used is given up.
    pub max_connections: usize,
    /// How many timeline entries a connection keeps; 0 keeps no timeline.
    pub timeline_entries: usize,
    /// Where given, only the connection with this `id` keeps a timeline.
    pub timeline_of: Option<u64>,
    /// Wireshark's rules to the letter: duplicates are not recognised, the inner tuple alone is the key.
    pub strict_wireshark: bool,
    /// Segments with a wrong checksum are noted in the history and otherwise ignored, as Zeek does.
    pub drop_bad_checksums: bool,
    /// When connections end by time.
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 1_000_000,
            timeline_entries: 0,
            timeline_of: None,
            strict_wireshark: false,
            drop_bad_checksums: false,
            timeouts: Timeouts::Never,
        }
    }
}

/// When connections end by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timeouts {
    /// Nothing expires: a connection ends by its own close, by reuse of its ports, or with the input.
    #[default]
    Never,
    /// Zeek's timers (attempt 5 s, SYN 5 s, close delay 5 s, inactivity 5 min).
    Zeek,
}

/// What the tracker gives out.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connection of which nothing more will be said.
    Connection(Box<ConnectionRecord>),
}

/// What a segment did: what `packets --state` prints behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The connection's `id`.
    pub connection: u64,
    /// Who sent it.
    pub from: Side,
    /// State of both ends after it.
    pub state: Sides<TcpState>,
    /// What the analysis says of it.
    pub analysis: AnalysisSet,
    /// It was captured before: a second copy.
    pub duplicate: bool,
}

/// Follows every connection of its input.
#[derive(Debug, Default)]
pub struct Tracker {
    out: VecDeque<Event>,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: Config) -> Self {
        let _ = config;
        Self::default()
    }

    /// Takes in one thing that a source saw, and says what it did to its connection.
    pub fn handle(&mut self, input: Input<'_>) -> Option<Effect> {
        let _ = input;
        None
    }

    /// Ends what has run out of time at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// The input is at its end: every connection is given out.
    pub fn finish(&mut self) {}

    /// What there is to give out.
    pub fn poll(&mut self) -> Option<Event> {
        self.out.pop_front()
    }
}
