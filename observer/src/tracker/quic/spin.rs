//! The round trip by the latency spin bit (RFC 9000, section 17.4), as anyone on the path can measure it.
//!
//! The client sends the opposite of the bit that it has last seen of the server, the server sends what it has last seen of
//! the client: each change goes there, comes back, and makes the next.
//!
//! 1. A packet whose bit is not that of the packet before it, of the same end, is an edge.
//! 2. Edges are in order where each of the server's follows the client's to the same value, and each of the client's follows
//!    the server's to the other value.
//! 3. From an edge of the client to its next, and between the edges of both, a sample is taken where they are in order.
//! 4. Where more edges are out of order than there are samples, the ends do not let the bit spin: they may set it at random.

use crate::record::{QuicSpin, Side, Sides};
use crate::time::Timestamp;
use crate::tracker::rtt::Distribution;

/// The bit as both ends send it.
#[derive(Debug, Default)]
pub(super) struct Spin {
    last: Sides<Option<bool>>,
    /// The last edge of each end.
    edge: Sides<Option<Timestamp>>,
    /// Whose edge is due, and to what value.
    due: Option<(Side, bool)>,
    /// Edges since the last that was out of order, up to two.
    run: u8,
    samples: u64,
    out_of_order: u64,
    whole: Distribution,
    to_server: Distribution,
    to_client: Distribution,
}

impl Spin {
    /// Takes in the bit of a packet that `from` sent.
    pub(super) fn take(&mut self, from: Side, bit: bool, at: Timestamp) {
        let Some(before) = self.last.of_mut(from).replace(bit) else { return };
        if before == bit {
            return;
        }
        match self.due {
            Some(due) if due == (from, bit) => {
                let own = *self.edge.of(from);
                let others = *self.edge.of(from.other());
                let part = if from == Side::Server { &mut self.to_server } else { &mut self.to_client };
                part.add(others.and_then(|edge| at.checked_since(edge)));
                if from == Side::Client && self.run >= 2 {
                    self.samples += 1;
                    self.whole.add(own.and_then(|edge| at.checked_since(edge)));
                }
                self.run = (self.run + 1).min(2);
            }
            Some(_) => {
                self.out_of_order += 1;
                self.run = u8::from(from == Side::Client);
            }
            None => self.run = u8::from(from == Side::Client),
        }
        *self.edge.of_mut(from) = Some(at);
        self.due = Some((from.other(), if from == Side::Client { bit } else { !bit }));
    }

    /// What was measured; `None` where that is nothing, or where the bit does not spin.
    pub(super) fn record(&self) -> Option<QuicSpin> {
        let rtt = self.whole.stats().filter(|_| self.samples > self.out_of_order)?;
        Some(QuicSpin { rtt, to_server: self.to_server.stats(), to_client: self.to_client.stats() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Nanos;

    fn at(millis: u64) -> Timestamp {
        Timestamp::default().plus(Nanos::from_millis(millis))
    }

    /// The capture point is 10 ms from the client and 30 ms from the server, there and back.
    #[test]
    fn a_bit_that_spins_gives_the_round_trip_and_both_parts() {
        let mut spin = Spin::default();
        let mut bit = false;
        for wave in 0..10 {
            let start = wave * 40;
            for packet in 0..5 {
                spin.take(Side::Client, bit, at(start + packet));
            }
            spin.take(Side::Server, bit, at(start + 30));
            spin.take(Side::Server, bit, at(start + 31));
            bit = !bit;
        }
        let record = spin.record().expect("it spins");
        let millis = |time: Nanos| time.0 / 1_000_000;
        assert_eq!((millis(record.rtt.min_ns), millis(record.rtt.max_ns)), (40, 40));
        assert_eq!(record.to_server.map(|part| millis(part.max_ns)), Some(30));
        assert_eq!(record.to_client.map(|part| millis(part.max_ns)), Some(10));
        assert_eq!(record.rtt.samples, 8);
    }

    #[test]
    fn a_bit_that_stands_still_or_is_set_at_random_gives_nothing() {
        let mut still = Spin::default();
        let mut random = Spin::default();
        let mut state = 7u32;
        for packet in 0..1000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let from = if state & 1 << 20 == 0 { Side::Client } else { Side::Server };
            still.take(from, false, at(packet));
            random.take(from, state & 1 << 25 == 0, at(packet));
        }
        assert_eq!((still.record(), random.record()), (None, None));
    }
}
