//! The three-way handshake: its times, its repetitions, and what the ends offered.

use super::moment::Moment;
use super::pack::{pack_fields, pack_values};
use crate::packet::{Flags, Segment};
use crate::record::{self, Agreed, Offer, Sides, SynOptions};
use crate::sequence::Seq;
use crate::tcp_options::TcpOptions;
use crate::time::{Nanos, Timestamp};

/// What stands in for the MSS of an end that names none: RFC 9293, section 3.7.1.
const DEFAULT_MSS: (u16, u16) = (536, 1220);

/// MP_CAPABLE and MP_JOIN (RFC 8684, section 3).
const MPTCP_IN_SYN: [u8; 2] = [0, 1];

/// A handshake as it comes by. Directions are 0 and 1, as in the connection.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    syn: Moment,
    last_syn: Moment,
    syn_ack: Moment,
    last_syn_ack: Moment,
    ack: Moment,
    /// What each direction's SYN offered.
    offers: [Option<PackedOffer>; 2],
    syn_retransmissions: u16,
    syn_ack_retransmissions: u16,
    /// Acknowledgment number that a SYN-ACK has where it accepts the data in the SYN; the SYN had none where equal.
    fast_open: FastOpen,
    /// Both directions sent a SYN without ACK.
    two_syns: bool,
    /// Both directions sent a SYN-ACK.
    two_syn_acks: bool,
    /// The direction that sent the first SYN-ACK.
    syn_ack_from: u8,
    /// The direction that sent the first SYN, or was sent the first SYN-ACK.
    opener: u8,
    /// The SYN was sent again without the ECN flags that the first one had.
    gave_up_ecn: bool,
    /// The SYN was sent again without the Fast Open option or the data that the first one had.
    gave_up_fast_open: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FastOpen {
    #[default]
    No,
    Sent,
    Accepted,
}

/// [`Offer`] in few octets: there is one for each direction of each open connection.
#[derive(Clone, Copy, Debug)]
struct PackedOffer {
    mss: u16,
    window: u16,
    /// The shift count, 0xff for none.
    window_scale: u8,
    /// Octets of cookie, 0xff for no Fast Open option.
    fast_open: u8,
    bits: u8,
}

impl PackedOffer {
    const NONE: u8 = 0xff;
    const MSS: u8 = 1;
    const SACK: u8 = 2;
    const TIMESTAMPS: u8 = 4;
    const ECN: u8 = 8;
    const MPTCP: u8 = 16;

    fn new(segment: &Segment, options: &TcpOptions) -> Self {
        // RFC 3168, section 6.1.1: ECE and CWR in a SYN, ECE alone in a SYN-ACK.
        let ecn = match segment.flags.contains(Flags::ACK) {
            false => segment.flags.contains(Flags::ECE.union(Flags::CWR)),
            true => segment.flags.contains(Flags::ECE) && !segment.flags.contains(Flags::CWR),
        };
        let mptcp = options.mptcp.is_some_and(|subtype| MPTCP_IN_SYN.contains(&subtype));
        let bits = [
            (Self::MSS, options.mss.is_some()),
            (Self::SACK, options.sack_permitted),
            (Self::TIMESTAMPS, options.timestamps.is_some()),
            (Self::ECN, ecn),
            (Self::MPTCP, mptcp),
        ];
        Self {
            mss: options.mss.unwrap_or_default(),
            window: segment.window,
            window_scale: options.window_scale.map_or(Self::NONE, |shift| shift.min(Self::NONE - 1)),
            fast_open: options.fast_open.unwrap_or(Self::NONE),
            bits: bits.iter().filter(|(_, set)| *set).fold(0, |bits, (bit, _)| bits | bit),
        }
    }

    fn has(self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    fn scale(self) -> Option<u8> {
        (self.window_scale != Self::NONE).then_some(self.window_scale)
    }

    fn unpack(self) -> Offer {
        Offer {
            mss: self.has(Self::MSS).then_some(self.mss),
            window_scale: self.scale(),
            sack: self.has(Self::SACK),
            timestamps: self.has(Self::TIMESTAMPS),
            fast_open_cookie: (self.fast_open != Self::NONE).then_some(self.fast_open),
            ecn: self.has(Self::ECN),
            mptcp: self.has(Self::MPTCP),
            window: self.window,
        }
    }
}

/// What tells who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// It sent a SYN.
    BySyn,
    /// It was sent a SYN-ACK.
    BySynAck,
}

/// What a segment was to the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Syn,
    SynAck,
    /// The ACK that completes it.
    Ack,
    None,
}

impl Handshake {
    /// From the last SYN to the ACK of the SYN-ACK, by the handshake's own segments alone.
    pub(super) fn round_trip(&self) -> Option<Nanos> {
        Some(self.ack.get()?.since(self.last_syn.get()?))
    }

    /// Takes in a segment that direction `from` sent; `peer_isn` is the initial sequence number of the other direction.
    #[inline]
    pub(super) fn segment(
        &mut self,
        from: u8,
        segment: &Segment,
        options: &TcpOptions,
        peer_isn: Option<Seq>,
        at: Timestamp,
    ) -> Part {
        let flags = segment.flags;
        if flags.is_syn_ack() {
            self.syn_ack(from, segment, options, at);
            return Part::SynAck;
        }
        if flags.contains(Flags::SYN) {
            self.syn(from, segment, options, at);
            return Part::Syn;
        }
        let completes = self.ack == Moment::NONE
            && self.syn_ack != Moment::NONE
            && from != self.syn_ack_from
            && flags.contains(Flags::ACK)
            && !flags.contains(Flags::RST)
            && peer_isn.is_some_and(|isn| segment.ack.after(isn));
        if completes {
            self.ack.set(at);
            return Part::Ack;
        }
        Part::None
    }

    #[inline(never)]
    fn syn(&mut self, from: u8, segment: &Segment, options: &TcpOptions, at: Timestamp) {
        if self.syn == Moment::NONE {
            self.syn.set(at);
            self.opener = from;
            if segment.len > 0 {
                self.fast_open = FastOpen::Sent;
            }
        } else if from == self.opener {
            self.syn_retransmissions = self.syn_retransmissions.saturating_add(1);
            self.fall_back(from, segment, options);
        } else {
            self.two_syns = true;
        }
        if from == self.opener {
            self.last_syn.set(at);
        }
        self.offer(from, segment, options);
    }

    #[inline(never)]
    fn syn_ack(&mut self, from: u8, segment: &Segment, options: &TcpOptions, at: Timestamp) {
        if self.syn_ack == Moment::NONE {
            self.syn_ack.set(at);
            self.syn_ack_from = from;
            if self.syn == Moment::NONE {
                self.opener = from ^ 1;
            }
        } else if from == self.syn_ack_from {
            self.syn_ack_retransmissions = self.syn_ack_retransmissions.saturating_add(1);
        } else {
            self.two_syn_acks = true;
        }
        if from == self.syn_ack_from {
            self.last_syn_ack.set(at);
        }
        self.offer(from, segment, options);
    }

    /// Notes what a SYN that is sent again leaves out.
    fn fall_back(&mut self, from: u8, segment: &Segment, options: &TcpOptions) {
        let Some(Some(first)) = self.offers.get(usize::from(from)).filter(|_| !options.cut) else { return };
        let again = PackedOffer::new(segment, options);
        let had_option = first.fast_open != PackedOffer::NONE;
        self.gave_up_ecn |= first.has(PackedOffer::ECN) && !again.has(PackedOffer::ECN);
        self.gave_up_fast_open |=
            had_option && again.fast_open == PackedOffer::NONE || self.fast_open == FastOpen::Sent && segment.len == 0;
    }

    /// Options that one of two copies of direction `from`'s SYN has and the other has not: the first, and this one. A SYN
    /// that is sent again may leave some out itself.
    pub(super) fn stripped(&self, from: u8, segment: &Segment, options: &TcpOptions) -> SynOptions {
        let again = if segment.flags.is_syn_ack() { self.syn_ack_retransmissions } else { self.syn_retransmissions };
        let is_whole = again == 0 && !options.cut && !options.malformed;
        let Some(Some(first)) = self.offers.get(usize::from(from)).filter(|_| is_whole) else {
            return SynOptions::empty();
        };
        let [first, copy] = [*first, PackedOffer::new(segment, options)].map(|offer| SynOptions::of(&offer.unpack()));
        first.symmetric_difference(copy)
    }

    fn offer(&mut self, from: u8, segment: &Segment, options: &TcpOptions) {
        if let Some(slot) = self.offers.get_mut(usize::from(from))
            && !options.cut
        {
            slot.get_or_insert_with(|| PackedOffer::new(segment, options));
        }
    }

    /// Tells that the SYN-ACK acknowledged the data in the SYN.
    pub(super) fn data_in_syn_accepted(&mut self) {
        if self.fast_open == FastOpen::Sent {
            self.fast_open = FastOpen::Accepted;
        }
    }

    /// The shift counts of both directions' windows (RFC 7323, section 2.2: used only where both offered one); `None`
    /// where not both offers were captured.
    pub(super) fn scales(&self) -> Option<[u8; 2]> {
        let [Some(one), Some(other)] = self.offers else { return None };
        Some(match (one.scale(), other.scale()) {
            (Some(one), Some(other)) => [one.min(14), other.min(14)],
            _ => [0, 0],
        })
    }

    /// The direction that opened the connection, where a SYN or a SYN-ACK tells it.
    pub(super) const fn opener(&self) -> Option<(u8, Opened)> {
        match (self.syn.get(), self.syn_ack.get()) {
            (Some(_), _) => Some((self.opener, Opened::BySyn)),
            (None, Some(_)) => Some((self.opener, Opened::BySynAck)),
            (None, None) => None,
        }
    }

    /// Whether direction `from` sent a SYN without ACK.
    pub(super) fn sent_syn(&self, from: u8) -> bool {
        self.syn != Moment::NONE && (self.opener == from || self.two_syns)
    }

    /// Whether a SYN was answered by no SYN: what ends such an attempt completes no handshake.
    pub(super) fn is_unanswered(&self) -> bool {
        self.syn != Moment::NONE && self.syn_ack == Moment::NONE && !self.two_syns
    }

    /// Whether both ends permit SACK; `None` where not both offers were captured.
    pub(super) fn has_sack(&self) -> Option<bool> {
        let [Some(one), Some(other)] = self.offers else { return None };
        Some(one.has(PackedOffer::SACK) && other.has(PackedOffer::SACK))
    }

    /// Whether both ends sent a SYN before seeing the other's.
    pub(super) const fn is_simultaneous(&self) -> bool {
        self.two_syns && self.two_syn_acks
    }

    /// SYNs without ACK that one end sent.
    pub(super) fn syns(&self) -> u64 {
        u64::from(self.syn != Moment::NONE) + u64::from(self.syn_retransmissions)
    }

    /// SYNs and SYN-ACKs that were sent again.
    pub(super) fn sent_again(&self) -> u16 {
        self.syn_retransmissions.saturating_add(self.syn_ack_retransmissions)
    }

    /// The handshake as it is reported; `client` is the client's direction, `initial_rtt` what the segment analysis
    /// found, `v6` the family.
    pub(super) fn record(&self, client: usize, initial_rtt: Option<Nanos>, v6: bool) -> record::Handshake {
        let between = |from: Moment, to: Moment| to.get()?.checked_since(from.get()?);
        let offer = |direction: usize| self.offers.get(direction).copied().flatten();
        let (of_client, of_server) = (offer(client), offer(client ^ 1));
        record::Handshake {
            syn: self.syn.get(),
            syn_ack: self.syn_ack.get(),
            ack: self.ack.get(),
            connect_ns: between(self.syn, self.ack),
            rtt_ns: initial_rtt,
            server_rtt_ns: between(self.last_syn, self.syn_ack),
            client_rtt_ns: between(self.last_syn_ack, self.ack),
            syn_retransmissions: self.syn_retransmissions.into(),
            syn_ack_retransmissions: self.syn_ack_retransmissions.into(),
            simultaneous_open: self.is_simultaneous(),
            split: self.two_syns && !self.two_syn_acks,
            offered: Sides { client: of_client.map(PackedOffer::unpack), server: of_server.map(PackedOffer::unpack) },
            gave_up_ecn: self.gave_up_ecn,
            gave_up_fast_open: self.gave_up_fast_open,
            agreed: of_client.zip(of_server).map(|(client, server)| self.agreed(client, server, v6)),
            stripped: Sides::default(),
        }
    }

    fn agreed(&self, client: PackedOffer, server: PackedOffer, v6: bool) -> Agreed {
        let default = if v6 { DEFAULT_MSS.1 } else { DEFAULT_MSS.0 };
        let mss = |offer: PackedOffer| if offer.has(PackedOffer::MSS) { offer.mss } else { default };
        let both = |bit: u8| client.has(bit) && server.has(bit);
        Agreed {
            mss: mss(client).min(mss(server)),
            window_scale: client.scale().is_some() && server.scale().is_some(),
            sack: both(PackedOffer::SACK),
            timestamps: both(PackedOffer::TIMESTAMPS),
            ecn: both(PackedOffer::ECN),
            mptcp: both(PackedOffer::MPTCP),
            fast_open: self.fast_open == FastOpen::Accepted,
        }
    }
}

pack_fields! {
    Handshake {
        syn, last_syn, syn_ack, last_syn_ack, ack, offers, syn_retransmissions, syn_ack_retransmissions, fast_open,
        two_syns, two_syn_acks, syn_ack_from, opener, gave_up_ecn, gave_up_fast_open,
    }
    PackedOffer { mss, window, window_scale, fast_open, bits }
}

pack_values! {
    FastOpen { No, Sent, Accepted }
}
