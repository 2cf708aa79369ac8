//! The addresses of a network namespace, by rtnetlink(7): what arrives for another one is forwarded.

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink;

/// Larger than what the kernel puts into one message of a dump.
const BUFFER: usize = 1 << 16;

/// The addresses of one namespace, as they were when last asked for.
pub struct Addresses {
    socket: Socket,
    own: HashSet<IpAddr>,
    /// There may be new ones.
    is_old: bool,
}

impl Addresses {
    /// A socket for the addresses of the namespace that this thread is in.
    pub fn socket() -> Result<OwnedFd> {
        netlink::open(NETLINK_ROUTE, "NETLINK_ROUTE")
    }

    /// Those of the namespace in which the socket was opened.
    pub fn by(socket: OwnedFd) -> Result<Self> {
        let mut addresses = Self { socket: netlink::from_descriptor(socket), own: HashSet::new(), is_old: true };
        addresses.refresh()?;
        Ok(addresses)
    }

    /// Whether an address is one of them; asks anew where it was not, and time has passed.
    pub fn has(&mut self, address: IpAddr) -> bool {
        if !self.own.contains(&address)
            && self.is_old
            && let Err(error) = self.refresh()
        {
            tracing::info!("{error:#}");
        }
        self.own.contains(&address)
    }

    /// Time has passed: namespaces are many, and those whose addresses change are few.
    pub fn age(&mut self) {
        self.is_old = true;
    }

    fn refresh(&mut self) -> Result<()> {
        self.is_old = false;
        self.own = self.dump().context("reading the addresses of a network namespace (rtnetlink)")?;
        Ok(())
    }

    fn dump(&self) -> Result<HashSet<IpAddr>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let ask = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut ask = NetlinkMessage::new(header, ask.into());
        ask.finalize();
        let mut bytes = vec![0; ask.buffer_len()];
        ask.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (mut all, mut buffer) = (HashSet::new(), vec![0; BUFFER]);
        loop {
            let received = self.socket.recv(&mut buffer.as_mut_slice(), 0)?;
            let mut rest = buffer.get(..received).unwrap_or_default();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
                // Messages stand at multiples of 4 octets.
                let len = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(len.max(1)..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                        all.extend(message.attributes.iter().filter_map(own));
                    }
                    NetlinkPayload::Done(_) => return Ok(all),
                    NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                    other => bail!("the kernel answers with {other:?}"),
                }
            }
        }
    }
}

/// The address that an attribute tells. On links between two points `IFA_ADDRESS` is the other end's.
fn own(attribute: &AddressAttribute) -> Option<IpAddr> {
    match attribute {
        AddressAttribute::Local(address) => Some(*address),
        // IPv6 has this one only, but for such links.
        AddressAttribute::Address(address) if address.is_ipv6() => Some(*address),
        _ => None,
    }
}

/// Where a SYN goes; `packet` begins with its IP header, whose extensions are not looked behind.
pub fn asked(packet: &[u8]) -> Option<(IpAddr, u16)> {
    const TCP: u8 = 6;
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let (address, next, tcp) = match packet.first()? >> 4 {
        4 => {
            let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (IpAddr::from(address), *packet.get(9)?, usize::from(packet.first()? & 15) * 4)
        }
        6 => {
            let address: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (IpAddr::from(address), *packet.get(6)?, 40)
        }
        _ => return None,
    };
    let port = packet.get(tcp + 2..tcp + 4)?.try_into().map(u16::from_be_bytes).ok()?;
    (next == TCP && packet.get(tcp + 13)? & (SYN | ACK) == SYN).then_some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_one() {
        let mut own = Addresses::by(Addresses::socket().expect("there is rtnetlink")).expect("it answers");
        // In a namespace whose loopback interface is down it has none.
        let is_up = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
        assert_eq!(own.has([127, 0, 0, 1].into()), is_up);
        assert!(!own.has([192, 0, 2, 1].into()));
    }

    #[test]
    fn a_syn_asks_and_an_answer_does_not() {
        let mut v4 = [0; 40];
        (v4[0], v4[9], v4[33]) = (0x45, 6, 2);
        v4[16..20].copy_from_slice(&[10, 0, 0, 2]);
        v4[22..24].copy_from_slice(&80_u16.to_be_bytes());
        assert_eq!(asked(&v4), Some(([10, 0, 0, 2].into(), 80)));
        v4[33] = 18;
        assert_eq!(asked(&v4), None);
        let mut v6 = [0; 60];
        (v6[0], v6[6], v6[53], v6[39]) = (0x60, 6, 2, 1);
        v6[42..44].copy_from_slice(&443_u16.to_be_bytes());
        assert_eq!(asked(&v6), Some((std::net::Ipv6Addr::LOCALHOST.into(), 443)));
        assert!((0..60).all(|len| v6.get(..len).and_then(asked).is_none() || len >= 54));
        assert_eq!(asked(&[]), None);
    }
}
