//! TCP sequence numbers: arithmetic modulo 2³² (RFC 9293, section 3.4).

use std::fmt;

/// A TCP sequence or acknowledgment number.
///
/// It has no total order, so it implements no `Ord`: [`Seq::before`] and [`Seq::after`] compare within half the space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// This number moved on by `count` octets of sequence space.
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// This number moved back by `count` octets of sequence space.
    pub const fn minus(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// The signed distance from `other` to this number: positive where this one is later.
    pub const fn delta(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// The octets from `start` up to this number, where this number is known not to be before it.
    pub const fn offset_from(self, start: Self) -> u32 {
        self.0.wrapping_sub(start.0)
    }

    /// Whether this number is earlier than `other`.
    pub const fn before(self, other: Self) -> bool {
        self.delta(other) < 0
    }

    /// Whether this number is later than `other`.
    pub const fn after(self, other: Self) -> bool {
        self.delta(other) > 0
    }

    /// Whether this number is `other` or earlier.
    pub const fn at_or_before(self, other: Self) -> bool {
        self.delta(other) <= 0
    }

    /// Whether this number is `other` or later.
    pub const fn at_or_after(self, other: Self) -> bool {
        self.delta(other) >= 0
    }

    /// The later of the two.
    pub const fn latest(self, other: Self) -> Self {
        if self.after(other) { self } else { other }
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Held against arithmetic in a space that does not wrap.
        #[test]
        fn agrees_with_numbers_that_do_not_wrap(start in (1u64 << 33)..(1u64 << 40), step in -0x7fff_ffffi64..0x7fff_ffff) {
            let end = start.checked_add_signed(step).expect("the start is larger than any step");
            let (a, b) = (Seq(start as u32), Seq(end as u32));
            prop_assert_eq!(i64::from(b.delta(a)), step);
            prop_assert_eq!(b.after(a), end > start);
            prop_assert_eq!(b.before(a), end < start);
            prop_assert_eq!(b.at_or_after(a), end >= start);
            prop_assert_eq!(b.at_or_before(a), end <= start);
            prop_assert_eq!(a.latest(b), Seq(start.max(end) as u32));
            if step >= 0 {
                prop_assert_eq!(a.plus(step as u32), b);
                prop_assert_eq!(b.minus(step as u32), a);
                prop_assert_eq!(u64::from(b.offset_from(a)), end - start);
            }
        }
    }
}
