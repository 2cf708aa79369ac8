//! `--output json`: one object a line.

use std::io::Write;

use anyhow::Result;
use observer::record::{CaptureRecord, ConnectionRecord, LookupRecord, Object};

use super::Sink;
use super::compact;
use super::printer::Printer;
use super::together::Together;

/// Prints each connection as a line of JSON, then what many show together, then the capture.
pub struct Json {
    printer: Printer,
    connection: Option<u64>,
    together: Together,
}

impl Json {
    /// Prints by `printer`, in the order of the first frames; only the given connection, where there is one.
    pub fn new(printer: Printer, connection: Option<u64>, together: Together) -> Self {
        Self { printer, connection, together }
    }
}

impl Sink for Json {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        if self.connection.is_some_and(|id| id != record.id) {
            return Ok(());
        }
        if self.connection.is_none() {
            self.together.connection(&record);
        }
        let key = (record.id, 0);
        self.printer.print(key, |buffer| append(buffer, &Object::Connection(record)))
    }

    fn lookup(&mut self, record: Box<LookupRecord>) -> Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        self.together.lookup(&record);
        // Behind the connection whose first frame asks.
        let key = (record.id, 1);
        self.printer.print(key, |buffer| append(buffer, &Object::Lookup(record)))
    }

    fn settle(&mut self, first: impl FnOnce() -> u64) -> Result<()> {
        self.printer.settle(first)
    }

    fn has_printed(&self) -> bool {
        self.printer.has_printed()
    }

    fn finish(sinks: Vec<Self>, capture: &CaptureRecord, out: &mut dyn Write) -> Result<()> {
        let (printers, together): (_, Vec<_>) = sinks.into_iter().map(|sink| (sink.printer, sink.together)).unzip();
        // What many connections show together takes long to put together, where there are many: meanwhile the rest is printed.
        let (printed, findings) = std::thread::scope(|scope| {
            let merging = scope.spawn(|| Together::of_all(together).map_or_else(Vec::new, |all| all.finish(capture)));
            let printed = Printer::finish(printers, usize::MAX, out);
            (printed, merging.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        printed?;
        for finding in findings {
            line(&mut *out, &Object::Finding(Box::new(finding)))?;
        }
        line(out, &Object::Capture(Box::new(capture.clone())))
    }
}

/// Writes one object and ends the line.
pub fn line(mut out: impl Write, object: &Object) -> Result<()> {
    let mut line = Vec::new();
    append(&mut line, object)?;
    out.write_all(&line)?;
    Ok(())
}

/// The same for what is in memory.
fn append(buffer: &mut Vec<u8>, object: &Object) -> Result<()> {
    compact::write(buffer, object)?;
    buffer.push(b'\n');
    Ok(())
}
