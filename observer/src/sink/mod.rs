//! Where records go.

mod answer;
mod compact;
mod diagnosis;
mod elements;
mod har;
mod incident;
pub mod json;
mod lately;
mod lookups;
mod order;
pub mod otlp;
mod outlet;
pub mod packets;
mod perfetto;
mod printer;
mod recorder;
mod remark;
mod sketch;
mod spool;
mod summary;
mod text;
mod together;
mod url;

use std::io::Write;

pub use diagnosis::Diagnosis;
pub use har::Har;
pub use json::Json;
pub use lately::Lately;
use observer::record::{CaptureRecord, ConnectionRecord, LookupRecord};
pub use order::Order;
pub use otlp::Otlp;
pub use outlet::Outlet;
pub use perfetto::Perfetto;
pub use printer::Printer;
pub use recorder::Recorder;
pub use summary::Summary;
pub use text::{
    Detail, Doctor, Line, Page, Text, Tone, View, check, connection, doctor, explain, failed_lookup, finding_line,
    findings, found_together, one_line, sockets, units,
};
pub use together::Together;

/// Takes the connections of one shard; connections of one shard come in the order they end. The sinks of all shards
/// are put together at the end.
pub trait Sink: Send + Sized {
    /// One connection, final.
    fn connection(&mut self, record: Box<ConnectionRecord>) -> anyhow::Result<()>;

    /// One lookup of a name. Most sinks say what it led to with the connections that used it.
    fn lookup(&mut self, _: Box<LookupRecord>) -> anyhow::Result<()> {
        Ok(())
    }

    /// What comes is read from a recording.
    fn replays_recording(&mut self) {}

    /// Nothing more comes to this sink that was seen first before the frame that `first` tells, which takes some work to
    /// find out.
    fn settle(&mut self, _first: impl FnOnce() -> u64) -> anyhow::Result<()> {
        Ok(())
    }

    /// Whether a connection was taken that is printed.
    fn has_printed(&self) -> bool;

    /// Prints what all sinks hold, and what was read. `out` is buffered.
    fn finish(sinks: Vec<Self>, capture: &CaptureRecord, out: &mut dyn Write) -> anyhow::Result<()>;
}
