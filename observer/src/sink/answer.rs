//! How a call of a database or a queue was answered.

use observer::record::{ConnectionRecord, Exchange, Side};

/// What became of a call.
pub enum Answer<'a> {
    /// It was answered, and not with an error.
    Good,
    /// It was answered with an error of this code.
    Error(&'a str),
    /// It was to have none.
    Unwanted,
    /// There was none.
    None,
    /// Octets are missing from the capture: there may have been one.
    Unseen,
}

impl<'a> Answer<'a> {
    /// Of an exchange that is none of HTTP.
    pub fn of(record: &ConnectionRecord, exchange: &'a Exchange) -> Self {
        let is_cut = [Side::Client, Side::Server].into_iter().any(|side| record.lacks_some_of(side));
        match (&exchange.error, exchange.response) {
            (Some(code), _) => Self::Error(code),
            (None, Some(_)) => Self::Good,
            (None, None) if exchange.complete => Self::Unwanted,
            (None, None) if is_cut => Self::Unseen,
            (None, None) => Self::None,
        }
    }
}
