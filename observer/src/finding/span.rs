//! From when to when something was seen.

use super::evidence;
use crate::record::{Evidence, Side};
use crate::time::{Nanos, Timestamp};

/// The first and the last time that something was seen, with the frames. The order in which they are told does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span(Option<[(Timestamp, u64); 2]>);

impl Span {
    /// Takes in that it was seen then, in that frame.
    pub fn add(&mut self, at: Timestamp, frame: u64) {
        let moment = (at, frame);
        let [first, last] = self.0.unwrap_or([moment; 2]);
        self.0 = Some([first.min(moment), last.max(moment)]);
    }

    /// Takes in another one.
    pub fn merge(&mut self, other: Self) {
        other.0.into_iter().flatten().for_each(|(at, frame)| self.add(at, frame));
    }

    /// How long it is; 0 where nothing was seen, or only once.
    pub fn length(self) -> Nanos {
        self.0.map_or(Nanos::default(), |[(first, _), (last, _)]| last.since(first))
    }

    /// What was seen then, sent by the clients; `None` where nothing was.
    pub fn evidence(self, what: impl Into<String>) -> Option<Evidence> {
        let [(first, first_frame), (last, last_frame)] = self.0?;
        let begin = evidence::frame(first, first_frame, Side::Client, what);
        Some(Evidence { until: Some(last), last_frame: Some(last_frame), ..begin })
    }
}
