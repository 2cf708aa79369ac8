//! `--output json`: one object a line.

use std::io::Write;

use anyhow::Result;
use observer::record::{CaptureRecord, ConnectionRecord, Object};

use super::Sink;
use super::printer::Printer;

/// Prints each connection as a line of JSON, then the capture.
pub struct Json {
    printer: Printer,
}

impl Json {
    /// Prints by `printer`; the order is that of the first frames.
    pub fn new(printer: Printer) -> Self {
        Self { printer }
    }
}

impl Sink for Json {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        let key = (record.id, 0);
        self.printer.print(key, |buffer| line(buffer, &Object::Connection(record)))
    }

    fn finish(sinks: Vec<Self>, capture: CaptureRecord, out: &mut dyn Write) -> Result<()> {
        Printer::finish(sinks.into_iter().map(|sink| sink.printer).collect(), out)?;
        line(out, &Object::Capture(Box::new(capture)))
    }
}

fn line(mut out: impl Write, object: &Object) -> Result<()> {
    serde_json::to_writer(&mut out, object)?;
    out.write_all(b"\n")?;
    Ok(())
}
