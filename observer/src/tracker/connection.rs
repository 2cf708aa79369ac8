//! One connection, as its segments come by.
//!
//! The two directions are numbered: 0 sends from the lower end of the key, 1 from the higher. Who is client and who is
//! server is known only once the segments have shown it, and is sorted out when the record is made (see
//! [`super::report`]).

use super::analysis::{self, AnalysisSet};
use super::duplicate::Habits;
use super::handshake::Handshake;
use super::kernel::Kernel;
use super::moment::Moment;
use super::notable::{Notable, Reset, Silence};
use super::outcome::{Clock, Outcome};
use super::pack::{pack_fields, pack_flags, pack_wrapped};
use super::segment::Done;
use super::sending::End;
use super::state;
use super::table::Key;
use super::timeline::{Entry, Log};
use super::{Config, Effect, Timeouts};
use crate::flow::{TunnelEnds, tunnels};
use crate::kernel::{KernelEvent, SocketInput};
use crate::packet::{Flags, IcmpError, Layer, Notes, Packet, Segment, Tuple};
use crate::protocol::Conversation;
use crate::record::{EntryKind, NotableKind, Side, Sides, SynOptions, TcpState};
use crate::time::Timestamp;

/// ICMP errors kept of one connection.
const MAX_ICMP: usize = 16;

/// A connection that is being followed.
#[derive(Debug)]
pub(super) struct Connection {
    /// Number of its first packet.
    pub(super) id: u64,
    /// Number of its last packet.
    pub(super) last_number: u64,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    /// Lower end first.
    pub(super) ends: Tuple,
    pub(super) sent: [End; 2],
    pub(super) handshake: Handshake,
    pub(super) outcome: Outcome,
    pub(super) shared: analysis::Shared,
    pub(super) flows: [analysis::Flow; 2],
    pub(super) habits: [Habits; 2],
    pub(super) closing: Closing,
    pub(super) around: Option<Box<Around>>,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) log: Option<Box<Log>>,
    /// What the kernel says of it.
    pub(super) kernel: Option<Box<Kernel>>,
    /// What both ends say to each other, from the first payload on.
    pub(super) conversation: Option<Box<Conversation>>,
    /// What they say is no protocol that is known.
    pub(super) is_unknown: bool,
    /// A packet of it was sent from the host that it was seen on.
    pub(super) is_own: bool,
    /// A SYN of it asked for somebody who listens on that host.
    pub(super) asks: bool,
    /// It is in the tracker's list of connections that are over.
    pub(super) listed: Listed,
    /// Another connection with the same key went before, and nothing has been said of it yet.
    pub(super) reuses_ports: bool,
    pub(super) evicted: bool,
}

/// Whether a connection is in one of the tracker's lists of those that are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Listed {
    #[default]
    No,
    /// In the list of those whose other end should have a socket here.
    HalfOver,
    Over,
}

/// Tunnels and tags of a connection that is not in plain frames.
#[derive(Debug, Default)]
pub(super) struct Around {
    pub(super) tunnels: Box<[TunnelEnds]>,
    /// The layers of each direction's first packet that has any.
    pub(super) layers: [Box<[Layer]>; 2],
}

impl Around {
    /// Whether the tunnels among `layers` are those around a connection.
    pub(super) fn has_tunnels(around: Option<&Self>, layers: &[Layer]) -> bool {
        match around {
            None => tunnels(layers).next().is_none(),
            Some(around) => tunnels(layers).eq(around.tunnels.iter().copied()),
        }
    }

    /// Takes in the layers of a packet that direction `from` sent.
    pub(super) fn take(&mut self, from: u8, layers: &[Layer]) {
        let [own, _] = both(&mut self.layers, from);
        if own.is_empty() {
            *own = layers.into();
        }
    }
}

/// Who closed, and when. Nearly every connection comes to that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closing {
    pub(super) fin: [Moment; 2],
    pub(super) rst: [Moment; 2],
    /// The direction that sent the first FIN or RST.
    pub(super) first: Option<u8>,
}

/// What not every connection has.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) analysis: [Counts; 2],
    pub(super) duplicates: u64,
    pub(super) icmp: Vec<Icmp>,
    pub(super) notable: Vec<Notable>,
    /// The options of each direction's SYN that are missing from one of its copies.
    pub(super) stripped: [SynOptions; 2],
    pub(super) reset: Option<Box<Reset>>,
    pub(super) silence: Option<Box<Silence>>,
}

/// How many segments of one direction the analysis gave each name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([u32; AnalysisSet::all().bits().count_ones() as usize]);

impl Counts {
    pub(super) fn add(&mut self, set: AnalysisSet) {
        let mut bits = set.bits();
        while bits != 0 {
            if let Some(count) = self.0.get_mut(bits.trailing_zeros() as usize) {
                *count += 1;
            }
            bits &= bits - 1;
        }
    }

    /// How many segments have the one name that `name` is.
    pub(super) fn of(&self, name: AnalysisSet) -> u64 {
        self.0.get(name.bits().trailing_zeros() as usize).copied().unwrap_or(0).into()
    }
}

/// An ICMP error about a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Icmp {
    pub(super) at: Timestamp,
    pub(super) frame: u64,
    pub(super) error: IcmpError,
    /// The direction of the quoted segment.
    pub(super) quoted: u8,
}

impl Connection {
    /// A connection whose first packet is at hand, and still to be taken in.
    /// `reuses_ports` says that another connection with the same key went before.
    pub(super) fn new(
        key: &Key<'_>,
        from: u8,
        packet: &Packet,
        segment: &Segment,
        reuses_ports: bool,
        config: &Config,
    ) -> Self {
        let tunnels: Box<[TunnelEnds]> = tunnels(key.layers).collect();
        let ends = key.ends();
        Self {
            id: packet.number,
            last_number: packet.number,
            first_seen: packet.at,
            last_seen: packet.at,
            ends,
            sent: Default::default(),
            handshake: Handshake::default(),
            outcome: Outcome::new(&ends, from, segment.flags, config.timeouts),
            shared: analysis::Shared::default(),
            flows: Default::default(),
            habits: Default::default(),
            closing: Closing::default(),
            around: (!tunnels.is_empty()).then(|| Box::new(Around { tunnels, ..Around::default() })),
            rare: None,
            log: None,
            kernel: None,
            conversation: None,
            is_unknown: false,
            is_own: false,
            asks: false,
            listed: Listed::No,
            reuses_ports,
            evicted: false,
        }
    }

    /// Whether this connection is the one with the given key, its hash aside.
    pub(super) fn has_key(&self, key: &Key<'_>) -> bool {
        key.is_of(&self.ends) && Around::has_tunnels(self.around.as_deref(), key.layers)
    }

    /// Whether nothing more is owed on either side.
    pub(super) fn is_over(&self) -> bool {
        if let Some(gone) = self.kernel.as_ref().and_then(|kernel| kernel.is_gone()) {
            return gone;
        }
        let [low, high] = &self.sent;
        state::is_over(low.state, high.state)
    }

    /// Whether a socket of this host may still appear that was not seen: one of two where both ends are here, or any where
    /// the kernel is observed.
    pub(super) fn lacks_a_socket(&self, config: &Config) -> bool {
        let Tuple { src, dst, version, .. } = self.ends;
        let is_here = src == dst || (src.to_ip(version).is_loopback() && dst.to_ip(version).is_loopback());
        match self.kernel.as_ref().map_or(0, |kernel| kernel.known_ends()) {
            0 => config.sampled,
            1 => is_here && !self.kernel.as_ref().is_some_and(|kernel| kernel.is_refused()),
            _ => false,
        }
    }

    /// Whether a socket of this host is known to be its.
    pub(super) fn has_socket(&self) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.known_ends() > 0)
    }

    /// Whether it can be kept in short form: what the kernel says of it cannot, one that is over is soon given out, and
    /// what holds payload may have to give it up.
    pub(super) fn may_rest(&self) -> bool {
        self.kernel.is_none() && self.listed == Listed::No && self.held() == 0
    }

    /// Whether it only passes through, so that nothing can be said of it. Of what a host forwards, the kernel's filter sees
    /// what arrives and not what leaves; where addresses are translated on the way, each direction even looks like a
    /// connection of its own. What is the host's own has a socket here, or the kernel told of it, or a packet of it was sent
    /// from here; or it asked for somebody who listens here, and went no further: SYN cookies, and what is dropped for want
    /// of room, leave no other trace. What did go further was translated to an address behind this host.
    pub(super) fn passes(&self, config: &Config) -> bool {
        let packets: u64 = self.sent.iter().map(|end| end.packets).sum();
        let was_heard = self.asks && packets == self.handshake.syns();
        config.sampled && !self.is_of_this_host() && !was_heard
    }

    /// Whether a packet of it was sent from here, or the kernel told of it.
    pub(super) const fn is_of_this_host(&self) -> bool {
        self.is_own || self.kernel.is_some()
    }

    /// Whether any packet of it was seen.
    pub(super) fn has_packets(&self) -> bool {
        self.sent.iter().any(|end| end.packets > 0)
    }

    /// Whether a socket is another connection's, with the same ends.
    pub(super) fn is_succeeded_by_socket(&self, from: u8, input: &SocketInput) -> bool {
        match &self.kernel {
            Some(kernel) => kernel.is_succeeded_by(from, input, self.last_seen, self.is_over()),
            None => self.is_over() && input.first_seen > self.last_seen,
        }
    }

    /// Takes in what is new of a socket that sends on direction `from`.
    pub(super) fn socket(&mut self, from: u8, input: &SocketInput) {
        self.kernel.get_or_insert_default().socket(from, input);
        self.first_seen = self.first_seen.min(input.first_seen);
        let last = input.events.last().map(|event| event.at).or(input.gone.then_some(input.at));
        self.last_seen = self.last_seen.max(last.unwrap_or(input.first_seen));
    }

    /// Takes in an event that concerns direction `from`.
    pub(super) fn kernel_event(&mut self, from: u8, event: KernelEvent) {
        self.last_seen = self.last_seen.max(event.at);
        self.kernel.get_or_insert_default().event(from, event);
    }

    /// Whether a segment that direction `from` sent at `now` belongs to a new connection with the same key; the packet
    /// before it, of any connection, came at `previous`.
    #[inline]
    pub(super) fn is_succeeded_by(
        &self,
        from: u8,
        segment: &Segment,
        previous: Timestamp,
        now: Timestamp,
        config: &Config,
    ) -> bool {
        // Time alone ends none.
        let may_be = config.timeouts != Timeouts::Never || segment.flags.contains(Flags::SYN);
        may_be && self.is_succeeded(from, segment, previous, now, config)
    }

    #[inline(never)]
    fn is_succeeded(&self, from: u8, segment: &Segment, previous: Timestamp, now: Timestamp, config: &Config) -> bool {
        if config.sampled {
            return self.is_succeeded_by_syn(from, segment);
        }
        match config.timeouts {
            Timeouts::Never => self.flows.get(usize::from(from)).is_some_and(|flow| flow.starts_new_stream(segment)),
            Timeouts::Zeek => {
                let clock = Clock { first: self.first_seen, last: self.last_seen, previous, now };
                self.outcome.is_succeeded_by(segment, &clock)
            }
        }
    }

    /// Whether a SYN is another connection's, where not every segment is seen: it has another sequence number, or all
    /// sockets of this connection are gone.
    fn is_succeeded_by_syn(&self, from: u8, segment: &Segment) -> bool {
        let isn = self.sent.get(usize::from(from)).and_then(End::isn);
        segment.flags.is_bare_syn()
            && match isn {
                Some(isn) => isn != segment.seq,
                None => self.kernel.as_ref().and_then(|kernel| kernel.is_gone()) == Some(true),
            }
    }

    /// What the tracker tells of a segment that direction `from` sent.
    #[inline(never)]
    pub(super) fn effect(&self, from: u8, done: Done) -> Effect {
        let (client, _) = self.roles();
        let [low, high] =
            [0, 1].map(|direction: usize| self.sent.get(direction).map_or(TcpState::Unknown, |end| end.state));
        Effect {
            connection: self.id,
            from: if from == client { Side::Client } else { Side::Server },
            state: if client == 0 { Sides { client: low, server: high } } else { Sides { client: high, server: low } },
            analysis: done.analysis,
            duplicate: done.duplicate,
        }
    }

    /// A packet of which, like in Zeek, nothing is believed.
    pub(super) fn left_aside(&mut self, from: u8, packet: &Packet) {
        if packet.notes.contains(Notes::BAD_IP_CHECKSUM) {
            let [fwd, _] = both(&mut self.sent, from);
            fwd.bad_checksum(packet.notes);
        }
    }

    /// Takes in an ICMP error that quotes a segment which direction `quoted` sent.
    pub(super) fn icmp(&mut self, quoted: u8, packet: &Packet, error: &IcmpError, config: &Config) {
        self.last_number = packet.number;
        self.last_seen = self.last_seen.max(packet.at);
        let icmp = &mut self.rare.get_or_insert_default().icmp;
        if icmp.len() < MAX_ICMP {
            icmp.push(Icmp { at: packet.at, frame: packet.frame.number, error: *error, quoted });
        }
        self.note_one(NotableKind::Icmp, quoted, packet);
        if error.mtu.is_some() {
            let [fwd, _] = both(&mut self.sent, quoted);
            let [_, rev_flow] = both(&mut self.flows, quoted);
            fwd.retransmits.is_too_large(rev_flow, packet.at);
        }
        if self.is_logged(config) {
            let entry = Entry { kind: EntryKind::Icmp, ..self.entry(quoted ^ 1, packet) };
            self.log.get_or_insert_default().add(entry, config.timeline_entries);
        }
    }

    /// Whether a timeline is kept of this connection.
    pub(super) fn is_logged(&self, config: &Config) -> bool {
        config.timeline_entries > 0 && config.timeline_of.is_none_or(|id| id == self.id)
    }

    /// Takes in a segment of direction `from` that an ICMP error quotes, as far as it is one to Wireshark: a packet of
    /// which only the control bits count.
    pub(super) fn quoted_segment(&mut self, from: u8, packet: &Packet, flags: Flags) {
        let [fwd, _] = both(&mut self.sent, from);
        fwd.packets += 1;
        self.shared.quoted(flags, packet.at);
        if std::mem::take(&mut self.reuses_ports) {
            let [fwd, _] = both(&mut self.rare.get_or_insert_default().analysis, from);
            fwd.add(AnalysisSet::REUSED_PORTS);
        }
        self.last_seen = self.last_seen.max(packet.at);
    }

    /// What every entry has.
    pub(super) fn entry(&self, from: u8, packet: &Packet) -> Entry {
        let [low, high] = &self.sent;
        Entry {
            at: packet.at,
            frame: packet.frame.number,
            file: packet.frame.file,
            from,
            kind: EntryKind::Ack,
            bytes: 0,
            flags: Flags::empty(),
            analysis: AnalysisSet::empty(),
            retransmission: None,
            states: [low.state, high.state],
            seq: 0,
            ack: None,
            window: 0,
        }
    }
}

/// The value of direction `from`, then that of the other.
pub(super) fn both<T>(values: &mut [T; 2], from: u8) -> [&mut T; 2] {
    let [low, high] = values;
    if from == 0 { [low, high] } else { [high, low] }
}

pack_fields! {
    Connection {
        id, last_number, first_seen, last_seen, ends, handshake, flows, sent, outcome, shared, habits, closing, around, rare, log,
        reuses_ports, evicted, is_unknown, is_own, asks; listed, kernel, conversation
    }
    Around { tunnels, layers }
    Closing { fin, rst, first }
    Rare { analysis, duplicates, icmp, notable, stripped, reset, silence }
    Icmp { at, frame, error, quoted }
}

pack_wrapped!(Counts);
pack_flags!(SynOptions);
