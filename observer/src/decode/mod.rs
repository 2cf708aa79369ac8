//! From captured frames to TCP segments: the one door.
//!
//! One file a family of protocols. Every step takes the octets left to it (`bytes::Bytes`) and calls the next one;
//! `walk::Walk` is what they share.

mod bytes;
mod checksum;
mod ethernet;
mod fragment;
mod icmp;
mod ip;
mod juniper;
mod link;
mod mpls;
mod plain;
mod ppp;
mod tcp;
mod tunnel;
mod walk;
mod wifi;

use crate::capture::Chunk;
use crate::packet::{Decoded, Layer};

use self::bytes::Miss;
use self::walk::Walk;

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

/// What a decoder has seen so far. Each frame is counted once among those that gave a packet, `other`, `unknown_link`,
/// `malformed`, `cut` and the fragments that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames, whatever they held.
    pub frames: u64,
    /// Octets captured in those frames.
    pub octets: u64,
    /// TCP segments; one frame may hold several (802.11 A-MSDU).
    pub segments: u64,
    /// ICMP errors about TCP segments.
    pub icmp_errors: u64,
    /// Frames that hold no TCP.
    pub other: u64,
    /// Frames of a link-layer type that is not decoded.
    pub unknown_link: u64,
    /// Frames whose headers contradict themselves or end early.
    pub malformed: u64,
    /// Frames of which the capture kept only the first part (snapshot length), however much of it could be used.
    pub truncated: u64,
    /// Those among the truncated whose headers are not there up to the window in the TCP header.
    pub cut: u64,
    /// IP fragments seen.
    pub fragments: u64,
    /// IP fragments given up: the rest never came, or the bound was reached. Those that wait for the rest are among them.
    pub fragments_dropped: u64,
}

/// Turns frames into packets. Keeps what has to outlive a frame: IP fragments that wait for the rest of their packet.
#[derive(Debug, Default)]
pub struct Decoder {
    checksums: Checksums,
    fragments: Fragments,
    short_headers: bool,
    datagrams: bool,
    seed: u64,
    counts: Counts,
    /// The layers around what is being decoded; kept here for its memory.
    stack: Vec<Layer>,
    known: walk::KnownLayers,
    reassembler: fragment::Reassembler,
}

impl Decoder {
    /// A decoder whose flow hashes are keyed by `seed`.
    pub fn new(checksums: Checksums, seed: u64) -> Self {
        Self { checksums, seed, ..Self::default() }
    }

    /// The same decoder with another view of fragments.
    pub fn with_fragments(self, fragments: Fragments) -> Self {
        Self { fragments, ..self }
    }

    /// The same decoder, but a TCP header whose data offset says less than 20 octets makes a segment all the same, whose
    /// payload starts where the offset says: Wireshark's view. Otherwise it is malformed (RFC 9293, section 3.1).
    pub fn with_short_headers(self, short_headers: bool) -> Self {
        Self { short_headers, ..self }
    }

    /// The same decoder, but UDP datagrams that are no tunnels are packets as well. They are counted as `other` all the same.
    pub fn with_datagrams(self, datagrams: bool) -> Self {
        Self { datagrams, ..self }
    }

    /// Decodes every frame of `chunk` and appends the packets to `out`.
    pub fn decode(&mut self, chunk: &Chunk, out: &mut Decoded) {
        for frame in &chunk.frames {
            let data = chunk.data(frame);
            self.counts.frames += 1;
            self.counts.octets += data.len() as u64;
            self.counts.truncated += u64::from(frame.captured < frame.wire_len);
            if self.plain(frame, data, out).is_some() {
                continue;
            }
            let before = out.packets.len();
            let outcome = Walk::new(self, frame, out).link(data);
            if out.packets.len() == before {
                match outcome {
                    Ok(()) | Err(Miss::Other) => self.counts.other += 1,
                    Err(Miss::Malformed) => self.counts.malformed += 1,
                    Err(Miss::Cut) => self.counts.cut += 1,
                    Err(Miss::UnknownLink) => self.counts.unknown_link += 1,
                    Err(Miss::Waiting) => {}
                }
            }
        }
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        Counts { fragments_dropped: self.reassembler.dropped(), ..self.counts }
    }
}
