//! Traffic of real servers and clients, made on the spot in a namespace of its own: nginx, curl, nghttp2, OpenSSL, dnsmasq
//! and dig, as `made.sh` has them speak, and quinn, as observer's lab has it.

use std::io::Read as _;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::live::{Capture, Netns, until};

/// What is sent last: the capture is whole once it holds this.
const LAST: &[u8] = b"nothing more comes from here";

/// Captures and the secrets of what is in them.
pub struct Made {
    capture: Capture,
    folder: TempDir,
    /// Every program was there.
    pub is_whole: bool,
}

/// A process and those it has started, which end with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the group was made for the child, which is waited for only below.
        unsafe { libc::kill(-self.0.id().cast_signed(), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

impl Made {
    /// Makes it; `None`, after saying so, where this machine forbids it.
    ///
    /// # Errors
    /// When something that should work here does not.
    pub fn make(observer: &Path) -> Result<Option<Self>> {
        const TEST: &str = "traffic of real servers";
        let Some(netns) = Netns::new(TEST) else { return Ok(None) };
        let folder = tempfile::tempdir().context("making a folder")?;
        let Some(capture) = Capture::everything(TEST, &netns, "lo") else { return Ok(None) };
        let mut made = Self { capture, folder, is_whole: true };
        let mut command = netns.command("sh");
        command.args(["-c", include_str!("made.sh"), "made.sh"]).arg(made.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut group = Group(command.spawn().context("starting ip")?);
        let mut said = String::new();
        group.0.stdout.take().context("no pipe")?.read_to_string(&mut said).context("reading what the script says")?;
        let status = group.0.wait().context("waiting for the script")?;
        eprint!("{said}");
        ensure!(status.success(), "the script ended with {status}: {said}");
        made.is_whole = said.is_empty();
        netns.within(|| -> Result<()> {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).context("binding")?;
            socket.send_to(LAST, ("127.0.0.1", 9)).context("sending").map(drop)
        })?;
        until("all is captured", || {
            let written = std::fs::read(made.capture.path()).unwrap_or_default();
            // The port is nobody's: what comes behind is an error that quotes it.
            written.rchunks(1 << 12).next().is_some_and(|end| end.windows(LAST.len()).any(|window| window == LAST))
        });
        made.capture.stop();
        for name in QUIC {
            let mut command = Command::new(observer);
            command.args(["lab", "run", name, "--write"]).arg(made.folder.path().join(format!("{name}.pcapng")));
            crate::run::success(&mut command)?;
        }
        Ok(Some(made))
    }

    /// The captures.
    pub fn captures(&self) -> Vec<PathBuf> {
        let quic = QUIC.map(|name| self.folder.path().join(format!("{name}.pcapng")));
        [self.capture.path().to_owned()].into_iter().chain(quic).collect()
    }

    /// The secrets of what is in the captures, as clients have logged them.
    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("keys.log")
    }
}

/// Those of observer's scenarios in which quinn speaks.
const QUIC: [&str; 2] = ["quic", "quic-refused"];
