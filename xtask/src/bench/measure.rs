//! What a program took: time on the clock, time on the processors, memory.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::process;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub wall: Duration,
    /// User and system time of all threads.
    pub cpu: Duration,
    /// The most memory that was resident at one time, in bytes. It is at least what this program had when it started
    /// the other: a few megabytes.
    pub peak: u64,
}

/// Runs `command` to its end, which must be a success.
pub fn measure(command: &mut Command) -> Result<Usage> {
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {}", process::line(command)))?;
    wait(child, start).with_context(|| process::line(command))
}

/// Waits for a program that was started at `start`.
pub fn wait(child: Child, start: Instant) -> Result<Usage> {
    let mut status = 0;
    // SAFETY: all-zero is a value of this struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type, and the child is ours and not yet waited for.
    let waited = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    let wall = start.elapsed();
    ensure!(waited > 0, "waiting for it: {}", std::io::Error::last_os_error());
    ensure!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "it failed with wait status {status}");
    let time = |value: libc::timeval| {
        Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(value.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        wall,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        // Linux counts it in KiB.
        peak: usage.ru_maxrss.unsigned_abs() * 1024,
    })
}

/// The middle one of several; of an even number the lower of the two middle ones.
pub fn median<T: Ord + Copy>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut values = values.into_iter().collect::<Vec<_>>();
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_program() {
        let usage = measure(Command::new("sleep").arg("0.05")).expect("sleep runs");
        assert!(usage.wall >= Duration::from_millis(50), "{usage:?}");
        assert!(usage.cpu < usage.wall, "{usage:?}");
        assert!(usage.peak > 100_000, "{usage:?}");
        assert!(measure(&mut Command::new("false")).is_err());
    }

    #[test]
    fn the_middle_one() {
        assert_eq!(median([3, 1, 2]), Some(2));
        assert_eq!(median([4, 1, 2, 3]), Some(2));
        assert_eq!(median::<u32>([]), None);
    }
}
