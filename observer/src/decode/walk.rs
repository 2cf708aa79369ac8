//! What the steps of decoding one frame share.

use std::num::NonZeroU32;

use crate::capture::Frame;
use crate::flow;
use crate::packet::{Body, Decoded, Layer, LayersRef, MAX_LAYERS, Notes, Packet, Span, Tuple};

use super::Decoder;
use super::bytes::{Bytes, Miss, Outcome};
use super::ip::Ip;

/// How many headers that start a new network protocol (EtherType, IP, PPP) are followed in one frame.
const MAX_DEPTH: u8 = 32;

/// The way through one frame, from its link layer inwards.
pub(super) struct Walk<'w> {
    pub(super) decoder: &'w mut Decoder,
    pub(super) frame: &'w Frame,
    pub(super) out: &'w mut Decoded,
    /// Whether what is being decoded lies in [`Decoded::reassembled`].
    pub(super) reassembled: bool,
    /// What was noted about the IP headers around the one at hand and is true of the packet in them as well.
    pub(super) around: Notes,
    depth: u8,
}

/// A place to come back to: see [`Walk::mark`].
#[derive(Clone, Copy)]
pub(super) struct Mark {
    layers: usize,
    depth: u8,
}

impl<'w> Walk<'w> {
    pub(super) fn new(decoder: &'w mut Decoder, frame: &'w Frame, out: &'w mut Decoded) -> Self {
        decoder.stack.clear();
        Self { decoder, frame, out, reassembled: false, around: Notes::empty(), depth: 0 }
    }

    /// Notes a layer around what follows.
    pub(super) fn push(&mut self, layer: Layer) -> Outcome {
        if self.decoder.stack.len() == MAX_LAYERS {
            return Err(Miss::Malformed);
        }
        self.decoder.stack.push(layer);
        Ok(())
    }

    /// Notes that one more network protocol starts: the bound on nesting that adds no layer.
    pub(super) fn descend(&mut self) -> Outcome {
        if self.depth == MAX_DEPTH {
            return Err(Miss::Malformed);
        }
        self.depth += 1;
        Ok(())
    }

    /// Where the way stands, for frames that hold several packets side by side.
    pub(super) fn mark(&self) -> Mark {
        Mark { layers: self.decoder.stack.len(), depth: self.depth }
    }

    /// Goes back to where `mark` was made.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.decoder.stack.truncate(mark.layers);
        self.depth = mark.depth;
    }

    /// The layers passed so far, outermost first.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.decoder.stack
    }

    /// Puts out a packet: `tail` is what follows the fixed TCP header, its first `options` octets being options.
    pub(super) fn emit(&mut self, ip: &Ip, tuple: Tuple, body: Body, tail: Bytes<'_>, options: u8) {
        let layers = &self.decoder.stack;
        let hash = flow::hash(&tuple, layers, self.decoder.seed);
        let layers = if layers.is_empty() { None } else { self.decoder.known.index_of(layers, &mut self.out.layers) };
        self.out.packets.push(Packet {
            at: self.frame.at,
            number: self.frame.number,
            frame: self.frame.id,
            hash,
            tuple,
            interface: self.frame.interface,
            ttl: ip.ttl,
            tos: ip.tos,
            ip_id: ip.id,
            missing: ip.missing,
            notes: ip.notes | self.around,
            layers,
            tail: Span {
                start: tail.start(),
                options,
                payload: tail.captured().saturating_sub(u32::from(options)),
                reassembled: self.reassembled,
            },
            body,
        });
    }
}

/// Finds the entry of [`Decoded::layers`] that equals a packet's layers without looking through them all: a table by
/// hash, whose answers are held against the entry they name and so need not be kept true.
#[derive(Debug)]
pub(super) struct KnownLayers([u32; 64]);

impl Default for KnownLayers {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl KnownLayers {
    /// The reference to `layers`, which are added to `entries` where they are not found.
    fn index_of(&mut self, layers: &[Layer], entries: &mut Vec<Box<[Layer]>>) -> Option<LayersRef> {
        let slot = self.0.get_mut(usize::from(slot_of(layers)))?;
        if entries.get(*slot as usize).is_none_or(|entry| **entry != *layers) {
            *slot = u32::try_from(entries.len()).ok()?;
            entries.push(layers.into());
        }
        NonZeroU32::new(*slot + 1).map(LayersRef)
    }
}

/// Which of the 64 slots is for these layers.
fn slot_of(layers: &[Layer]) -> u8 {
    let hash = layers.iter().fold(0u32, |hash, layer| {
        let word = match layer {
            Layer::Vlan(id) | Layer::Pppoe(id) => u32::from(*id),
            Layer::Mpls(id) | Layer::Pbb(id) => *id,
            Layer::Tunnel(tunnel) => {
                let [.., a, b, c, d] = tunnel.src.0;
                let port = u32::from(tunnel.source_port.unwrap_or(0));
                u32::from_ne_bytes([a, b, c, d]) ^ tunnel.id.unwrap_or(0).rotate_left(11) ^ port.rotate_left(16)
            }
        };
        (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9)
    });
    (hash >> 26) as u8
}
