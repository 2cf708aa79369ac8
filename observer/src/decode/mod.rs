//! From captured frames to TCP segments: the one door.

use crate::capture::Chunk;
use crate::packet::Decoded;

/// How much to make of wrong checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// Not computed.
    Ignore,
    /// Computed; a wrong one is noted on the packet.
    #[default]
    Count,
}

/// What to make of IP fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragments {
    /// Put together: the packet comes with the frame that completes it.
    #[default]
    Reassemble,
    /// Each for itself, as tcpdump sees them: the first one, which holds the TCP header, is a packet that ends where the
    /// fragment ends; the others hold no header and are none.
    AsCaptured,
}

/// Turns frames into packets. Keeps what has to outlive a frame: IP fragments that wait for the rest of their packet.
#[derive(Debug, Default)]
pub struct Decoder {
    checksums: Checksums,
    fragments: Fragments,
    seed: u64,
}

impl Decoder {
    /// A decoder whose flow hashes are keyed by `seed`.
    pub fn new(checksums: Checksums, seed: u64) -> Self {
        Self { checksums, fragments: Fragments::default(), seed }
    }

    /// The same decoder with another view of fragments.
    pub fn with_fragments(self, fragments: Fragments) -> Self {
        Self { fragments, ..self }
    }

    /// Decodes every frame of `chunk` and appends the packets to `out`.
    pub fn decode(&mut self, chunk: &Chunk, out: &mut Decoded) {
        let _ = (chunk, out, self.checksums, self.fragments, self.seed);
    }
}
