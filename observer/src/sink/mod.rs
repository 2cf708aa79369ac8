//! Where records go.

mod json;
pub mod packets;
mod printer;
mod spool;

use std::io::Write;

pub use json::Json;
use observer::record::{CaptureRecord, ConnectionRecord};
pub use printer::Printer;

/// Takes the connections of one shard; connections of one shard come in the order they end. The sinks of all shards
/// are put together at the end.
pub trait Sink: Send + Sized {
    /// One connection, final.
    fn connection(&mut self, record: Box<ConnectionRecord>) -> anyhow::Result<()>;

    /// Prints what all sinks hold, and what was read. `out` is buffered.
    fn finish(sinks: Vec<Self>, capture: CaptureRecord, out: &mut dyn Write) -> anyhow::Result<()>;
}
