//! A point in time that may not have come yet, in eight octets.

use super::pack::{Pack, Packer, Unpacker};
use crate::time::Timestamp;

/// `Option<Timestamp>` in half the space: the last nanosecond that 64 bits can hold, in the year 2554, means none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) const NONE: Self = Self(u64::MAX);

    pub(super) const fn get(self) -> Option<Timestamp> {
        if self.0 == u64::MAX { None } else { Some(Timestamp::from_nanos(self.0)) }
    }

    pub(super) const fn set(&mut self, at: Timestamp) {
        self.0 = at.as_nanos();
    }

    /// Keeps the first time it is told.
    pub(super) const fn set_once(&mut self, at: Timestamp) {
        if self.0 == u64::MAX {
            self.set(at);
        }
    }
}

impl Default for Moment {
    fn default() -> Self {
        Self::NONE
    }
}

impl Pack for Moment {
    fn pack(&self, to: &mut Packer) {
        to.time(self.0, Self::NONE.0);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        Self(from.time(Self::NONE.0))
    }
}
