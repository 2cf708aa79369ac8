//! Frames as capture files and live captures give them.

use crate::packet::FrameId;
use crate::time::Timestamp;

/// A link-layer header type, by its LINKTYPE_ number (the one files hold, not a platform's DLT_).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

/// One captured frame; its bytes lie in [`Chunk::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was captured.
    pub at: Timestamp,
    /// Its place in the whole input, from 1 (see [`crate::packet::Packet::number`]).
    pub number: u64,
    /// Its place in its own file.
    pub id: FrameId,
    /// How its first octets are to be read.
    pub link: LinkType,
    /// The interface it was captured on, counted from 0 over the file.
    pub interface: u16,
    /// Octets it had on the wire.
    pub wire_len: u32,
    /// Where its captured octets start in [`Chunk::bytes`].
    pub start: u32,
    /// How many octets were captured.
    pub captured: u32,
}

/// A run of frames in the order they are to be handled, with their bytes: what travels from a source to the decoder.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// What was read; frames lie somewhere in it.
    pub bytes: Vec<u8>,
    /// The frames.
    pub frames: Vec<Frame>,
}

impl Chunk {
    /// The captured octets of `frame`.
    pub fn data(&self, frame: &Frame) -> &[u8] {
        let start = frame.start as usize;
        self.bytes.get(start..start + frame.captured as usize).unwrap_or(&[])
    }
}
