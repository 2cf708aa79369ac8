//! What a storm does to each of its connections, by the connection's ports alone.

use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;

use crate::lab::network::fault::Fate;
use crate::lab::network::wire::{End, Passing, Segment};

/// The weather of every connection so far. A network and the capture of it have one each, of the same seed.
#[derive(Debug)]
pub struct Forecast {
    seed: u64,
    dice: Rng,
    connections: HashMap<u16, Weather>,
}

/// Chances in a thousand, for each frame of one connection.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// It is lost; by the end that sends it.
    lost: [u16; 2],
    /// Others overtake it.
    overtaken: u16,
    /// It takes up to a few milliseconds longer.
    late: u16,
    /// It comes twice.
    twice: u16,
    /// The capture misses it.
    missed: u16,
}

impl Forecast {
    /// The weather of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, dice: Rng::with_seed(seed), connections: HashMap::new() }
    }

    /// What becomes of a frame.
    pub fn fate(&mut self, passing: &Passing<'_>) -> Fate {
        let Some(weather) = self.of(passing) else { return Fate::Pass };
        let [of_near, of_far] = weather.lost;
        let lost = if passing.from == End::Near { of_near } else { of_far };
        if self.happens(lost) {
            Fate::Drop
        } else if self.happens(weather.overtaken) {
            Fate::Overtaken(self.dice.usize(1..=4))
        } else if self.happens(weather.late) {
            Fate::Late(Duration::from_micros(self.dice.u64(50..4000)))
        } else if self.happens(weather.twice) {
            Fate::Twice(Duration::from_micros(self.dice.u64(10..8000)))
        } else {
            Fate::Pass
        }
    }

    /// Whether the capture misses a frame.
    pub fn misses(&mut self, passing: &Passing<'_>) -> bool {
        let missed = self.of(passing).map_or(0, |weather| weather.missed);
        self.happens(missed)
    }

    fn happens(&mut self, chances: u16) -> bool {
        self.dice.u16(..1000) < chances
    }

    fn of(&mut self, passing: &Passing<'_>) -> Option<Weather> {
        let port = client_port(&passing.tcp?);
        let seed = self.seed;
        Some(*self.connections.entry(port).or_insert_with(|| Weather::of(seed, port)))
    }
}

impl Weather {
    fn of(seed: u64, port: u16) -> Self {
        let mut dice = Rng::with_seed(seed.wrapping_mul(0x1_0001) ^ u64::from(port));
        let mut one_of = |chances: &[u16]| chances.get(dice.usize(..chances.len())).copied().unwrap_or(0);
        Self {
            lost: [one_of(&[0, 0, 0, 10, 30, 80]), one_of(&[0, 0, 0, 10, 30, 80])],
            overtaken: one_of(&[0, 0, 0, 20, 80]),
            late: one_of(&[0, 0, 0, 20, 100]),
            twice: one_of(&[0, 0, 0, 0, 10, 50]),
            missed: one_of(&[0, 0, 0, 0, 10, 40]),
        }
    }
}

/// The port of the client's end: those of clients are above all of servers.
pub fn client_port(tcp: &Segment) -> u16 {
    tcp.sport.max(tcp.dport)
}
