//! Frames as capture files and live captures give them, and the formats of those files.
//!
//! [`Reader`] takes the bytes of a capture in pieces of any size and says where the frames in them are; it neither
//! reads nor copies anything itself.

pub mod bpf;
mod error;
mod pcap;
mod pcapng;
mod process;
mod reader;
mod snoop;
#[cfg(test)]
mod tests;
mod write;

pub use error::{Error, ErrorKind};
pub use process::Processes;
pub use reader::Reader;
pub use write::Writer;

use crate::keylog::KeyLog;
use crate::packet::FrameId;
use crate::recording::Placed;
use crate::time::Timestamp;

/// A link-layer header type, by its LINKTYPE_ number (the one files hold, not a platform's DLT_).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// Ethernet, as most interfaces give it (`LINKTYPE_ETHERNET`).
    pub const ETHERNET: Self = Self(1);
}

/// One captured frame; its bytes lie in [`Chunk::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was captured.
    pub at: Timestamp,
    /// How many whole seconds of `at` the file gave as microseconds or nanoseconds. Other than 0 in odd files only, whose
    /// time stamps tcpdump prints with more decimals.
    pub carried: u16,
    /// Its place in the whole input, from 1 (see [`crate::packet::Packet::number`]).
    pub number: u64,
    /// Its place in its own file.
    pub id: FrameId,
    /// How its first octets are to be read.
    pub link: LinkType,
    /// The interface it was captured on, counted from 0 over the file: in a file of several sections, the second
    /// section's interfaces follow those of the first.
    pub interface: u16,
    /// Octets it had on the wire. Damaged files claim fewer than were captured.
    pub wire_len: u32,
    /// Where its captured octets start in [`Chunk::bytes`].
    pub start: u32,
    /// How many octets were captured.
    pub captured: u32,
    /// Which way it went through the interface, where the capture says so (pcapng `epb_flags`).
    pub direction: Option<Direction>,
}

/// A comment on one frame (pcapng `opt_comment`): where its text lies in [`Chunk::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comment {
    /// [`Frame::number`] of the frame it is on.
    pub number: u64,
    /// Where the text starts.
    pub start: u32,
    /// Octets of text; UTF-8 by the format's rules, anything by experience.
    pub len: u32,
    /// Which way the frame went through its interface, where the capture says so (pcapng `epb_flags`).
    pub direction: Option<Direction>,
}

/// Which way a frame went through the interface that it was captured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the capturing machine.
    Inbound,
    /// The same, and it asks for somebody who listens there: a SYN that is not forwarded. Of live sources alone; pcapng's
    /// `epb_flags` call it unicast.
    Asking,
    /// From it.
    Outbound,
}

/// A run of frames in the order they are to be handled, with their bytes: what travels from a source to the decoder.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// What was read; frames lie somewhere in it.
    pub bytes: Vec<u8>,
    /// The frames.
    pub frames: Vec<Frame>,
    /// Comments on some of the frames, in their order; a frame may have several.
    pub comments: Vec<Comment>,
    /// What a live source saw besides packets, in a recording: in order, and never behind the packets it belongs before.
    pub marks: Vec<Placed>,
    /// Secrets that the capture brings, which hold for all of its frames here and behind.
    pub keys: KeyLog,
}

impl Chunk {
    /// Forgets what is in it and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.comments.clear();
        self.marks.clear();
        self.keys = KeyLog::default();
    }

    /// The captured octets of `frame`.
    pub fn data(&self, frame: &Frame) -> &[u8] {
        let start = frame.start as usize;
        self.bytes.get(start..start + frame.captured as usize).unwrap_or(&[])
    }

    /// The comments on the frame with the given [`Frame::number`], with their text.
    pub fn comments_on(&self, number: u64) -> impl Iterator<Item = (&Comment, &[u8])> + Clone {
        let first = self.comments.partition_point(|comment| comment.number < number);
        self.comments.iter().skip(first).take_while(move |comment| comment.number == number).map(|comment| {
            let start = comment.start as usize;
            (comment, self.bytes.get(start..start + comment.len as usize).unwrap_or(&[]))
        })
    }
}
