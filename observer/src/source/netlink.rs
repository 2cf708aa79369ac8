//! Netlink: sockets as descriptors, which can be handed from one process to another, and dumps of tables.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer};
use netlink_sys::Socket;

/// Larger than what the kernel puts into one message of a dump.
pub const BUFFER: usize = 1 << 16;

/// Types of messages (include/uapi/linux/netlink.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Octets of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// A socket of a netlink protocol that the kernel answers, in the namespace that this thread is in. `name` is the protocol's.
pub fn open(protocol: isize, name: &str) -> Result<OwnedFd> {
    let mut socket = Socket::new(protocol).with_context(|| format!("opening a socket of {name}"))?;
    socket.bind_auto().with_context(|| format!("binding a socket of {name}"))?;
    into_descriptor(socket)
}

/// A descriptor of the socket.
pub fn into_descriptor(socket: Socket) -> Result<OwnedFd> {
    socket.as_fd().try_clone_to_owned().context("doubling a netlink socket")
}

/// The socket behind a descriptor.
pub fn from_descriptor(descriptor: OwnedFd) -> Socket {
    // SAFETY: the descriptor is open, and nobody else's.
    unsafe { Socket::from_raw_fd(descriptor.into_raw_fd()) }
}

/// A question for all of a table: `body` stands behind the header.
pub fn dump_of(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = HEADER + body.len();
    let mut bytes = Vec::with_capacity(len);
    bytes.extend((len as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence number and port.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// Asks, and hands over every message of the answer, type and payload, for as long as `take` has nothing against it. `what`
/// is said of a failure.
pub fn dump(
    socket: &Socket,
    buffer: &mut [u8],
    question: &[u8],
    what: &'static str,
    mut take: impl FnMut(u16, &[u8]) -> Result<()>,
) -> Result<()> {
    socket.send(question, 0).context(what)?;
    loop {
        let received = socket.recv(&mut &mut *buffer, 0).context(what)?;
        let goes_on = each(buffer.get(..received).unwrap_or_default(), |kind, payload| match kind {
            NLMSG_DONE => Ok(false),
            NLMSG_ERROR => Err(error(payload).into()),
            _ => take(kind, payload).map(|()| true),
        });
        if !goes_on.context(what)? {
            return Ok(());
        }
    }
}

/// Hands over the messages of a datagram, type and payload, for as long as `take` says so; gives whether it did to the end.
pub fn each(mut rest: &[u8], mut take: impl FnMut(u16, &[u8]) -> Result<bool>) -> Result<bool> {
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest)?;
        if !take(message.message_type(), message.payload())? {
            return Ok(false);
        }
        // Messages stand at multiples of 4 octets.
        let len = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(len.max(1)..).unwrap_or_default();
    }
    Ok(true)
}

/// The error in a `struct nlmsgerr`: its number, negative.
fn error(payload: &[u8]) -> io::Error {
    let number = payload.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
    io::Error::from_raw_os_error(number.saturating_neg())
}

/// The number of the error that the kernel answered with.
pub fn number_of(error: &anyhow::Error) -> Option<i32> {
    error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
}
