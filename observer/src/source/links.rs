//! The interfaces of a network namespace, by rtnetlink(7): those that are there, and those that come and go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkHeader;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::netlink;

/// `RTMGRP_LINK` of include/uapi/linux/rtnetlink.h, as the types below.
const GROUP_LINK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;

/// Octets of `struct ifinfomsg`.
const LENGTH: usize = 16;

/// What is known of an interface, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    There(u32),
    Gone(u32),
}

/// What a namespace tells of its interfaces.
pub struct Links {
    socket: Socket,
}

impl Links {
    /// A socket that hears of the interfaces of the namespace that this thread is in.
    pub fn socket() -> Result<OwnedFd> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("opening a socket of NETLINK_ROUTE")?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, GROUP_LINK)).context("listening to what interfaces there are")?;
        netlink::into_descriptor(socket)
    }

    /// What such a socket hears, first of those that are there.
    pub fn by(socket: OwnedFd) -> Result<Self> {
        let links = Self { socket: netlink::from_descriptor(socket) };
        links.ask()?;
        Ok(links)
    }

    /// Asks for all that are there.
    pub fn ask(&self) -> Result<()> {
        let question = netlink::dump_of(RTM_GETLINK, &[0; LENGTH]);
        self.socket.send(&question, 0).context("asking for the interfaces of a network namespace (rtnetlink)")?;
        Ok(())
    }

    /// Hands over what was heard; gives whether that was all: where too much happened at once, some is lost.
    pub fn take(&self, mut take: impl FnMut(Link)) -> Result<bool> {
        // Namespaces are many, and seldom is there something to be heard.
        let mut buffer = vec![0; netlink::BUFFER];
        loop {
            let received = match self.socket.recv(&mut buffer.as_mut_slice(), 0) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(false),
                Err(error) => return Err(error).context("hearing of the interfaces of a network namespace"),
            };
            netlink::each(buffer.get(..received).unwrap_or_default(), |kind, payload| {
                if let Some(link) = link(kind, payload)? {
                    take(link);
                }
                Ok(true)
            })?;
        }
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a message tells. Those of the family AF_BRIDGE are of ports of a bridge: one that leaves it stays an interface.
fn link(kind: u16, payload: &[u8]) -> Result<Option<Link>> {
    if !matches!(kind, RTM_NEWLINK | RTM_DELLINK) {
        return Ok(None);
    }
    let LinkHeader { index, interface_family, .. } = LinkHeader::parse(payload)?;
    let is_plain = interface_family == AddressFamily::Unspec;
    Ok(is_plain.then_some(if kind == RTM_NEWLINK { Link::There(index) } else { Link::Gone(index) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there() {
        let links = Links::by(Links::socket().expect("there is rtnetlink")).expect("it can be asked");
        let mut found = Vec::new();
        assert!(links.take(|link| found.push(link)).expect("it answers"));
        assert!(found.contains(&Link::There(1)), "{found:?}");
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_still_there() {
        let mut message = [0; LENGTH];
        message[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        assert_eq!(link(RTM_NEWLINK, &message).expect("it is whole"), Some(Link::There(7)));
        assert_eq!(link(RTM_DELLINK, &message).expect("it is whole"), Some(Link::Gone(7)));
        assert_eq!(link(RTM_GETLINK, &message).expect("it is whole"), None);
        message[0] = u8::from(AddressFamily::Bridge);
        assert_eq!(link(RTM_DELLINK, &message).expect("it is whole"), None);
        assert!(link(RTM_DELLINK, &message[..3]).is_err());
    }
}
