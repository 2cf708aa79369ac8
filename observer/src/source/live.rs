//! What shows connections while they happen: the kernel's hooks, captured packets, or the kernel's tables of sockets.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use observer::capture::{Direction, LinkType};
use observer::kernel::{SocketId, SocketInput, StrayInput};
use observer::keylog::Keys;
use observer::record::CaptureRecord;
use observer::time::Timestamp;

use crate::privilege::Needs;

/// A live source, as the loop asks it again and again.
pub trait LiveSource {
    /// What was seen since the last time, in the order of time, as far as nothing earlier can still come. Replaces the
    /// contents of `batch`.
    fn drain(&mut self, batch: &mut Batch) -> Result<()>;

    /// What is left, once nothing more comes.
    fn drain_all(&mut self, batch: &mut Batch) -> Result<()>;

    /// The sockets that live, as they stand, where they are known without asking the kernel; gives their number. Replaces
    /// the contents of `batch`.
    fn look(&mut self, batch: &mut Batch) -> Result<usize>;

    /// The sockets that lived at the last look, where the last words of some that went away may have been lost.
    fn roster(&mut self) -> Option<Roster> {
        None
    }

    /// Asks the kernel for the numbers of every socket; [`Self::look`] tells them.
    fn count(&mut self) -> Result<()>;

    /// Begins to observe network namespaces that are new.
    fn look_for_namespaces(&mut self) -> Result<()>;

    /// Records or packets that were lost so far; `None` where that cannot be known.
    fn lost(&self) -> Result<Option<u64>>;

    /// Now, on the clock that this source's times are of.
    fn now(&self) -> Timestamp;

    /// Whether every packet is seen: what is missing was not sent.
    fn sees_every_packet(&self) -> bool;

    /// All secrets of TLS that are known, where they are more than when it was asked last.
    ///
    /// # Errors
    /// When they cannot be read.
    fn keys(&mut self) -> Result<Option<Arc<Keys>>> {
        Ok(None)
    }

    /// What it does not show of the connections that it is asked for, a phrase each.
    fn unseen(&self) -> Vec<String>;

    /// The rights it needs once it is open.
    fn needs(&self) -> Needs;

    /// Adds what this source has to say of itself to the record of the whole run.
    fn describe(&self, record: &mut CaptureRecord) -> Result<()>;
}

/// All sockets that live.
#[derive(Debug)]
pub struct Roster {
    /// When.
    pub at: Timestamp,
    /// Each of them.
    pub sockets: HashSet<SocketId>,
}

/// What was seen since the last time, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// What was seen.
    pub seen: Vec<Seen>,
    /// Octets of packets.
    pub bytes: Vec<u8>,
}

/// One thing that was seen, in the network namespace with the given inode.
#[derive(Debug)]
pub enum Seen {
    /// A socket.
    Socket(u32, Box<SocketInput>),
    /// An event without one.
    Stray(u32, Box<StrayInput>),
    /// A packet: its bytes stand in [`Batch::bytes`].
    Packet(u32, SeenPacket),
    /// In every namespace: [`Input::Socketless`](observer::input::Input::Socketless).
    Socketless(Timestamp),
}

/// A packet's place in [`Batch::bytes`].
#[derive(Clone, Copy, Debug)]
pub struct SeenPacket {
    /// Time it was seen.
    pub at: Timestamp,
    /// The interface it passed, by its place among those that the source describes.
    pub interface: u16,
    /// What its bytes begin with.
    pub link: LinkType,
    /// Where its first octets begin.
    pub start: u32,
    /// How many octets there are.
    pub captured: u32,
    /// Octets of the packet.
    pub len: u32,
    /// Which way it went, where that is known; what went over the loopback interface was sent from here.
    pub direction: Option<Direction>,
}

impl Batch {
    /// Nothing seen.
    pub fn clear(&mut self) {
        self.seen.clear();
        self.bytes.clear();
    }
}

impl Seen {
    /// When it was seen.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Socket(_, socket) => socket.at,
            Self::Stray(_, stray) => stray.event.at,
            Self::Packet(_, packet) => packet.at,
            Self::Socketless(since) => *since,
        }
    }
}
