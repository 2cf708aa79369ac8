//! Netlink sockets as descriptors, which can be handed from one process to another.

use std::os::fd::{AsFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use netlink_sys::Socket;

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
