//! How fuzz targets make their input out of bytes.

use observer::capture::{Chunk, Frame, LinkType};
use observer::packet::FrameId;
use observer::time::Timestamp;

/// Takes things off the front of the fuzzer's bytes; at their end everything is 0.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.slice(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next `len` bytes, or what is left.
    pub fn slice(&mut self, len: usize) -> &'a [u8] {
        let (slice, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        slice
    }
}

/// Link types that observer reads (LINKTYPE_ numbers).
const LINK_TYPES: [u16; 16] = [0, 1, 9, 50, 51, 101, 105, 108, 113, 119, 127, 163, 192, 228, 229, 276];

/// Some frames: each one byte that chooses the link type, one that says how much of it the capture lacks, its length
/// and its bytes.
pub fn frames(data: &[u8]) -> Chunk {
    let mut bytes = Bytes(data);
    let mut chunk = Chunk::default();
    let mut number = 0;
    while !bytes.is_empty() {
        let link = LINK_TYPES[usize::from(bytes.u8()) % LINK_TYPES.len()];
        let lacking = u32::from(bytes.u8().saturating_sub(0x80));
        let len = usize::from(bytes.u16() % 2048);
        let data = bytes.slice(len);
        number += 1;
        chunk.frames.push(Frame {
            at: Timestamp::from_nanos(number * 1_000_000),
            number,
            id: FrameId { file: 0, number },
            link: LinkType(link),
            interface: 0,
            wire_len: data.len() as u32 + lacking,
            start: chunk.bytes.len() as u32,
            captured: data.len() as u32,
        });
        chunk.bytes.extend_from_slice(data);
    }
    chunk
}
