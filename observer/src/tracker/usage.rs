//! In which order connections were used.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What finds a connection again: its last packet's number, its hash, its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) used: u64,
    pub(super) hash: u64,
    pub(super) id: u64,
}

/// Places, of which the earliest used is asked for.
///
/// Most are added in their turn, as connections are opened: those stand in a row, which is read and written at its ends
/// only. A flood of connections would otherwise wait for memory at each step through a heap of all of them.
#[derive(Debug, Default)]
pub(super) struct Usage {
    in_turn: VecDeque<Place>,
    others: BinaryHeap<Reverse<Place>>,
}

impl Usage {
    pub(super) fn len(&self) -> usize {
        self.in_turn.len() + self.others.len()
    }

    pub(super) fn push(&mut self, place: Place) {
        if self.in_turn.back().is_none_or(|last| *last <= place) {
            self.in_turn.push_back(place);
        } else {
            self.others.push(Reverse(place));
        }
    }

    /// Takes out the place that was used the longest ago.
    pub(super) fn pop(&mut self) -> Option<Place> {
        let other = self.others.peek().map(|Reverse(place)| place);
        match (self.in_turn.front(), other) {
            (Some(next), Some(other)) if other < next => self.others.pop().map(|Reverse(place)| place),
            (Some(_), _) => self.in_turn.pop_front(),
            (None, _) => self.others.pop().map(|Reverse(place)| place),
        }
    }
}

impl FromIterator<Place> for Usage {
    fn from_iter<I: IntoIterator<Item = Place>>(places: I) -> Self {
        let mut in_turn: Vec<Place> = places.into_iter().collect();
        in_turn.sort_unstable();
        Self { in_turn: in_turn.into(), others: BinaryHeap::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_earliest_comes_out(first in prop::collection::vec(0_u64..50, 0..20), steps in prop::collection::vec(prop::option::of(0_u64..50), 0..100)) {
            let place = |used| Place { used, hash: used % 7, id: used % 3 };
            let mut model: Vec<Place> = first.into_iter().map(place).collect();
            let mut usage: Usage = model.iter().copied().collect();
            for step in steps {
                if let Some(used) = step {
                    usage.push(place(used));
                    model.push(place(used));
                } else {
                    let earliest = model.iter().copied().min();
                    prop_assert_eq!(usage.pop(), earliest);
                    model.iter().position(|place| Some(*place) == earliest).map(|at| model.remove(at));
                }
                prop_assert_eq!(usage.len(), model.len());
            }
        }
    }
}
