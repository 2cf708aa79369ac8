//! What connections are put in order by.

use clap::ValueEnum as _;
use observer::record::{ConnectionRecord, QuicRecord, Side};
use observer::time::Nanos;

use super::spool::Key;
use super::text::units;

/// What `--sort` takes; the largest comes first, except of times of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// Time of the first packet
    #[default]
    FirstSeen,
    /// Time from first to last packet
    Duration,
    /// Octets of payload, both directions
    Bytes,
    /// Segments, both directions
    Packets,
    /// Segments that were sent again
    Retransmissions,
    /// Round-trip time of the handshake
    Rtt,
    /// Time from the first SYN to the end of the handshake
    Connect,
    /// Time with a window of 0
    ZeroWindow,
}

impl Order {
    /// Its name, as `--sort` takes it.
    pub fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
    }

    /// What connections are sorted by: smaller keys first, and the earlier connection among equals.
    pub fn key(self, record: &ConnectionRecord) -> Key {
        let rank = match self {
            Self::FirstSeen => return (0, record.id),
            _ => self.value(record),
        };
        (u64::MAX - rank, record.id)
    }

    /// The figure that counts, in words.
    pub fn words(self, record: &ConnectionRecord) -> String {
        let value = self.value(record);
        match self {
            Self::FirstSeen => record.first_seen.to_string(),
            Self::Duration => units::time(Nanos(value)),
            Self::Bytes => units::bytes(value),
            Self::Packets => units::number_of(value, super::text::packet_name(record.transport)),
            Self::Retransmissions => format!("{} sent again", units::number_of(value, "segment")),
            Self::Rtt => format!("RTT {}", units::time(Nanos(value))),
            Self::Connect => format!("connecting took {}", units::time(Nanos(value))),
            Self::ZeroWindow => format!("window at 0 for {}", units::time(Nanos(value))),
        }
    }

    /// The figure that counts; 0 where there is none.
    pub fn value(self, record: &ConnectionRecord) -> u64 {
        let length = |time: Option<Nanos>| time.map_or(0, |time| time.0);
        let quic = |time: fn(&QuicRecord) -> Option<Nanos>| record.quic.as_deref().and_then(time);
        match self {
            Self::FirstSeen => record.first_seen.as_nanos(),
            Self::Duration => record.duration_ns.0,
            Self::Bytes => record.total_bytes(),
            Self::Packets => record.total_packets(),
            Self::Retransmissions => retransmitted(record),
            Self::Rtt => length(record.handshake.rtt_ns.or(quic(|quic| quic.rtt_ns))),
            Self::Connect => length(record.handshake.connect_ns.or(quic(|quic| quic.handshake_ns))),
            Self::ZeroWindow => {
                record.flow.map_or(0, |flow| flow.client.zero_window_ns.0 + flow.server.zero_window_ns.0)
            }
        }
    }
}

/// Segments of both ends that were sent again, SYNs included.
pub fn retransmitted(record: &ConnectionRecord) -> u64 {
    record.retransmitted_by(Side::Client) + record.retransmitted_by(Side::Server)
}
