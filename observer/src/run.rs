//! The main loop: frames from a source, through decoder and tracker, into sinks.

use anyhow::Result;
use observer::decode::Checksums;
use observer::record::CaptureRecord;
use observer::tracker::Config;

use crate::sink::Sink;
use crate::source::Source;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How connections are followed.
    pub tracker: Config,
    /// What to make of wrong checksums.
    pub checksums: Checksums,
    /// How many threads share the work; 1 hands each connection over as soon as it ends.
    pub threads: usize,
}

/// Reads `source` to its end. `make_sink` makes the sink of each shard. Returns the sinks and what was read.
pub fn run<S: Sink>(
    source: &mut dyn Source,
    options: &Options,
    make_sink: impl FnMut() -> S,
) -> Result<(Vec<S>, CaptureRecord)> {
    let _ = (source, options, make_sink);
    Ok((Vec::new(), CaptureRecord::default()))
}
