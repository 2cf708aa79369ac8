//! Booting a kernel under qemu.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::process;

/// A kernel that has not come to an end by then hangs. One that is emulated on a busy machine takes its time.
const DEADLINE: Duration = Duration::from_secs(900);

/// Boots, and returns the lines that the machine prints until it ends. What stands in `words` as `NAME=value` is the
/// environment of its first process.
pub fn boot(vmlinuz: &Path, initramfs: &Path, words: &str) -> Result<Vec<String>> {
    let mut command = Command::new("qemu-system-x86_64");
    // Emulated, since not every machine that builds this lets it use its processor's virtualisation.
    // Both processors on one thread: on threads of their own they go astray where the kernel rewrites its own code, as it
    // does whenever a tracepoint is switched on.
    // Without CMPXCHG16B, after which qemu 7.2 now and then restores the wrong flags.
    command.args(["-accel", "tcg,thread=single", "-cpu", "max,cx16=off", "-smp", "2", "-m", "2048"]);
    command.args(["-nodefaults", "-no-reboot"]);
    command.args(["-display", "none", "-serial", "stdio", "-kernel"]).arg(vmlinuz).arg("-initrd").arg(initramfs);
    command.arg("-append").arg(format!("console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off {words}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut machine = command.spawn().with_context(|| format!("starting {}", process::line(&command)))?;
    let output = machine.stdout.take().context("no pipe from qemu")?;
    let (sender, receiver) = mpsc::channel::<String>();
    let reader = thread::spawn(move || {
        // What a machine prints need not be text.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + DEADLINE;
    let mut lines = Vec::new();
    let in_time = loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        machine.kill().context("stopping qemu")?;
    }
    let status = machine.wait().context("waiting for qemu")?;
    // It has nothing left to read.
    let _ = reader.join();
    let last = || lines[lines.len().saturating_sub(20)..].join("\n");
    ensure!(in_time, "no end after {} s; its last lines:\n{}", DEADLINE.as_secs(), last());
    ensure!(status.success(), "qemu ended with {status}");
    Ok(lines)
}
