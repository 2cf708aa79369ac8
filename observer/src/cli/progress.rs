//! How far the reading is, on standard error, for those who wait.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::source::Progress;

/// Who waits for less wants no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);

/// Draws a bar while it lives, where standard error is a terminal; wiped out when dropped.
pub struct Bar(Option<(Sender<()>, JoinHandle<()>)>);

impl Bar {
    /// Draws how far `progress` is.
    pub fn new(progress: Arc<Progress>) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let (alive, end) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            if end.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let (read, total) = progress.get().unwrap_or_default();
            let bar = ProgressBar::new(total).with_position(read).with_style(style());
            bar.reset_eta();
            while end.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if let Some((read, total)) = progress.get() {
                    bar.set_length(total);
                    bar.set_position(read);
                }
            }
            bar.finish_and_clear();
        });
        Self(Some((alive, thread)))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((alive, thread)) = self.0.take() {
            drop(alive);
            // A bar that could not be drawn is nothing to stop for.
            let _ = thread.join();
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{wide_bar} {decimal_bytes} of {decimal_total_bytes}, {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
