//! What two ends say before the first request: a server's greeting, the dialogue that leads to TLS, the turns of SOCKS.
//!
//! Protocols tell when requests and handshakes were sent. This tells who spoke when in front of them, whatever was said.

use super::Payload;
use crate::record::{PreludeTurn, Side};
use crate::sequence::Seq;
use crate::time::Timestamp;

/// Turns that are kept.
const MOST_TURNS: usize = 16;

/// The first turns of a conversation.
#[derive(Debug, Default)]
pub(super) struct Prelude {
    turns: Vec<Turn>,
    /// What was sent so far, in each direction.
    sent: [Option<Seq>; 2],
    /// The protocol tells all that follows itself.
    is_over: bool,
    /// When the first turn began that was not kept.
    cut: Option<Timestamp>,
}

/// Octets that one direction sent, before the other did.
#[derive(Clone, Copy, Debug)]
struct Turn {
    from: u8,
    start: Timestamp,
    end: Timestamp,
}

impl Prelude {
    /// Direction `from` has sent something.
    pub fn hear(&mut self, from: u8, payload: &Payload<'_>) {
        if self.is_over || self.cut.is_some() {
            return;
        }
        let Some(sent) = self.sent.get_mut(usize::from(from)) else { return };
        let end = payload.start.plus(payload.len);
        // What came before says nothing of whose turn it is.
        if sent.is_some_and(|sent| end.at_or_before(sent)) {
            return;
        }
        *sent = Some(end);
        let is_full = self.turns.len() == MOST_TURNS;
        match self.turns.last_mut() {
            Some(last) if last.from == from => last.end = payload.at,
            _ if is_full => self.cut = Some(payload.at),
            _ => self.turns.push(Turn { from, start: payload.at, end: payload.at }),
        }
    }

    /// What follows is told by its protocol.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// The turns, where the client sends on direction `client`; and when the first began that is not among them.
    pub fn turns(&self, client: u8) -> (impl Iterator<Item = PreludeTurn>, Option<Timestamp>) {
        let side = move |from| if from == client { Side::Client } else { Side::Server };
        let told = move |turn: &Turn| PreludeTurn { from: side(turn.from), start: turn.start, end: turn.end };
        (self.turns.iter().map(told), self.cut)
    }
}
