//! What the decoder makes of one frame: plain facts, no lifetimes, ready to cross to another thread.
//!
//! A [`Packet`] holds what every consumer needs in fixed-size fields. What only some need stays in the bytes of the
//! capture: [`Packet::tail`] says where the TCP options and the payload lie, [`Packet::layers`] where the encapsulation
//! around the packet is listed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bitflags::bitflags;

use crate::nearby::fetch;
use crate::sequence::Seq;
use crate::time::Timestamp;

/// Where a frame stands in the input: the file (counted from 0, in the order they were named) and the frame's number in
/// it (counted from 1, as Wireshark's `frame.number`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// Index of the file among those being read, from 0.
    pub file: u16,
    /// Number of the frame in its file, from 1; includes frames of other protocols and those a filter left out.
    pub number: u64,
}

/// An IP address of either family in 16 octets; IPv4 as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
///
/// The family is kept beside it (see [`IpVersion`]), so that a real IPv6 packet with such an address stays apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// An IPv4 address.
    pub const fn v4(octets: [u8; 4]) -> Self {
        // As a number, so that it is moved as two words instead of octet by octet.
        Self((0xffff << 32 | u32::from_be_bytes(octets) as u128).to_be_bytes())
    }

    /// The address as the standard library names it, given its family.
    pub const fn to_ip(self, version: IpVersion) -> IpAddr {
        match version {
            IpVersion::V4 => {
                let [.., a, b, c, d] = self.0;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            IpVersion::V6 => IpAddr::V6(Ipv6Addr::from_octets(self.0)),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip.octets()),
            IpAddr::V6(ip) => Self(ip.octets()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv6Addr::from_octets(self.0).fmt(f)
    }
}

/// The version field of an IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IpVersion {
    /// RFC 791.
    #[default]
    V4 = 4,
    /// RFC 8200.
    V6 = 6,
}

/// Source and destination of a packet, as its headers give them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// The family of both addresses.
    pub version: IpVersion,
}

impl Tuple {
    /// The same pair of ends, seen from the other one.
    pub const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, version: self.version }
    }

    /// Whether source stands before destination in the order that makes a [`crate::flow::FlowKey`].
    pub fn is_canonical(&self) -> bool {
        // The order of the octets, as numbers: two comparisons.
        let number = |address: Address| u128::from_be_bytes(address.0);
        (number(self.src), self.sport) <= (number(self.dst), self.dport)
    }
}

bitflags! {
    /// The control bits of a TCP header (RFC 9293, section 3.1), `AE` included (RFC 9768).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u16 {
        /// No more data from sender.
        const FIN = 0x001;
        /// Synchronise sequence numbers.
        const SYN = 0x002;
        /// Reset the connection.
        const RST = 0x004;
        /// Push function.
        const PSH = 0x008;
        /// The acknowledgment field is significant.
        const ACK = 0x010;
        /// The urgent pointer field is significant.
        const URG = 0x020;
        /// ECN echo (RFC 3168).
        const ECE = 0x040;
        /// Congestion window reduced (RFC 3168).
        const CWR = 0x080;
        /// Accurate ECN (RFC 9768); once NS (RFC 3540).
        const AE = 0x100;
    }
}

impl Flags {
    /// Whether any of SYN, FIN and RST is set.
    pub const fn syn_fin_rst(self) -> bool {
        self.intersects(Self::SYN.union(Self::FIN).union(Self::RST))
    }

    /// Whether this is a segment of an open connection that neither opens nor ends it: ACK without SYN, FIN and RST.
    pub const fn is_ack_alone(self) -> bool {
        self.contains(Self::ACK) && !self.syn_fin_rst()
    }

    /// Whether this is the first segment of a handshake: SYN without ACK.
    pub const fn is_bare_syn(self) -> bool {
        self.contains(Self::SYN) && !self.contains(Self::ACK)
    }

    /// Whether this is the second segment of a handshake: SYN with ACK.
    pub const fn is_syn_ack(self) -> bool {
        self.contains(Self::SYN.union(Self::ACK))
    }
}

/// As tcpdump prints them, without the brackets: `S.`, `P.`, `F.`, `R`, `none`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: [(Flags, &str); 9] = [
            (Flags::FIN, "F"),
            (Flags::SYN, "S"),
            (Flags::RST, "R"),
            (Flags::PSH, "P"),
            (Flags::ACK, "."),
            (Flags::URG, "U"),
            (Flags::ECE, "E"),
            (Flags::CWR, "W"),
            (Flags::AE, "e"),
        ];
        if self.is_empty() {
            return f.write_str("none");
        }
        LETTERS.iter().filter(|(flag, _)| self.contains(*flag)).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// The fixed part of one TCP segment's header, and its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first octet of payload (of the SYN, where there is one).
    pub seq: Seq,
    /// Acknowledgment number; meaningful with [`Flags::ACK`] only.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window field, not scaled.
    pub window: u16,
    /// Urgent pointer; meaningful with [`Flags::URG`] only.
    pub urgent: u16,
    /// Octets of payload on the wire, as the IP header gives them, whatever the capture kept of it.
    pub len: u32,
}

impl Segment {
    /// Octets of sequence space this segment takes: its payload, one for SYN and one for FIN.
    pub const fn space(&self) -> u32 {
        self.len.saturating_add(self.flags.contains(Flags::SYN) as u32 + self.flags.contains(Flags::FIN) as u32)
    }

    /// The sequence number after this segment.
    pub const fn end(&self) -> Seq {
        self.seq.plus(self.space())
    }
}

/// An ICMP or ICMPv6 error (RFC 792, RFC 4443) that quotes a TCP segment. [`Packet::tuple`] is the quoted segment's, so
/// its source is the host that the error is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent the error.
    pub from: Address,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The next hop's MTU in octets: from "fragmentation needed" (RFC 1191) and "packet too big".
    pub mtu: Option<u32>,
    /// Sequence number of the quoted segment.
    pub seq: Seq,
    /// Control bits of the quoted segment; `None` where the quote, as far as captured, ends before its window (RFC 792 asks
    /// for 8 octets only).
    pub flags: Option<Flags>,
}

/// One UDP datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// Octets of payload on the wire, as the UDP header gives them.
    pub len: u32,
}

/// What a packet carries, as far as observer follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Segment),
    /// An ICMP error about a TCP segment, in [`Decoded::errors`].
    Icmp(ErrorRef),
    /// A UDP datagram (RFC 768) that is no tunnel.
    Udp(Datagram),
}

bitflags! {
    /// What the decoder noticed about a packet.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Notes: u16 {
        /// The IPv4 header checksum is wrong, or that of an IPv4 header around a tunnel.
        const BAD_IP_CHECKSUM = 0x0001;
        /// The TCP checksum is wrong. Never set where the capture lacks a part of the segment.
        const BAD_TCP_CHECKSUM = 0x0002;
        /// The TCP checksum could not be tested: the capture lacks a part of the segment, or checksums are ignored.
        const UNCHECKED = 0x0004;
        /// The capture kept less of the packet than was on the wire (snapshot length).
        const TRUNCATED = 0x0008;
        /// The IP header's Don't Fragment bit.
        const DONT_FRAGMENT = 0x0010;
        /// Put together from IP fragments.
        const REASSEMBLED = 0x0020;
        /// The IP length field was 0: a segment taken before segmentation offload; its length is the frame's.
        const LENGTH_ZERO = 0x0040;
        /// The TCP header claims more or fewer options than there are: [`Span::options`] is cut to what is there.
        const BAD_HEADER_LENGTH = 0x0080;
        /// The IP header says more than the frame held on the wire (tcpdump's `truncated-ip`).
        const TRUNCATED_IP = 0x0100;
        /// The capture ends before the TCP options do: [`Span::options`] is cut to what is there.
        const OPTIONS_CUT = 0x0200;
        /// The capture ends inside the fixed part of the TCP header, behind the window: urgent pointer and checksum are not
        /// known, and [`Span::start`] is where the capture ends.
        const HEADER_CUT = 0x2000;
        /// It was sent from the host that it was seen on. Set by live sources alone.
        const OUTBOUND = 0x0400;
        /// It asks for somebody who listens on the host that it was seen on. Likewise.
        const ASKING = 0x0800;
        /// The TCP checksum is wrong because the network card has still to complete it: so far it is the pseudo-header's
        /// sum, as Linux leaves it (`CHECKSUM_PARTIAL` of include/linux/skbuff.h).
        const PARTIAL_CHECKSUM = 0x1000;
    }
}

/// Where the bytes after the fixed TCP header lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first octet of TCP options in the bytes it points into.
    pub start: u32,
    /// Octets of TCP options that the capture holds.
    pub options: u8,
    /// Octets of payload that the capture holds, right after the options.
    pub payload: u32,
    /// Whether this points into [`Decoded::reassembled`] rather than into the capture.
    pub reassembled: bool,
}

/// One decoded packet. It fills two lines of the cache: millions of them go from thread to thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Packet {
    /// When it was captured.
    pub at: Timestamp,
    /// Its place in the whole input, counted from 1 over all files in the order they are read.
    pub number: u64,
    /// Its place in its own file.
    pub frame: FrameId,
    /// A hash of what makes the connection (innermost tuple and tunnels), the same for both directions.
    pub hash: u64,
    /// Innermost source and destination.
    pub tuple: Tuple,
    /// The capture's interface, counted from 0 over the file.
    pub interface: u16,
    /// Time to live, or hop limit, of the innermost IP header.
    pub ttl: u8,
    /// Differentiated services and ECN bits of the innermost IP header.
    pub tos: u8,
    /// Identification field of the innermost IPv4 header; 0 for IPv6.
    pub ip_id: u16,
    /// Octets that the IP header claims beyond what the frame held on the wire ([`Notes::TRUNCATED_IP`]); they are no
    /// part of [`Segment::len`].
    pub missing: u16,
    /// What the decoder noticed.
    pub notes: Notes,
    /// Which entry of [`Decoded::layers`] lists what is around the packet; `None` for a packet in plain frames.
    pub layers: Option<LayersRef>,
    /// Where the TCP options and payload lie.
    pub tail: Span,
    /// The segment, or the error about one.
    pub body: Body,
}

impl Packet {
    /// A packet of which nothing is known but that there must have been one.
    pub(crate) fn placeholder(at: Timestamp, number: u64, tuple: Tuple) -> Self {
        Self {
            at,
            number,
            frame: FrameId::default(),
            hash: 0,
            tuple,
            interface: 0,
            ttl: 0,
            tos: 0,
            ip_id: 0,
            missing: 0,
            notes: Notes::empty(),
            layers: None,
            tail: Span::default(),
            body: Body::Tcp(Segment::default()),
        }
    }
}

const _: () = assert!(size_of::<Packet>() == 128, "a packet fills two lines of the cache");

/// An index into [`Decoded::errors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRef(pub u32);

/// An index into [`Decoded::layers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayersRef(pub std::num::NonZeroU32);

/// The kinds of tunnel that make a part of a connection's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TunnelKind {
    /// Generic routing encapsulation (RFC 2784, RFC 2890), NVGRE and Aruba's variants included.
    Gre,
    /// Encapsulated remote SPAN, over GRE.
    Erspan,
    /// IPv4 in IPv4 (RFC 2003).
    Ipip,
    /// IPv6 in IPv4 (RFC 4213).
    #[serde(rename = "6in4")]
    SixInFour,
    /// IPv4 in IPv6 (RFC 2473).
    #[serde(rename = "4in6")]
    FourInSix,
    /// IPv6 in IPv6 (RFC 2473).
    #[serde(rename = "6in6")]
    SixInSix,
    /// RFC 4380.
    Teredo,
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// GTP-U (3GPP TS 29.281).
    Gtp,
    /// Anything In Anything (AYIYA).
    Ayiya,
    /// L2TP, version 2 (RFC 2661).
    L2tp,
    /// Ethernet in IP (RFC 3378).
    #[serde(rename = "etherip")]
    EtherIp,
    /// MPLS in IP (RFC 4023) or in UDP (RFC 7510).
    Mpls,
    /// Locator/ID separation (RFC 9300).
    Lisp,
    /// 802.11 frames between access point and controller (RFC 5415).
    Capwap,
    /// Frames that a sniffer sends on (TaZmen Sniffer Protocol).
    Tzsp,
}

impl TunnelKind {
    /// Its name, as JSON output has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Erspan => "erspan",
            Self::Ipip => "ipip",
            Self::SixInFour => "6in4",
            Self::FourInSix => "4in6",
            Self::SixInSix => "6in6",
            Self::Teredo => "teredo",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gtp => "gtp",
            Self::Ayiya => "ayiya",
            Self::L2tp => "l2tp",
            Self::EtherIp => "etherip",
            Self::Mpls => "mpls",
            Self::Lisp => "lisp",
            Self::Capwap => "capwap",
            Self::Tzsp => "tzsp",
        }
    }
}

/// One layer around a packet, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// 802.1Q or 802.1ad tag: the VLAN identifier (12 bits).
    Vlan(u16),
    /// MPLS: the label (20 bits).
    Mpls(u32),
    /// Provider backbone bridge (802.1ah): the service identifier (24 bits).
    Pbb(u32),
    /// PPPoE: the session identifier.
    Pppoe(u16),
    /// A tunnel between two IP addresses.
    Tunnel(Tunnel),
}

/// One tunnel around a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What kind.
    pub kind: TunnelKind,
    /// Outer source.
    pub src: Address,
    /// Outer destination.
    pub dst: Address,
    /// Family of the outer addresses.
    pub version: IpVersion,
    /// VNI, TEID, GRE key or ERSPAN session: what the tunnel's header names; `None` where it names nothing.
    pub id: Option<u32>,
    /// Outer UDP source port, for tunnels over UDP.
    pub source_port: Option<u16>,
}

/// How many layers are kept around one packet; what is nested deeper is malformed.
pub const MAX_LAYERS: usize = 12;

/// What came out of decoding a run of frames: the packets, and what they refer to.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The packets, in the order of their frames.
    pub packets: Vec<Packet>,
    /// The encapsulation of those packets that have one; equal neighbours share an entry. [`LayersRef`] counts from 1.
    pub layers: Vec<Box<[Layer]>>,
    /// The ICMP errors among the packets.
    pub errors: Vec<IcmpError>,
    /// Bytes of packets put together from fragments.
    pub reassembled: Vec<u8>,
}

impl Decoded {
    /// Forgets the packets and keeps the memory.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.layers.clear();
        self.errors.clear();
        self.reassembled.clear();
    }

    /// Has the packets with these indices fetched, which will be read soon.
    pub fn foresee(&self, indices: &[u32]) {
        indices.iter().filter_map(|index| self.packets.get(*index as usize)).for_each(fetch);
    }

    /// Has the octets around the TCP options of a packet fetched; `capture` as in [`Decoded::tail_of`].
    pub fn foresee_tail(&self, packet: &Packet, capture: &[u8]) {
        let bytes = if packet.tail.reassembled { &self.reassembled } else { capture };
        bytes.get(packet.tail.start as usize).into_iter().for_each(fetch);
    }

    /// The layers around `packet`, outermost first.
    pub fn layers_of(&self, packet: &Packet) -> &[Layer] {
        let entry = packet.layers.and_then(|index| self.layers.get(index.0.get() as usize - 1));
        entry.map_or(&[], |layers| layers)
    }

    /// The ICMP error that `packet` is.
    pub fn error_of(&self, packet: &Packet) -> Option<&IcmpError> {
        let Body::Icmp(ErrorRef(index)) = packet.body else { return None };
        self.errors.get(index as usize)
    }

    /// The fixed part of the TCP header of `packet`, where `capture` holds the bytes that were decoded; `None` for an ICMP
    /// error, and where not all of it was captured.
    pub fn header_of<'a>(&'a self, packet: &Packet, capture: &'a [u8]) -> Option<&'a [u8; 20]> {
        let (Body::Tcp(_), false) = (packet.body, packet.notes.contains(Notes::HEADER_CUT)) else { return None };
        let bytes = if packet.tail.reassembled { &self.reassembled } else { capture };
        let end = packet.tail.start as usize;
        bytes.get(end.checked_sub(20)?..end)?.try_into().ok()
    }

    /// The TCP options and the payload of `packet`, where `capture` holds the bytes that were decoded.
    pub fn tail_of<'a>(&'a self, packet: &Packet, capture: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let bytes = if packet.tail.reassembled { &self.reassembled } else { capture };
        let options = packet.tail.start as usize;
        let payload = options + usize::from(packet.tail.options);
        let end = payload + packet.tail.payload as usize;
        (bytes.get(options..payload).unwrap_or(&[]), bytes.get(payload..end).unwrap_or(&[]))
    }
}
