//! What tcpdump captures beside observer.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{DEADLINE, Netns};
use crate::run::observer;

/// tcpdump at work in a namespace.
pub struct Capture {
    child: Child,
    file: tempfile::NamedTempFile,
}

impl Capture {
    /// Starts it, and returns once it captures; `None`, after saying so, where there is no tcpdump.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(test: &str, netns: &Netns, interface: &str) -> Option<Self> {
        Self::of(test, netns, interface, &["-s", "256", "tcp"])
    }

    /// As [`Self::start`], of packets all of whose octets are kept.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn whole(test: &str, netns: &Netns, interface: &str) -> Option<Self> {
        Self::of(test, netns, interface, &["-s", "0", "tcp"])
    }

    /// As [`Self::whole`], and whatever the packets are.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn everything(test: &str, netns: &Netns, interface: &str) -> Option<Self> {
        // The longest that a loopback interface has, so that more of them find a place.
        Self::of(test, netns, interface, &["-s", "66000"])
    }

    fn of(test: &str, netns: &Netns, interface: &str, what: &[&str]) -> Option<Self> {
        let file = tempfile::NamedTempFile::new().expect("a file can be made");
        let path = file.path().to_string_lossy().into_owned();
        let mut command = netns.command("tcpdump");
        command.args(["-i", interface, "--immediate-mode", "-U", "-Z", "root", "-w", &path]);
        // A place of the kernel's ring is as long as the longest packet: of whole ones the usual 2 MiB hold eight, and a
        // busy machine loses the ninth.
        command.args(["-B", "65536"]).args(what);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("ip starts");
        let mut line = String::new();
        let err = child.stderr.take().expect("piped");
        let mut lines = BufReader::new(err);
        while !line.contains("listening on") {
            line.clear();
            if lines.read_line(&mut line).expect("it says what it does") == 0 {
                let _ = child.wait();
                crate::skip(test, "tcpdump does not run");
                return None;
            }
        }
        // Kept open, so that its last words find a reader.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Some(Self { child, file })
    }

    /// Replays what was captured once that is `enough`, or cannot be waited for any longer, and ends the capture.
    ///
    /// # Panics
    /// When it cannot be replayed.
    pub fn replay(mut self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let records = self.replay_so_far();
            if enough(&records) || started.elapsed() > DEADLINE {
                self.stop();
                return records;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The file that it writes.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Ends the capture.
    pub fn stop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // SAFETY: the child is ours and not yet waited for.
            unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
            let _ = self.child.wait();
        }
    }

    fn replay_so_far(&self) -> Vec<Value> {
        let observer = observer().expect("there is an observer");
        let output = Command::new(observer)
            .args(["replay", "--output", "json"])
            .arg(self.file.path())
            .output()
            .expect("observer runs");
        let lines = String::from_utf8(output.stdout).expect("JSON is text");
        lines.lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
