//! The pure half of observer: it decodes packets, follows TCP connections and says what happened to them.
//!
//! Nothing here reads a clock, opens a file or prints: time arrives inside the input or as an argument. The same input
//! gives the same output, byte for byte.

pub mod capture;
pub mod conntrack;
pub mod decode;
pub mod finding;
pub mod firewall;
pub mod flow;
pub mod gauge;
pub mod input;
pub mod kernel;
pub mod keylog;
mod nearby;
pub mod packet;
pub mod protocol;
pub mod range_set;
pub mod record;
pub mod recording;
pub mod sequence;
pub mod socket;
pub mod tcp_options;
pub mod time;
pub mod tracker;
pub mod units;
