//! What the tracker takes in.

use std::sync::Arc;

use crate::kernel::{SocketInput, StrayInput};
use crate::keylog::Keys;
use crate::packet::{Decoded, IcmpError, Layer, Packet};
use crate::time::Timestamp;

/// One thing that a source saw.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A decoded packet.
    Packet(&'a PacketInput<'a>),
    /// A socket of this host.
    Socket(&'a SocketInput),
    /// An event of the kernel without a socket.
    Stray(&'a StrayInput),
    /// Connections of this host that have no socket, and of which nothing was seen since then, are over: what was said of
    /// their end was lost.
    Socketless(Timestamp),
    /// All secrets that are known from now on.
    Keys(&'a Arc<Keys>),
}

/// A decoded packet with the variable parts that [`Packet`] only points to.
#[derive(Clone, Copy, Debug)]
pub struct PacketInput<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// What is around it, outermost first.
    pub layers: &'a [Layer],
    /// Its TCP options, as far as captured.
    pub options: &'a [u8],
    /// Its payload, as far as captured.
    pub payload: &'a [u8],
    /// The error, where it is one of ICMP.
    pub error: Option<&'a IcmpError>,
}

impl<'a> PacketInput<'a> {
    /// A packet of `decoded`, where `capture` holds the bytes that were decoded.
    #[inline]
    pub fn new(packet: &'a Packet, decoded: &'a Decoded, capture: &'a [u8]) -> Self {
        let (options, payload) = decoded.tail_of(packet, capture);
        Self { packet, layers: decoded.layers_of(packet), options, payload, error: decoded.error_of(packet) }
    }
}
