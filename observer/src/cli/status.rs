//! The line of counters on standard error, where that is a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result};
use observer::record::{ConnState, ConnectionRecord, Side};

use crate::sink::units;

/// The line, and what it counts.
pub struct Status {
    shown: bool,
    wanted: bool,
    counts: Counts,
    /// The last line.
    line: String,
    /// Connections that had ended, and when, at the last line.
    last: (u64, Instant),
}

/// What is counted of connections that ended.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    ended: u64,
    refused: u64,
    reset: u64,
    unanswered: u64,
    sent_again: u64,
}

impl Status {
    /// A line that is shown where it is `wanted` and can be seen.
    pub fn new(wanted: bool) -> Self {
        let wanted = wanted && io::stderr().is_terminal();
        Self { shown: false, wanted, counts: Counts::default(), line: String::new(), last: (0, Instant::now()) }
    }

    /// Counts a connection that ended.
    pub fn count(&mut self, record: &ConnectionRecord) {
        self.counts.add(record);
    }

    /// Shows how it goes: `open` connections are followed, so many records were `lost`.
    pub fn draw(&mut self, open: usize, lost: Option<u64>) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        let (before, then) = std::mem::replace(&mut self.last, (self.counts.ended, Instant::now()));
        let rate = (self.counts.ended - before) as f64 / then.elapsed().as_secs_f64().max(0.001);
        let columns = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
        // In the last column some terminals begin the next line.
        self.line = self.counts.line(open, rate, lost).chars().take(columns.saturating_sub(1)).collect();
        self.show()
    }

    /// Shows the line again, below what was printed.
    pub fn show(&mut self) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        let mut err = io::stderr().lock();
        write!(err, "\r\x1b[K{}", self.line).and_then(|()| err.flush()).context("writing to standard error")?;
        self.shown = true;
        Ok(())
    }

    /// Takes the line away, for what is printed.
    pub fn clear(&mut self) -> Result<()> {
        if std::mem::take(&mut self.shown) {
            write!(io::stderr(), "\r\x1b[K").context("writing to standard error")?;
        }
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, record: &ConnectionRecord) {
        self.ended += 1;
        match record.conn_state {
            ConnState::REJ => self.refused += 1,
            ConnState::RSTO | ConnState::RSTR | ConnState::RSTOS0 | ConnState::RSTRH => self.reset += 1,
            ConnState::S0 => self.unanswered += 1,
            _ => {}
        }
        self.sent_again += record.retransmitted_by(Side::Client) + record.retransmitted_by(Side::Server);
    }

    /// The most telling first: a narrow terminal cuts the rest off.
    fn line(self, open: usize, rate: f64, lost: Option<u64>) -> String {
        let mut parts = vec![format!("{} open", units::count(open as u64))];
        parts.push(format!("{} ended ({rate:.0}/s)", units::count(self.ended)));
        let few = [(self.refused, "refused"), (self.reset, "reset"), (self.unanswered, "unanswered")];
        parts.extend(
            few.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", units::count(*count))),
        );
        if self.sent_again > 0 {
            parts.push(format!("{} sent again", units::number_of(self.sent_again, "segment")));
        }
        if let Some(lost @ 1..) = lost {
            parts.push(format!("{} LOST", units::number_of(lost, "record")));
        }
        parts.join(" · ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_there_is_to_say() {
        let quiet = Counts { ended: 1234, ..Counts::default() };
        assert_eq!(quiet.line(5, 12.4, Some(0)), "5 open · 1,234 ended (12/s)");
        let busy = Counts { ended: 10, refused: 1, reset: 2, unanswered: 3, sent_again: 1 };
        assert_eq!(
            busy.line(0, 0.0, Some(7)),
            "0 open · 10 ended (0/s) · 1 refused · 2 reset · 3 unanswered · 1\u{a0}segment sent again · 7\u{a0}records LOST"
        );
    }
}
