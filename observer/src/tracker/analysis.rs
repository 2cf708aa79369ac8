//! Segment analysis: Wireshark's names, by the rules of its release 4.0 (`tcp_analyze_sequence_number`).
//!
//! Each segment is held against the memory of both directions, in this order. *next* is the highest end of a direction's
//! segments so far; *last* is what the segment before said; 0 stands for *next*, *contiguous* and *last ack* where nothing
//! is known, as it does in Wireshark.
//!
//! 1. [`zero_window_probe`](AnalysisSet::ZERO_WINDOW_PROBE): 1 octet at *next* while the other end's window is 0. Of the
//!    rules up to 9, none else is tested; and the probe does not move *next*.
//! 2. [`zero_window`](AnalysisSet::ZERO_WINDOW): a window of 0; no SYN, FIN or RST.
//! 3. [`lost_segment`](AnalysisSet::LOST_SEGMENT): starts after *next*; no RST.
//! 4. [`keep_alive`](AnalysisSet::KEEP_ALIVE): 0 or 1 octets at *next* − 1; no SYN, FIN or RST.
//! 5. [`window_update`](AnalysisSet::WINDOW_UPDATE): no payload, at *next*, same ack, another window than before and not
//!    0; no SYN, FIN or RST.
//! 6. [`window_full`](AnalysisSet::WINDOW_FULL): payload that ends where the other end's window does, the scale being
//!    known; no SYN, FIN or RST.
//! 7. [`keep_alive_ack`](AnalysisSet::KEEP_ALIVE_ACK): a repeated ACK (no payload, at *next*, same ack and window; no SYN,
//!    FIN or RST) of a window that is not 0, where the other end's last segment was a keep-alive. Ends the rules up to 9.
//! 8. [`zero_window_probe_ack`](AnalysisSet::ZERO_WINDOW_PROBE_ACK): the same with a window of 0 and a zero window probe.
//! 9. [`duplicate_ack`](AnalysisSet::DUPLICATE_ACK): a repeated ACK of a window that is not 0. Not where Multipath TCP did
//!    something new since this end's last segment (RFC 8684, section 4).
//! 10. [`ack_lost_segment`](AnalysisSet::ACK_LOST_SEGMENT): acknowledges more than the other end's *contiguous* octets;
//!     said once of each such hole.
//!
//! Then, for payload, SYN or FIN that is no keep-alive, the first of these that fits; *old* is what starts before *next*,
//! except for 2 or more octets at *next* − 1, which may follow a probe:
//!
//! 11. [`spurious_retransmission`](AnalysisSet::SPURIOUS_RETRANSMISSION): payload that the other end's last ACK covers.
//! 12. [`fast_retransmission`](AnalysisSet::FAST_RETRANSMISSION): old, starts at the other end's last ack, which at least
//!     two duplicate ACKs repeated, less than 20 ms after the other end's last segment.
//! 13. [`out_of_order`](AnalysisSet::OUT_OF_ORDER): old, less than the initial round trip (3 ms where unknown) after *next*
//!     last moved, and does not end at *next*.
//! 14. [`retransmission`](AnalysisSet::RETRANSMISSION): old. Wireshark shows this name beside 11 and 12 too, and so does
//!     observer.
//!
//! [`reused_ports`](AnalysisSet::REUSED_PORTS) is a SYN-ACK whose sequence number is not the one this direction started
//! from, and a SYN that [`Flow::starts_new_stream`].

use bitflags::bitflags;

use super::pack::{Pack, Packer, Unpacker, pack_fields, pack_flags, pack_wrapped};
use crate::packet::{Flags, Segment};
use crate::sequence::Seq;
use crate::tcp_options::TcpOptions;
use crate::time::{Nanos, Timestamp};

/// How soon after the other end's last segment a retransmission counts as one that its duplicate ACKs asked for.
const FAST_WITHIN: Nanos = Nanos::from_millis(20);

/// What stands in for the initial round-trip time where no handshake was captured.
const DEFAULT_RTT: Nanos = Nanos::from_millis(3);

/// The largest shift count of a window scale option (RFC 7323, section 2.3).
const MAX_SHIFT: u8 = 14;

bitflags! {
    /// What the analysis says of one segment; the names are `tcp.analysis.*` in lower case.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AnalysisSet: u16 {
        /// Sent before; set beside the two below too.
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

/// What the rules remember of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Its initial sequence number: that of its SYN, or one less than the first number that was seen of it.
    base: Option<Seq>,
    /// The highest end of a segment, probes left out.
    next: Seq,
    /// Up to here nothing is missing, as far as the other end's ACKs are to be believed.
    contiguous: Seq,
    /// The acknowledgment field of its last segment.
    last_ack: Seq,
    /// The window field of its last segment.
    window: Option<u16>,
    scale: WindowScale,
    /// Whether its last SYN or ACK was a SYN, whose window is never scaled.
    unscaled: bool,
    duplicate_acks: DuplicateAcks,
    /// What was said of its last segment.
    last: AnalysisSet,
    /// The connection's Multipath TCP operations as of its last segment.
    mptcp: u8,
    /// When its last segment was captured.
    last_at: Timestamp,
    /// When `next` last moved.
    next_at: Timestamp,
}

/// What the rules remember of both directions together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared {
    /// When the last SYN without ACK was captured.
    syn_at: Timestamp,
    /// In nanoseconds; negative where the clock ran backwards, 0 where not known.
    initial_rtt: i64,
    /// Multipath TCP options seen so far.
    mptcp: u8,
}

impl Shared {
    /// The initial round-trip time as Wireshark takes it: from the last SYN without ACK before it to the first segment, of
    /// either end, that has ACK and no SYN. So that of a refused connection runs to its RST.
    pub fn initial_rtt(&self) -> Option<Nanos> {
        u64::try_from(self.initial_rtt).ok().filter(|&nanos| nanos > 0).map(Nanos)
    }

    /// Takes in a segment that an ICMP error quotes. Wireshark has it in the connection like any other; but its length is
    /// not known, so none of the rules applies, and only the initial round trip can begin or end with it.
    pub fn quoted(&mut self, flags: Flags, at: Timestamp) {
        self.take_time(flags, at);
    }

    fn take_time(&mut self, flags: Flags, at: Timestamp) {
        if flags.is_bare_syn() {
            self.syn_at = at;
        } else if is_plain_ack(flags) && self.initial_rtt == 0 && self.syn_at != Timestamp::default() {
            self.initial_rtt = at.as_nanos().wrapping_sub(self.syn_at.as_nanos()) as i64;
        }
    }

    fn take_mptcp(&mut self, options: &TcpOptions) {
        if !options.cut {
            self.mptcp |= options.mptcp_operations;
        }
    }

    /// Whether a segment captured at `at` came within a round trip of `since`.
    fn within_round_trip(&self, at: Timestamp, since: Timestamp) -> bool {
        // A clock that ran backwards makes a length a huge number, as it does in Wireshark.
        let limit = if self.initial_rtt == 0 { DEFAULT_RTT.0 } else { self.initial_rtt as u64 };
        at.as_nanos().wrapping_sub(since.as_nanos()) < limit
    }
}

/// What is known of the factor on a direction's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WindowScale {
    /// No SYN was captured.
    #[default]
    Unknown,
    /// One end did not offer it, so neither uses it.
    Unused,
    /// The shift count.
    Shift(u8),
}

/// How often an ACK was repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DuplicateAcks(u8);

impl DuplicateAcks {
    /// What Wireshark sets to −1 in an unsigned counter, once it said that this end's octets are missing from the capture:
    /// the next one counts as the first, and until then it passes for many.
    const MISSED: Self = Self(u8::MAX);

    fn count(&mut self) {
        self.0 = if *self == Self::MISSED { 1 } else { self.0.saturating_add(1).min(Self::MISSED.0 - 1) };
    }

    const fn ask_for_retransmission(self) -> bool {
        self.0 >= 2
    }
}

impl Flow {
    /// Whether `segment`, of this direction, starts a new connection on known ports: a SYN without ACK whose sequence
    /// number is not the one this direction started from. Wireshark asks for no close before it. The first segment of the
    /// new connection is [`AnalysisSet::REUSED_PORTS`].
    pub fn starts_new_stream(&self, segment: &Segment) -> bool {
        segment.flags.is_bare_syn() && self.base.is_some_and(|base| base != segment.seq)
    }

    /// Whether `segment`, of this direction, sends or acknowledges what none before it did, and so can be no copy of one.
    /// Not to be told of a single octet: it may be a probe.
    pub fn is_advanced_by(&self, segment: &Segment) -> bool {
        let sends = sends(segment) && segment.len != 1 && segment.seq.at_or_after(self.next);
        let acknowledges = segment.flags.contains(Flags::ACK) && segment.ack.after(self.last_ack);
        self.base.is_some() && (sends || acknowledges)
    }

    /// Octets sent in this direction and not acknowledged by `other`, the other direction; holes that the capture may
    /// have count as sent.
    pub fn in_flight(&self, other: &Self) -> u32 {
        let Some(base) = self.base else { return 0 };
        let acknowledged = other.acknowledges().filter(|ack| ack.after(base)).unwrap_or(base.plus(1));
        self.next.delta(acknowledged).max(0).unsigned_abs()
    }

    /// The highest end of a segment so far, zero window probes left out; 0 where nothing is known.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// When [`next`](Self::next) last moved.
    pub fn next_at(&self) -> Timestamp {
        self.next_at
    }

    /// Whether a segment of this direction was captured.
    pub fn is_seen(&self) -> bool {
        self.window.is_some()
    }

    /// When this direction's last segment was captured.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// What this direction acknowledged last; `None` where nothing is known.
    pub fn acknowledges(&self) -> Option<Seq> {
        (self.last_ack != Seq(0)).then_some(self.last_ack)
    }

    /// The window this direction offered last, in octets; `None` where nothing is known of it or its scale.
    fn offered(&self) -> Option<u32> {
        let window = u32::from(self.window?);
        match self.scale {
            WindowScale::Unknown => None,
            WindowScale::Shift(shift) if !self.unscaled => Some(window << shift),
            _ => Some(window),
        }
    }

    /// Where the window ends that it last offered the other direction; `None` where that is not known.
    fn end_of_window(&self) -> Option<Seq> {
        self.offered().map(|offered| self.last_ack.plus(offered))
    }

    /// Remembers its last segment; `set` is what the rules said of it.
    fn take_last(&mut self, segment: &Segment, set: AnalysisSet, shared: &Shared, at: Timestamp) {
        self.window = Some(segment.window);
        self.last_ack = segment.ack;
        self.last_at = at;
        self.last = set;
        self.mptcp = shared.mptcp;
    }

    /// Whether `segment` says what this direction's last segment said, window aside.
    fn repeats(&self, segment: &Segment) -> bool {
        segment.len == 0 && segment.seq == self.next && segment.ack == self.last_ack && !segment.flags.syn_fin_rst()
    }
}

/// Says what `segment`, captured at `at`, is, and remembers it. `fwd` is the direction it goes in, `rev` the other.
#[inline]
pub fn analyse(
    fwd: &mut Flow,
    rev: &mut Flow,
    shared: &mut Shared,
    segment: &Segment,
    options: &TcpOptions,
    at: Timestamp,
) -> AnalysisSet {
    if takes_next(fwd, rev, shared, segment, options, at) {
        return AnalysisSet::empty();
    }
    analyse_any(fwd, rev, shared, segment, options, at)
}

/// The short way of what most segments are: the next one in order, which no rule names. Says whether the segment was one;
/// if not, nothing has changed.
#[inline]
fn takes_next(
    fwd: &mut Flow,
    rev: &Flow,
    shared: &mut Shared,
    segment: &Segment,
    options: &TcpOptions,
    at: Timestamp,
) -> bool {
    let end = segment.seq.plus(segment.len);
    let is_known = fwd.base.is_some() && rev.base.is_some() && fwd.next != Seq(0) && rev.contiguous != Seq(0);
    let is_next = segment.flags.is_ack_alone() && segment.seq == fwd.next && segment.window != 0;
    if !is_known || !is_next || rev.contiguous.before(segment.ack) || options.window_scale.is_some() {
        return false;
    }
    let acknowledges = segment.ack != fwd.last_ack;
    if segment.len > 0 {
        let is_old = rev.last_ack != Seq(0) && end.at_or_before(rev.last_ack);
        if !fwd.next.before(end) || is_old || rev.window == Some(0) || rev.end_of_window() == Some(end) {
            return false;
        }
        (fwd.next, fwd.next_at) = (end, at);
    } else if !acknowledges {
        return false;
    }
    if acknowledges {
        fwd.duplicate_acks = DuplicateAcks::default();
    }
    if segment.seq == fwd.contiguous || fwd.contiguous == Seq(0) {
        fwd.contiguous = fwd.next;
    }
    fwd.take_last(segment, AnalysisSet::empty(), shared, at);
    fwd.unscaled = false;
    shared.take_time(segment.flags, at);
    shared.take_mptcp(options);
    true
}

/// The long way, which is any segment's.
#[inline(never)]
fn analyse_any(
    fwd: &mut Flow,
    rev: &mut Flow,
    shared: &mut Shared,
    segment: &Segment,
    options: &TcpOptions,
    at: Timestamp,
) -> AnalysisSet {
    let mut set = take_base(fwd, rev, segment);
    set |= window_and_ack(fwd, rev, shared, segment);
    let probe = set.contains(AnalysisSet::ZERO_WINDOW_PROBE);

    if segment.ack != fwd.last_ack {
        fwd.duplicate_acks = DuplicateAcks::default();
    }
    if acknowledges_lost(rev, segment) {
        set |= AnalysisSet::ACK_LOST_SEGMENT;
    }
    if sends(segment) && !set.contains(AnalysisSet::KEEP_ALIVE) {
        set |= sent_before(fwd, rev, shared, segment, at);
    }

    if !probe {
        take_sequence(fwd, segment, at);
    }
    fwd.take_last(segment, set, shared, at);
    take_options(fwd, rev, segment, options);
    shared.take_time(segment.flags, at);
    shared.take_mptcp(options);
    set
}

/// Settles where the sequence numbers of both directions start.
fn take_base(fwd: &mut Flow, rev: &mut Flow, segment: &Segment) -> AnalysisSet {
    let mut set = AnalysisSet::empty();
    match fwd.base {
        None if segment.flags.contains(Flags::SYN) => fwd.base = Some(segment.seq),
        None => fwd.base = Some(segment.seq.minus(1)),
        Some(base) if segment.flags.is_syn_ack() && base != segment.seq => {
            fwd.base = Some(segment.seq);
            set = AnalysisSet::REUSED_PORTS;
        }
        // The same SYN again: an RST may have moved `next` to where the other end's ACK was (RFC 9293, section 3.5.2).
        Some(base) if segment.flags.is_bare_syn() && base == segment.seq => fwd.next = fwd.contiguous,
        Some(_) => {}
    }
    if rev.base.is_none() && segment.flags.contains(Flags::ACK) {
        rev.base = Some(segment.ack.minus(1));
    }
    set
}

/// Rules 1 to 9.
fn window_and_ack(fwd: &mut Flow, rev: &Flow, shared: &Shared, segment: &Segment) -> AnalysisSet {
    let (seq, len, window) = (segment.seq, segment.len, segment.window);
    let plain = !segment.flags.syn_fin_rst();
    let mut set = AnalysisSet::empty();

    if len == 1 && seq == fwd.next && rev.window == Some(0) {
        return AnalysisSet::ZERO_WINDOW_PROBE;
    }
    set.set(AnalysisSet::ZERO_WINDOW, plain && window == 0);
    set.set(
        AnalysisSet::LOST_SEGMENT,
        fwd.next != Seq(0) && fwd.next.before(seq) && !segment.flags.contains(Flags::RST),
    );
    set.set(AnalysisSet::KEEP_ALIVE, plain && len <= 1 && seq == fwd.next.minus(1));
    set.set(AnalysisSet::WINDOW_FULL, plain && len > 0 && rev.end_of_window() == Some(seq.plus(len)));

    if fwd.repeats(segment) {
        let unchanged = fwd.window == Some(window);
        set |= match window {
            1.. if !unchanged => AnalysisSet::WINDOW_UPDATE,
            1.. if rev.last.contains(AnalysisSet::KEEP_ALIVE) => AnalysisSet::KEEP_ALIVE_ACK,
            0 if unchanged && rev.last.contains(AnalysisSet::ZERO_WINDOW_PROBE) => AnalysisSet::ZERO_WINDOW_PROBE_ACK,
            1.. if shared.mptcp == fwd.mptcp => {
                fwd.duplicate_acks.count();
                AnalysisSet::DUPLICATE_ACK
            }
            _ => AnalysisSet::empty(),
        };
    }
    set
}

/// Rule 10; `rev` is the direction that the acknowledgment is about.
fn acknowledges_lost(rev: &mut Flow, segment: &Segment) -> bool {
    if !segment.flags.contains(Flags::ACK) || rev.contiguous == Seq(0) || !rev.contiguous.before(segment.ack) {
        return false;
    }
    if rev.contiguous.before(rev.next) {
        rev.contiguous = rev.next;
        return true;
    }
    // Acknowledged beyond all that was captured: it is said again only once that end has acknowledged something new.
    let first = rev.duplicate_acks == DuplicateAcks::default();
    rev.duplicate_acks = DuplicateAcks::MISSED;
    first
}

/// Rules 11 to 14.
fn sent_before(fwd: &Flow, rev: &Flow, shared: &Shared, segment: &Segment, at: Timestamp) -> AnalysisSet {
    let Segment { seq, len, .. } = *segment;
    if len > 0 && rev.last_ack != Seq(0) && seq.plus(len).at_or_before(rev.last_ack) {
        return AnalysisSet::SPURIOUS_RETRANSMISSION | AnalysisSet::RETRANSMISSION;
    }
    let may_follow_probe = len > 1 && seq == fwd.next.minus(1);
    if fwd.next == Seq(0) || !seq.before(fwd.next) || may_follow_probe {
        return AnalysisSet::empty();
    }
    if rev.duplicate_acks.ask_for_retransmission()
        && rev.last_ack == seq
        && at.checked_since(rev.last_at).is_some_and(|since| since < FAST_WITHIN)
    {
        return AnalysisSet::FAST_RETRANSMISSION | AnalysisSet::RETRANSMISSION;
    }
    if shared.within_round_trip(at, fwd.next_at) && end(segment) != fwd.next {
        return AnalysisSet::OUT_OF_ORDER;
    }
    AnalysisSet::RETRANSMISSION
}

/// Moves `next` and `contiguous` on.
fn take_sequence(fwd: &mut Flow, segment: &Segment, at: Timestamp) {
    let end = end(segment);
    if fwd.next.before(end) || fwd.next == Seq(0) {
        fwd.next = end;
        fwd.next_at = at;
    }
    if segment.seq == fwd.contiguous || fwd.contiguous == Seq(0) {
        fwd.contiguous = fwd.next;
    }
}

/// Learns the window scale. The window of the segment that brings it was judged without.
fn take_options(fwd: &mut Flow, rev: &mut Flow, segment: &Segment, options: &TcpOptions) {
    if let Some(shift) = options.window_scale {
        fwd.scale = WindowScale::Shift(shift.min(MAX_SHIFT));
    }
    if segment.flags.contains(Flags::SYN) {
        fwd.unscaled = true;
        if options.cut {
            return;
        }
        if fwd.scale == WindowScale::Unknown {
            (fwd.scale, rev.scale) = (WindowScale::Unused, WindowScale::Unused);
        } else if segment.flags.is_syn_ack() && rev.scale == WindowScale::Unused {
            fwd.scale = WindowScale::Unused;
        }
    } else if is_plain_ack(segment.flags) {
        fwd.unscaled = false;
    }
}

/// Whether a segment takes sequence space.
const fn sends(segment: &Segment) -> bool {
    segment.len > 0 || segment.flags.intersects(Flags::SYN.union(Flags::FIN))
}

/// The sequence number after a segment, where SYN and FIN together take one.
const fn end(segment: &Segment) -> Seq {
    segment.seq.plus(segment.len).plus(segment.flags.intersects(Flags::SYN.union(Flags::FIN)) as u32)
}

/// Whether there is ACK and no SYN.
const fn is_plain_ack(flags: Flags) -> bool {
    flags.contains(Flags::ACK) && !flags.contains(Flags::SYN)
}

impl Pack for WindowScale {
    fn pack(&self, to: &mut Packer) {
        match self {
            Self::Unknown => 0,
            Self::Unused => 1,
            Self::Shift(shift) => 2 + shift,
        }
        .pack(to);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        match u8::unpack(from) {
            0 => Self::Unknown,
            1 => Self::Unused,
            code => Self::Shift(code - 2),
        }
    }
}

pack_fields! {
    Flow { base, next, contiguous, last_ack, window, scale, unscaled, duplicate_acks, last, mptcp, last_at, next_at }
    Shared { syn_at, initial_rtt, mptcp }
}

pack_wrapped!(DuplicateAcks);

pack_flags!(AnalysisSet);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A segment near those before it: its direction, and all that the rules go by.
    fn near() -> impl Strategy<Value = (bool, Segment, TcpOptions, u64)> {
        let others = [Flags::SYN, Flags::SYN | Flags::ACK, Flags::FIN | Flags::ACK, Flags::RST, Flags::empty()];
        let flags = prop_oneof![12 => Just(Flags::ACK), 5 => prop::sample::select(others.to_vec())];
        let place = || prop_oneof![Just(0), Just(1), Just(2), Just(u32::MAX), Just(4), Just(6), Just(1 << 31)];
        let window = prop_oneof![6 => Just(8u16), 1 => Just(4), 1 => Just(0)];
        let scale = prop_oneof![9 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(1))];
        let mptcp = prop_oneof![9 => Just(0u8), 1 => Just(1)];
        let len = prop_oneof![3 => Just(0u32), 3 => Just(2), 1 => Just(1), 1 => Just(4), 1 => Just(1 << 31)];
        (any::<bool>(), flags, (place(), place(), len), window, scale, mptcp, 0u64..9_000_000).prop_map(
            |(forward, flags, (seq, ack, len), window, window_scale, mptcp_operations, at)| {
                let segment = Segment { seq: Seq(seq), ack: Seq(ack), flags, window, len, ..Segment::default() };
                (forward, segment, TcpOptions { window_scale, mptcp_operations, ..TcpOptions::default() }, at)
            },
        )
    }

    proptest! {
        #[test]
        fn the_short_way_ends_where_the_long_one_does(segments in prop::collection::vec((near(), any::<bool>()), 0..30)) {
            let mut short = <([Flow; 2], Shared)>::default();
            let mut long = short;
            let mut clock = 1;
            for ((forward, mut segment, options, later), follows) in segments {
                clock += later;
                let at = Timestamp::from_nanos(clock);
                let ([low, high], shared) = &mut short;
                let [fwd, rev] = if forward { [low, high] } else { [high, low] };
                if follows {
                    (segment.seq, segment.ack) = (fwd.next, rev.next.plus(segment.ack.0 & 2));
                }
                let one = analyse(fwd, rev, shared, &segment, &options, at);
                let ([low, high], shared) = &mut long;
                let [fwd, rev] = if forward { [low, high] } else { [high, low] };
                let other = analyse_any(fwd, rev, shared, &segment, &options, at);
                prop_assert_eq!(one, other);
                prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
            }
        }
    }

    /// The rules themselves are held against tshark in `tests/analysis_wireshark.rs`.
    #[test]
    fn stays_small() {
        assert!(size_of::<Flow>() <= 56, "a flow takes {} octets", size_of::<Flow>());
        assert!(size_of::<Shared>() <= 24, "what both share takes {} octets", size_of::<Shared>());
    }

    #[test]
    fn counts_what_is_in_flight() {
        let (mut client, mut server, mut shared) = (Flow::default(), Flow::default(), Shared::default());
        let segment = |seq, ack, len| Segment {
            seq: Seq(seq),
            ack: Seq(ack),
            flags: Flags::ACK,
            window: 1000,
            len,
            ..Segment::default()
        };
        let (options, at) = (TcpOptions::default(), Timestamp::default());
        analyse(&mut client, &mut server, &mut shared, &segment(u32::MAX - 9, 1, 100), &options, at);
        assert_eq!(client.in_flight(&server), 100);
        analyse(&mut server, &mut client, &mut shared, &segment(1, 50, 0), &options, at);
        assert_eq!(client.in_flight(&server), 40);
    }
}
