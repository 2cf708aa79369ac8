//! WebSocket (RFC 6455), after the upgrade of an HTTP/1.1 connection: frames are counted, their payload is passed over.

use super::{Arrival, Next, Protocol, Take};
use crate::record::{Application, ProtocolName, Side, WebSocketRecord};
use crate::time::Timestamp;

/// Kinds of frames.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Octets of the payload of a frame that is no data (section 5.5).
const MOST_CONTROL: u64 = 125;

/// Octets of the payload of any frame (section 5.2).
const MOST_LENGTH: u64 = u64::MAX >> 1;

/// Stands for a Close frame without a code (section 7.4.1).
const NO_CODE: u16 = 1005;

/// A connection that speaks WebSocket.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    facts: WebSocketRecord,
    malformed: u64,
}

impl Protocol for WebSocket {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        match arrival {
            Arrival::Octets(octets) => self.frame(from, octets),
            Arrival::Passed(_) => Take::used(0),
            // Where the next frame begins is not known.
            Arrival::Gap(_) => {
                *self.facts.gap.of_mut(from) = true;
                Take::nothing()
            }
            Arrival::End => Take::nothing(),
        }
    }

    fn has_prelude(&self) -> bool {
        false
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::WebSocket);
        into.malformed += self.malformed;
        into.websocket = Some(self.facts);
    }
}

impl WebSocket {
    /// Takes one frame (section 5.2).
    fn frame(&mut self, from: Side, octets: &[u8]) -> Take {
        const MASKED: u8 = 0x80;
        let &[first, second, ref rest @ ..] = octets else { return Take::wait_for(2) };
        let (length, rest) = match (second & !MASKED, rest) {
            (126, &[a, b, ref rest @ ..]) => (u16::from_be_bytes([a, b]).into(), rest),
            (126, _) => return Take::wait_for(4),
            (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest),
            (127, _) => return Take::wait_for(10),
            (length, rest) => (length.into(), rest),
        };
        let (mask, rest) = match rest {
            _ if second & MASKED == 0 => (None, rest),
            &[a, b, c, d, ref rest @ ..] => (Some([a, b, c, d]), rest),
            _ => return Take::wait_for(octets.len() - rest.len() + 4),
        };
        let header = octets.len() - rest.len();
        let (kind, is_last) = (first & 0xf, first & 0x80 != 0);
        let is_control = kind >= CLOSE;
        if length > MOST_LENGTH || (is_control && (length > MOST_CONTROL || !is_last)) {
            self.malformed += 1;
            return Take::nothing();
        }
        if kind == CLOSE && (rest.len() as u64) < length {
            return Take::wait_for(header + length as usize);
        }
        // Clients mask, servers do not (section 5.1).
        self.malformed += u64::from(mask.is_some() != (from == Side::Client));
        let frames = self.facts.frames.of_mut(from);
        let count = match kind {
            CONTINUATION => &mut frames.continuation,
            TEXT => &mut frames.text,
            BINARY => &mut frames.binary,
            CLOSE => &mut frames.close,
            PING => &mut frames.ping,
            PONG => &mut frames.pong,
            _ => {
                self.malformed += 1;
                return Take::nothing();
            }
        };
        *count += 1;
        if kind == CLOSE {
            let payload = rest.get(..length as usize).unwrap_or(rest);
            let code = match (payload, mask.unwrap_or_default()) {
                ([a, b, ..], [mask_a, mask_b, ..]) => u16::from_be_bytes([a ^ mask_a, b ^ mask_b]),
                _ => NO_CODE,
            };
            self.facts.close_code.of_mut(from).get_or_insert(code);
            return Take::used(header + payload.len());
        }
        if !is_control {
            let bytes = self.facts.bytes.of_mut(from);
            *bytes = bytes.saturating_add(length);
            self.facts.compressed |= first & 0x40 != 0;
        }
        Take::then(header, Next::Pass(length))
    }
}
