//! Segment analysis by Wireshark's names and rules.

use bitflags::bitflags;

bitflags! {
    /// What the analysis says of one segment; the names are `tcp.analysis.*` in lower case.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AnalysisSet: u16 {
        /// See [`crate::record::Analysis::retransmission`], and so on below.
        const RETRANSMISSION = 1;
        /// A retransmission that duplicate ACKs asked for.
        const FAST_RETRANSMISSION = 1 << 1;
        /// Acknowledged already.
        const SPURIOUS_RETRANSMISSION = 1 << 2;
        /// Overtaken by a later segment.
        const OUT_OF_ORDER = 1 << 3;
        /// Starts beyond what was seen.
        const LOST_SEGMENT = 1 << 4;
        /// Acknowledges what was not captured.
        const ACK_LOST_SEGMENT = 1 << 5;
        /// The same ACK again.
        const DUPLICATE_ACK = 1 << 6;
        /// Window of 0.
        const ZERO_WINDOW = 1 << 7;
        /// One octet into a window of 0.
        const ZERO_WINDOW_PROBE = 1 << 8;
        /// Answer to a zero window probe.
        const ZERO_WINDOW_PROBE_ACK = 1 << 9;
        /// One before the next sequence number.
        const KEEP_ALIVE = 1 << 10;
        /// Answer to a keep-alive.
        const KEEP_ALIVE_ACK = 1 << 11;
        /// Fills the offered window.
        const WINDOW_FULL = 1 << 12;
        /// Changes nothing but the window.
        const WINDOW_UPDATE = 1 << 13;
        /// A new connection on known ports.
        const REUSED_PORTS = 1 << 14;
    }
}
