//! When the living are counted, and the book is searched for the dead: after the end of a socket may have got lost.

/// After so long, in nanoseconds, a socket of which nothing happened is in a table of the kernel, or has gone.
pub const A_WHILE: u64 = 2_000_000_000;

/// How often the living are counted after a loss. Those are known to have gone that are missing twice in a row, and one whose
/// end is lost just now may still be in the book at the first.
const CALLS: u8 = 3;

/// What is still to be done about lost ends.
#[derive(Debug, Default)]
pub struct Roll {
    /// Last words that were known to be lost.
    lost: u64,
    /// How often the living are still to be counted since then.
    calls: u8,
    /// Ends that the kernel was known not to have shown.
    missed: u64,
    /// A visit of the kernel's tables that is begun after this will show all whose end that was.
    settled: Option<u64>,
}

impl Roll {
    /// Whether the living are to be counted, who are about to be read from the book: `lost` last words were lost so far.
    pub fn is_due(&mut self, lost: u64) -> bool {
        if std::mem::replace(&mut self.lost, lost) != lost {
            self.calls = CALLS;
        }
        let left = self.calls.checked_sub(1);
        self.calls = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether those are to be struck off the book that a visit of the kernel's tables has not found: it was begun at
    /// `begun`, in nanoseconds of the kernel's clock, and `missed` ends were not shown so far.
    pub fn is_to_strike_off(&mut self, missed: u64, begun: u64) -> bool {
        if std::mem::replace(&mut self.missed, missed) != missed {
            // Only then are all of them old enough to be in a table, or to have gone.
            self.settled = Some(begun + A_WHILE);
        }
        let Some(settled) = self.settled else { return false };
        if begun > settled {
            self.settled = None;
        }
        self.calls = CALLS;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_counted_three_times_after_each_loss() {
        let mut roll = Roll::default();
        assert!(!roll.is_due(0));
        assert_eq!([1, 1, 1, 1].map(|lost| roll.is_due(lost)), [true, true, true, false]);
        assert_eq!([2, 3, 3, 3, 3].map(|lost| roll.is_due(lost)), [true, true, true, true, false]);
    }

    #[test]
    fn the_book_is_searched_until_all_are_old_enough() {
        let mut roll = Roll::default();
        assert!(!roll.is_to_strike_off(0, 100));
        // The one that was missed may have ended just now.
        assert!(roll.is_to_strike_off(1, 200));
        assert!(roll.is_to_strike_off(1, 200 + A_WHILE));
        assert!(roll.is_to_strike_off(1, 201 + A_WHILE));
        assert!(!roll.is_to_strike_off(1, 202 + A_WHILE));
        assert!(roll.is_to_strike_off(2, 203 + A_WHILE));
    }
}
