//! A placeholder with the interface that `connection.rs` uses: the real module replaces this file.
//! Directions are 0 (from the lower end of the key) and 1. In `segment`, `bad_checksum` and `is_succeeded_by`, `from` is
//! the sender's direction; `originator` is the direction of Zeek's originator, flips included.

use crate::packet::Segment;
use crate::record::ConnState;
use crate::tcp_options::TcpOptions;
use crate::time::Timestamp;
#[derive(Debug, Default)]
pub struct Outcome {
    n: u8,
}
impl Outcome {
    pub fn bad_checksum(&mut self, _from: u8) {
        self.n = 1;
    }
    pub fn segment(&mut self, _from: u8, _segment: &Segment, _options: &TcpOptions, _at: Timestamp) {}
    pub fn is_succeeded_by(&self, _from: u8, _segment: &Segment, _at: Timestamp) -> bool {
        false
    }
    pub fn originator(&self) -> u8 {
        0
    }
    pub fn originator_flipped(&self) -> bool {
        false
    }
    pub fn conn_state(&self) -> ConnState {
        ConnState::OTH
    }
    pub fn history(&self) -> &str {
        ""
    }
}
