//! How connections are followed.

use crate::finding::Thresholds;
use crate::time::Nanos;

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
    /// Checksums were computed; without, nothing is said of them.
    pub checks_checksums: bool,
    /// Segments with a wrong checksum are noted in the history and otherwise ignored, as Zeek does.
    pub drop_bad_checksums: bool,
    /// Beyond how many open connections those that were quiet for twice as many packets are kept in short form until their
    /// next packet. That takes time and spares memory, and changes nothing else.
    pub least_awake: usize,
    /// When connections end by time.
    pub timeouts: Timeouts,
    /// How long a connection over UDP (QUIC) may be silent before it is taken for over. With Zeek's timers it is theirs.
    pub silence: Nanos,
    /// How long a connection that is over is kept for late packets where [`Tracker::handle_timeout`](super::Tracker::handle_timeout) is called. Without,
    /// it is kept until many others are over too, or to the end of the input.
    pub linger: Nanos,
    /// The same where a socket of this host may still appear, of which nothing was said yet.
    pub linger_half: Nanos,
    /// What flow hashes are keyed by; the decoder's.
    pub seed: u64,
    /// The source passes on a part of the packets: nothing is inferred from what is missing.
    pub sampled: bool,
    /// The network namespace that all input is from, by its inode.
    pub netns: Option<u32>,
    /// What connections are for is found out: the protocols inside them are followed.
    pub protocols: bool,
    /// Octets of payload that all connections together may keep for their protocols; beyond it, those that have kept some
    /// for the longest give them up.
    pub most_held: usize,
    /// Passwords and the values of queries in targets are told.
    pub show_secrets: bool,
    /// From where on something is wrong: for whoever judges the records.
    pub thresholds: Thresholds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 1_000_000,
            timeline_entries: 0,
            timeline_of: None,
            strict_wireshark: false,
            checks_checksums: true,
            drop_bad_checksums: false,
            least_awake: 1 << 13,
            timeouts: Timeouts::Never,
            silence: Nanos::from_secs(300),
            linger: Nanos::from_secs(1),
            linger_half: Nanos::from_secs(1),
            seed: 0,
            sampled: false,
            netns: None,
            protocols: true,
            most_held: 64 << 20,
            show_secrets: false,
            thresholds: Thresholds::default(),
        }
    }
}

impl Config {
    /// Whether the inner tuple alone is the key, as in Wireshark and Zeek, whatever the tunnels around it.
    pub fn is_keyed_by_tuple(&self) -> bool {
        self.strict_wireshark || self.timeouts == Timeouts::Zeek
    }

    /// How long a connection over UDP may be silent: Zeek's `udp_inactivity_timeout` is a minute.
    pub(super) fn udp_timeout(&self) -> Nanos {
        match self.timeouts {
            Timeouts::Never => self.silence,
            Timeouts::Zeek => Nanos::from_secs(60),
        }
    }

    /// Whether packets captured twice are told from others: not where the numbers are to be held against a tool that does
    /// not.
    pub(super) fn recognises_duplicates(&self) -> bool {
        !self.strict_wireshark && self.timeouts != Timeouts::Zeek
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
