//! What frames start with: a step for each link-layer header type of tcpdump.org's list that can lead to IP.

use crate::capture::LinkType;

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::walk::Walk;

impl Walk<'_> {
    /// A whole frame, by the link type of its capture.
    pub(super) fn link(&mut self, data: &[u8]) -> Outcome {
        // Damaged files claim any length; libpcap's and Wireshark's lengths are signed and end here.
        let wire = self.frame.wire_len.min(i32::MAX as u32);
        self.link_of(self.frame.link, Bytes::new(data, self.frame.start, wire))
    }

    fn link_of(&mut self, LinkType(link): LinkType, bytes: Bytes<'_>) -> Outcome {
        match link {
            1 => self.ethernet(bytes),
            0 | 108 => self.loopback(bytes),
            6 => self.token_ring(bytes),
            // ARCNET, with and without the offset that Linux leaves out.
            7 => self.arcnet(bytes, 3),
            129 => self.arcnet(bytes, 5),
            9 | 50 => self.hdlc(bytes),
            10 => self.fddi(bytes),
            // The platforms' own numbers for raw IP, and the one for all.
            12 | 14 | 101 | 228 => self.ip(bytes),
            229 => self.ipv6(bytes),
            51 => self.pppoe(bytes),
            // ATM with RFC 2684's LLC encapsulation.
            11 | 100 => self.llc(bytes),
            104 => self.cisco_hdlc(bytes),
            105 => self.wifi(bytes),
            107 => self.frame_relay(bytes),
            109 => self.ip(bytes.skip(12)?),
            113 => self.sll(bytes),
            117 => self.pf_log(bytes),
            119 => self.prism(bytes),
            // IP over Fibre Channel: two addresses.
            122 => self.llc(bytes.skip(16)?),
            127 => self.radiotap(bytes),
            // IP over IEEE 1394: two addresses and an EtherType.
            136 | 164 | 167 | 168 | 178..=181 => self.juniper(link, bytes),
            138 => self.ethertype_after(bytes.skip(16)?),
            163 => self.avs(bytes),
            // PPP with a direction in front.
            166 | 204 => self.ppp(bytes.skip(1)?),
            192 => self.ppi(bytes),
            219 => self.mpls(bytes),
            226 => self.ipnet(bytes),
            239 => self.nflog(bytes),
            // NetAnalyzer: four octets of its own, then Ethernet; the second type has its preamble too.
            240 => self.ethernet(bytes.skip(4)?),
            241 => self.ethernet(bytes.skip(12)?),
            // IP over InfiniBand: an EtherType and two octets, after the destination's hardware address in libpcap's type.
            242 => self.ipoib(bytes.skip(40)?),
            258 => self.pktap(bytes),
            274 => self.mpacket(bytes),
            276 => self.sll2(bytes),
            // Tags of switch chips: between the addresses and the EtherType, or in front of it all.
            281 | 284 => self.ethertype_after(bytes.skip(16)?),
            282 => self.ethernet(bytes.skip(4)?),
            285 => self.ethertype_after(bytes.skip(20)?),
            _ => Err(Miss::UnknownLink),
        }
    }

    /// BSD loopback: the address family, in the byte order of the machine that captured.
    fn loopback(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (family, rest) = bytes.split()?;
        let family = u32::from_le_bytes(*family);
        match if family > 0xffff { family.swap_bytes() } else { family } {
            // AF_INET everywhere; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
            2 | 10 | 23 | 24 | 28 | 30 => self.ip(rest),
            kind @ 1536..=0xffff => self.ethertype(kind as u16, rest),
            _ => Err(Miss::Other),
        }
    }

    /// Linux "cooked" capture, version 1.
    fn sll(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[_, _, a, b, .., c, d], rest) = bytes.split::<16>()?;
        self.cooked(be16([a, b]), be16([c, d]), rest)
    }

    /// Linux "cooked" capture, version 2.
    fn sll2(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[c, d, _, _, _, _, _, _, a, b, ..], rest) = bytes.split::<20>()?;
        self.cooked(be16([a, b]), be16([c, d]), rest)
    }

    /// What both versions say: the device's ARPHRD_ type, and a protocol field whose meaning depends on it.
    fn cooked(&mut self, device: u16, protocol: u16, bytes: Bytes<'_>) -> Outcome {
        const ARPHRD_FRAD: u16 = 770;
        const ARPHRD_IEEE80211: u16 = 801;
        const ARPHRD_IEEE80211_RADIOTAP: u16 = 803;
        const ARPHRD_NETLINK: u16 = 824;
        const P_802_2: u16 = 0x0004;
        match (device, protocol) {
            (ARPHRD_NETLINK, _) => Err(Miss::Other),
            (ARPHRD_FRAD, _) => self.frame_relay(bytes),
            (ARPHRD_IEEE80211, _) => self.wifi(bytes),
            (ARPHRD_IEEE80211_RADIOTAP, _) => self.radiotap(bytes),
            (_, P_802_2) => self.llc(bytes),
            (_, kind) => self.ethertype(kind, bytes),
        }
    }

    /// FDDI: frame control and two addresses.
    fn fddi(&mut self, bytes: Bytes<'_>) -> Outcome {
        const KIND: u8 = 0x70;
        const LLC: u8 = 0x50;
        let (&[control, ..], rest) = bytes.split::<13>()?;
        if control & KIND == LLC { self.llc(rest) } else { Err(Miss::Other) }
    }

    /// Token ring: two control octets, two addresses, and routing information where the source says so.
    fn token_ring(&mut self, bytes: Bytes<'_>) -> Outcome {
        const KIND: u8 = 0xc0;
        const LLC: u8 = 0x40;
        const ROUTED: u8 = 0x80;
        let (&[_, control, _, _, _, _, _, _, source, ..], rest) = bytes.split::<14>()?;
        if control & KIND != LLC {
            return Err(Miss::Other);
        }
        if source & ROUTED == 0 {
            return self.llc(rest);
        }
        let &[control] = rest.peek()?;
        self.llc(rest.skip(usize::from(control & 0x1f))?)
    }

    /// ARCNET: IP right after the header by RFC 1051; by RFC 1201 after the number of a fragment, of which only the first
    /// holds a header.
    fn arcnet(&mut self, bytes: Bytes<'_>, header: usize) -> Outcome {
        const IPV4: u8 = 212;
        const IPV6: u8 = 196;
        const IPV4_BY_RFC_1051: u8 = 240;
        const EXCEPTION: u8 = 0xff;
        let &[kind] = bytes.skip(header - 1)?.peek()?;
        let rest = bytes.skip(header)?;
        match kind {
            IPV4_BY_RFC_1051 => return self.ip(rest),
            IPV4 | IPV6 => {}
            _ => return Err(Miss::Other),
        }
        let &[split_flag] = rest.peek()?;
        match split_flag {
            0 => self.ip(rest.skip(3)?),
            EXCEPTION => self.ip(rest.skip(7)?),
            _ => Err(Miss::Other),
        }
    }

    /// Frame relay by RFC 2427: an address of two to four octets, then a network layer protocol identifier; or Cisco's
    /// own EtherType.
    pub(super) fn frame_relay(&mut self, bytes: Bytes<'_>) -> Outcome {
        const LAST: u8 = 0x01;
        const UNNUMBERED: u8 = 0x03;
        const PAD: u8 = 0;
        const SNAP: u8 = 0x80;
        const IPV6: u8 = 0x8e;
        const IPV4: u8 = 0xcc;
        let address = bytes.data().iter().take(4).position(|octet| octet & LAST != 0);
        let rest = bytes.skip(address.ok_or_else(|| bytes.short(4))? + 1)?;
        let (&[control, mut identifier], mut rest) = rest.split()?;
        if control != UNNUMBERED {
            return self.ethertype(be16([control, identifier]), rest);
        }
        if identifier == PAD {
            let (&[next], after) = rest.split()?;
            (identifier, rest) = (next, after);
        }
        match identifier {
            IPV4 | IPV6 => self.ip(rest),
            SNAP => self.snap(rest),
            _ => Err(Miss::Other),
        }
    }

    /// OpenBSD's pf log: a header that gives its own length, filled up to a multiple of four.
    fn pf_log(&mut self, bytes: Bytes<'_>) -> Outcome {
        let &[length] = bytes.peek()?;
        self.ip(bytes.skip(usize::from(length).next_multiple_of(4))?)
    }

    /// IEEE 802.3br: preamble and delimiter, then a frame that is whole or starts here.
    fn mpacket(&mut self, bytes: Bytes<'_>) -> Outcome {
        const EXPRESS: u8 = 0xd5;
        let (&[.., delimiter], rest) = bytes.split::<8>()?;
        match delimiter {
            EXPRESS | 0xe6 | 0x4c | 0x7f | 0xb3 => self.ethernet(rest),
            _ => Err(Miss::Other),
        }
    }

    /// Per-packet information: its length, and the link type of what follows.
    fn ppi(&mut self, bytes: Bytes<'_>) -> Outcome {
        let &[_, _, a, b, link @ ..] = bytes.peek::<8>()?;
        let inner = bytes.skip(usize::from(u16::from_le_bytes([a, b])))?;
        self.descend()?;
        self.link_of(link_type(u32::from_le_bytes(link))?, inner)
    }

    /// macOS's packet metadata: its length, and the link type of what follows.
    fn pktap(&mut self, bytes: Bytes<'_>) -> Outcome {
        let &[a, b, c, d, _, _, _, _, link @ ..] = bytes.peek::<12>()?;
        let inner = bytes.skip(u32::from_le_bytes([a, b, c, d]) as usize)?;
        self.descend()?;
        self.link_of(link_type(u32::from_le_bytes(link))?, inner)
    }

    /// Solaris's IP observability: IP after a header of 24 octets.
    fn ipnet(&mut self, bytes: Bytes<'_>) -> Outcome {
        self.ip(bytes.skip(24)?)
    }

    /// IP over InfiniBand (RFC 4391).
    fn ipoib(&mut self, bytes: Bytes<'_>) -> Outcome {
        let (&[a, b, _, _], rest) = bytes.split()?;
        self.ethertype(be16([a, b]), rest)
    }

    /// Netfilter's log: attributes of length, type and value, in the byte order of the machine that captured.
    fn nflog(&mut self, bytes: Bytes<'_>) -> Outcome {
        const PAYLOAD: u16 = 9;
        let mut rest = bytes.skip(4)?;
        loop {
            let (&[a, b, c, d], value) = rest.split()?;
            // Nothing gives the order; lengths are small, so types below 256 tell it.
            let (length, kind) = if d == 0 {
                (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
            } else {
                (be16([a, b]), be16([c, d]))
            };
            let octets = length.checked_sub(4).ok_or(Miss::Malformed)?;
            if kind == PAYLOAD {
                return self.ip(value.limit(u32::from(octets)));
            }
            rest = rest.skip(usize::from(length).next_multiple_of(4))?;
        }
    }
}

fn link_type(number: u32) -> Result<LinkType, Miss> {
    u16::try_from(number).map(LinkType).map_err(|_| Miss::UnknownLink)
}
