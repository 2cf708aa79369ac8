//! `--output text`: connections as people read them.

mod application;
mod check;
mod connection;
mod doctor;
pub mod explain;
mod finding;
mod ladder;
mod line;
mod lookups;
mod overview;
mod page;
mod quic;
pub mod sockets;
mod waterfall;
mod words;

use std::io::Write;

use anyhow::Result;
pub use check::draw as check;
pub use connection::{Detail, draw as connection, handshake_rtt};
pub use doctor::{Doctor, draw as doctor};
pub use finding::{line as finding_line, report as findings, together as found_together};
pub use line::{draw as one_line, draw_lookup as failed_lookup};
use observer::record::{CaptureRecord, ConnectionRecord, LookupRecord};
pub use observer::units;
pub use overview::{Overview, summary};
pub use page::{Line, Page, Tone};
pub use words::packet as packet_name;

use super::Sink;
use super::lookups::Lookups;
use super::order::Order;
use super::printer::Printer;
use super::together::Together;

/// Draws each connection in full.
pub struct Text {
    printer: Printer,
    lookups: Lookups,
    together: Together,
    view: View,
    show_one: Option<String>,
}

/// What is drawn of which connections.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// How it is laid out.
    pub page: Page,
    /// How much is said of each connection.
    pub detail: Detail,
    /// Which comes first.
    pub order: Order,
    /// How many are drawn, where they are put in order.
    pub top: usize,
    /// Where given, only this one is drawn.
    pub connection: Option<u64>,
}

impl Text {
    /// Draws what `view` says, by `printer`. `show_one` is the command that shows a connection, without its `id`.
    pub fn new(printer: Printer, view: View, show_one: Option<String>, together: Together) -> Self {
        Self { printer, lookups: Lookups::default(), together, view, show_one }
    }
}

impl Sink for Text {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        let view = self.view;
        if view.connection.is_some_and(|id| id != record.id) {
            return Ok(());
        }
        self.together.connection(&record);
        self.printer.print(view.order.key(&record), |buffer| {
            let mut text = String::new();
            connection::draw(&view.page, &mut text, &record, view.detail, None);
            buffer.extend_from_slice(text.as_bytes());
            Ok(())
        })
    }

    fn replays_recording(&mut self) {
        if self.view.detail == Detail::Full {
            self.view.detail = Detail::Recorded;
        }
    }

    fn lookup(&mut self, record: Box<LookupRecord>) -> Result<()> {
        self.lookups.add(&record);
        self.together.lookup(&record);
        Ok(())
    }

    fn has_printed(&self) -> bool {
        self.printer.has_printed()
    }

    fn finish(sinks: Vec<Self>, capture: &CaptureRecord, out: &mut dyn Write) -> Result<()> {
        let mut sinks = sinks.into_iter();
        let Some(Self { view, show_one, mut lookups, mut together, printer }) = sinks.next() else { return Ok(()) };
        let mut warnings = String::new();
        overview::warnings(&view.page, &mut warnings, capture);
        out.write_all(warnings.as_bytes())?;
        let mut printers = vec![printer];
        for sink in sinks {
            printers.push(sink.printer);
            lookups.merge(sink.lookups);
            together.merge(sink.together);
        }
        Printer::finish(printers, view.top, out)?;
        if view.connection.is_none() {
            let mut text = String::new();
            finding::together(&view.page, &mut text, &together.finish(capture));
            lookups::draw(&view.page, &mut text, lookups);
            overview::last_line(&view.page, &mut text, capture, show_one.as_deref());
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}
